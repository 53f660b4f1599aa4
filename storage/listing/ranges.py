"""Pages of one listing fetched by several threads over ranges of keys, handed out in order.

The key space under the prefix is a row of contiguous ranges, each open at its start and closed at its end. Ranges
are not laid out beforehand: an idle thread cuts one off the remainder of the earliest unfinished range, about
`PAGES_PER_RANGE` pages ahead of what is known, as extrapolated from the last page seen there (storage.keyspace).
A wrong guess costs requests, never correctness: a range that turns out fat is cut again, one page that shows a gap
closes every range inside the gap at once, and nothing is cut while empty answers exceed half of the useful ones.
Each cut costs part of a page, which two ranges show; so nothing is cut either while the consumer has pages enough.

What a server answers to start-after is held against what it sends anyway: the page that leads across a range's end
shows the key with which the next range must begin. Where that begins otherwise (a gateway that skips to the next
folder, or a key written or removed meanwhile), the chain of continuations counts and goes on through the next range.

Memory: at most 2 x PAGES_PER_RANGE x workers pages, and the one being consumed.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

from schema.errors import ListingRefused
from storage.listing.entry import ShownEntry
from storage.listing.keyspace import KeySpace
from storage.listing.page import LONE_SURROGATE, Page, Query
from storage.port import PageTally

PAGES_PER_RANGE = 4
"""How far ahead of a known key a new range begins."""
MOST_DOUBTS = 3
"""Ranges that may begin with another key than the page before shows; then no more are cut."""
MOST_EMPTY = 10_000
"""Pages without an entry in a row: delete markers and tombstones make some servers send very many."""
_CLOSE_SECONDS = 5.0

ReadPage = Callable[[str, Query], Page]
"""(start_after, following): one page, after retries. *following* is what the page before said, () for the first."""

_key = attrgetter("key")


class OutOfOrder(Exception):
    """The server's keys do not ascend, or it ignores start-after. Raised within this package only."""


class TokenLoop:
    """Detects a chain of continuations without an end: a loop, or endless empty pages.

    In constant memory (Brent's algorithm).
    """

    def __init__(self) -> None:
        self._kept: Query = ()
        self._steps = 0
        self._limit = 1
        self._empty = 0

    def check(self, following: Query, entries: int) -> None:
        """Call after each page. Raises ListingRefused when *following* has been seen before (at the latest two circles
        later), and after MOST_EMPTY pages without an entry.
        """
        self._empty = 0 if entries else self._empty + 1
        if self._empty > MOST_EMPTY:
            raise ListingRefused(
                f"the server sent {MOST_EMPTY:,} empty pages in a row and announces more: the listing would never end. "
                "Nothing is planned from a listing that cannot be trusted",
                operation="LIST",
                status=200,
            )
        if following and following == self._kept:
            raise ListingRefused(
                f"the server returned the same continuation again ({following[0][1][:80]!r}): the listing would never "
                "end. Nothing is planned from a listing that cannot be trusted",
                operation="LIST",
                status=200,
            )
        self._steps += 1
        if self._steps == self._limit or not self._kept:
            self._kept, self._steps, self._limit = following, 0, self._limit * 2


@dataclass(frozen=True, slots=True)
class Span:
    """What is to be listed, and by how many threads."""

    prefix: str = ""
    start_after: str = ""
    workers: int = 1
    repeats: bool = False
    """One key may come several times (versions)."""


class Overlap(NamedTuple):
    """What the page that led across a range's end shows of the next one."""

    entries: list[ShownEntry]
    following: Query


@dataclass(slots=True, eq=False)
class Range:
    """Keys in (start, end]; end None: to the last key. Read up to *cursor*. Belongs to its `Ranges`."""

    start: str
    end: str | None
    cursor: str
    density: tuple[str, str] | None = None
    """First and last key of a full page in this neighbourhood."""
    following: Query = ()
    pages: deque[list[ShownEntry]] = field(default_factory=deque)
    loop: TokenLoop = field(default_factory=TokenLoop)
    first: str | None = None
    """The key that its first answer with keys began with."""
    overlap: Overlap | None = None
    """What is to be held against its first answer."""
    fetching: bool = False
    done: bool = False
    joined: bool = False
    """The range before goes on through it."""

    @property
    def untouched(self) -> bool:
        """Nothing is known of it yet."""
        return self.overlap is None and not self.pages and not self.following and self.cursor == self.start


class Ranges:
    """Decides which page to request next, what an answer means, and what may be handed out. Pure; not thread-safe.

    *tally*: to be kept of all pages received.
    """

    def __init__(self, span: Span, tally: PageTally) -> None:
        self._tally = tally
        self._prefix = span.prefix
        self._start_after = span.start_after
        self._workers = span.workers
        self._repeats = span.repeats
        self._ranges = [Range(span.start_after, None, span.start_after)]
        self._space = KeySpace()
        self._useful = self._wasted = self._doubts = 0

    @property
    def complete(self) -> bool:
        """No page needs to be asked for any more."""
        return all(each.done for each in self._ranges)

    @property
    def exhausted(self) -> bool:
        """Every page has been handed out."""
        return len(self._ranges) == 1 and self._ranges[0].done and not self._ranges[0].pages

    @property
    def held(self) -> int:
        """Pages in memory, and those on their way."""
        return sum(len(each.pages) + each.fetching for each in self._ranges)

    @property
    def ready(self) -> int:
        """Pages that the consumer can take without waiting for another answer."""
        pages = 0
        for each in self._ranges:
            pages += len(each.pages)
            if not each.done:
                break
        return pages

    def pop(self) -> list[ShownEntry] | None:
        """The next page in the order of keys; None when it is not there yet."""
        self._drop_finished()
        head = self._ranges[0]
        return head.pages.popleft() if head.pages else None

    def _drop_finished(self) -> None:
        """Forget ranges that are behind the consumer, so that the first one is what it waits for."""
        while len(self._ranges) > 1 and self._ranges[0].done and not self._ranges[0].pages:
            del self._ranges[0]

    def choose(self) -> Range | None:
        """The range to fetch a page for, marked as fetching; None when nothing may be fetched now.

        What the consumer will need first: the earliest range with room, else a new one cut off behind it.
        """
        self._drop_finished()
        chosen = self._nearest()
        if chosen is not None:
            chosen.fetching = True
        return chosen

    def _nearest(self) -> Range | None:
        room = PAGES_PER_RANGE * self._workers
        if self.held >= 2 * room:
            head = self._ranges[0]
            return None if head.pages or head.fetching or head.done else head
        near: list[Range] = []
        before = 0
        for each in self._ranges:
            before += len(each.pages) + each.fetching
            # Pages far ahead must not take the memory of those that come before them.
            if before >= room:
                break
            if not each.done and not each.fetching:
                return each
            near.append(each)
        if self._workers == 1 or self._doubts >= MOST_DOUBTS or self._wasted > self._useful // 2 + 2 * self._workers:
            return None
        return None if self.ready >= room // 2 else self._cut(near)

    def _cut(self, among: Sequence[Range]) -> Range | None:
        """Split the earliest range that is longer than a few pages. The new one begins where the old one now ends."""
        for each in among:
            if each.done or each.density is None:
                continue
            first, last = each.density
            point = self._space.ahead(first, last, each.cursor, pages=PAGES_PER_RANGE)
            if point is None or not point.startswith(self._prefix) or point <= each.cursor:
                continue
            if each.end is not None:
                beyond = self._space.ahead(first, last, each.cursor, pages=PAGES_PER_RANGE + 2)
                if point >= each.end or beyond is None or beyond >= each.end:
                    continue
            right = Range(point, each.end, point, density=each.density)
            each.end = point
            self._ranges.insert(self._ranges.index(each) + 1, right)
            return right
        return None

    def receive(self, taken: Range, page: Page) -> None:
        """Check a page's order, cut it at the range's end, and update the ranges."""
        taken.fetching = False
        entries = page.entries
        self._tally.shown += page.shown
        if taken.joined or taken.done:  # nobody needs it any more, whatever it holds
            self._wasted += 1
            self._tally.set_aside += len(entries)
            return
        if page.following:
            taken.loop.check(page.following, len(entries))
        if not page.ascending:
            raise OutOfOrder
        if entries and not self._after_cursor(taken, entries[0].key):
            entries = self._without_ignored_start(taken, entries)
        self._learn(taken, entries)
        self._place(taken, *self._as_shown_before(taken, entries, page.following))

    def _as_shown_before(
        self, taken: Range, entries: list[ShownEntry], following: Query
    ) -> tuple[list[ShownEntry], Query]:
        """The answer, or what the page before shows of *taken* where its first answer is another."""
        shown = taken.overlap
        if shown is not None and (entries or not following):
            taken.overlap = None
            self._doubts += not entries or entries[0].key != shown.entries[0].key
            if not entries or entries[0].key > shown.entries[0].key:
                self._tally.set_aside += len(entries) - len(shown.entries)
                entries, following = shown
        if entries and taken.first is None:
            taken.first = entries[0].key
        return entries, following

    def _place(self, taken: Range, entries: list[ShownEntry], following: Query) -> None:
        """Keep what belongs to *taken*."""
        beyond: str | None = None
        while beyond is None and taken.end is not None and entries and entries[-1].key > taken.end:
            kept = bisect_right(entries, taken.end, key=_key)
            if taken.done or self._begins(taken, Overlap(entries[kept:], following)):
                beyond = entries[kept].key
                self._tally.set_aside += len(entries) - kept
                entries = entries[:kept]
        if entries and not taken.done:
            self._useful += 1
            taken.pages.append(entries)
            taken.cursor = entries[-1].key
        else:
            self._wasted += 1
            self._tally.set_aside += len(entries)
        if beyond is not None or not following:
            taken.done = True
            self._close_gap(taken, beyond)
        else:
            taken.following = following

    def _begins(self, taken: Range, shown: Overlap) -> bool:
        """Whether the range behind *taken* begins, or is yet to begin, as *shown*; else *taken* now goes on through it.

        Raises OutOfOrder when each shows keys that the other does not.
        """
        beyond = shown.entries[0].key
        at = self._ranges.index(taken) + 1
        last = next(n for n in range(at, len(self._ranges)) if (end := self._ranges[n].end) is None or end >= beyond)
        follower = self._ranges[last]
        if follower.first == beyond:
            return True
        if follower.first is None and not follower.done:
            follower.overlap = shown
            return True
        self._doubts += 1
        if follower.first is not None and follower.first < beyond:
            return True  # it shows more
        if any(each.first is not None for each in self._ranges[at:last]):
            raise OutOfOrder
        for each in self._ranges[at : last + 1]:
            each.joined = True
            self._tally.set_aside += sum(map(len, each.pages))
        taken.end = follower.end
        del self._ranges[at : last + 1]
        return False

    def _after_cursor(self, taken: Range, key: str) -> bool:
        if key == taken.cursor:
            return self._repeats and bool(taken.following) and key != self._start_after
        return key > taken.cursor

    def _without_ignored_start(self, taken: Range, entries: list[ShownEntry]) -> list[ShownEntry]:
        """The page without keys up to start_after, for a server that ignores it; else raises OutOfOrder."""
        if self._workers > 1 or taken.cursor != self._start_after:
            raise OutOfOrder
        behind = [listed for listed in entries if listed.key > self._start_after]
        self._tally.set_aside += len(entries) - len(behind)
        return behind

    def _learn(self, taken: Range, entries: Sequence[ShownEntry]) -> None:
        """Note how dense keys lie here and what they are made of."""
        if self._workers > 1 and len(entries) > 1:
            taken.density = (entries[0].key, entries[-1].key)
            some = (listed.key for listed in (*entries[:: max(1, len(entries) // 8)], entries[-1]))
            self._space.learn(key for key in some if key.isascii() or not LONE_SURROGATE.search(key))

    def _close_gap(self, taken: Range, beyond: str | None) -> None:
        """No key lies between the end of *taken* and *beyond* (None: none at all): the ranges between are finished."""
        for each in self._ranges[self._ranges.index(taken) + 1 :] if taken in self._ranges else ():
            if beyond is not None and (each.end is None or each.end >= beyond):
                return
            if each.untouched:
                each.done = True


class RangedPages:
    """Lists of objects whose keys ascend through all of them; with one worker, plain read-ahead.

    Iterate once, then `close`, which ends every thread. Iterating raises OutOfOrder, ListingRefused, and what *read*
    raises.
    """

    def __init__(self, read: ReadPage, span: Span, tally: PageTally) -> None:
        self._read = read
        self._workers = span.workers
        self._ranges = Ranges(span, tally)
        self._lock = threading.Lock()
        self._came = threading.Condition(self._lock)
        """For the consumer: a page came, or none will."""
        self._wanted = threading.Condition(self._lock)
        """For one idle thread at a time, as all would find the same: there may be a page to request."""
        self._stopped = False
        self._failure: BaseException | None = None
        self._threads: list[threading.Thread] = []

    def __iter__(self) -> Iterator[list[ShownEntry]]:
        for number in range(self._workers):
            thread = threading.Thread(target=self._work, name=f"listing-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()
        while (page := self._next_page()) is not None:
            yield page

    def close(self) -> None:
        """Ask every thread to stop and wait for it (a request under way is waited for, but not for ever)."""
        with self._lock:
            self._stop()
        for thread in self._threads:
            thread.join(timeout=_CLOSE_SECONDS)

    def _stop(self) -> None:
        self._stopped = True
        self._came.notify_all()
        self._wanted.notify_all()

    def _next_page(self) -> list[ShownEntry] | None:
        """Wait for the next page in the order of keys; None at the end."""
        with self._lock:
            while True:
                if self._failure is not None:
                    raise self._failure
                page = self._ranges.pop()
                if page is not None:
                    self._wanted.notify()
                    return page
                if self._ranges.exhausted:
                    return None
                self._came.wait()

    def _work(self) -> None:
        """One thread: take a range, fetch a page, put it where it belongs."""
        try:
            while (taken := self._take()) is not None:
                page = self._read("" if taken.following else taken.start, taken.following)
                with self._lock:
                    self._ranges.receive(taken, page)
                    self._came.notify()
                    if self._ranges.complete:
                        self._wanted.notify_all()
        except BaseException as error:  # raised again where the pages are consumed
            with self._lock:
                self._failure = self._failure or error
                self._stop()

    def _take(self) -> Range | None:
        """Wait for a range that wants a page; None when there will be none any more."""
        with self._lock:
            while not self._stopped and not self._ranges.complete:
                chosen = self._ranges.choose()
                if chosen is not None:
                    self._wanted.notify()  # there may be more
                    return chosen
                self._wanted.wait()
            return None
