"""The one border where failed exchanges and S3's refusals become leaves of schema.errors.StoreError.

The tables are in codes.py; what depends on the call is decided here. HEAD answers have no body, so their
status alone decides. Pure: everything needed is passed in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from html import unescape

from schema.errors import (
    AccessRefused,
    AllowanceSpent,
    BucketMissing,
    ClockSkewed,
    ConnectionFailed,
    CredentialsExpired,
    CredentialsRefused,
    DestinationChanged,
    DigestMismatch,
    EndpointUnreachable,
    FeatureUnsupported,
    ObjectArchived,
    ObjectChanged,
    ObjectMissing,
    ObjectRefused,
    ResponseUnreadable,
    ServerFault,
    StorageFull,
    StoreError,
    Throttled,
    TlsRefused,
    UnsignedPayloadRefused,
    UploadConflicted,
    UploadMissing,
    WhichSide,
    WrongRegion,
    WrongScheme,
    descriptors_exhausted,
)
from storage.wire.codes import BY_CODE, BY_FAULT, BY_STATUS
from storage.wire.exchange import Answer, ExchangeFailed, Fault

_CODE = re.compile(rb"<Code>\s*([^<]{1,200}?)\s*</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]{0,2000})</Message>")
_REQUEST_ID = re.compile(rb"<RequestId>([^<]{1,200})</RequestId>")
_REGION = re.compile(rb"<Region>([^<]{1,60})</Region>")
_CONDITION = re.compile(rb"<Condition>([^<]{1,200})</Condition>")
_NOT_TLS = re.compile(
    r"wrong version number|packet length too long|record too long|unexpected TLS packet|unknown protocol|http request",
    re.IGNORECASE,
)
"""Messages of TLS libraries about a server that answers a handshake with something else."""
_TLS_WANTED = re.compile(
    rb"plain HTTP request was sent to (?:an? )?(?:HTTPS|TLS)|HTTP request to an? (?:HTTPS|TLS)|"
    rb"speaking plain HTTP to an SSL|requires? TLS|use HTTPS|https scheme",
    re.IGNORECASE,
)
"""What servers answer to plain HTTP at a port that speaks TLS (nginx, Go, Apache and others)."""
_TLS_ALERT = b"\x15\x03"
_MESSAGE_SHOWN = 300
LONGEST_WAIT = 60.0
"""Seconds. A server may ask for more; it does not get it."""
_KEY_GONE = ("", "NoSuchKey", "NotFound")
_FULL_CODE = re.compile(
    r"(?:quota|storage|capacity|disk|space|cap)_?(?:limit_?)?(?:has_?been_?)?(?:exceeded|reached|full|exhausted)|"
    r"insufficient_?(?:storage|space|capacity)|no_?space|over_?quota|quota",
    re.IGNORECASE,
)
_FULL_WORDS = re.compile(
    r"\bquota\b|\b(?:storage|usage|data|bucket|space|transaction|bandwidth|account)\s+(?:cap|limit)\b|\bcap\b.{0,40}exceed|"
    r"exceed\w*.{0,40}\b(?:cap|storage|capacity|space)\b|insufficient (?:storage|space|capacity|disk)|"
    r"no space left|(?:disk|storage|bucket|volume|file ?system) (?:is |was )?(?:full|exhausted)|"
    r"(?:out of|not enough|no more) (?:disk |storage |free )?(?:space|capacity)",
    re.IGNORECASE,
)
"""Words of a quota, a cap or a full disk, whatever the status and code they come with."""
_TOO_FAST = re.compile(r"request rate|requests per|too many requests|rate limit|slow down|throttl", re.IGNORECASE)
_MAY_MEAN_FULL = (AccessRefused, Throttled, ServerFault, ObjectRefused, FeatureUnsupported, StorageFull)
_PAYLOAD_WORDS = re.compile(r"unsigned[-_ ]?payload|content-?sha-?256|payload.{0,20}(?:hash|sign)", re.IGNORECASE)
_PAYLOAD_CODES = frozenset(("XAmzContentSHA256Mismatch", "ContentSHA256Mismatch"))
_UNSIGNED_REFUSALS = frozenset(("AccessDenied", "AllAccessDisabled"))
"""What S3 answers to an unsigned request for something not public; any other refusal says that keys are required."""


class Purpose(Enum):
    """What a call is for; the same status means different things to each."""

    READ = "read"
    """HEAD, GET, tags of an object."""
    WRITE = "write"
    """PUT, delete, put tags."""
    COPY = "copy"
    """CopyObject, UploadPartCopy."""
    UPLOAD = "upload"
    """A call on an open multipart upload: parts, list, abort."""
    COMPLETE = "complete"
    """CompleteMultipartUpload."""
    BUCKET = "bucket"
    """A call on the bucket itself."""


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked, for the choice of the error and for its message."""

    operation: str
    purpose: Purpose
    bucket: str
    endpoint: str
    key: str = ""
    guarded: bool = False
    """The write carries If-Match or If-None-Match."""
    signed_before: bool = False
    """Requests with these credentials have succeeded in this run."""
    side: WhichSide = WhichSide.UNKNOWN
    """The end of the pair this store is."""
    version: bool = False
    """A version is asked for by its id, and not a part of it."""
    anonymous: bool = False
    """Nothing was signed."""
    unsigned_payload: bool = False
    """The body was not hashed: its SHA-256 is not part of the signature."""


_ADVICE: dict[type[StoreError], str] = {
    CredentialsRefused: "check the access key, the secret and the endpoint they belong to",
    CredentialsExpired: "renew the session",
    ClockSkewed: "set this machine's clock (NTP)",
    TlsRefused: "name the certificate authority in ca_bundle, or correct the endpoint's certificate or host name",
    BucketMissing: "check the bucket's name and the endpoint, or create it",
    StorageFull: "free or add space at the endpoint, or raise its quota, then run again to go on",
    AllowanceSpent: "raise the account's cap or wait until it is lifted, then run again to go on",
    EndpointUnreachable: "check endpoint_url, and that the endpoint runs and can be reached from here",
    UnsignedPayloadRefused: "set signed_payload: true for this endpoint in the declaration and plan again",
}


def from_exchange(failure: ExchangeFailed, call: Call) -> StoreError:
    """The leaf for a request that brought no whole answer."""
    if failure.fault is Fault.NO_DESCRIPTORS:
        return descriptors_exhausted(f"{_subject(call)} was not sent", operation=call.operation, key=call.key)
    number = f" (curl {failure.number})" if failure.number else ""
    if failure.fault in (Fault.TLS_REFUSED, Fault.TLS_BROKEN) and _NOT_TLS.search(failure.text):
        return _wrong_scheme(call, f"speaks plain HTTP at this port{number}", "http")
    leaf = BY_FAULT.get(failure.fault, ConnectionFailed)
    message = f"{_subject(call)} at {call.endpoint} failed: {printable(failure.text)}{number}"
    advice = _ADVICE.get(leaf)
    if failure.fault is Fault.NO_ANSWER and not call.signed_before and call.endpoint.startswith("http://"):
        advice = "should this port speak TLS, write https:// in endpoint_url"
    return leaf(f"{message}; {advice}" if advice else message, operation=call.operation, key=call.key, side=call.side)


def _wrong_scheme(call: Call, finding: str, scheme: str, *, status: int = 0) -> WrongScheme:
    return WrongScheme(
        f"{call.operation} at {call.endpoint} failed: the server {finding}; write {scheme}:// in endpoint_url",
        operation=call.operation,
        key=call.key,
        status=status,
        side=call.side,
    )


def from_answer(status: int, headers: Mapping[str, str], body: bytes, *, call: Call, now: float = 0.0) -> StoreError:
    """The leaf for an answer that is not a success, or a 200 whose body is an <Error>.

    *now*: seconds since the epoch, to read a Retry-After given as a date (0.0: such a one is ignored).
    """
    code = _text(_CODE, body) or headers.get("x-amz-error-code", "")
    detail = _text(_MESSAGE, body) or headers.get("x-amz-error-message", "")
    request_id = headers.get("x-amz-request-id") or _text(_REQUEST_ID, body)
    leaf = _classify(status, code, headers, body=body, call=call)
    if leaf is WrongScheme:
        return _wrong_scheme(call, f"speaks TLS at this port and answered HTTP {status}", "https", status=status)
    parts = [f"{_subject(call)} was refused: HTTP {status}"]
    if code:
        parts.append(printable(code))
    if detail:
        parts.append(f"({printable(detail)[:_MESSAGE_SHOWN]})")
    message = " ".join(parts)
    if leaf is WrongRegion:
        region = headers.get("x-amz-bucket-region") or _text(_REGION, body)
        message += f"; the bucket is in region {printable(region)}" if region else _redirected_to(headers)
        message += "; correct region and endpoint_url in the declaration and plan again"
    elif call.anonymous and leaf in (CredentialsRefused, AccessRefused):
        message += "; this is not public: name keys instead of credentials: {anonymous: true}"
    elif leaf in _ADVICE:
        message += f"; {_ADVICE[leaf]}"
    elif code == "SignatureDoesNotMatch":
        message += "; other keys are accepted, so something on the way rewrites this one"
    if request_id:
        message += f" [request {printable(request_id)}]"
    return leaf(
        message,
        operation=call.operation,
        key=call.key,
        status=status,
        code=code,
        request_id=request_id,
        retry_after=retry_after(headers, now),
        side=_side(leaf, call),
    )


def _redirected_to(headers: Mapping[str, str]) -> str:
    place = headers.get("location", "").partition("?")[0]
    if not place:
        return "; the endpoint redirects elsewhere"
    return f"; the endpoint redirects to {printable(place)[:_MESSAGE_SHOWN]}"


def _side(leaf: type[StoreError], call: Call) -> WhichSide:
    """A copy is asked of the destination; what it misses, or finds changed, is its source."""
    if call.purpose is not Purpose.COPY:
        return call.side
    if leaf in (ObjectMissing, ObjectChanged, ObjectArchived):
        return WhichSide.SOURCE
    return WhichSide.UNKNOWN if leaf in (AccessRefused, BucketMissing) else call.side


def _classify(status: int, code: str, headers: Mapping[str, str], *, body: bytes, call: Call) -> type[StoreError]:
    """The decision itself."""
    if status in (400, 403, 426, 497) and not code and call.endpoint.startswith("http://") and _asks_for_tls(body):
        return WrongScheme
    if code in ("PreconditionFailed", "ConditionalRequestConflict") or status in (304, 412):
        return _precondition(code, body, call)
    detail = _text(_MESSAGE, body) or headers.get("x-amz-error-message", "")
    if call.unsigned_payload and 400 <= status <= 501 and (code in _PAYLOAD_CODES or _PAYLOAD_WORDS.search(detail)):
        return UnsignedPayloadRefused
    leaf = _by_code(status, code, headers=headers, call=call)
    if leaf in _MAY_MEAN_FULL and _says_full(leaf, code, detail):
        return StorageFull if call.purpose not in (Purpose.READ, Purpose.BUCKET) else AllowanceSpent
    if call.anonymous and not call.signed_before and status in (400, 401, 403) and code not in _UNSIGNED_REFUSALS:
        return CredentialsRefused if leaf not in (WrongRegion, BucketMissing) else leaf
    return leaf


def _asks_for_tls(body: bytes) -> bool:
    return body.startswith(_TLS_ALERT) or _TLS_WANTED.search(body) is not None


def _says_full(leaf: type[StoreError], code: str, detail: str) -> bool:
    if code and code not in BY_CODE and _FULL_CODE.search(code):
        return True
    if leaf is ObjectRefused and code in BY_CODE:
        return False  # EntityTooLarge and similar codes are about one object's size
    return _FULL_WORDS.search(detail) is not None and not (leaf is Throttled and _TOO_FAST.search(detail))


def _by_code(status: int, code: str, *, headers: Mapping[str, str], call: Call) -> type[StoreError]:
    if call.purpose is Purpose.COMPLETE and code == "InvalidRequest":
        # AWS says so when MpuObjectSize or the whole object's checksum differ from what the parts add up to.
        return DigestMismatch
    if code == "SignatureDoesNotMatch" and call.signed_before:
        return AccessRefused
    if status == 404 and call.guarded and call.purpose is not Purpose.COMPLETE and code in _KEY_GONE:
        # If-Match on a key that is gone; on a copy the missing key is the source.
        return ObjectMissing if call.purpose is Purpose.COPY else DestinationChanged
    if code == "NoSuchKey" and call.purpose in (Purpose.UPLOAD, Purpose.COMPLETE):
        return UploadMissing  # in a call on an upload only the upload can be missing
    if code == "NoSuchKey" and not call.key:
        return BucketMissing
    if code == "MethodNotAllowed":
        return _by_status(405, headers, call)
    if code in BY_CODE:
        return BY_CODE[code]
    if code.startswith("Throttl"):
        return Throttled
    if headers.get("x-amz-bucket-region") and status in (301, 400) and not code:
        return WrongRegion
    if status == 404 and code and call.key and call.purpose is Purpose.READ:
        return FeatureUnsupported  # not the key, but a subresource that this server does not have
    return _by_status(status, headers, call)


def _precondition(code: str, body: bytes, call: Call) -> type[StoreError]:
    if code == "ConditionalRequestConflict":
        return UploadConflicted if call.purpose is Purpose.COMPLETE else ServerFault
    if call.purpose is Purpose.READ:
        return ObjectChanged
    if call.purpose is Purpose.COPY:
        about_source = _text(_CONDITION, body).lower().startswith("x-amz-copy-source")
        return ObjectChanged if about_source or not call.guarded else DestinationChanged
    return DestinationChanged


def _by_status(status: int, headers: Mapping[str, str], call: Call) -> type[StoreError]:
    if status == 404:
        if call.purpose in (Purpose.UPLOAD, Purpose.COMPLETE):
            return UploadMissing
        return ObjectMissing if call.key else BucketMissing
    if status == 405:
        # A delete marker, asked for by its id, answers so. Anything else is a method this server does not have.
        marker = call.purpose is Purpose.READ and (call.version or headers.get("x-amz-delete-marker") == "true")
        return ObjectMissing if marker else FeatureUnsupported
    if status == 409:
        return UploadConflicted if call.purpose is Purpose.COMPLETE else ServerFault
    if status == 416:
        return ObjectChanged if call.purpose in (Purpose.READ, Purpose.COPY) else ObjectRefused
    found = BY_STATUS.get(status)
    if found is not None:
        return found
    if status >= 500:
        return ServerFault
    return ObjectRefused if 400 <= status < 500 else ResponseUnreadable


def is_foreign(answer: Answer) -> bool:
    """Whether a 400 or 403 is not S3's own word: the page of something on the way, or a document without a code."""
    if answer.status not in (400, 403) or "x-amz-error-code" in answer.headers or _asks_for_tls(answer.body):
        return False
    if answer.headers.get("content-type", "").lower().startswith("text/html"):
        return True
    return bool(answer.body.strip()) and not _CODE.search(answer.body)


def is_error_document(body: bytes) -> bool:
    """Whether the body of a 200 is S3's <Error> document (S3 sends white space before it while it works)."""
    return re.match(rb"\s*(<\?xml[^>]*\?>)?\s*<Error[\s>]", body) is not None


def from_error_document(headers: Mapping[str, str], body: bytes, call: Call) -> StoreError:
    """The leaf for a 200 that carries <Error>: by its code; without a known one a ServerFault."""
    code = _text(_CODE, body)
    return from_answer(200 if code in BY_CODE or code == "PreconditionFailed" else 500, headers, body, call=call)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds the server asks to wait: x-amz-retry-after (milliseconds) or Retry-After (seconds, or a date).

    A wait of hours is a mistake, or a maintenance that may end sooner: it is asked again after LONGEST_WAIT.
    """
    asked = _asked_wait(headers, now)
    return None if asked is None else min(asked, LONGEST_WAIT)


def _asked_wait(headers: Mapping[str, str], now: float) -> float | None:
    exact = headers.get("x-amz-retry-after", "")
    if exact.isascii() and exact.isdigit():
        return int(exact) / 1000.0
    text = headers.get("retry-after", "")
    if text.isascii() and text.isdigit():
        return float(text)
    if text and now:
        return _seconds_until(text, now)
    return None


def _seconds_until(http_date: str, now: float) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(http_date).timestamp() - now)
    except ValueError:
        return None


def printable(text: str) -> str:
    r"""*text* with control characters and lone surrogates as \xNN or \uNNNN, so that it cannot steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}" for c in text)


def _subject(call: Call) -> str:
    target = f"s3://{printable(call.bucket)}"
    return f"{call.operation} {target}/{printable(call.key)}" if call.key else f"{call.operation} {target}"


def _text(pattern: re.Pattern[bytes], body: bytes) -> str:
    found = pattern.search(body)
    return unescape(found.group(1).decode("utf-8", "replace")) if found else ""
