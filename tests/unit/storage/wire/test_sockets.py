"""HTTP over sockets, with TLS and without: bodies to the byte; connections used again, or not."""

from __future__ import annotations

import gc
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from support.certificates import Certificate, shared_certificate
from support.scripted_server import CLOSE, ScriptedServer, answer, scripted, speaking
from support.watched_run import until

from storage.wire import sockets
from storage.wire.connections import open_connection
from storage.wire.exchange import ANSWER_BODY_LIMIT, ERROR_BODY_LIMIT, Answer, ExchangeFailed, Fault, Patience, Request
from storage.wire.sockets import BUFFER, SEND_BUFFER, SocketConnection

SIZES = [1, 5, 4_096, 16_384, BUFFER, BUFFER + 1, 100_000, SEND_BUFFER + 1, 1_000_003]
"""Beside the sizes of records and buffers."""


@pytest.fixture(params=[None, "https"], ids=["http", "https"])
def certificate(request: pytest.FixtureRequest) -> Iterator[Certificate | None]:
    """What the scripted servers of a test speak."""
    spoken = shared_certificate() if request.param else None
    with speaking(spoken):
        yield spoken


def opened(certificate: Certificate | None) -> SocketConnection:
    made = open_connection("https://" if certificate else "http://", str(certificate.file) if certificate else None)
    assert isinstance(made, SocketConnection)
    return made


@pytest.fixture
def connection(certificate: Certificate | None) -> Iterator[SocketConnection]:
    made = opened(certificate)
    yield made
    made.close()


def body_of(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def get(connection: SocketConnection, server: ScriptedServer, size: int, **options: bool) -> tuple[Answer, bytearray]:
    buffer = bytearray(b"\xee" * size)
    return connection.perform(Request("GET", server.url + "/k", [], into=memoryview(buffer), **options)), buffer  # type: ignore[arg-type]


def put(connection: SocketConnection, server: ScriptedServer, body: bytes | bytearray, **options: bool) -> Answer:
    return connection.perform(Request("PUT", server.url + "/k", [("x-n", "1")], body, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", SIZES)
def test_a_body_fills_its_memory_to_the_last_byte(connection: SocketConnection, size: int) -> None:
    with scripted(answer(body=body_of(size))) as server:
        found, buffer = get(connection, server, size)
    assert (found.status, found.received, found.overflowed, found.body) == (200, size, False, b"")
    assert buffer == body_of(size)


@pytest.mark.parametrize("size", SIZES)
def test_one_byte_too_many_is_noticed(connection: SocketConnection, size: int) -> None:
    with scripted(answer(body=body_of(size + 1))) as server:
        found, _ = get(connection, server, size)
    assert found.overflowed
    assert found.status == 200


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_written_beside_a_buffer(connection: SocketConnection, size: int) -> None:
    around = bytearray(b"\xee" * (size + 64))
    with scripted(answer(body=body_of(size + 1000))) as server:
        into = memoryview(around)[32 : 32 + size]
        connection.perform(Request("GET", server.url + "/k", [], into=into))
    assert around[:32] == around[32 + size :] == b"\xee" * 32


@pytest.mark.parametrize("size", SIZES)
def test_a_shorter_body_is_counted(connection: SocketConnection, size: int) -> None:
    with scripted(answer(body=body_of(size - 1))) as server:
        found, buffer = get(connection, server, size)
    assert (found.received, found.overflowed) == (size - 1, False)
    assert buffer[: size - 1] == body_of(size - 1)


@pytest.mark.parametrize("size", [0, *SIZES])
@pytest.mark.parametrize("kind", [bytes, bytearray, lambda b: memoryview(bytearray(b)), memoryview])
def test_a_body_is_sent_from_every_kind_of_memory(connection: SocketConnection, size: int, kind: type[bytes]) -> None:
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
    connection: SocketConnection, size: int
) -> None:
    sent = [answer("404 Not Found", b"<Error/>"), answer(body=body_of(size))]
    with scripted(*sent) as server:
        found, _ = get(connection, server, size)
        assert (found.status, found.body, found.received, found.overflowed) == (404, b"<Error/>", 0, False)
        assert get(connection, server, size)[1] == body_of(size)
        assert [request.connection for request in server.requests] == [1, 1]


@pytest.mark.parametrize("size", [5, 100_000])
def test_of_a_long_error_the_beginning_is_kept(connection: SocketConnection, size: int) -> None:
    long = body_of(1_000_000)
    with scripted(answer("500 Oops", long), answer(body=body_of(size))) as server:
        found, _ = get(connection, server, size)
        assert (found.status, found.body) == (500, long[:ERROR_BODY_LIMIT])
        assert get(connection, server, size)[1] == body_of(size)


def test_methods_follow_each_other_on_one_connection(connection: SocketConnection) -> None:
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


def test_a_body_behind_the_answer_to_a_head_is_nobodys(connection: SocketConnection) -> None:
    with scripted(answer(body=b"hello"), answer(body=b"<a/>")) as server:
        assert connection.perform(Request("HEAD", server.url + "/k", [])).body == b""
        assert connection.perform(Request("GET", server.url + "/k", [])).body == b"<a/>"
    assert [request.connection for request in server.requests] == [1, 2]


def test_a_lent_body_between_two_others(connection: SocketConnection) -> None:
    pieces = iter([b"ab", b"cde", b""])
    with scripted(answer(), answer(), answer()) as server:
        put(connection, server, b"one")
        connection.perform(Request("PUT", server.url + "/k", [], read=lambda most: next(pieces)[:most], length=5))
        put(connection, server, b"three")
    assert [request.body for request in server.requests] == [b"one", b"abcde", b"three"]


@pytest.mark.parametrize("size", [0, 4096, 3_000_000])
def test_a_document_grows_as_long_as_it_is(connection: SocketConnection, size: int) -> None:
    chunked = b"%x\r\n%b\r\n0\r\nX-Trailer: 1\r\n\r\n" % (size, body_of(size)) if size else b"0\r\n\r\n"
    with scripted(answer(body=chunked, Transfer_Encoding="chunked"), answer(body=b"<b/>")) as server:
        found = connection.perform(Request("GET", server.url + "/?list-type=2", []))
        assert (found.body, found.overflowed) == (body_of(size), False)
        assert "x-trailer" not in found.headers
        assert connection.perform(Request("GET", server.url + "/?list-type=2", [])).body == b"<b/>"


def test_a_document_without_end_is_refused(connection: SocketConnection) -> None:
    with scripted(answer(Content_Length=str(ANSWER_BODY_LIMIT + 1)), close_after=frozenset({0})) as server:
        found = connection.perform(Request("GET", server.url + "/?list-type=2", []))
    assert (found.status, found.overflowed) == (200, True)


def test_headers_as_they_came(connection: SocketConnection) -> None:
    reply = (
        b"HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nX-Amz-Meta-N: \xc3\xa9\x85 \r\nx-a: 1\r\nX-A: 2\r\nContent-Length: 2\r\n\r\nhi"
    )
    with scripted(reply) as server:
        found = connection.perform(Request("GET", server.url + "/k", []))
    assert found.headers == {"x-amz-meta-n": "\xc3\xa9\x85", "x-a": "1, 2", "content-length": "2"}
    assert found.body == b"hi"


def test_a_huge_head_is_refused(connection: SocketConnection) -> None:
    lines = b"".join(b"X-%d: %b\r\n" % (number, b"x" * 1000) for number in range(BUFFER // 1000 + 1))
    with scripted(b"HTTP/1.1 200 OK\r\n" + lines + b"Content-Length: 0\r\n\r\n", answer()) as server:
        with pytest.raises(ExchangeFailed) as refused:
            connection.perform(Request("GET", server.url + "/k", []))
        assert refused.value.fault is Fault.MALFORMED
        assert connection.perform(Request("GET", server.url + "/k", [])).status == 200


def test_a_dead_connection_is_replaced_once(connection: SocketConnection) -> None:
    body = body_of(100_000)
    with scripted(answer(), answer(ETag='"f"'), close_after=frozenset({0})) as server:
        put(connection, server, body)
        assert put(connection, server, body).headers["etag"] == '"f"'
    assert [(request.connection, request.body) for request in server.requests] == [(1, body), (2, body)]


def test_what_must_not_be_done_twice_is_sent_once(connection: SocketConnection) -> None:
    with scripted(answer(), CLOSE, answer()) as server:
        put(connection, server, b"1")
        with pytest.raises(ExchangeFailed):
            put(connection, server, b"2", once=True)
        put(connection, server, b"3")
    assert [(request.connection, request.body) for request in server.requests] == [(1, b"1"), (1, b"2"), (2, b"3")]


def test_what_must_not_be_done_twice_keeps_its_connection(connection: SocketConnection) -> None:
    with scripted(*[answer()] * 3) as server:
        for body in (b"1", b"2", b"3"):
            put(connection, server, body, once=True)
    assert [request.connection for request in server.requests] == [1, 1, 1]


@pytest.mark.parametrize("idle", [sockets.SAFE_SECONDS + 0.1, 60.0])
def test_what_must_not_be_done_twice_is_not_sent_where_a_server_may_have_closed_meanwhile(
    connection: SocketConnection, idle: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted(*[answer()] * 3) as server:
        put(connection, server, b"1", once=True)
        later = time.monotonic() + idle
        monkeypatch.setattr(sockets, "time", SimpleNamespace(monotonic=lambda: later))
        put(connection, server, b"2", once=True)
        put(connection, server, b"3", once=True)
    assert [request.connection for request in server.requests] == [1, 2, 2]


def test_a_closed_connection_carries_nothing_that_must_not_be_done_twice(connection: SocketConnection) -> None:
    with scripted(answer(), answer(), close_after=frozenset({0})) as server:
        put(connection, server, b"1", once=True)
        until(lambda: bool(connection._channel and connection._channel.has_input()))
        put(connection, server, b"2", once=True)
    assert [request.connection for request in server.requests] == [1, 2]


def test_after_a_connection_that_only_seemed_alive_each_such_request_has_a_new_one(
    connection: SocketConnection,
) -> None:
    with scripted(answer(), CLOSE, answer(), answer(), answer()) as server:
        put(connection, server, b"1", once=True)
        with pytest.raises(ExchangeFailed):
            put(connection, server, b"2", once=True)
        put(connection, server, b"3", once=True)
        put(connection, server, b"4", once=True)
        put(connection, server, b"5")
    assert [request.connection for request in server.requests] == [1, 1, 2, 3, 3]


def test_a_connection_that_only_seemed_alive_is_trusted_again_later(
    connection: SocketConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted(answer(), CLOSE, answer(), answer()) as server:
        put(connection, server, b"1", once=True)
        with pytest.raises(ExchangeFailed):
            put(connection, server, b"2", once=True)
        later = time.monotonic() + 61.0
        monkeypatch.setattr(sockets, "time", SimpleNamespace(monotonic=lambda: later))
        put(connection, server, b"3", once=True)
        put(connection, server, b"4", once=True)
    assert [request.connection for request in server.requests] == [1, 1, 2, 2]


def test_a_connection_that_was_idle_too_long_for_its_server_is_not_trusted(connection: SocketConnection) -> None:
    with scripted(answer(), answer("408 Request Timeout"), answer(), answer()) as server:
        put(connection, server, b"1", once=True)
        assert put(connection, server, b"2", once=True).status == 408
        put(connection, server, b"3", once=True)
        put(connection, server, b"4", once=True)
    assert [request.connection for request in server.requests] == [1, 1, 2, 3]


def test_a_new_connection_that_gave_no_answer_says_nothing_of_kept_ones(connection: SocketConnection) -> None:
    with scripted(CLOSE, answer(), answer()) as server:
        with pytest.raises(ExchangeFailed):
            put(connection, server, b"1", once=True)
        put(connection, server, b"2", once=True)
        put(connection, server, b"3", once=True)
    assert [request.connection for request in server.requests] == [1, 2, 2]


def test_a_server_that_says_continue_unasked_gets_the_whole_body(connection: SocketConnection) -> None:
    body = body_of(3 * SEND_BUFFER)
    pieces = iter([body[start : start + SEND_BUFFER] for start in range(0, len(body), SEND_BUFFER)])
    with scripted(answer(ETag='"e"'), answer(ETag='"f"'), interim=b"HTTP/1.1 100 Continue\r\n\r\n") as server:
        assert put(connection, server, body).headers["etag"] == '"e"'
        lent = Request("PUT", server.url + "/k", [], read=lambda _most: next(pieces), length=len(body))
        assert connection.perform(lent).headers["etag"] == '"f"'
    assert [request.body for request in server.requests] == [body, body]


def test_a_refusal_ends_a_lent_body(connection: SocketConnection) -> None:
    taken = []

    def read(most: int) -> bytes:
        taken.append(most)
        return bytes(most)

    with scripted(answer("403 Forbidden", b"<Error/>"), early=frozenset({0})) as server:
        request = Request("PUT", server.url + "/k", [], read=read, length=1_000 * SEND_BUFFER)
        assert connection.perform(request).status == 403
    assert len(taken) < 500


def test_https_never_goes_out_in_the_clear() -> None:
    plain = SocketConnection("x")
    with speaking(None), scripted(answer()) as server:
        with pytest.raises(ExchangeFailed, match="https"):
            plain.perform(Request("GET", server.url.replace("http:", "https:") + "/k", [("a", "secret")]))
        assert server.requests == []


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "\u00e9..b", ".example"])
def test_what_is_no_host_is_said(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = SocketConnection("x")
    with pytest.raises(ExchangeFailed) as failed:
        connection.perform(Request("GET", f"http://{host}/k", []))
    assert failed.value.fault is Fault.NO_HOST
    if "." in host:
        monkeypatch.setenv("https_proxy", f"http://{host}:1")
        proxied = open_connection("https://127.0.0.1", str(shared_certificate().file))
        with pytest.raises(ExchangeFailed) as failed:
            proxied.perform(Request("GET", "https://127.0.0.1/k", []))
        assert failed.value.fault is Fault.NO_HOST


def test_the_first_of_two_addresses_may_be_dead(connection: SocketConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(answer(body=b"<a/>")) as server, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        waiting = [socket.socket() for _ in range(4)]  # more than its queue takes: a further one gets no answer
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(silent.getsockname())
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        found = [(*kind, silent.getsockname()), (*kind, ("127.0.0.1", server.port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_named: found)
        request = Request("GET", server.url + "/k", [], patience=Patience(5, 0, 1.0))
        assert connection.perform(request).body == b"<a/>"
        for one in waiting:
            one.close()


def test_a_connection_closed_while_at_work_is_closed_when_it_has_ended(certificate: Certificate | None) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def read(most: int) -> bytes:
        reached.set()
        go_on.wait(10)
        return b"abcde"[:most]

    found: list[Answer] = []
    with scripted(answer(ETag='"e"')) as server:
        connection = opened(certificate)
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


def test_threads_that_come_and_go_leave_no_descriptors(certificate: Certificate | None) -> None:
    def use() -> None:
        connection = opened(certificate)
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


def test_a_forked_child_leaves_its_parents_connections_alone(certificate: Certificate | None) -> None:
    with scripted(answer(), answer()) as server:
        connection = opened(certificate)
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
def test_thousands_of_requests_leave_no_memory_behind(connection: SocketConnection, rounds: int) -> None:
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
