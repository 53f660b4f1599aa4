"""What the wire sends to a scripted server, byte for byte: keys, headers, bodies, signatures."""

from __future__ import annotations

import pytest
from support.scripted_server import (
    CLOSE,
    EXPIRED,
    KEYS,
    Observer,
    answer,
    get,
    renewed_keys,
    scripted,
    side_at,
    store_at,
)

from schema import errors
from schema.errors import StoreError
from storage.credentials import FixedKeys, Keys, Secrets
from storage.port import CopySource, Guard, Pin, UploadPart
from storage.s3.store import S3Store

pytestmark = pytest.mark.usefixtures("carried")


EMPTY = '"d41d8cd98f00b204e9800998ecf8427e"'
"""The ETag of no bytes: a head of it needs no GET to be believed."""


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
    with scripted(answer(ETag=EMPTY)) as server, store_at(server) as store:
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
        assert store.put("k", body, [], guard=Guard(if_none_match=True)).etag == "f"
        assert [request.body for request in server.requests] == [body, body]
        assert [request.connection for request in server.requests] == [1, 2]


@pytest.mark.parametrize("carried", ["pycurl over http", "pycurl over https"], indirect=True)
def test_libcurl_gives_a_write_that_must_not_be_done_twice_a_connection_of_its_own() -> None:
    with scripted(answer(ETag='"e"'), answer(ETag='"f"')) as server, store_at(server) as store:
        store.put("k", b"1", [])
        store.put("k", b"2", [])
        assert [(request.body, request.connection) for request in server.requests] == [(b"1", 1), (b"2", 2)]


def test_a_write_that_must_not_be_done_twice_is_not_repeated() -> None:
    with scripted(answer(ETag='"e"'), CLOSE, answer(ETag='"f"')) as server, store_at(server) as store:
        store.put("k", b"1", [])
        with pytest.raises(errors.ConnectionFailed):
            store.put("k", b"2", [])
        assert [request.body for request in server.requests] == [b"1", b"2"]
        assert store.put("k", b"3", []).etag == "f"


def test_a_line_break_in_a_header_never_leaves() -> None:
    with scripted() as server, store_at(server) as store:
        for value in ("a\r\nx-evil: 1", "a\nb", "a\0b", "snow \u2603"):
            with pytest.raises(errors.ObjectRefused, match="x-amz-meta-n"):
                store.put("k", b"x", [("x-amz-meta-n", value)])
        assert server.requests == []


def test_anonymous_is_not_signed() -> None:
    with scripted(answer(body=b"hello", ETag='"e"')) as server, store_at(server, FixedKeys(None)) as store:
        get(store)
        assert not [name for name in server.requests[0].headers if name.startswith(("authorization", "x-amz"))]


def test_streamed_part() -> None:
    pieces = iter([b"ab", b"cde"])
    with scripted(answer(ETag='"e"')) as server, store_at(server) as store:
        result = store.upload_part_from(UploadPart("k", "u/+", 7), lambda n: next(pieces)[:n], length=5)
        assert (result.number, result.etag) == (7, "e")
        assert server.requests[0].line == "PUT /bucket/k?partNumber=7&uploadId=u%2F%2B HTTP/1.1"
        assert server.requests[0].body == b"abcde"


class Lent:
    """A reader that lends pieces of one buffer, which it fills anew for each."""

    def __init__(self, pieces: int, size: int = 100_000) -> None:
        self._buffer = memoryview(bytearray(size))
        self._rest = self._buffer[:0]
        self.length = pieces * size
        self.delivered = 0

    def read(self, most: int) -> memoryview:
        if not self._rest:
            self._buffer[:] = bytes([self.delivered // len(self._buffer) + 1 & 255]) * len(self._buffer)
            self._rest = self._buffer
        piece, self._rest = self._rest[:most], self._rest[most:]
        self.delivered += len(piece)
        return piece


def test_a_put_from_a_reader_that_uses_its_memory_again() -> None:
    lent, observer = Lent(9), Observer()
    with scripted(answer(ETag='"e"')) as server, store_at(server, observer=observer) as store:
        headers = [("content-md5", "digest"), ("x-amz-meta-n", "v")]
        result = store.put_from("k", lent.read, headers, length=lent.length, guard=Guard(if_none_match=True))
        assert result.etag == "e"
        request = server.requests[0]
        assert request.line == "PUT /bucket/k HTTP/1.1"
        assert request.body == b"".join(bytes([n]) * 100_000 for n in range(1, 10))
        sent = ("content-md5", "x-amz-meta-n", "if-none-match", "content-length", "x-amz-content-sha256")
        assert [request.headers[name] for name in sent] == ["digest", "v", "*", "900000", "UNSIGNED-PAYLOAD"]
        assert [sample.bytes for sample in observer.samples] == [900_000]


def test_a_refusal_before_the_body_is_there_ends_it() -> None:
    lent = Lent(10_000)
    refusal = answer("413 Payload Too Large", b"<Error><Code>EntityTooLarge</Code></Error>")
    with scripted(refusal, answer(ETag='"e"'), early=frozenset((0,))) as server, store_at(server) as store:
        with pytest.raises(errors.ObjectRefused) as caught:
            store.put_from("k", lent.read, [], length=lent.length, guard=Guard(if_none_match=True))
        assert (caught.value.status, caught.value.code) == (413, "EntityTooLarge")
        assert lent.delivered < lent.length
        assert store.put("k", b"x", []).etag == "e"  # the connection with the rest of a body to come is used no more


def test_a_body_from_a_reader_is_never_sent_where_it_must_be_hashed_first() -> None:
    with scripted() as server:
        store = S3Store(side_at(server, signed_payload=True), Secrets(KEYS))
        with pytest.raises(errors.UnsignedPayloadRefused):
            store.put_from("k", Lent(1).read, [], length=1)
        assert server.requests == []
        store.close()


def test_streamed_part_is_not_repeated_with_new_credentials_but_they_are_there_for_its_caller() -> None:
    with scripted(EXPIRED, answer(ETag=EMPTY)) as server, store_at(server, renewed_keys()) as store:
        with pytest.raises(errors.CredentialsExpired):
            store.upload_part_from(UploadPart("k", "u", 1), lambda size: b"abcde"[:size], length=5)
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
            store.upload_part_from(UploadPart("k", "u", 1), read, length=5)
        assert caught.value is source_error
        assert observer.samples[0].error is None


def test_reader_that_ends_early() -> None:
    pieces = [b"ab"]
    with scripted(answer(ETag='"e"')) as server, store_at(server) as store, pytest.raises(StoreError) as caught:
        store.upload_part_from(UploadPart("k", "u", 1), lambda size: pieces.pop()[:size] if pieces else b"", length=5)
    assert caught.value.retryable


def test_customer_key_and_requester_pays_go_with_data_calls() -> None:
    names = [f"x-amz-server-side-encryption-customer-{part}" for part in ("algorithm", "key", "key-md5")]
    created = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    head = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "e"\r\n\r\n'
    with scripted(*[answer(body=b"hello", ETag='"e"')] * 3, answer(body=created), head) as server:
        store = S3Store(side_at(server, requester_pays=True), Secrets(KEYS, bytes(32)))
        get(store)
        store.put("k", b"x", [])
        store.upload_part(UploadPart("k", "u", 1), b"x")
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
        source = CopySource("src", "a b/ç%?versionId=x", Pin("e", "v/1"))
        result = store.copy(source, "k", [], guard=Guard(if_match="d"))
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
        scripted(answer(ETag=EMPTY)) as server,
        store_at(server, Watched(Keys("AK", "s")), observer=observer) as store,
    ):
        store.head("k")
        with pytest.raises(errors.CredentialsRefused):
            store.head("k")
        with pytest.raises(errors.StoreError):
            store.put("k", b"x", [("x-amz-meta-n", "a\nb")])
    assert order == ["before", "keys"] * 3
    assert len(observer.begun) == len(observer.samples) == 3


PAGE = answer("403 Forbidden", b"<html><body>Request blocked</body></html>", Content_Type="text/html")
BARE_PAGE = answer("403 Forbidden", Content_Type="text/html; charset=utf-8")
XML = answer("400 Bad Request", b"<fault><reason>odd</reason></fault>", Content_Type="text/xml")
SKEWED = answer("403 Forbidden", b"<Error><Code>RequestTimeTooSkewed</Code></Error>")
DENIED = answer("403 Forbidden", b"<Error><Code>AccessDenied</Code></Error>")
FORGED = answer("403 Forbidden", b"<Error><Code>SignatureDoesNotMatch</Code></Error>")


@pytest.mark.parametrize("passing", [PAGE, XML, SKEWED], ids=["page", "xml", "clock"])
def test_a_refusal_that_s3_did_not_word_or_of_a_clock_is_asked_again(passing: bytes) -> None:
    with scripted(passing, passing, answer(ETag='"e"')) as server, store_at(server) as store:
        assert store.put("k", b"hello", []).etag == "e"
        assert [request.body for request in server.requests] == [b"hello"] * 3


def test_a_page_in_place_of_a_head_is_asked_again() -> None:
    with scripted(BARE_PAGE, answer(ETag=EMPTY)) as server, store_at(server) as store:
        assert store.head("k").size == 0
        assert len(server.requests) == 2


@pytest.mark.parametrize("lasting", [PAGE, SKEWED], ids=["page", "clock"])
def test_one_that_lasts_is_final(lasting: bytes) -> None:
    with scripted(*[lasting] * 3) as server, store_at(server) as store:
        with pytest.raises((errors.AccessRefused, errors.ClockSkewed)):
            store.get_tags("k")
        assert len(server.requests) == 3


@pytest.mark.parametrize("refusal", [DENIED, FORGED], ids=["denied", "wrong key"])
def test_a_refusal_in_s3s_words_is_final_at_once(refusal: bytes) -> None:
    with scripted(refusal) as server, store_at(server) as store:
        with pytest.raises((errors.AccessRefused, errors.CredentialsRefused)):
            store.get_tags("k")
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        answer("301 Moved", b"<Error><Code>PermanentRedirect</Code></Error>", x_amz_bucket_region="eu-west-3"),
        answer(
            "400 Bad Request",
            b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-3</Region></Error>",
        ),
        answer("400 Bad Request", x_amz_bucket_region="eu-west-3"),
    ],
    ids=["301", "malformed", "bare"],
)
def test_a_refusal_that_names_a_region_says_which_to_declare(refusal: bytes) -> None:
    with scripted(refusal) as server, store_at(server) as store:
        with pytest.raises(errors.WrongRegion, match="the bucket is in region eu-west-3; correct region"):
            store.get_tags("k")
        assert len(server.requests) == 1
