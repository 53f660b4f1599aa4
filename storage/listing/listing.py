"""Listings as all other code sees them: ascending, each key once, never ended early, in bounded memory.

The order is never trusted. Pages are checked as they come, and the first `HELD_BACK` pages are looked at before
anything is handed out: a server without order is detected there, and the listing is sorted on disk instead.
When disorder shows later (a gateway that walks folders lists `a/b` before `a.txt`), keys have been handed out
already. The bucket is then listed again into the sorter. If the sorted keys up to the last one handed out are
exactly those handed out (same number, same sum of hashes: true of repeated pages), the listing goes on behind it;
else ListingUnordered is raised. `BucketOrder` remembers, so that the caller's second listing sorts from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, groupby, islice
from operator import attrgetter, itemgetter

from schema.errors import ListingRefused, ListingUnordered
from schema.objects import ListedEntry
from storage.listing.asking import Kind, ListedBucket, PageSource
from storage.listing.coding import KeyExists, ListedText
from storage.listing.entry import PartialEntry, ShownEntry
from storage.listing.history import Histories, VersionOrder
from storage.listing.order import by_age, by_key, sorted_listing
from storage.listing.page import WHICH_KEY
from storage.listing.ranges import OutOfOrder, RangedPages, Span, TokenLoop
from storage.listing.settle import Settler, settled
from storage.port import Believe, Listing, PageTally

HELD_BACK = 4
"""Pages looked at before the first key is handed out."""
_SETTLED_AT_ONCE = 1000
_REPEATED_PAGES = 100
"""Repeated pages that a server without order may send before it is considered to loop."""
_HASH_MASK = (1 << 64) - 1

_key = attrgetter("key")


_IDENTITY = {Kind.OBJECTS: itemgetter(0), Kind.VERSIONS: itemgetter(0, 6)}
"""The identity of an entry: its key; of versions, key and version id."""
_SORT_KEY = {Kind.OBJECTS: by_key, Kind.VERSIONS: by_age}


@dataclass(slots=True)
class _HandedOut:
    """A digest of the entries handed out so far, independent of their order."""

    identity: Callable[[ShownEntry], object]
    count: int = 0
    hashes: int = 0
    last: str | None = None

    def add(self, entries: Sequence[ShownEntry]) -> None:
        """Entries were handed out in ascending order."""
        self.count += len(entries)
        self.hashes = (self.hashes + sum(map(hash, map(self.identity, entries)))) & _HASH_MASK
        self.last = entries[-1].key


def list_objects(
    bucket: ListedBucket,
    prefix: str,
    *,
    start_after: str = "",
    parallel: int = 1,
    believe: Believe = Believe.LISTING,
) -> Listing:
    """Each object under *prefix* with a key > *start_after*, once, keys strictly ascending in UTF-8 bytes.

    The next pages are fetched meanwhile by *parallel* threads, over ranges of keys when more than one; closing the
    listing ends them. Holds at most 12 pages and 8 more per thread, or `bucket.sort_memory` bytes when the server's
    listing is not in order. Of a key listed twice (overwritten meanwhile) the newest entry counts. What an entry does
    not tell is asked by a HEAD. Raises ListingRefused when the listing cannot be trusted, ListingUnordered when it
    must be begun anew (with the same habits, it then succeeds), LocalDiskError, and what `bucket.fetch` raises after
    retries.
    """
    walk = _Walk(bucket, Span(prefix, start_after, max(1, parallel)), Kind.OBJECTS, believe)
    return Listing(walk.objects(), walk.tally)


def ask_listing(bucket: ListedBucket, prefix: str) -> None:
    """One LIST of at most one key, to see whether it is answered. Raises what list_objects would."""
    PageSource(bucket, prefix, Kind.OBJECTS, limit=(("max-keys", "1"),)).read("", ())


def list_versions(
    bucket: ListedBucket, prefix: str, *, start_after: str = "", believe: Believe = Believe.LISTING
) -> Listing:
    """Each version and delete marker under *prefix* of keys > *start_after*: keys ascending, of one key the oldest
    first, the latest last.

    Whichever order the server uses, and also within one second, as far as the listing shows it: the tally names the
    keys for which it does not. The versions of a key that has no latest one, or several, are unsupported. Promises and
    errors as list_objects.
    """
    walk = _Walk(bucket, Span(prefix, start_after, 1, repeats=True), Kind.VERSIONS, believe)
    return Listing(walk.versions(), walk.tally)


@dataclass(slots=True)
class _Walk:
    """One walk over a bucket."""

    bucket: ListedBucket
    span: Span
    kind: Kind
    believe: Believe
    tally: PageTally = field(default_factory=PageTally)

    def objects(self) -> Generator[ListedEntry, None, None]:
        """The entries, each as it can be planned."""
        source = self._source()
        with closing(self._pages(source)) as pages:
            yield from settled(pages, self._settler(source))

    def versions(self) -> Generator[ListedEntry, None, None]:
        """The same of versions, oldest first."""
        source, habits = self._source(), self.bucket.habits
        order = VersionOrder(self.tally, in_order=lambda: not habits.unordered)
        histories = Histories(self._settler(source), order, self.bucket.sort_memory)
        with closing(self._pages(source)) as pages:
            for _, group in groupby(chain.from_iterable(pages), _key):
                yield from histories.oldest_first(group)
        habits.interleaves = order.conclude(habits.interleaves)

    def _source(self) -> PageSource:
        return PageSource(self.bucket, self.span.prefix, self.kind)

    def _settler(self, source: PageSource) -> Settler:
        return Settler(self.bucket.patient_head(), source.times, self.believe)

    def _pages(self, source: PageSource) -> Generator[Sequence[ShownEntry], None, None]:
        """In the server's order when that ascends, else sorted."""
        handed_out = _HandedOut(_IDENTITY[self.kind])
        if not self.bucket.habits.unordered:
            try:
                for page in self._pages_in_order(source):
                    handed_out.add(page)
                    yield page
                return
            except OutOfOrder:
                self.bucket.habits.unordered = True
        self.tally.begin_again()
        rest = self._sorted_behind(self._source(), handed_out)
        while some := list(islice(rest, _SETTLED_AT_ONCE)):
            yield some

    def _pages_in_order(self, source: PageSource) -> Iterator[list[ShownEntry]]:
        """Pages as the server gives them, the first few held back. Raises OutOfOrder."""
        pages = RangedPages(source.read, self.span, self.tally)
        try:
            coming = iter(pages)
            yield from list(islice(coming, HELD_BACK))
            yield from coming
        finally:
            source.stop.set()
            pages.close()

    def _sorted_behind(self, source: PageSource, handed_out: _HandedOut) -> Iterator[ShownEntry]:
        """List everything into the sorter; give what comes after the last key handed out."""
        listing = self._within_the_span(self._pages_as_they_come(source))
        entries = sorted_listing(listing, _SORT_KEY[self.kind], self.bucket.sort_memory)
        yield from self._rest(self._without_repeats(entries, source), handed_out)

    def _within_the_span(self, pages: Iterable[list[ShownEntry]]) -> Iterator[ShownEntry]:
        for page in pages:
            for listed in page:
                if listed.key > self.span.start_after:
                    yield listed
                else:
                    self.tally.set_aside += 1

    def _pages_as_they_come(self, source: PageSource) -> Iterator[list[ShownEntry]]:
        """The pages of one chain of continuations, whatever their order. Raises ListingRefused when it has no end."""
        loop = TokenLoop()
        page = source.read(self.span.start_after, ())
        seen: set[int] = set()
        repeated = 0
        while True:
            self.tally.shown += page.shown
            yield page.entries
            if not page.following:
                return
            loop.check(page.following, len(page.entries))
            place = hash((page.entries[0].key, page.entries[-1].key, len(page.entries))) if page.entries else 0
            repeated += place in seen
            seen.add(place)
            if repeated > max(_REPEATED_PAGES, len(seen)) and page.entries:
                raise ListingRefused(
                    f"the server keeps repeating pages of bucket {self.bucket.name!r}, from "
                    f"{page.entries[0].key!r} on. Nothing is planned from a listing that cannot be trusted",
                    operation="LIST",
                )
            page = source.read("", page.following)

    def _without_repeats(self, entries: Iterable[ShownEntry], source: PageSource) -> Iterator[ShownEntry]:
        """Of objects with one key the last, which the sort order makes the newest; of versions each once."""
        held: ShownEntry | None = None
        for listed in entries:
            if held is not None and (held.key, held.version_id) != (listed.key, listed.version_id):
                yield held
            elif held is not None:
                self.tally.set_aside += 1
                listed = _repeated(held, listed, source)  # noqa: PLW2901
            held = listed
        if held is not None:
            yield held

    def _rest(self, entries: Iterator[ShownEntry], handed_out: _HandedOut) -> Iterator[ShownEntry]:
        """The entries behind those handed out, if those are exactly the ones before."""
        if handed_out.last is None:
            yield from entries
            return
        count = hashes = 0
        first_behind: list[ShownEntry] = []
        for listed in entries:
            if listed.key > handed_out.last:
                first_behind.append(listed)
                break
            count += 1
            hashes = (hashes + hash(handed_out.identity(listed))) & _HASH_MASK
        if (count, hashes) != (handed_out.count, handed_out.hashes):
            raise ListingUnordered(
                f"the listing of bucket {self.bucket.name!r} is not in order, which showed only after "
                f"{handed_out.last!r}. It must be listed again and sorted",
                operation="LIST",
                key=handed_out.last,
            )
        yield from chain(first_behind, entries)


def _repeated(held: ShownEntry, listed: ShownEntry, source: PageSource) -> ShownEntry:
    """The entry that counts of two with one key; a flawed one when two objects may stand behind them."""
    other = listed.key.replace("+", " ") if "+" in listed.key else listed.key.replace(" ", "+")
    if other == listed.key or held[:4] == listed[:4]:
        return listed
    if source.key_exists(other, ListedText("", held.size, held.etag)) is not KeyExists.SAME:
        return listed
    return PartialEntry(*listed[:10], WHICH_KEY)
