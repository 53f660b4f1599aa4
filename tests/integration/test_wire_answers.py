"""What becomes of every odd answer of a server, and of none at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.scripted_server import (
    CLOSE,
    EXPIRED,
    Observer,
    answer,
    get,
    renewed_keys,
    scripted,
    store_at,
)

from schema import errors
from schema.errors import StoreError
from storage.port import ByteRange, CopySource, Pin, UploadPart
from storage.s3.store import S3Store

pytestmark = pytest.mark.usefixtures("carried")


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
            head = store.get("k", memoryview(buffer), pin=Pin("e"), start=10)
            assert (bytes(buffer), head.size) == (b"hello", 99)
        else:
            with pytest.raises(StoreError) as caught:
                store.get("k", memoryview(buffer), pin=Pin("e"), start=10)
            assert type(caught.value) is leaf
        assert server.requests[0].headers["range"] == "bytes=10-14"


ERROR_200 = answer(body=b"   <Error><Code>SlowDown</Code></Error>")
WRITES: list[tuple[Callable[[S3Store], object], bytes, type[StoreError]]] = [
    (lambda s: s.put("k", b"x", []), answer(), errors.ResponseUnreadable),
    (lambda s: s.put("k", b"x", []), answer(body=b"<html>hi</html>"), errors.ResponseUnreadable),
    (lambda s: s.upload_part(UploadPart("k", "u", 1), b"x"), answer(), errors.UploadMissing),  # ListParts says so
    (lambda s: s.create_upload("k", []), answer(body=b"<html/>"), errors.ResponseUnreadable),
    (lambda s: s.complete_upload("k", "u", [(1, "e")]), answer(), errors.ResponseUnreadable),
    (lambda s: s.complete_upload("k", "u", [(1, "e")]), ERROR_200, errors.Throttled),
    (lambda s: s.complete_upload("k", "u", [(1, "e")]), answer("409 Conflict"), errors.UploadConflicted),
    (lambda s: s.copy(CopySource("b", "k"), "k", []), answer(), errors.ResponseUnreadable),
    (lambda s: s.copy(CopySource("b", "k"), "k", []), ERROR_200, errors.Throttled),
    (lambda s: s.copy(CopySource("b", "k"), "k", []), answer(body=b"<CopyObjectResult/>"), errors.ResponseUnreadable),
    (
        lambda s: s.copy_part(CopySource("b", "k"), UploadPart("k", "u", 1), span=ByteRange(0, 5)),
        ERROR_200,
        errors.Throttled,
    ),
    (lambda s: list(s.list_parts("k", "u")), answer(), errors.ResponseUnreadable),
    (lambda s: list(s.list_uploads("")), answer(body=b"<html/>"), errors.ResponseUnreadable),
    (lambda s: s.get_tags("k"), answer(body=b"<html/>"), errors.ResponseUnreadable),
]


@pytest.mark.parametrize(("act", "reply", "leaf"), WRITES)
def test_a_200_that_lies(act: Callable[[S3Store], object], reply: bytes, leaf: type[StoreError]) -> None:
    """A write that tells no ETag is asked about; nothing lies there either."""
    with scripted(reply, answer("404 Not Found")) as server, store_at(server) as store:
        with pytest.raises(StoreError) as caught:
            act(store)
        assert type(caught.value) is leaf


def test_no_answer_to_tagging_is_no_tags() -> None:
    with scripted(answer()) as server, store_at(server) as store:
        assert store.get_tags("k") == ()


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
    empty = answer(ETag='"d41d8cd98f00b204e9800998ecf8427e"')
    with scripted(bare, empty) as server, store_at(server, renewed_keys()) as store:
        assert store.head("k").size == 0
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
