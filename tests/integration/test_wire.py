"""The wire against a scripted server: what is sent byte for byte, and what becomes of every odd answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

import pytest

from schema import errors
from schema.declaration import Side
from schema.errors import StoreError
from schema.objects import ObjectHead
from storage.credentials import Fetched, FixedKeys, Keys, RenewedKeys
from storage.port import Guard, Pin, RequestSample
from storage.s3_store import S3Store

KEYS = FixedKeys(Keys("AK", "canary-secret"))
PINNED = Pin("e")
CLOSE = b""
"""In a script: close the connection without a byte of an answer."""


def answer(status: str = "200 OK", body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}"] + [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if "Content_Length" not in headers and "Transfer_Encoding" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@dataclass
class Received:
    """One request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass
class ScriptedServer:
    """Answers the n-th request of all connections with the n-th item of the script; then closes."""

    script: Sequence[bytes]
    close_after: frozenset[int] = frozenset()
    """Answers after which the connection is closed, silently."""
    requests: list[Received] = field(default_factory=list)
    port: int = 0

    def serve(self, listener: socket.socket) -> None:
        connections = 0
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            connections += 1
            threading.Thread(target=self.converse, args=(client, connections), daemon=True).start()

    def converse(self, client: socket.socket, connection: int) -> None:
        with client, client.makefile("rb") as reader:
            self.answer(client, reader, connection)

    def answer(self, client: socket.socket, reader: BinaryIO, connection: int) -> None:
        while line := reader.readline():
            headers: dict[str, str] = {}
            while (row := reader.readline()) not in (b"\r\n", b""):
                name, _, value = row.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip(" \r\n")
            body = reader.read(int(headers.get("content-length", "0")))
            self.requests.append(Received(line.decode("latin-1").strip(), headers, body, connection))
            number = len(self.requests) - 1
            if number >= len(self.script) or self.script[number] == CLOSE:
                return
            client.sendall(self.script[number])
            if number in self.close_after:
                return


@contextmanager
def scripted(*script: bytes, close_after: frozenset[int] = frozenset()) -> Iterator[ScriptedServer]:
    server = ScriptedServer(script, close_after)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.port = listener.getsockname()[1]
        thread = threading.Thread(target=server.serve, args=(listener,), daemon=True)
        thread.start()
        yield server
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


@contextmanager
def store_at(
    server: ScriptedServer, credentials: FixedKeys | RenewedKeys = KEYS, **options: object
) -> Iterator[S3Store]:
    side = Side("bucket", endpoint_url=f"http://127.0.0.1:{server.port}")
    store = S3Store(side, credentials, **options)  # type: ignore[arg-type]
    try:
        yield store
    finally:
        store.close()


def get(store: S3Store, size: int = 5, pin: Pin = PINNED) -> tuple[bytes, ObjectHead]:
    buffer = bytearray(size)
    head = store.get("k", memoryview(buffer), pin=pin)
    return bytes(buffer), head


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("a//b", "/bucket/a//b"),
        ("/a", "/bucket//a"),
        ("./x", "/bucket/./x"),
        ("a/../b", "/bucket/a/../b"),
        ("..", "/bucket/.."),
        ("a+b c%2F", "/bucket/a%2Bb%20c%252F"),
        ("\x01?#é~", "/bucket/%01%3F%23%C3%A9~"),
    ],
)
def test_keys_go_out_byte_for_byte(key: str, path: str) -> None:
    with scripted(answer(ETag='"e"')) as server, store_at(server) as store:
        store.head(key)
        assert server.requests[0].line == f"HEAD {path} HTTP/1.1"


def test_what_a_put_sends() -> None:
    with scripted(answer(ETag='"e"'), answer(ETag='"e"')) as server, store_at(server) as store:
        for body in (b"hello", memoryview(bytearray(b"hello"))):
            headers = [("Content-Type", ""), ("x-amz-meta-n", "\xc3\xa9")]
            result = store.put("k", body, headers, guard=Guard(if_none_match=True))
            assert result.etag == "e"
        for request in server.requests:
            assert request.line == "PUT /bucket/k HTTP/1.1"
            assert request.body == b"hello"
            sent = dict(request.headers)
            assert sent.pop("authorization").startswith("AWS4-HMAC-SHA256 Credential=AK/")
            assert sent.pop("x-amz-date")
            assert sent == {
                "host": f"127.0.0.1:{server.port}",
                "user-agent": "s3migrate",
                "accept-encoding": "identity",
                "content-length": "5",
                "content-type": "",
                "x-amz-meta-n": "\xc3\xa9",
                "if-none-match": "*",
                "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
            }
        assert {request.connection for request in server.requests} == {1}


def test_large_body_has_no_expect_and_arrives_whole() -> None:
    body = bytes(range(256)) * 20_000
    with scripted(answer(ETag='"e"')) as server, store_at(server) as store:
        store.put("k", body, [])
        assert server.requests[0].body == body
        assert "expect" not in server.requests[0].headers


@pytest.mark.parametrize("body", [b"hello", bytearray(b"hello" * 50_000)])
def test_dead_kept_alive_connection_is_replaced_and_the_body_sent_again(body: bytes | bytearray) -> None:
    script = [answer(ETag='"e"'), answer(ETag='"f"')]
    with scripted(*script, close_after=frozenset({0})) as server, store_at(server) as store:
        store.put("k", body, [])
        assert store.put("k", body, []).etag == "f"
        assert [request.body for request in server.requests] == [body, body]
        assert [request.connection for request in server.requests] == [1, 2]


def test_a_write_that_must_not_be_done_twice_has_a_connection_of_its_own_and_is_not_repeated() -> None:
    with scripted(answer(ETag='"e"'), CLOSE, answer(ETag='"f"')) as server, store_at(server) as store:
        store.put("k", b"1", [])
        with pytest.raises(errors.ConnectionFailed):
            store.put("k", b"2", [])
        assert [(request.body, request.connection) for request in server.requests] == [(b"1", 1), (b"2", 2)]
        assert store.put("k", b"3", []).etag == "f"


def test_no_answer_at_all() -> None:
    with scripted(CLOSE) as server, store_at(server) as store, pytest.raises(errors.ConnectionFailed):
        store.put("k", b"x", [])


def test_nobody_listens() -> None:
    with scripted() as server:
        pass
    with store_at(server) as store, pytest.raises(errors.ConnectionFailed, match="GetObject"):
        get(store)


GETS: list[tuple[bytes, Pin, type[StoreError]]] = [
    (answer(body=b"hello", ETag='"e"', Content_Length="9"), Pin("e"), errors.ResponseUnreadable),
    (answer(body=b"hello, all", ETag='"e"'), Pin(), errors.ObjectChanged),
    (answer(body=b"hell", ETag='"e"'), Pin(), errors.ObjectChanged),
    (answer(body=b"hell", ETag='"e"'), Pin("e"), errors.ResponseUnreadable),
    (answer(body=b"hell", ETag='"e"', Content_Length="5"), Pin("e"), errors.ResponseUnreadable),
    (answer(body=b"hello", ETag='"other"'), Pin("e"), errors.ObjectChanged),
    (answer(body=b"hello"), Pin("e"), errors.ResponseUnreadable),
    (answer(body=b"hello", ETag='"e"', x_amz_version_id="v2"), Pin("e", "v1"), errors.ObjectChanged),
    (answer(body=b"hello", ETag='"e"'), Pin("e", "v1"), errors.ObjectChanged),
    (answer("206 Partial Content", b"hello", ETag='"e"'), Pin("e"), errors.ResponseUnreadable),
    (answer("204 No Content", ETag='"e"'), Pin("e"), errors.ResponseUnreadable),
    (answer("307 Temporary Redirect", Location="http://127.0.0.1:1/"), Pin("e"), errors.WrongRegion),
    (b"<html>not HTTP</html>\r\n\r\n", Pin("e"), errors.ResponseUnreadable),
    (
        answer(body=b"3\r\nhel\r\n0\r\n\r\n", ETag='"e"', Transfer_Encoding="chunked"),
        Pin("e"),
        errors.ResponseUnreadable,
    ),
    (
        answer(body=b"6\r\nhello!\r\n0\r\n\r\n", ETag='"e"', Transfer_Encoding="chunked"),
        Pin("e"),
        errors.ResponseUnreadable,
    ),
]


@pytest.mark.parametrize(("reply", "pin", "leaf"), GETS)
def test_answers_to_a_get_that_are_not_the_object(reply: bytes, pin: Pin, leaf: type[StoreError]) -> None:
    with scripted(reply, close_after=frozenset({0})) as server, store_at(server) as store:
        with pytest.raises(StoreError) as caught:
            get(store, pin=pin)
        assert type(caught.value) is leaf
        assert len(server.requests) == 1


def test_get_fills_the_buffer_from_chunks_and_decodes_nothing() -> None:
    chunked = answer(
        body=b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", ETag='W/"e"', Transfer_Encoding="chunked", Content_Encoding="gzip"
    )
    with scripted(chunked, answer(body=b"world", ETag='"e"')) as server, store_at(server) as store:
        assert get(store)[0] == b"hello"
        assert get(store)[0] == b"world"
        assert server.requests[0].headers["if-match"] == '"e"'
        assert server.requests[1].connection == 1


def test_empty_object() -> None:
    with scripted(answer(ETag='"e"')) as server, store_at(server) as store:
        data, head = get(store, 0)
        assert (data, head.size) == (b"", 0)
        assert "range" not in server.requests[0].headers


RANGES: list[tuple[bytes, type[StoreError] | None]] = [
    (answer("206 Partial Content", b"hello", ETag='"e"', Content_Range="bytes 10-14/99"), None),
    (answer("206 Partial Content", b"hello", ETag='"e"', Content_Range="bytes 0-4/99"), errors.ResponseUnreadable),
    (answer("206 Partial Content", b"hello", ETag='"e"'), errors.ResponseUnreadable),
    (answer("206 Partial Content", b"hello", ETag='"x"', Content_Range="bytes 10-14/99"), errors.ObjectChanged),
    (answer("206 Partial Content", b"hel", ETag='"e"', Content_Range="bytes 10-14/99"), errors.ResponseUnreadable),
    (answer(body=b"x" * 99, ETag='"e"'), errors.FeatureUnsupported),
    (answer("416 Range Not Satisfiable"), errors.ObjectChanged),
]


@pytest.mark.parametrize(("reply", "leaf"), RANGES)
def test_ranged_get(reply: bytes, leaf: type[StoreError] | None) -> None:
    buffer = bytearray(5)
    with scripted(reply) as server, store_at(server) as store:
        if leaf is None:
            head = store.get("k", memoryview(buffer), pin=Pin("e"), start=10, whole=False)
            assert (bytes(buffer), head.size) == (b"hello", 99)
        else:
            with pytest.raises(StoreError) as caught:
                store.get("k", memoryview(buffer), pin=Pin("e"), start=10, whole=False)
            assert type(caught.value) is leaf
        assert server.requests[0].headers["range"] == "bytes=10-14"


ERROR_200 = answer(body=b"   <Error><Code>SlowDown</Code></Error>")
WRITES: list[tuple[Callable[[S3Store], object], bytes, type[StoreError]]] = [
    (lambda s: s.put("k", b"x", []), answer(), errors.ResponseUnreadable),
    (lambda s: s.put("k", b"x", []), answer(body=b"<html>hi</html>"), errors.ResponseUnreadable),
    (lambda s: s.upload_part("k", "u", 1, b"x"), answer(), errors.ResponseUnreadable),
    (lambda s: s.create_upload("k", []), answer(body=b"<html/>"), errors.ResponseUnreadable),
    (lambda s: s.complete_upload("k", "u", [(1, "e")]), answer(), errors.ResponseUnreadable),
    (lambda s: s.complete_upload("k", "u", [(1, "e")]), ERROR_200, errors.Throttled),
    (lambda s: s.complete_upload("k", "u", [(1, "e")]), answer("409 Conflict"), errors.UploadConflicted),
    (lambda s: s.copy("b", "k", "k", []), answer(), errors.ResponseUnreadable),
    (lambda s: s.copy("b", "k", "k", []), ERROR_200, errors.Throttled),
    (lambda s: s.copy("b", "k", "k", []), answer(body=b"<CopyObjectResult/>"), errors.ResponseUnreadable),
    (lambda s: s.copy_part("b", "k", "k", "u", 1, 0, 5), ERROR_200, errors.Throttled),
    (lambda s: list(s.list_parts("k", "u")), answer(), errors.ResponseUnreadable),
    (lambda s: list(s.list_uploads("")), answer(body=b"<html/>"), errors.ResponseUnreadable),
    (lambda s: s.get_tags("k"), answer(), errors.ResponseUnreadable),
]


@pytest.mark.parametrize(("act", "reply", "leaf"), WRITES)
def test_a_200_that_lies(act: Callable[[S3Store], object], reply: bytes, leaf: type[StoreError]) -> None:
    with scripted(reply) as server, store_at(server) as store:
        with pytest.raises(StoreError) as caught:
            act(store)
        assert type(caught.value) is leaf


def test_a_line_break_in_a_header_never_leaves() -> None:
    with scripted() as server, store_at(server) as store:
        for value in ("a\r\nx-evil: 1", "a\nb", "a\0b", "snow \u2603"):
            with pytest.raises(errors.ObjectRefused, match="x-amz-meta-n"):
                store.put("k", b"x", [("x-amz-meta-n", value)])
        assert server.requests == []


EXPIRED = answer("400 Bad Request", b"<Error><Code>ExpiredToken</Code></Error>")


def renewed_keys() -> RenewedKeys:
    fetched: list[bool] = []

    def fetch(anew: bool) -> Fetched:
        fetched.append(anew)
        return Fetched(Keys("AK", "s", f"token{len(fetched)}"), 1e12)

    return RenewedKeys(fetch)


def test_expired_token_is_refreshed_and_the_call_repeated_once() -> None:
    with scripted(EXPIRED, answer(ETag='"e"')) as server, store_at(server, renewed_keys()) as store:
        assert store.put("k", b"hello", []).etag == "e"
        assert [r.headers["x-amz-security-token"] for r in server.requests] == ["token1", "token2"]
        assert [r.body for r in server.requests] == [b"hello", b"hello"]
    with scripted(EXPIRED, EXPIRED) as server, store_at(server, renewed_keys()) as store:
        with pytest.raises(errors.CredentialsExpired):
            store.put("k", b"hello", [])
        assert len(server.requests) == 2
    with scripted(EXPIRED) as server, store_at(server) as store:
        with pytest.raises(errors.CredentialsExpired):
            store.put("k", b"hello", [])
        assert len(server.requests) == 1


def test_bare_400_to_a_head_with_a_token_may_be_its_expiry() -> None:
    bare = answer("400 Bad Request")
    with scripted(bare, answer(ETag='"e"')) as server, store_at(server, renewed_keys()) as store:
        assert store.head("k").etag == "e"
        assert len(server.requests) == 2
    with (
        scripted(bare, bare) as server,
        store_at(server, renewed_keys()) as store,
        pytest.raises(errors.ObjectRefused),
    ):
        store.head("k")
    with scripted(bare) as server, store_at(server) as store:
        with pytest.raises(errors.ObjectRefused):
            store.head("k")
        assert len(server.requests) == 1


def test_anonymous_is_not_signed() -> None:
    with scripted(answer(body=b"hello", ETag='"e"')) as server, store_at(server, FixedKeys(None)) as store:
        get(store)
        assert not [name for name in server.requests[0].headers if name.startswith(("authorization", "x-amz"))]


def test_streamed_part() -> None:
    pieces = iter([b"ab", b"cde"])
    with scripted(answer(ETag='"e"')) as server, store_at(server) as store:
        result = store.upload_part_from("k", "u/+", 7, 5, lambda n: next(pieces)[:n])
        assert (result.number, result.etag) == (7, "e")
        assert server.requests[0].line == "PUT /bucket/k?partNumber=7&uploadId=u%2F%2B HTTP/1.1"
        assert server.requests[0].body == b"abcde"


def test_streamed_part_is_not_repeated_with_new_credentials_but_they_are_there_for_its_caller() -> None:
    with scripted(EXPIRED, answer(ETag='"e"')) as server, store_at(server, renewed_keys()) as store:
        with pytest.raises(errors.CredentialsExpired):
            store.upload_part_from("k", "u", 1, 5, lambda size: b"abcde"[:size])
        assert len(server.requests) == 1
        store.head("k")
        assert server.requests[1].headers["x-amz-security-token"] == "token2"


def test_error_of_the_reader_comes_through_unchanged() -> None:
    source_error = errors.ObjectChanged("the source changed", key="k")

    def read(_size: int) -> bytes:
        raise source_error

    observer = Observer()
    with scripted(answer()) as server, store_at(server, observer=observer) as store:
        with pytest.raises(errors.ObjectChanged) as caught:
            store.upload_part_from("k", "u", 1, 5, read)
        assert caught.value is source_error
        assert observer.samples[0].error is None


def test_reader_that_ends_early() -> None:
    pieces = [b"ab"]
    with scripted(answer(ETag='"e"')) as server, store_at(server) as store, pytest.raises(StoreError) as caught:
        store.upload_part_from("k", "u", 1, 5, lambda size: pieces.pop()[:size] if pieces else b"")
    assert caught.value.retryable


class Observer:
    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        self.samples: list[RequestSample] = []

    def before(self, operation: str, size: int) -> None:
        self.begun.append((operation, size))

    def after(self, sample: RequestSample) -> None:
        self.samples.append(sample)


def test_observer_sees_every_request() -> None:
    observer = Observer()
    script = [answer(body=b"hello", ETag='"e"'), answer("503 Slow Down", retry_after="3"), CLOSE]
    with scripted(*script) as server, store_at(server, observer=observer) as store:
        get(store)
        with pytest.raises(errors.Throttled) as throttled:
            store.put("k", b"1234", [])
        with pytest.raises(errors.ConnectionFailed) as cut:
            store.head("k")
    assert throttled.value.retry_after == 3.0
    assert observer.begun == [("GetObject", 5), ("PutObject", 4), ("HeadObject", 0)]
    assert [(s.operation, s.bytes, s.error) for s in observer.samples] == [
        ("GetObject", 5, None),
        ("PutObject", 4, throttled.value),
        ("HeadObject", 0, cut.value),
    ]
    assert all(s.seconds >= s.first_byte_seconds >= 0 for s in observer.samples)


def test_long_error_body_is_cut_and_the_connection_lives_on() -> None:
    long = answer("500 Oops", b"<Error><Code>InternalError</Code></Error>" + b"x" * 1_000_000)
    with scripted(long, answer(body=b"hello", ETag='"e"')) as server, store_at(server) as store:
        with pytest.raises(errors.ServerFault, match="InternalError"):
            get(store)
        assert get(store)[0] == b"hello"
        assert [r.connection for r in server.requests] == [1, 1]


def test_customer_key_and_requester_pays_go_with_data_calls() -> None:
    names = [f"x-amz-server-side-encryption-customer-{part}" for part in ("algorithm", "key", "key-md5")]
    created = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    head = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "e"\r\n\r\n'
    with scripted(*[answer(body=b"hello", ETag='"e"')] * 3, answer(body=created), head) as server:
        at = Side("bucket", endpoint_url=f"http://127.0.0.1:{server.port}", requester_pays=True)
        store = S3Store(at, KEYS, customer_key=bytes(32))
        get(store)
        store.put("k", b"x", [])
        store.upload_part("k", "u", 1, b"x")
        assert store.create_upload("k", []) == "u"
        assert store.head("k").size == 5
        store.close()
        assert len(server.requests) == 5
        for request in server.requests:
            assert set(names) <= set(request.headers)
            assert request.headers["x-amz-request-payer"] == "requester"
            assert request.headers["x-amz-server-side-encryption-customer-key-md5"] == "cLyPS3KoaSFGi/joRB3OUQ=="


def test_copy_source_is_encoded_once_with_its_version_and_condition() -> None:
    reply = answer(body=b"<CopyObjectResult><ETag>&quot;n&quot;</ETag></CopyObjectResult>")
    with scripted(reply) as server, store_at(server) as store:
        result = store.copy("src", "a b/ç%?versionId=x", "k", [], source_pin=Pin("e", "v/1"), guard=Guard(if_match="d"))
        assert result.etag == "n"
        headers = server.requests[0].headers
        assert headers["x-amz-copy-source"] == "src/a%20b/%C3%A7%25%3FversionId%3Dx?versionId=v/1"
        assert headers["x-amz-copy-source-if-match"] == '"e"'
        assert headers["if-match"] == '"d"'
        assert headers["content-length"] == "0"


def test_no_secret_in_reprs_and_messages() -> None:
    with scripted(answer("403 Forbidden", b"<Error><Code>SignatureDoesNotMatch</Code></Error>")) as server:
        with store_at(server) as store, pytest.raises(errors.CredentialsRefused) as caught:
            store.put("k", b"x", [])
        assert "canary" not in f"{store!r} {caught.value!r} {caught.value}"


def test_signed_only_when_the_observer_lets_go_and_every_before_has_its_after() -> None:
    order: list[str] = []

    class Slow(Observer):
        def before(self, operation: str, size: int) -> None:
            super().before(operation, size)
            order.append("before")

    class Watched(FixedKeys):
        def current(self) -> Keys | None:
            order.append("keys")
            if len(order) > 2:
                raise errors.CredentialsRefused("no more")
            return super().current()

    observer = Slow()
    with (
        scripted(answer(ETag='"e"')) as server,
        store_at(server, Watched(Keys("AK", "s")), observer=observer) as store,
    ):
        store.head("k")
        with pytest.raises(errors.CredentialsRefused):
            store.head("k")
        with pytest.raises(errors.StoreError):
            store.put("k", b"x", [("x-amz-meta-n", "a\nb")])
    assert order == ["before", "keys"] * 3
    assert len(observer.begun) == len(observer.samples) == 3
