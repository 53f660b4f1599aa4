"""The port to one bucket at one endpoint, and its promises.

Every method raises a leaf of schema.errors.StoreError and nothing else of the network. No method retries (except once,
after refreshing expired credentials); retries belong to the caller, who knows what may be repeated. Methods may be
called from many threads at once; connections are kept alive and reused per thread. Keys are byte-exact: what is passed
is what is named on the wire (`a//b`, `/a`, `./x`, `a/../b`, `%2F`...). Header values are latin-1 decoded text, so that
any byte passes through unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple, Protocol

from schema.errors import StoreError
from schema.facts import Capabilities, Fact, Finding
from schema.objects import (
    ListedEntry,
    ListedPart,
    ListedUpload,
    ObjectHead,
    PartResult,
    WriteResult,
)

HeaderList = Sequence[tuple[str, str]]
Body = bytes | bytearray | memoryview
Reader = Callable[[int], bytes | memoryview]
"""Delivers the next bytes of a body, at most as many as asked for; what it returned is used before the next call."""
UNCLEAR_EXAMPLES = 5


class Pin(NamedTuple):
    """The source object as planned. Checked on the answer's headers too: servers may ignore If-Match."""

    etag: str | None = None
    version_id: str | None = None
    sent: bool = True
    """False: the endpoint was not seen to honour If-Match, so the ETag is compared with the answer's, and not sent."""


class CopySource(NamedTuple):
    """What a server-side copy reads."""

    bucket: str
    key: str
    pin: Pin = Pin()


class ByteRange(NamedTuple):
    """Bytes [start, start + length) of an object."""

    start: int
    length: int


class UploadPart(NamedTuple):
    """Which part of which multipart upload."""

    key: str
    upload_id: str
    number: int
    """From 1."""


class Guard(NamedTuple):
    """The precondition of a write. Both None: unguarded."""

    if_none_match: bool = False
    """True: If-None-Match: * (create only)."""
    if_match: str | None = None
    """The destination's ETag as the plan saw it, without quotes."""


@dataclass(slots=True)
class PageTally:
    """What a listing's pages held, to be compared with the entries handed out. Complete once the listing has ended."""

    shown: int = 0
    """Entries in the pages as the server sent them, counted before any was read."""
    set_aside: int = 0
    """Of these: not handed out, because they were listed twice or lie outside what the page was asked for."""
    begun_again: bool = False
    """The server did not list in order: everything was read once more, and sorted."""
    unclear_keys: int = 0
    """Keys with versions of the same time, of which the listing does not show which is newer."""
    unclear_examples: list[str] = field(default_factory=list)
    interleaves: bool = False
    """The server was seen to list a delete marker between the versions of its key, so the order is known."""

    @property
    def due(self) -> int:
        """Entries that must have been handed out."""
        return self.shown - self.set_aside

    def begin_again(self) -> None:
        """The listing is read once more, from its beginning."""
        self.shown = self.set_aside = 0
        self.begun_again = True

    def unclear(self, key: str) -> None:
        """The order of *key*'s versions is unknown."""
        self.unclear_keys += 1
        if len(self.unclear_examples) < UNCLEAR_EXAMPLES:
            self.unclear_examples.append(key)

    def clear(self) -> None:
        """The order is known after all."""
        self.unclear_keys = 0
        self.unclear_examples.clear()


class Listing(Iterator[ListedEntry]):
    """A listing under way, and the tally of its pages."""

    def __init__(self, entries: Generator[ListedEntry, None, None], tally: PageTally) -> None:
        self._entries = entries
        self.tally = tally

    def __iter__(self) -> Iterator[ListedEntry]:  # noqa: PYI034  not self: a million calls fewer
        return self._entries

    def __next__(self) -> ListedEntry:
        return next(self._entries)

    def close(self) -> None:
        """Stop listing, and end its threads."""
        self._entries.close()


class Believe(Enum):
    """How far a listing is trusted."""

    LISTING = "listing"
    HEAD = "head"
    """Listings were seen to be wrong: size and ETag of each object are asked by a HEAD."""


def believing(can: Capabilities, believe: Believe) -> Capabilities:
    """*can*, with what the operator knows of the listings of that end."""
    if believe is Believe.LISTING:
        return can
    return replace(can, facts=dict(sorted({**can.facts, Fact.LISTED_ETAG.value: Finding.IGNORED.value}.items())))


def believed(can: Capabilities) -> Believe:
    """How far the listings of an end can be trusted, by what a probe found."""
    return Believe.HEAD if can.denies(Fact.LISTED_ETAG) else Believe.LISTING


UNPINNED = Pin()
UNGUARDED = Guard()


class RequestSample(NamedTuple):
    """One finished request, for the governor and the metrics. A named tuple: made for every request."""

    operation: str
    seconds: float
    """From sending to the last byte."""
    first_byte_seconds: float
    bytes: int
    """Of body, either way."""
    error: StoreError | None


class RequestObserver(Protocol):
    """Called for every request, in the requesting thread; must be quick and must not raise, but for Stopped."""

    def before(self, operation: str, size: int) -> None:
        """May block: rate limits live here."""

    def after(self, sample: RequestSample) -> None:
        """The request ended."""


class Unobserved:
    """The observer that does nothing."""

    def before(self, operation: str, size: int) -> None:
        """Nothing."""

    def after(self, sample: RequestSample) -> None:
        """Nothing."""


UNOBSERVED = Unobserved()


class ObjectStore(Protocol):
    """One bucket at one endpoint."""

    @property
    def bucket(self) -> str:
        """The bucket's name."""

    def list_objects(
        self, prefix: str, *, start_after: str = "", parallel: int = 1, believe: Believe = Believe.LISTING
    ) -> Listing:
        """Each object under *prefix* once, keys strictly ascending. Raises ListingRefused; never ends early.

        An unordered listing is sorted on disk within bounded memory. Pages are retried on retryable errors. What an
        entry does not state is requested by a HEAD; an entry for which that fails, too, is an UnsupportedEntry.
        """

    def ask_listing(self, prefix: str) -> None:
        """Raises the error of a LIST of *prefix*, if any: one small request instead of a page of a thousand keys."""

    def list_versions(self, prefix: str, *, start_after: str = "", believe: Believe = Believe.LISTING) -> Listing:
        """Each version and delete marker of keys > *start_after*: keys ascending, within a key oldest first. Same
        promises.
        """

    def head(self, key: str, *, version_id: str | None = None, extra: HeaderList = ()) -> ObjectHead:
        """Raises ObjectMissing when there is none. Size and ETag, where the HEAD lacks them, are requested by a GET of
        the first byte. *extra*: e.g. ('x-amz-checksum-mode', 'ENABLED').
        """

    def get(
        self,
        key: str,
        into: memoryview,
        *,
        pin: Pin = UNPINNED,
        start: int | None = None,
        extra: HeaderList = (),
    ) -> ObjectHead:
        """Fill *into* exactly: with the whole object, or with bytes [start, start + len(into)).

        *start* None: the request has no Range, and the object's length must be len(into).
        Otherwise a Range is sent and the 206's Content-Range must be the one asked for.
        Raises ObjectChanged (412, other ETag/version, other length), ResponseUnreadable (short or long body).
        """

    def put(self, key: str, body: Body, headers: HeaderList, *, guard: Guard = UNGUARDED) -> WriteResult:
        """One PUT. *headers* are sent and signed as given (metadata, Content-MD5, x-amz-checksum-*...).

        Raises DestinationChanged on 412 (and 404 under if_match), DigestMismatch on BadDigest and similar codes.
        """

    def put_from(
        self, key: str, read: Reader, headers: HeaderList, *, length: int, guard: Guard = UNGUARDED
    ) -> WriteResult:
        """The same with a body of exactly *length* bytes that *read* delivers; for what is too big for memory.

        Never repeated, not even with new credentials. What *read* raises comes through unchanged. Raises
        UnsignedPayloadRefused where bodies must be hashed before they are sent.
        """

    def create_upload(self, key: str, headers: HeaderList) -> str:
        """CreateMultipartUpload; the upload id. The caller must record, and complete or abort it."""

    def upload_part(self, part: UploadPart, body: Body, headers: HeaderList = ()) -> PartResult:
        """UploadPart from memory."""

    def upload_part_from(self, part: UploadPart, read: Reader, *, length: int) -> PartResult:
        """UploadPart of exactly *length* bytes that *read* delivers; for parts too big for memory."""

    def complete_upload(
        self,
        key: str,
        upload_id: str,
        parts: Sequence[tuple[int, str]],
        *,
        headers: HeaderList = (),
        guard: Guard = UNGUARDED,
    ) -> WriteResult:
        """CompleteMultipartUpload of (number, ETag) pairs. A 200 with <Error> or without a result is an error.

        Raises UploadMissing, UploadConflicted (409), DestinationChanged (412), PartRefused.
        """

    def abort_upload(self, key: str, upload_id: str) -> None:
        """AbortMultipartUpload; an upload that is gone already is fine."""

    def list_parts(self, key: str, upload_id: str) -> Iterator[ListedPart]:
        """All parts the server holds, ascending. Raises UploadMissing."""

    def list_uploads(self, prefix: str) -> Iterator[ListedUpload]:
        """All open uploads under *prefix*."""

    def copy(self, source: CopySource, key: str, headers: HeaderList, *, guard: Guard = UNGUARDED) -> WriteResult:
        """CopyObject within one endpoint. A 200 without a result in its body is an error."""

    def copy_part(self, source: CopySource, part: UploadPart, *, span: ByteRange | None = None) -> PartResult:
        """UploadPartCopy of *span*; None: of the whole object."""

    def delete(self, key: str, *, version_id: str | None = None, if_match: str | None = None) -> WriteResult:
        """DeleteObject. Without version_id in a versioned bucket: lays a delete marker."""

    def get_tags(self, key: str, *, version_id: str | None = None) -> tuple[tuple[str, str], ...]:
        """Tags in the server's order."""

    def put_tags(self, key: str, tags: Sequence[tuple[str, str]], *, version_id: str | None = None) -> None:
        """Replaces all tags."""

    def subresource(
        self, method: str, key: str | None, query: HeaderList, *, body: bytes = b"", headers: HeaderList = ()
    ) -> tuple[Mapping[str, str], bytes]:
        """Any other call on the bucket (key None) or a key: ?acl, ?versioning, ?object-lock, ?retention, ?restore.

        Returns headers and body of a 2xx answer.
        """

    def close(self) -> None:
        """Close every connection of every thread."""
