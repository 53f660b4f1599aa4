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
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain, groupby, islice
from operator import attrgetter

from schema.errors import ListingRefused, ListingUnordered, ResponseUnreadable, StoreError
from schema.objects import ListedEntry
from storage.listing.coding import KeyCodings, KeyExists, ListedText
from storage.listing.entry import PartialEntry, ShownEntry, Times
from storage.listing.history import History, VersionOrder
from storage.listing.page import WHICH_KEY, Page, PageReader, Query
from storage.listing.ranges import OutOfOrder, RangedPages, ReadPage, TokenLoop
from storage.listing.settle import AskHead, Settler, key_exists, settled
from storage.listing.sorting import ExternalSort, SortKey, by_age, by_key, without_positions
from storage.port import Listing, Tally
from storage.retrying import Retry

PageFetch = Callable[[list[tuple[str, str]]], bytes]
"""One LIST request with these query parameters (not yet encoded); the whole body. Raises StoreError."""

SORT_MEMORY = 64 * 1024 * 1024
HELD_BACK = 4
"""Pages looked at before the first key is handed out."""
_SETTLED_AT_ONCE = 1000
_REPEATED_PAGES = 100
"""Pages seen before that a server without order may send again before it is taken to go in circles."""
_HASH_MASK = (1 << 64) - 1
_REFUSALS = (400, 405, 501)
"""Statuses of servers that do not know a parameter of the listing."""

_key = attrgetter("key")


@dataclass(slots=True)
class ListingHabits:
    """What listings have shown of one bucket's server. Keep one per bucket and hand it to every listing of it."""

    unordered: bool = False
    """True: sort from the start."""
    form: int = 0
    """Which way to ask the server understands: see _Kind.forms."""
    answered: bool = False
    """True: it has answered to that form."""
    codings: KeyCodings = field(default_factory=KeyCodings)
    interleaves: bool = False
    """True: it was seen to list a delete marker between the versions of its key."""


class _Closed(Exception):
    """The listing was closed while a page was being retried."""


@dataclass(slots=True)
class _HandedOut:
    """A digest of the entries handed out so far, independent of their order."""

    count: int = 0
    hashes: int = 0
    last: str | None = None

    def add(self, entries: Sequence[ShownEntry], identity: Callable[[ShownEntry], int]) -> None:
        """Entries in ascending order have been handed out."""
        self.count += len(entries)
        self.hashes = (self.hashes + sum(map(identity, entries))) & _HASH_MASK
        self.last = entries[-1].key


@dataclass(frozen=True, slots=True)
class _Kind:
    """In what the two listings differ."""

    forms: tuple[Query, ...]
    """Ways to ask, the best first. Each is tried when the server refuses the one before."""
    parse: Callable[[PageReader, bytes], Page]
    sort_key: SortKey
    identity: Callable[[ShownEntry], int]
    repeats: bool


_ENCODED = ("encoding-type", "url")
_OBJECTS = _Kind(
    forms=((("list-type", "2"), _ENCODED), (_ENCODED,), ()),
    parse=PageReader.objects,
    sort_key=by_key,
    identity=lambda listed: hash(listed.key),
    repeats=False,
)
_VERSIONS = _Kind(
    forms=((("versions", ""), _ENCODED), (("versions", ""),)),
    parse=PageReader.versions,
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
    habits: ListingHabits | None = None,
    head: AskHead | None = None,
    distrusted: bool = False,
) -> Listing:
    """Each object under *prefix* with a key > *start_after*, once, keys strictly ascending in UTF-8 bytes.

    The next pages are fetched meanwhile by *parallel* threads, over ranges of keys when more than one; closing the
    listing ends them. Holds at most 12 pages and 8 more per thread, or *sort_memory* bytes when the server's
    listing is not in order. Of a key listed twice (overwritten meanwhile) the newest entry counts. What an entry does
    not tell is asked by *head* (None: such entries are unsupported); *distrusted*: so is what it tells.
    *fetch* and *head* must be usable from several threads. Raises ListingRefused when the listing cannot be trusted,
    ListingUnordered when it must be begun anew (with the same *habits*, it then succeeds), LocalDiskError, and
    what *fetch* raises after *retry*.
    """
    listing = _Listing(
        _OBJECTS, fetch, bucket, prefix, start_after, parallel, sort_memory, retry or Retry(),
        habits or ListingHabits(), head, distrusted,
    )  # fmt: skip
    return Listing(listing.settled(), listing.tally)


def ask_listing(
    fetch: PageFetch, bucket: str, prefix: str, *, retry: Retry | None = None, habits: ListingHabits | None = None
) -> None:
    """One LIST of at most one key: only to see whether it is answered. Raises what list_objects would."""
    one = ("max-keys", "1")
    kind = replace(_OBJECTS, forms=tuple((*form, one) for form in _OBJECTS.forms))
    listing = _Listing(
        kind, fetch, bucket, prefix, "", 1, SORT_MEMORY, retry or Retry(), habits or ListingHabits(), None, False
    )
    listing.first_page()


def list_versions(
    fetch: PageFetch,
    bucket: str,
    prefix: str,
    *,
    sort_memory: int = SORT_MEMORY,
    retry: Retry | None = None,
    habits: ListingHabits | None = None,
    head: AskHead | None = None,
    distrusted: bool = False,
) -> Listing:
    """Each version and delete marker under *prefix*: keys ascending, of one key the oldest first, the latest last.

    Whichever order the server uses, and also within one second, as far as the listing tells: the tally names the keys
    of which it does not. The versions of a key that has no latest one, or several, are unsupported. Promises and
    errors as list_objects.
    """
    listing = _Listing(
        _VERSIONS, fetch, bucket, prefix, "", 1, sort_memory, retry or Retry(), habits or ListingHabits(), head,
        distrusted,
    )  # fmt: skip
    return Listing(listing.histories(), listing.tally)


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
    retry: Retry
    habits: ListingHabits
    head: AskHead | None
    distrusted: bool
    tally: Tally = field(default_factory=Tally)
    times: Times = field(default_factory=Times)

    def settled(self) -> Generator[ListedEntry, None, None]:
        """The entries, each as it can be planned."""
        with closing(self.pages()) as pages:
            yield from settled(pages, self._settler())

    def histories(self) -> Generator[ListedEntry, None, None]:
        """The same of versions, oldest first."""
        order = VersionOrder(self.tally, in_order=lambda: not self.habits.unordered)
        with closing(self.pages()) as pages:
            for _, group in groupby(chain.from_iterable(pages), _key):
                yield from History(group, self._settler(), order, self.sort_memory).oldest_first()
        self.habits.interleaves = order.conclude(self.habits.interleaves)

    def _settler(self) -> Settler:
        return Settler(self._patient_head(), self.times, self.distrusted)

    def _patient_head(self) -> AskHead | None:
        """`head` with retries."""
        head = self.head
        if head is None:
            return None
        return lambda key, version_id: self.retry.call(lambda: head(key, version_id))

    def pages(self) -> Generator[Sequence[ShownEntry], None, None]:
        """In the server's order when that ascends, else sorted."""
        handed_out = _HandedOut()
        if not self.habits.unordered:
            try:
                for page in self._pages_in_order():
                    handed_out.add(page, self.kind.identity)
                    yield page
                return
            except OutOfOrder:
                self.habits.unordered = True
        self.tally.begin_again()
        rest = self._sorted_behind(handed_out)
        while some := list(islice(rest, _SETTLED_AT_ONCE)):
            yield some

    def _pages_in_order(self) -> Iterator[list[ShownEntry]]:
        """Pages as the server gives them, the first few held back. Raises OutOfOrder."""
        stop = threading.Event()
        pages = RangedPages(
            self._reader(stop),
            prefix=self.prefix,
            start_after=self.start_after,
            workers=max(1, self.parallel),
            repeats=self.kind.repeats,
            tally=self.tally,
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

        def wait(seconds: float) -> None:
            self.retry.wait(seconds)
            if stop.is_set():
                raise _Closed

        patient = replace(self.retry, wait=wait)
        pages = PageReader(self.bucket, self.prefix, self.habits.codings, self._key_exists, self.times)

        def once(start_after: str, following: Query) -> Page:
            return self.kind.parse(pages, self.fetch(self._query(start_after, following)))

        def read(start_after: str, following: Query) -> Page:
            try:
                page = self._in_a_form_it_knows(lambda: patient.call(lambda: once(start_after, following)))
            except ResponseUnreadable as error:
                raise ListingRefused(
                    str(error), operation="LIST", status=error.status, code=error.code, request_id=error.request_id
                ) from error
            if page.following and page.following[0][0] == "marker":
                self.habits.form = max(1, self.habits.form)
            return page

        return read

    def _query(self, start_after: str, following: Query) -> list[tuple[str, str]]:
        form = self.kind.forms[self.habits.form]
        known = any(name == "list-type" for name, _ in form)
        begin: Query = (("start-after" if known else "marker", start_after),) if start_after else ()
        return [*form, *([("prefix", self.prefix)] if self.prefix else []), *(following or begin)]

    def _in_a_form_it_knows(self, read: Callable[[], Page]) -> Page:
        """*read*, in an older form of the question when the server refuses the one that was understood so far."""
        began = self.habits.form
        try:
            page = read()
            self.habits.answered = True
            return page
        except StoreError as refused:
            if refused.status not in _REFUSALS or self.habits.answered:
                raise
            for form in range(began + 1, len(self.kind.forms)):
                self.habits.form = form
                try:
                    return read()
                except StoreError as again:
                    if again.status not in _REFUSALS:
                        self.habits.form = began
                        raise refused from again
            self.habits.form = began
            raise

    def _key_exists(self, key: str, listed: ListedText) -> KeyExists:
        head = self._patient_head()
        return KeyExists.UNKNOWN if head is None else key_exists(head, key, listed)

    def _sorted_behind(self, handed_out: _HandedOut) -> Iterator[ShownEntry]:
        """List everything into the sorter; give what comes after the last key handed out."""
        with ExternalSort(self.kind.sort_key, self.sort_memory) as sorter:
            for page in self._pages_as_they_come():
                for listed in page:
                    if listed.key > self.start_after:
                        sorter.add(listed)
                    else:
                        self.tally.set_aside += 1
            entries = self._without_repeats(without_positions(sorter.sorted()))
            yield from self._rest(entries, handed_out)

    def _pages_as_they_come(self) -> Iterator[list[ShownEntry]]:
        """The pages of one chain of continuations, whatever their order. Raises ListingRefused when it has no end."""
        read, loop = self._reader(threading.Event()), TokenLoop()
        page = read(self.start_after, ())
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
                    f"the server goes on sending pages of bucket {self.bucket!r} it has sent before, from "
                    f"{page.entries[0].key!r} on. Nothing is planned from a listing that cannot be trusted",
                    operation="LIST",
                )
            page = read("", page.following)

    def _without_repeats(self, entries: Iterable[ShownEntry]) -> Iterator[ShownEntry]:
        """Of objects with one key the last, which the sort order makes the newest; of versions each once."""
        held: ShownEntry | None = None
        for listed in entries:
            if held is not None and (held.key, held.version_id) != (listed.key, listed.version_id):
                yield held
            elif held is not None:
                self.tally.set_aside += 1
                listed = self._repeated(held, listed)  # noqa: PLW2901
            held = listed
        if held is not None:
            yield held

    def _repeated(self, held: ShownEntry, listed: ShownEntry) -> ShownEntry:
        """The entry that counts of two with one key; a flawed one when two objects may stand behind them."""
        other = listed.key.replace("+", " ") if "+" in listed.key else listed.key.replace(" ", "+")
        if other == listed.key or held[:4] == listed[:4]:
            return listed
        if self._key_exists(other, ListedText("", held.size, held.etag)) is not KeyExists.SAME:
            return listed
        return PartialEntry(*listed[:10], WHICH_KEY)

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
            hashes = (hashes + self.kind.identity(listed)) & _HASH_MASK
        if (count, hashes) != (handed_out.count, handed_out.hashes):
            raise ListingUnordered(
                f"the listing of bucket {self.bucket!r} is not in order, which showed only after "
                f"{handed_out.last!r}. It must be begun anew and sorted",
                operation="LIST",
                key=handed_out.last,
            )
        yield from chain(first_behind, entries)
