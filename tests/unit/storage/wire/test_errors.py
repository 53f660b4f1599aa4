"""Every refusal and failure becomes exactly one leaf of the error tree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema import errors
from schema.errors import StoreError
from storage.wire.codes import BY_CODE, BY_FAULT, BY_STATUS
from storage.wire.curl import failed
from storage.wire.errors import (
    LONGEST_WAIT,
    Call,
    Purpose,
    from_answer,
    from_error_document,
    from_exchange,
    is_error_document,
    printable,
    retry_after,
)
from storage.wire.exchange import ExchangeFailed, Fault


def call(
    purpose: Purpose = Purpose.WRITE, *, guarded: bool = False, key: str = "k", signed_before: bool = False
) -> Call:
    return Call("PutObject", purpose, "bucket", "https://s3.example", key, guarded, signed_before)


def document(code: str, message: str = "because", extra: str = "") -> bytes:
    return (
        f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message>{extra}'
        "<RequestId>R1</RequestId></Error>"
    ).encode()


R, W, C, U, F, B = Purpose.READ, Purpose.WRITE, Purpose.COPY, Purpose.UPLOAD, Purpose.COMPLETE, Purpose.BUCKET

ANSWERS = [
    # status, code, purpose, guarded, leaf
    (503, "SlowDown", W, False, errors.Throttled),
    (503, "", R, False, errors.Throttled),
    (429, "", R, False, errors.Throttled),
    (509, "", W, False, errors.Throttled),
    (400, "ThrottlingException", W, False, errors.Throttled),
    (400, "ThrottledByTheMoon", W, False, errors.Throttled),
    (503, "XMinioServerNotInitialized", W, False, errors.ServerFault),
    (500, "InternalError", W, False, errors.ServerFault),
    (500, "", R, False, errors.ServerFault),
    (502, "", W, False, errors.ServerFault),
    (504, "", W, False, errors.ServerFault),
    (599, "", W, False, errors.ServerFault),
    (400, "IncompleteBody", W, False, errors.ServerFault),
    (409, "OperationAborted", W, False, errors.ServerFault),
    (409, "ConditionalRequestConflict", W, True, errors.ServerFault),
    (409, "ConditionalRequestConflict", F, True, errors.UploadConflicted),
    (409, "", F, True, errors.UploadConflicted),
    (400, "RequestTimeout", W, False, errors.RequestTimedOut),
    (408, "", W, False, errors.RequestTimedOut),
    (499, "ClientDisconnected", W, False, errors.ConnectionFailed),
    (400, "BadDigest", W, False, errors.DigestMismatch),
    (400, "XAmzContentChecksumMismatch", U, False, errors.DigestMismatch),
    (400, "InvalidRequest", F, False, errors.DigestMismatch),
    (400, "InvalidRequest", W, False, errors.FeatureUnsupported),
    (400, "ExpiredToken", R, False, errors.CredentialsExpired),
    (403, "RequestTimeTooSkewed", R, False, errors.ClockSkewed),
    (403, "InvalidAccessKeyId", R, False, errors.CredentialsRefused),
    (403, "SignatureDoesNotMatch", R, False, errors.CredentialsRefused),
    (403, "AccessDenied", R, False, errors.AccessRefused),
    (403, "", R, False, errors.AccessRefused),
    (401, "", R, False, errors.CredentialsRefused),
    (404, "NoSuchBucket", W, False, errors.BucketMissing),
    (404, "", B, False, errors.BucketMissing),
    (404, "NoSuchKey", R, False, errors.ObjectMissing),
    (404, "", R, False, errors.ObjectMissing),
    (404, "NoSuchVersion", R, False, errors.ObjectMissing),
    (405, "MethodNotAllowed", R, False, errors.FeatureUnsupported),
    (405, "", R, False, errors.FeatureUnsupported),
    (404, "NoSuchKey", B, False, errors.BucketMissing),
    (404, "NoSuchKey", U, False, errors.UploadMissing),
    (404, "NoSuchObjectLockConfiguration", R, False, errors.FeatureUnsupported),
    (405, "MethodNotAllowed", W, False, errors.FeatureUnsupported),
    (404, "NoSuchKey", W, True, errors.DestinationChanged),
    (404, "NoSuchBucket", W, True, errors.BucketMissing),
    (404, "NoSuchKey", C, True, errors.ObjectMissing),
    (412, "PreconditionFailed", R, False, errors.ObjectChanged),
    (412, "", R, False, errors.ObjectChanged),
    (304, "", R, False, errors.ObjectChanged),
    (416, "InvalidRange", R, False, errors.ObjectChanged),
    (412, "PreconditionFailed", W, True, errors.DestinationChanged),
    (412, "PreconditionFailed", F, True, errors.DestinationChanged),
    (412, "PreconditionFailed", C, True, errors.DestinationChanged),
    (412, "PreconditionFailed", C, False, errors.ObjectChanged),
    (403, "InvalidObjectState", R, False, errors.ObjectArchived),
    (403, "ObjectNotInActiveTierError", C, False, errors.ObjectArchived),
    (409, "RestoreAlreadyInProgress", W, False, errors.ObjectArchived),
    (501, "NotImplemented", W, False, errors.FeatureUnsupported),
    (501, "", W, False, errors.FeatureUnsupported),
    (400, "InvalidArgument", W, False, errors.FeatureUnsupported),
    (400, "AccessControlListNotSupported", W, False, errors.FeatureUnsupported),
    (400, "KeyTooLongError", W, False, errors.ObjectRefused),
    (400, "MetadataTooLarge", W, False, errors.ObjectRefused),
    (400, "SomethingNew", W, False, errors.ObjectRefused),
    (400, "", W, False, errors.ObjectRefused),
    (400, "XMinioInvalidObjectName", W, False, errors.ObjectRefused),
    (507, "XMinioStorageFull", W, False, errors.StorageFull),
    (507, "", W, False, errors.StorageFull),
    (403, "QuotaExceeded", W, False, errors.StorageFull),
    (404, "NoSuchUpload", F, False, errors.UploadMissing),
    (404, "", U, False, errors.UploadMissing),
    (400, "InvalidPart", F, False, errors.PartRefused),
    (301, "PermanentRedirect", R, False, errors.WrongRegion),
    (307, "", R, False, errors.WrongRegion),
    (400, "AuthorizationHeaderMalformed", R, False, errors.WrongRegion),
    (421, "", W, False, errors.ConnectionFailed),
    (425, "", W, False, errors.ServerFault),
    (100, "", R, False, errors.ResponseUnreadable),
]


@pytest.mark.parametrize(("status", "code", "purpose", "guarded", "leaf"), ANSWERS)
def test_answers(status: int, code: str, purpose: Purpose, guarded: bool, leaf: type[StoreError]) -> None:
    key = "" if purpose is Purpose.BUCKET else "k"
    error = from_answer(status, {}, document(code) if code else b"", call=call(purpose, guarded=guarded, key=key))
    assert type(error) is leaf
    assert (error.status, error.code, error.key, error.operation) == (status, code, key, "PutObject")


def test_every_code_and_status_means_a_concrete_leaf() -> None:
    for leaf in {*BY_CODE.values(), *BY_STATUS.values(), *BY_FAULT.values()}:
        assert issubclass(leaf, StoreError)
        assert isinstance(leaf.retryable, bool)


@pytest.mark.parametrize(
    ("code", "text", "leaf"),
    [
        (6, "Could not resolve host", errors.EndpointUnreachable),
        (7, "Connection refused", errors.EndpointUnreachable),
        (52, "Empty reply from server", errors.ConnectionFailed),
        (55, "Send failure: Broken pipe", errors.ConnectionFailed),
        (56, "Recv failure: Connection reset by peer", errors.ConnectionFailed),
        (65, "necessary data rewind was not possible", errors.ConnectionFailed),
        (28, "Operation too slow", errors.RequestTimedOut),
        (18, "transfer closed with 5 bytes remaining", errors.ResponseUnreadable),
        (8, "Weird server reply", errors.ResponseUnreadable),
        (60, "SSL certificate problem", errors.TlsRefused),
        (77, "error setting certificate file", errors.TlsRefused),
        (35, "TLS connect error: wrong version number", errors.WrongScheme),
        (35, "Recv failure: Connection reset by peer", errors.ConnectionFailed),
        (3, "URL rejected", errors.ObjectRefused),
    ],
)
def test_curl_failures(code: int, text: str, leaf: type[StoreError]) -> None:
    error = from_exchange(failed(code, text, 0.1), call())
    assert type(error) is leaf
    assert "https://s3.example" in str(error)
    assert f"curl {code}" in str(error)


def test_message_names_operation_key_status_code_and_request() -> None:
    error = from_answer(403, {}, document("AccessDenied", "no &amp; never"), call=call(key="a\x1b[31m/é"))
    assert str(error) == (
        "PutObject s3://bucket/a\\x1b[31m/é was refused: HTTP 403 AccessDenied (no & never) [request R1]"
    )
    assert error.key == "a\x1b[31m/é"
    assert error.request_id == "R1"


def test_hostile_error_body_cannot_steer_a_terminal() -> None:
    error = from_answer(500, {"x-amz-request-id": "r\x07"}, document("E\x1b]0;x", "\x1b[2J" * 1000), call=call())
    assert str(error).isprintable()
    assert len(str(error)) < 1000


PIECES = st.sampled_from(
    [b"<Error>", b"<Code>", b"</Code>", b"SlowDown", b"<Message>", b"</Message>", b"&#x1b;", b"&amp;"]
)


@given(
    st.integers(100, 999),
    st.dictionaries(st.sampled_from(["retry-after", "x-amz-retry-after", "x-amz-request-id"]), st.text(max_size=20)),
    st.lists(PIECES | st.binary(max_size=10), max_size=12).map(b"".join),
    st.sampled_from(Purpose),
    st.text(max_size=10),
)
def test_whatever_is_answered_becomes_one_printable_leaf(
    status: int, headers: dict[str, str], body: bytes, purpose: Purpose, key: str
) -> None:
    for error in (
        from_answer(status, headers, body, call=call(purpose, key=key), now=1.0),
        from_error_document(headers, body, call(purpose, key=key)),
    ):
        assert isinstance(error, StoreError)
        assert str(error).isprintable()
        assert error.retry_after is None or error.retry_after >= 0


def test_wrong_region_names_the_right_one() -> None:
    by_header = from_answer(301, {"x-amz-bucket-region": "eu-west-1"}, b"", call=call())
    by_body = from_answer(
        400, {}, document("AuthorizationHeaderMalformed", extra="<Region>ap-south-1</Region>"), call=call()
    )
    assert "eu-west-1" in str(by_header)
    assert "ap-south-1" in str(by_body)
    head = from_answer(400, {"x-amz-bucket-region": "eu-west-1"}, b"", call=call(Purpose.READ))
    assert type(head) is errors.WrongRegion


def test_bad_signature_concerns_one_key_once_others_were_accepted() -> None:
    body = document("SignatureDoesNotMatch", extra="<StringToSign>AWS4 secret words</StringToSign>")
    first = from_answer(403, {}, body, call=call())
    later = from_answer(403, {}, body, call=call(signed_before=True))
    assert type(first) is errors.CredentialsRefused
    assert type(later) is errors.AccessRefused
    assert "secret words" not in f"{first}{later}"


def test_copy_precondition_is_told_apart_by_its_condition() -> None:
    body = document("PreconditionFailed", extra="<Condition>x-amz-copy-source-If-Match</Condition>")
    assert type(from_answer(412, {}, body, call=call(Purpose.COPY, guarded=True))) is errors.ObjectChanged


@pytest.mark.parametrize(
    ("body", "leaf"),
    [
        (document("InternalError"), errors.ServerFault),
        (b"\n\n   " + document("SlowDown"), errors.Throttled),
        (document("PreconditionFailed"), errors.DestinationChanged),
        (document("Unheard"), errors.ServerFault),
        (b"<Error/>", errors.ServerFault),
    ],
)
def test_200_with_error(body: bytes, leaf: type[StoreError]) -> None:
    assert is_error_document(body) or body == b"<Error/>"
    assert type(from_error_document({}, body, call(Purpose.COMPLETE, guarded=True))) is leaf


def test_a_result_is_no_error_document() -> None:
    assert not is_error_document(b"<?xml version='1.0'?><CompleteMultipartUploadResult><Error>x</Error>")
    assert not is_error_document(b"")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"x-amz-retry-after": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 1970 00:16:50 GMT"}, 10.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "86400"}, LONGEST_WAIT),
    ],
)
def test_retry_after(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after(headers, 1000.0) == expected


def test_printable_escapes_controls_only() -> None:
    assert printable("a\n\x7f\u0085é🦆\u2028\ud800") == "a\\x0a\\x7f\\x85é🦆\\u2028\\ud800"


def test_a_local_limit_is_nobodys_fault_but_this_machines() -> None:
    error = from_exchange(ExchangeFailed(Fault.NO_DESCRIPTORS, "Couldn't connect", 0.1, number=7), call())
    assert type(error) is errors.DescriptorsExhausted
    assert error.exit_code == 71
    assert "ulimit -n" in str(error)
    assert "https://s3.example" not in str(error)


def test_a_tls_connection_closed_without_a_goodbye_cuts_an_answer_short() -> None:
    text = "OpenSSL SSL_read: unexpected eof while reading"
    assert failed(56, text, 0.1, begun=True).fault is Fault.CUT_SHORT
    assert failed(56, text, 0.1).fault is Fault.RECEIVE_FAILED
