"""Signed requests to one bucket: addressing, signing, the observer, expired credentials, errors.

A Wire is used from many threads; each request has a kept-alive connection to itself, so connections never outnumber
the threads that ask.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from schema.errors import (
    AccessRefused,
    ClockSkewed,
    CredentialsExpired,
    FeatureUnsupported,
    ObjectRefused,
    ResponseUnreadable,
    StoreError,
    UnsignedPayloadRefused,
    WhichSide,
)
from schema.timeouts import DEFAULT_TIMEOUTS, Timeouts
from storage.credentials import Credentials, Keys
from storage.port import UNOBSERVED, Body, Reader, RequestObserver, RequestSample
from storage.wire import connections, errors
from storage.wire.addressing import BucketAddress, redirected, request_path
from storage.wire.deadlines import Deadlines
from storage.wire.errors import Call, Purpose
from storage.wire.exchange import Answer, ExchangeFailed, Patience, ReaderFailed, Request
from storage.wire.packed import GZIP_MAGIC, unpacked
from storage.wire.signer import EMPTY_PAYLOAD, UNSIGNED_PAYLOAD, Signer, encode_query

T = TypeVar("T")

_ANSWERED_LATE = (Purpose.COPY, Purpose.COMPLETE)
"""S3 sends 200 at once and the result, or an <Error>, when it is known."""
_REDIRECTS = (307, 308)
"""The same request is sent again. A 301 of S3 names a wrong region, of which the plan's prices are."""
_HOPS = 3
"""Redirects followed for one operation."""
_PASSING = 2
"""Times that a refusal which S3 did not word, or which is about a clock, is asked again at once."""
_PAYLOAD_REFUSALS = (AccessRefused, FeatureUnsupported, ObjectRefused)
_UNSENDABLE = re.compile(r"[\x00\r\n]|[^\x00-\xff]")


@dataclass(slots=True)
class Operation:
    """One S3 call, not yet signed."""

    name: str
    purpose: Purpose
    method: str
    key: str = ""
    """'': the bucket itself."""
    query: Sequence[tuple[str, str]] = ()
    headers: Sequence[tuple[str, str]] = field(default=(), repr=False)
    """Not shown: an SSE-C key may be among them."""
    body: Body | None = field(default=None, repr=False)
    """Object data: sent as UNSIGNED-PAYLOAD where the endpoint takes it."""
    document: bytes | None = None
    """A small body, signed by its SHA-256."""
    read: Reader | None = None
    length: int = 0
    into: memoryview | None = None
    guarded: bool = False
    once: bool = False
    """A repetition would have a second effect: a write without a precondition may make a version, or lay a marker."""
    patience: Patience | None = None
    """None: the declared timeouts apply."""
    sign_payload: bool = False
    """The SHA-256 of *body* is signed, too."""
    packed: bool = False
    """Accept gzip. Only for what is stored so: servers compress anything else for readers that accept it, and then
    tell another length or none."""


@dataclass(frozen=True, slots=True)
class WireSettings:
    """How requests to one end are made."""

    observer: RequestObserver = UNOBSERVED
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    side: WhichSide = WhichSide.UNKNOWN
    """The end of the pair that errors speak of."""
    ca_bundle: str | None = None
    """None: OpenSSL's own authorities."""
    signed_payload: bool = False
    """Bodies are hashed from the start."""


DEFAULT_SETTINGS = WireSettings()


class Attempt(NamedTuple):
    """The outcome of one request: an answer, an error, or an answer that is an error."""

    keys: Keys | None
    answer: Answer | None
    error: StoreError | None


class Wire:
    """Sends operations to one bucket; raises leaves of StoreError and nothing else of the network."""

    def __init__(
        self,
        bucket: str,
        address: BucketAddress,
        credentials: Credentials,
        *,
        settings: WireSettings = DEFAULT_SETTINGS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.bucket = bucket
        self.side = settings.side
        self._address = address
        self._credentials = credentials
        self._observer = settings.observer
        self._ca_bundle = settings.ca_bundle
        self._deadlines = Deadlines(settings.timeouts)
        self._now = now
        self._signer = Signer(address.region, now=now)
        self._connections = connections.connections_of(address.origin, settings.ca_bundle)
        self._closed = False
        self._settings = settings
        self._hops = _HOPS
        self._elsewhere: dict[BucketAddress, Wire] = {}
        self._redirecting = threading.Lock()
        self._signed_before = False
        self._signs_payload = settings.signed_payload
        self._payload_settled = settings.signed_payload
        """It is known whether unsigned bodies are accepted: one was, or a signed one did no better."""

    @property
    def unpacks(self) -> bool:
        """See BucketAddress.unpacks."""
        return self._address.unpacks

    def send(self, operation: Operation) -> Answer:
        """The 2xx answer. Expired credentials are refreshed and the call repeated, once.

        A body refused because its SHA-256 was not signed is sent again with it, and so are all later ones. Redirects
        are followed within one service; S3's are of the moment, so the next operation begins here again.
        """
        operation.sign_payload = self._signs_payload
        attempt = self._attempt(operation)
        if attempt.error is not None and self._may_repeat(operation, attempt):
            attempt = self._attempt(operation)
        for _ in range(_PASSING):
            if attempt.error is None or not self._may_pass(operation, attempt):
                break
            attempt = self._attempt(operation)
        if attempt.error is not None and self._may_sign_payload(operation, attempt):
            attempt = self._with_signed_payload(operation, attempt)
        if attempt.answer is not None and attempt.answer.status in _REDIRECTS:
            place = redirected(self._address, operation.key, attempt.answer.headers)
            if place is not None and self._hops and operation.read is None:
                return self._at(place).send(operation)
        if attempt.answer is None or attempt.error is not None:
            raise attempt.error or ResponseUnreadable("no answer", operation=operation.name, key=operation.key)
        return attempt.answer

    def call(self, operation: Operation, keys: Keys | None = None, *, anonymous: bool = False) -> Call:
        """What error messages say of *operation*; *keys* signed it."""
        bodied = operation.body is not None or operation.read is not None
        names = [name for name, _ in operation.query]
        return Call(
            operation.name,
            operation.purpose,
            self.bucket,
            self._address.origin,
            operation.key,
            operation.guarded,
            self._signed_before,
            self.side,
            version="versionId" in names and "partNumber" not in names,
            anonymous=anonymous,
            unsigned_payload=bodied and keys is not None and not operation.sign_payload,
        )

    @property
    def descriptors(self) -> int:
        """How many descriptors a request takes at most while it is under way."""
        return connections.descriptors_each(self._address.origin)

    def _may_sign_payload(self, operation: Operation, attempt: Attempt) -> bool:
        """Whether the refusal may be due to UNSIGNED-PAYLOAD, and the body is at hand to be hashed."""
        if operation.body is None or operation.sign_payload or attempt.keys is None:
            return False
        if isinstance(attempt.error, UnsignedPayloadRefused):
            return True
        # A gateway that hashes bodies itself calls the signature wrong; a bucket policy (s3:x-amz-content-sha256)
        # just denies. Until one unsigned body has passed, a signed one is worth one request; so it is once another
        # thread has found, while this body was on its way, that signed ones pass.
        error = attempt.error
        open_question = self._signs_payload or not self._payload_settled
        return open_question and isinstance(error, _PAYLOAD_REFUSALS) and error.status in (400, 403, 501)

    def _with_signed_payload(self, operation: Operation, refused: Attempt) -> Attempt:
        """Try again with the body's SHA-256; when that does no better, the first refusal is the one to report."""
        operation.sign_payload = True
        attempt = self._attempt(operation)
        self._payload_settled = True
        if attempt.error is None:
            self._signs_payload = True
            return attempt
        return attempt if attempt.error.retryable or isinstance(refused.error, UnsignedPayloadRefused) else refused

    def move(self, address: BucketAddress) -> None:
        """Send what follows to *address*: the same bucket behind another endpoint. Safe while requests are sent."""
        self._address = address
        left, self._connections = self._connections, connections.connections_of(address.origin, self._ca_bundle)
        connections.release(left)

    def _at(self, place: BucketAddress) -> Wire:
        """The wire to *place*, to which this one was redirected."""
        with self._redirecting:
            wire = self._elsewhere.get(place)
            if wire is None:
                wire = Wire(self.bucket, place, self._credentials, settings=self._settings, now=self._now)
                wire._hops = self._hops - 1
                self._elsewhere[place] = wire
            return wire

    def close(self) -> None:
        """Close the connections that no other wire to the same origin uses."""
        if not self._closed:
            self._closed = True
            for wire in self._elsewhere.values():
                wire.close()
            connections.release(self._connections)

    def _attempt(self, operation: Operation) -> Attempt:
        """Wait until the observer permits the request; sign only then, because signatures expire."""
        sent = operation.length or len(operation.body or operation.document or b"")
        size = sent or (len(operation.into) if operation.into is not None else 0)
        self._observer.before(operation.name, size)
        seconds = first_byte = 0.0
        moved = 0
        keys: Keys | None = None
        answer: Answer | None = None
        error: StoreError | None = None
        try:
            keys = self._credentials.current()
            answer = self._perform(self._request(operation, keys))
            if answer.body.startswith(GZIP_MAGIC):
                answer.body = unpacked(answer.body)
            seconds, first_byte = answer.seconds, answer.first_byte_seconds
            moved = answer.received or sent or len(answer.body)
            error = self._refusal(operation, answer, keys)
        except ExchangeFailed as failure:
            seconds = failure.seconds
            error = errors.from_exchange(failure, self.call(operation, keys))
        except ReaderFailed as failure:
            # Another endpoint's error, or a bug: the sample does not blame this endpoint for it.
            raise failure.error from None
        except StoreError as refused:
            error = refused
        finally:
            self._observer.after(RequestSample(operation.name, seconds, first_byte, moved, error))
        return Attempt(keys, answer, error)

    def _may_repeat(self, operation: Operation, attempt: Attempt) -> bool:
        """Whether newer credentials are at hand for a call that was refused because its own had expired."""
        error = attempt.error
        # An expired token answers HEAD with a bare 400, as a malformed request does.
        bare_head = operation.method == "HEAD" and isinstance(error, ObjectRefused) and error.status == 400
        if not (isinstance(error, CredentialsExpired) or (bare_head and attempt.keys and attempt.keys.token)):
            return False
        # A body from a reader has been consumed; its caller starts again with the new credentials.
        return self._credentials.refresh(attempt.keys) and operation.read is None

    def _may_pass(self, operation: Operation, attempt: Attempt) -> bool:
        """Whether the refusal may be gone at once: a page of some proxy on the way, or one server's wrong clock."""
        if operation.read is not None or attempt.answer is None:
            return False
        return isinstance(attempt.error, ClockSkewed) or errors.is_foreign(attempt.answer)

    def _refusal(self, operation: Operation, answer: Answer, keys: Keys | None) -> StoreError | None:
        """The error in an answer, as far as it does not depend on the operation; None: no error."""
        if not 200 <= answer.status < 300:
            call = self.call(operation, keys, anonymous=keys is None)
            return errors.from_answer(answer.status, answer.headers, answer.body, call=call, now=self._now())
        self._signed_before = True
        if not self._payload_settled and operation.body is not None:
            self._payload_settled = True
        if operation.purpose in _ANSWERED_LATE and errors.is_error_document(answer.body):
            return errors.from_error_document(answer.headers, answer.body, self.call(operation))
        if answer.overflowed and operation.into is None:
            return self.unreadable(operation, answer, "its text is longer than any answer of S3")
        return None

    def parsed(self, operation: Operation, answer: Answer, reader: Callable[[bytes], T]) -> T:
        """*reader* of the answer's body; its ValueError becomes ResponseUnreadable."""
        try:
            return reader(answer.body)
        except ValueError as error:
            raise self.unreadable(operation, answer, str(error)) from None

    def unreadable(self, operation: Operation, answer: Answer, reason: str) -> ResponseUnreadable:
        """The error for a 2xx answer that does not say what the protocol promises."""
        subject = f"{operation.name} s3://{errors.printable(self.bucket)}/{errors.printable(operation.key)}"
        return ResponseUnreadable(
            f"{subject} was answered HTTP {answer.status}, but {reason}",
            operation=operation.name,
            key=operation.key,
            status=answer.status,
            request_id=answer.headers.get("x-amz-request-id", ""),
            side=self.side,
        )

    def _request(self, operation: Operation, keys: Keys | None) -> Request:
        address = self._address
        path = request_path(address, operation.key)
        query = encode_query(operation.query) if operation.query else ""
        headers = [(name.lower(), value) for name, value in operation.headers]
        self._refuse_unsendable(operation, headers)
        if keys is not None:
            if operation.document is not None:
                payload = hashlib.sha256(operation.document).hexdigest()
            else:
                payload = self._payload(operation)
            headers += self._signer.sign(
                keys,
                method=operation.method,
                host=address.host,
                path=path,
                query=query,
                headers=headers,
                payload=payload,
            )
        headers.append(("Accept-Encoding", "gzip" if operation.packed else "identity"))
        return Request(
            operation.method,
            f"{address.origin}{path}?{query}" if query else f"{address.origin}{path}",
            headers,
            operation.document if operation.document is not None else operation.body,
            operation.read,
            operation.length,
            operation.into,
            operation.patience or self._deadlines.of(operation.name, streamed=self._stands_still(operation)),
            operation.once,
        )

    def _stands_still(self, operation: Operation) -> bool:
        """Whether the time that a body's reader takes counts: libcurl's clock runs on, a socket's only waits for it."""
        return operation.read is not None and not connections.is_direct(self._address.origin)

    def _payload(self, operation: Operation) -> str:
        if operation.body is None and operation.read is None:
            return EMPTY_PAYLOAD
        if not operation.sign_payload:
            return UNSIGNED_PAYLOAD
        if operation.body is None:
            raise UnsignedPayloadRefused(
                f"{operation.name} {errors.printable(operation.key)}: {operation.length} bytes are too many to be held "
                "and hashed before they are sent, and the endpoint takes no unsigned payload; raise limits.memory to "
                "more than twice that",
                operation=operation.name,
                key=operation.key,
                side=self.side,
            )
        return hashlib.sha256(operation.body).hexdigest()

    def _refuse_unsendable(self, operation: Operation, headers: Sequence[tuple[str, str]]) -> None:
        """A line break inside a value would become a header of its own."""
        if not _UNSENDABLE.search("".join([name + value for name, value in headers])):
            return
        for name, value in headers:
            if _UNSENDABLE.search(value) or _UNSENDABLE.search(name):
                raise ObjectRefused(
                    f"{operation.name} {errors.printable(operation.key)}: the header "
                    f"{errors.printable(name)} cannot be sent: its value holds a line break, NUL, or a "
                    "character outside latin-1",
                    operation=operation.name,
                    key=operation.key,
                    side=self.side,
                )

    def _perform(self, request: Request) -> Answer:
        lent_by = self._connections
        connection = lent_by.take()
        try:
            return connection.perform(request)
        finally:
            lent_by.give(connection)

    def __repr__(self) -> str:
        return f"Wire({self._address.origin}, {self.bucket!r})"
