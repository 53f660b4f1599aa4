"""libcurl without callbacks: bodies into our memory and out of it, to the byte; connections used again, or not."""

from __future__ import annotations

import gc
import os
import resource
import threading
from collections.abc import Iterator

import pytest
from support.certificates import Certificate, shared_certificate
from support.scripted_server import CLOSE, ScriptedServer, answer, scripted, speaking

from storage.wire import libcurl
from storage.wire.connections import USER_AGENT, direct_library
from storage.wire.direct import HEAD_LIMIT, SMALL, DirectConnection
from storage.wire.exchange import ANSWER_BODY_LIMIT, ERROR_BODY_LIMIT, Answer, ExchangeFailed, Fault, Request
from storage.wire.libcurl import GrowingFile, HeaderBlock, Library, Memory, MemoryFile

SIZES = [1, 5, SMALL, SMALL + 1, 100_000, 1_000_003]
"""On both sides of where bodies are copied, and not."""


@pytest.fixture(params=[None, "https"], ids=["http", "https"])
def certificate(request: pytest.FixtureRequest) -> Iterator[Certificate | None]:
    """What the scripted servers of a test speak."""
    spoken = shared_certificate() if request.param else None
    with speaking(spoken):
        yield spoken


@pytest.fixture
def library() -> Library:
    found = direct_library()
    assert found is not None, "on Linux libcurl can be called without callbacks"
    return found


@pytest.fixture
def connection(library: Library, certificate: Certificate | None) -> Iterator[DirectConnection]:
    made = DirectConnection(library, str(certificate.file) if certificate else None, USER_AGENT)
    yield made
    made.close()


def body_of(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def get(connection: DirectConnection, server: ScriptedServer, size: int, **options: bool) -> tuple[Answer, bytearray]:
    buffer = bytearray(b"\xee" * size)
    return connection.perform(Request("GET", server.url + "/k", [], into=memoryview(buffer), **options)), buffer  # type: ignore[arg-type]


def put(connection: DirectConnection, server: ScriptedServer, body: bytes | bytearray, **options: bool) -> Answer:
    return connection.perform(Request("PUT", server.url + "/k", [("x-n", "1")], body, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", SIZES)
def test_a_body_fills_its_memory_to_the_last_byte(connection: DirectConnection, size: int) -> None:
    with scripted(answer(body=body_of(size))) as server:
        found, buffer = get(connection, server, size)
    assert (found.status, found.received, found.overflowed, found.body) == (200, size, False, b"")
    assert buffer == body_of(size)


@pytest.mark.parametrize("size", SIZES)
def test_one_byte_too_many_is_noticed(connection: DirectConnection, size: int) -> None:
    with scripted(answer(body=body_of(size + 1))) as server:
        found, _ = get(connection, server, size)
    assert found.overflowed
    assert found.status == 200


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_written_beside_a_buffer(connection: DirectConnection, size: int) -> None:
    around = bytearray(b"\xee" * (size + 64))
    with scripted(answer(body=body_of(size + 1000))) as server:
        into = memoryview(around)[32 : 32 + size]
        connection.perform(Request("GET", server.url + "/k", [], into=into))
    assert around[:32] == around[32 + size :] == b"\xee" * 32


@pytest.mark.parametrize("size", SIZES)
def test_a_shorter_body_is_counted(connection: DirectConnection, size: int) -> None:
    with scripted(answer(body=body_of(size - 1))) as server:
        found, buffer = get(connection, server, size)
    assert (found.received, found.overflowed) == (size - 1, False)
    assert buffer[: size - 1] == body_of(size - 1)


@pytest.mark.parametrize("size", [0, *SIZES])
@pytest.mark.parametrize("kind", [bytes, bytearray, lambda b: memoryview(bytearray(b)), memoryview])
def test_a_body_is_sent_from_every_kind_of_memory(connection: DirectConnection, size: int, kind: type[bytes]) -> None:
    with scripted(answer(ETag='"e"'), answer(ETag='"f"')) as server:
        assert put(connection, server, kind(body_of(size))).headers["etag"] == '"e"'
        assert put(connection, server, kind(body_of(size))).headers["etag"] == '"f"'
    assert [request.body for request in server.requests] == [body_of(size)] * 2
    for request in server.requests:
        assert request.headers["content-length"] == str(size)
        assert request.headers["x-n"] == "1"
        assert not {"content-type", "expect", "accept", "transfer-encoding"} & set(request.headers)
        assert request.connection == 1


@pytest.mark.parametrize("size", [5, 100_000])
def test_an_error_where_a_body_was_wanted_is_its_text_and_the_next_request_works(
    connection: DirectConnection, size: int
) -> None:
    sent = [answer("404 Not Found", b"<Error/>"), answer(body=body_of(size))]
    with scripted(*sent) as server:
        found, _ = get(connection, server, size)
        assert (found.status, found.body, found.received, found.overflowed) == (404, b"<Error/>", 0, False)
        assert get(connection, server, size)[1] == body_of(size)
        assert [request.connection for request in server.requests] == [1, 1]


@pytest.mark.parametrize("size", [5, 100_000])
def test_of_a_long_error_the_beginning_is_kept(connection: DirectConnection, size: int) -> None:
    long = body_of(1_000_000)
    with scripted(answer("500 Oops", long), answer(body=body_of(size))) as server:
        found, _ = get(connection, server, size)
        assert (found.status, found.body) == (500, long[:ERROR_BODY_LIMIT])
        assert get(connection, server, size)[1] == body_of(size)


def test_methods_follow_each_other_on_one_connection(connection: DirectConnection) -> None:
    def ask(method: str, body: bytes | None = None) -> Answer:
        return connection.perform(Request(method, server.url + "/k", [], body))

    headed = b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n"
    replies = [answer(body=b"<a/>"), headed, answer("204 No Content"), answer(body=b"<b/>"), answer("304 Not Modified")]
    with scripted(*replies, answer(), answer(body=b"<c/>")) as server:
        assert ask("GET").body == b"<a/>"
        assert ask("HEAD").headers["content-length"] == "77"
        assert ask("DELETE").status == 204
        assert ask("POST", b"<x/>").body == b"<b/>"
        assert ask("GET").status == 304
        assert ask("PUT", b"").status == 200
        assert ask("GET").body == b"<c/>"
    assert [r.line.split()[0] for r in server.requests] == ["GET", "HEAD", "DELETE", "POST", "GET", "PUT", "GET"]
    assert {r.connection for r in server.requests} == {1}


def test_a_lent_body_between_two_others(connection: DirectConnection) -> None:
    pieces = iter([b"ab", b"cde", b""])
    with scripted(answer(), answer(), answer()) as server:
        put(connection, server, b"one")
        connection.perform(Request("PUT", server.url + "/k", [], read=lambda most: next(pieces)[:most], length=5))
        put(connection, server, b"three")
    assert [request.body for request in server.requests] == [b"one", b"abcde", b"three"]


@pytest.mark.parametrize("size", [0, 4096, 3_000_000])
def test_a_document_grows_as_long_as_it_is(connection: DirectConnection, size: int) -> None:
    chunked = b"%x\r\n%b\r\n0\r\nX-Trailer: 1\r\n\r\n" % (size, body_of(size)) if size else b"0\r\n\r\n"
    with scripted(answer(body=chunked, Transfer_Encoding="chunked"), answer(body=b"<b/>")) as server:
        found = connection.perform(Request("GET", server.url + "/?list-type=2", []))
        assert (found.body, found.overflowed) == (body_of(size), False)
        assert "x-trailer" not in found.headers
        assert connection.perform(Request("GET", server.url + "/?list-type=2", [])).body == b"<b/>"


def test_a_document_without_end_is_refused(connection: DirectConnection) -> None:
    with scripted(answer(Content_Length=str(ANSWER_BODY_LIMIT + 1)), close_after=frozenset({0})) as server:
        found = connection.perform(Request("GET", server.url + "/?list-type=2", []))
    assert (found.status, found.overflowed) == (200, True)


def test_headers_as_they_came(connection: DirectConnection) -> None:
    reply = (
        b"HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nX-Amz-Meta-N: \xc3\xa9\x85 \r\nx-a: 1\r\nX-A: 2\r\nContent-Length: 2\r\n\r\nhi"
    )
    with scripted(reply) as server:
        found = connection.perform(Request("GET", server.url + "/k", []))
    assert found.headers == {"x-amz-meta-n": "\xc3\xa9\x85", "x-a": "1, 2", "content-length": "2"}
    assert found.body == b"hi"


def test_a_huge_head_is_refused(connection: DirectConnection) -> None:
    lines = b"".join(b"X-%d: %b\r\n" % (number, b"x" * 1000) for number in range(HEAD_LIMIT // 1000 + 1))
    with scripted(b"HTTP/1.1 200 OK\r\n" + lines + b"Content-Length: 0\r\n\r\n", answer()) as server:
        with pytest.raises(ExchangeFailed) as refused:
            connection.perform(Request("GET", server.url + "/k", []))
        assert refused.value.fault is Fault.MALFORMED
        assert connection.perform(Request("GET", server.url + "/k", [])).status == 200


def test_a_dead_connection_is_replaced_once(connection: DirectConnection) -> None:
    body = body_of(100_000)
    with scripted(answer(), answer(ETag='"f"'), close_after=frozenset({0})) as server:
        put(connection, server, body)
        assert put(connection, server, body).headers["etag"] == '"f"'
    assert [(request.connection, request.body) for request in server.requests] == [(1, body), (2, body)]


def test_what_must_not_be_done_twice_is_sent_once(connection: DirectConnection) -> None:
    with scripted(answer(), CLOSE, answer()) as server:
        put(connection, server, b"1")
        with pytest.raises(ExchangeFailed):
            put(connection, server, b"2", once=True)
        put(connection, server, b"3")
    assert [(request.connection, request.body) for request in server.requests] == [(1, b"1"), (2, b"2"), (1, b"3")]


def test_a_connection_closed_while_at_work_is_closed_when_it_has_ended(library: Library) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def read(most: int) -> bytes:
        reached.set()
        go_on.wait(10)
        return b"abcde"[:most]

    found: list[Answer] = []
    with scripted(answer(ETag='"e"')) as server:
        connection = DirectConnection(library, None, USER_AGENT)
        request = Request("PUT", server.url + "/k", [], read=read, length=5)
        thread = threading.Thread(target=lambda: found.append(connection.perform(request)))
        thread.start()
        assert reached.wait(10)
        with pytest.raises(RuntimeError):
            connection.perform(Request("GET", server.url + "/k", []))
        connection.close()
        go_on.set()
        thread.join(10)
    assert found[0].headers["etag"] == '"e"'
    with pytest.raises(RuntimeError):
        connection.perform(Request("GET", server.url + "/k", []))
    connection.close()


def test_threads_that_come_and_go_leave_no_descriptors(library: Library) -> None:
    def use() -> None:
        connection = DirectConnection(library, None, USER_AGENT)
        assert connection.perform(Request("HEAD", server.url + "/k", [])).status == 200

    def descriptors() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  names are all that is wanted

    with scripted(*[answer()] * 60) as server:
        use()
        before = descriptors()
        for _ in range(20):
            threads = [threading.Thread(target=use) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
        assert descriptors() <= before + 5, "the server's ends of the last ones may still be there"


def test_a_forked_child_leaves_its_parents_connections_alone(library: Library, certificate: Certificate | None) -> None:
    with scripted(answer(), answer()) as server:
        connection = DirectConnection(library, str(certificate.file) if certificate else None, USER_AGENT)
        put(connection, server, b"1")
        child = os.fork()
        if child == 0:
            connection.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        put(connection, server, b"2")
        connection.close()
    assert [request.connection for request in server.requests] == [1, 1]


@pytest.mark.parametrize("rounds", [500, pytest.param(2_500, marks=pytest.mark.soak)])
def test_thousands_of_requests_leave_no_memory_behind(connection: DirectConnection, rounds: int) -> None:
    size = 70_000
    replies = [answer(body=body_of(size)), answer(body=b"<a/>"), answer("404 Not Found", b"<Error/>"), answer()]
    buffer = memoryview(bytearray(size))

    def ask(count: int) -> None:
        for _ in range(count):
            connection.perform(Request("GET", server.url + "/k", [("a", "b")], into=buffer))
            connection.perform(Request("GET", server.url + "/k", [("a", "b")]))
            connection.perform(Request("GET", server.url + "/k", [("a", "b")], into=buffer))
            connection.perform(Request("PUT", server.url + "/k", [("a", "b")], buffer[:100]))
            server.requests.clear()

    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with scripted(*replies) as server:
        ask(100)
        before = peak()
        ask(rounds)
        assert peak() - before < 4 * rounds // 2, "KiB: half a kilobyte for each request would be a leak"


def test_a_file_over_memory_takes_what_fits_and_not_a_byte_more(library: Library) -> None:
    around = bytearray(b"\xee" * 24)
    stream = MemoryFile(library, memoryview(around)[8:16])
    assert [library.fwrite(b"12345678", 1, size, stream.file) for size in (5, 3, 1)] == [5, 3, 0]
    assert stream.written() == 8
    stream.close()
    assert bytes(around) == b"\xee" * 8 + b"12345123" + b"\xee" * 8


def test_a_growing_file_gives_what_it_was_given(library: Library) -> None:
    text = body_of(300_000)
    for most in (len(text), 10):
        stream = GrowingFile(library)
        assert library.fwrite(text, 1, len(text), stream.file) == len(text)
        assert stream.take(most) == text[:most]
    assert GrowingFile(library).take(10) == b""


def test_headers_are_laid_out_as_many_and_as_long_as_they_are() -> None:
    block = HeaderBlock((b"Expect:",))
    for count, length in ((1, 5), (200, 5), (3, 9_000), (0, 0), (2, 2)):
        lines = [f"{number}: {'x' * length}" for number in range(count)]
        assert chain(block.lay(lines)) == [b"Expect:", *[line.encode() for line in lines]]


def test_lines_as_long_as_the_last_ones_are_the_new_ones() -> None:
    block = HeaderBlock((b"Expect:",))
    for lines in (["a: 1", "bb: 22"], ["c: 3", "dd: 44"], ["ee: 44", "c: 3"], ["c: 3"], ["c: 3", "dd: 44"]):
        assert chain(block.lay(lines)) == [b"Expect:", *[line.encode() for line in lines]]


def chain(address: int) -> list[bytes]:
    """The texts of a linked list of libcurl's, as C would walk it."""
    import ctypes

    class Node(ctypes.Structure):
        pass

    Node._fields_ = [("data", ctypes.c_char_p), ("next", ctypes.POINTER(Node))]
    found = []
    node = ctypes.cast(address, ctypes.POINTER(Node))
    while node:
        found.append(node.contents.data)
        node = node.contents.next
    return found


def test_memory_of_no_bytes_has_no_address() -> None:
    assert libcurl.address_of(b"") == (0, None)
    memory = Memory(10)
    assert libcurl.address_of(memory.view)[0] == memory.address


def test_a_libcurl_that_is_not_pycurls_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libcurl.pycurl, "version", "PycURL/7 libcurl/1.2.3")
    with pytest.raises(libcurl.Unusable, match=r"1\.2\.3"):
        libcurl.load()


def test_a_platform_that_was_not_tried_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libcurl.sys, "platform", "darwin")
    with pytest.raises(libcurl.Unusable, match="darwin"):
        libcurl.load()
