"""Listings as the rest of the house sees them: ascending, each key once, never ended early, in bounded memory.

The order is never trusted. Pages are checked as they come, and the first `HELD_BACK` pages are looked at before
anything is handed out: a server without order shows itself there, and the listing is sorted on disk instead, unseen.
When disorder shows later (a gateway that walks folders lists `a/b` before `a.txt`), keys have been handed out
already. The bucket is then listed again into the sorter. If the sorted keys up to the last one handed out are
exactly those handed out (same number, same sum of hashes: true of repeated pages), the listing goes on behind it;
else ListingUnordered is raised. `BucketOrder` remembers, so that the caller's second listing sorts from the start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain, groupby, islice
from operator import attrgetter

from schema.errors import ListingRefused, ListingUnordered, ResponseUnreadable
from schema.objects import ListedObject
from storage.listing.order import SortKey, by_age, by_key, sorted_listing
from storage.listing.page import Page, Query, parse_page, parse_versions_page
from storage.listing.ranges import OutOfOrder, RangedPages, ReadPage, TokenLoop
from storage.retrying import Retry

PageFetch = Callable[[list[tuple[str, str]]], bytes]
"""One LIST request with these query parameters (not yet encoded); the whole body. Raises StoreError."""

SORT_MEMORY = 64 * 1024 * 1024
HELD_BACK = 4
"""Pages looked at before the first key is handed out."""
_HASH_MASK = (1 << 64) - 1
_VERSION_BYTES = 1024
"""What one version takes in memory, generously."""

_key = attrgetter("key")


@dataclass(slots=True)
class BucketOrder:
    """What is known of a bucket's listing order. Keep one per bucket and hand it to every listing of it."""

    unordered: bool = False
    """True: sort from the start."""


class _Closed(Exception):
    """The listing was closed while a page was being retried."""


@dataclass(slots=True)
class _HandedOut:
    """A digest of the entries handed out so far, independent of their order."""

    count: int = 0
    hashes: int = 0
    last: str | None = None

    def add(self, entries: list[ListedObject], identity: Callable[[ListedObject], int]) -> None:
        """Entries in ascending order have been handed out."""
        self.count += len(entries)
        self.hashes = (self.hashes + sum(map(identity, entries))) & _HASH_MASK
        self.last = entries[-1].key


@dataclass(frozen=True, slots=True)
class _Kind:
    """In what the two listings differ."""

    query: Query
    parse: Callable[..., Page]
    sort_key: SortKey
    identity: Callable[[ListedObject], int]
    repeats: bool


_OBJECTS = _Kind(
    query=(("list-type", "2"), ("encoding-type", "url")),
    parse=parse_page,
    sort_key=by_key,
    identity=lambda listed: hash(listed.key),
    repeats=False,
)
_VERSIONS = _Kind(
    query=(("versions", ""), ("encoding-type", "url")),
    parse=parse_versions_page,
    sort_key=by_age,
    identity=lambda listed: hash((listed.key, listed.version_id)),
    repeats=True,
)


def list_objects(
    fetch: PageFetch,
    bucket: str,
    prefix: str,
    *,
    start_after: str = "",
    parallel: int = 1,
    sort_memory: int = SORT_MEMORY,
    retry: Retry | None = None,
    order: BucketOrder | None = None,
) -> Iterator[ListedObject]:
    """Each object under *prefix* with a key > *start_after*, once, keys strictly ascending in UTF-8 bytes.

    The next pages are fetched meanwhile by *parallel* threads, over ranges of keys when more than one; closing the
    generator ends them. Holds at most 12 pages and 8 more per thread, or *sort_memory* bytes when the server's
    listing is not in order. Of a key listed twice (overwritten meanwhile) the newest entry counts.
    *fetch* must be usable from several threads. Raises ListingRefused when the listing cannot be trusted,
    ListingUnordered when it must be begun anew (with the same *order*, it then succeeds), LocalDiskError, and
    what *fetch* raises after *retry*.
    """
    listing = _Listing(_OBJECTS, fetch, bucket, prefix, start_after, parallel, sort_memory, retry, order)
    return listing.entries()


def ask_listing(fetch: PageFetch, bucket: str, prefix: str, *, retry: Retry | None = None) -> None:
    """One LIST of at most one key: only to see whether it is answered. Raises what list_objects would."""
    kind = replace(_OBJECTS, query=(*_OBJECTS.query, ("max-keys", "1")))
    listing = _Listing(kind, fetch, bucket, prefix, "", 1, SORT_MEMORY, retry, None)
    listing.first_page()


def list_versions(
    fetch: PageFetch,
    bucket: str,
    prefix: str,
    *,
    sort_memory: int = SORT_MEMORY,
    retry: Retry | None = None,
    order: BucketOrder | None = None,
) -> Iterator[ListedObject]:
    """Each version and delete marker under *prefix*: keys ascending, of one key the oldest first, the latest last.

    Whichever order the server uses, and also within one second. Promises and errors as list_objects; also
    ListingRefused when a key has no latest version or several.
    """
    listing = _Listing(_VERSIONS, fetch, bucket, prefix, "", 1, sort_memory, retry, order)
    return _oldest_first(listing.entries(), bucket, sort_memory)


@dataclass(slots=True)
class _Listing:
    """One walk over a bucket."""

    kind: _Kind
    fetch: PageFetch
    bucket: str
    prefix: str
    start_after: str
    parallel: int
    sort_memory: int
    retry: Retry | None
    order: BucketOrder | None

    def entries(self) -> Generator[ListedObject, None, None]:
        """In the server's order when that ascends, else sorted."""
        handed_out = _HandedOut()
        if self.order is None or not self.order.unordered:
            try:
                for page in self._pages_in_order():
                    handed_out.add(page, self.kind.identity)
                    yield from page
                return
            except OutOfOrder:
                if self.order is not None:
                    self.order.unordered = True
        yield from self._sorted_behind(handed_out)

    def _pages_in_order(self) -> Iterator[list[ListedObject]]:
        """Pages as the server gives them, the first few held back. Raises OutOfOrder."""
        stop = threading.Event()
        pages = RangedPages(
            self._reader(stop),
            prefix=self.prefix,
            start_after=self.start_after,
            workers=max(1, self.parallel),
            repeats=self.kind.repeats,
        )
        try:
            coming = iter(pages)
            yield from list(islice(coming, HELD_BACK))
            yield from coming
        finally:
            stop.set()
            pages.close()

    def first_page(self) -> Page:
        """The first page as it comes."""
        return self._reader(threading.Event())("", ())

    def _reader(self, stop: threading.Event) -> ReadPage:
        """The function that fetches and parses one page, retries included."""
        base = [*self.kind.query, *([("prefix", self.prefix)] if self.prefix else [])]
        retry = self.retry or Retry()

        def wait(seconds: float) -> None:
            retry.wait(seconds)
            if stop.is_set():
                raise _Closed

        patient = replace(retry, wait=wait)

        def read(start_after: str, following: Query) -> Page:
            query = [*base, *(following or ((("start-after", start_after),) if start_after else ()))]
            try:
                return patient.call(lambda: self.kind.parse(self.fetch(query), self.bucket, prefix=self.prefix))
            except ResponseUnreadable as error:
                raise ListingRefused(
                    str(error), operation="LIST", status=error.status, code=error.code, request_id=error.request_id
                ) from error

        return read

    def _sorted_behind(self, handed_out: _HandedOut) -> Iterator[ListedObject]:
        """List everything into the sorter; give what comes after the last key handed out."""
        listing = (
            listed for page in self._pages_as_they_come() for listed in page if listed.key > self.start_after
        )
        entries = sorted_listing(listing, self.kind.sort_key, self.sort_memory)
        yield from self._rest(self._without_repeats(entries), handed_out)

    def _pages_as_they_come(self) -> Iterator[list[ListedObject]]:
        """The pages of one chain of continuations, whatever their order."""
        read, loop = self._reader(threading.Event()), TokenLoop()
        page = read(self.start_after, ())
        while True:
            yield page.entries
            if not page.following:
                return
            loop.check(page.following)
            page = read("", page.following)

    def _without_repeats(self, entries: Iterable[ListedObject]) -> Iterator[ListedObject]:
        """Of objects with one key the last, which the sort order makes the newest; of versions each once."""
        held: ListedObject | None = None
        for listed in entries:
            if held is not None and (held.key, held.version_id) != (listed.key, listed.version_id):
                yield held
            held = listed
        if held is not None:
            yield held

    def _rest(self, entries: Iterator[ListedObject], handed_out: _HandedOut) -> Iterator[ListedObject]:
        """The entries behind those handed out, if those are exactly the ones before."""
        if handed_out.last is None:
            yield from entries
            return
        count = hashes = 0
        first_behind: list[ListedObject] = []
        for listed in entries:
            if listed.key > handed_out.last:
                first_behind.append(listed)
                break
            count += 1
            hashes = (hashes + self.kind.identity(listed)) & _HASH_MASK
        if (count, hashes) != (handed_out.count, handed_out.hashes):
            raise ListingUnordered(
                f"the listing of bucket {self.bucket!r} is not in order, which showed only after "
                f"{handed_out.last!r}. It must be begun anew and sorted",
                operation="LIST",
                key=handed_out.last,
            )
        yield from chain(first_behind, entries)


def _oldest_first(
    entries: Generator[ListedObject, None, None], bucket: str, sort_memory: int
) -> Iterator[ListedObject]:
    """Turn the versions of each key round. *entries* have ascending keys."""
    with closing(entries):
        for key, group in groupby(entries, _key):
            yield from _with_one_latest(_by_age(group, sort_memory), bucket, key)


def _by_age(versions: Iterator[ListedObject], sort_memory: int) -> Iterator[ListedObject]:
    """The versions of one key, oldest first; on disk when there are very many."""
    few = list(islice(versions, max(1, sort_memory // _VERSION_BYTES)))
    more = next(versions, None)
    if more is None:
        # Ties of time are broken by the order listed, turned round unless the server lists the oldest first.
        if few[0].is_latest or not few[-1].is_latest:
            few.reverse()
        few.sort(key=attrgetter("is_latest", "modified_ms"))
        yield from few
        return
    every = chain(few, (more,), versions)
    del few  # else it is held until the last version is handed out
    yield from sorted_listing(every, by_age, sort_memory)


def _with_one_latest(versions: Iterator[ListedObject], bucket: str, key: str) -> Iterator[ListedObject]:
    """Pass on each version once. Raises ListingRefused unless the last one, and no other, is the latest."""
    held: ListedObject | None = None
    for listed in versions:
        if held is not None and held.version_id != listed.version_id:
            if held.is_latest:
                raise _refused(bucket, key, "several latest versions")
            yield held
        held = listed
    if held is None or not held.is_latest:
        raise _refused(bucket, key, "no latest version")
    yield held


def _refused(bucket: str, key: str, has: str) -> ListingRefused:
    return ListingRefused(
        f"the listing of versions of bucket {bucket!r} has {has} of key {key!r}. If the bucket is being written to, "
        "run again; else the server's listing cannot be trusted",
        operation="LIST",
        key=key,
    )
