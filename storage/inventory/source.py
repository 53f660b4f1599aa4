"""An inventory as a side's listing: in order, each key once, completed by HEADs and topped up by listings where asked.

Rows come in no order and are sorted on disk. What is under a prefix that is topped up is taken from a listing made now,
and from nowhere else, so that objects written and removed there since the inventory are right; of all other keys the
inventory is believed. Every row is accounted for: handed out, or set aside and counted.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from itertools import groupby, islice
from operator import attrgetter

from schema.declaration import MissingValues
from schema.errors import ObjectMissing, Scope, StoreError
from schema.formats.quantities import count_text, counted_text
from schema.objects import ListedEntry, ListedObject
from schema.plan import Level, ListingKind, Risk
from storage.inventory.columns import current
from storage.listing.asking import SORT_MEMORY
from storage.listing.entry import PartialEntry, ShownEntry, Times, new_object
from storage.listing.history import Histories, VersionOrder
from storage.listing.order import Positioned, sorted_listing
from storage.listing.settle import AT_ONCE, AskHead, Settler, told_length, unsupported
from storage.listing.source import BucketSource
from storage.port import Believe, Listing, PageTally

_TOGETHER = 1000
"""Entries completed at a time."""
_NAMED = 3
_key = attrgetter("key")


class Absent(Enum):
    """What becomes of a key that an inventory names and the bucket does not hold."""

    UNSUPPORTED = "unsupported"
    """Of a source: it is named in the plan, as what cannot be migrated."""
    PASSED_OVER = "passed over"
    """Of a destination: there is nothing there, which is what a listing would say."""


@dataclass(frozen=True, slots=True)
class InventoryTerms:
    """How an inventory is to be read."""

    kind: ListingKind
    prefix: str
    """Keys that do not begin with it are set aside."""
    missing_values: MissingValues
    absent: Absent
    believe: Believe = Believe.LISTING
    """HEAD: every object is asked."""
    sort_memory: int = SORT_MEMORY


@dataclass(slots=True)
class HeadTally:
    """Which HEADs were sent, and what they did not find."""

    asked: int = 0
    absent: int = 0
    examples: list[str] = field(default_factory=list)

    def missing(self, key: str) -> None:
        """There is no *key*."""
        self.absent += 1
        if len(self.examples) < _NAMED:
            self.examples.append(key)


@dataclass(frozen=True, slots=True)
class InventorySource:
    """A ListingSource backed by an inventory."""

    entries: Callable[[], Iterator[ShownEntry]]
    """The inventory's entries, in any order, from the beginning at each call."""
    terms: InventoryTerms
    origin: str
    """'source inventory s3://...', for messages."""
    head: AskHead
    """With retries."""
    top_ups: Sequence[BucketSource]
    """Listings, of prefixes apart from each other, in the place of what the inventory says under them."""
    notes: Sequence[Risk] = ()
    """What is known of the inventory before it is read."""
    heads: HeadTally = field(default_factory=HeadTally)

    @property
    def kind(self) -> ListingKind:
        """See ListingSource."""
        return self.terms.kind

    def listing(self) -> Listing:
        """See ListingSource."""
        tally = PageTally()
        return Listing(self._merged(tally), tally)

    def remarks(self) -> Sequence[Risk]:
        """See ListingSource."""
        found = list(self.notes)
        if self.heads.asked:
            text = (
                f"{counted_text(self.heads.asked, 'object')} of the {self.origin} asked by HEAD while planning, at the "
                "price of a GET each; each plan anew asks again"
            )
            found.append(Risk("inventory-heads", Level.LOW, text))
        if self.heads.absent:
            named = ", ".join(ascii(key) for key in self.heads.examples)
            text = f"{counted_text(self.heads.absent, 'key')} of the {self.origin} not in the bucket ({named})"
            found.append(Risk("inventory-absent", Level.MEDIUM, text))
        return found

    def _merged(self, tally: PageTally) -> Generator[ListedEntry, None, None]:
        listings = [source.listing() for source in self.top_ups]
        try:
            ours = self._histories(tally) if self.kind is ListingKind.VERSIONS else self._objects(tally)
            yield from heapq.merge(ours, *listings, key=_key) if listings else ours
            for listing in listings:
                tally.shown += listing.tally.shown
                tally.set_aside += listing.tally.set_aside
                for key in listing.tally.unclear_examples:
                    tally.unclear(key)
                tally.unclear_keys += listing.tally.unclear_keys - len(listing.tally.unclear_examples)
        finally:
            for listing in listings:
                listing.close()

    def _due(self, tally: PageTally) -> Iterator[ShownEntry]:
        """The inventory's entries that this listing is to show."""
        instead = tuple(source.prefix for source in self.top_ups)
        objects = self.kind is ListingKind.OBJECTS
        for entry in self.entries():
            tally.shown += 1
            due = current(entry) if objects else entry
            if due is None or not due.key.startswith(self.terms.prefix) or (instead and due.key.startswith(instead)):
                tally.set_aside += 1
            else:
                yield due

    def _objects(self, tally: PageTally) -> Iterator[ListedEntry]:
        ascending = iter(self._once(sorted_listing(self._due(tally), as_listed, self.terms.sort_memory), tally))
        believed = self.terms.believe is Believe.LISTING
        while block := list(islice(ascending, _TOGETHER)):
            if believed and all(type(entry) is ListedObject for entry in block):
                yield from block  # type: ignore[misc]  # every one a ListedObject
                continue
            with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="inventory-head") as pool:
                for completed in pool.map(self._completed, block):
                    if completed is None:
                        tally.set_aside += 1
                    else:
                        yield completed

    def _once(self, entries: Iterable[ShownEntry], tally: PageTally) -> Iterator[ShownEntry]:
        """Of rows of one key the newest, which comes first."""
        last: str | None = None
        for entry in entries:
            if entry.key == last:
                tally.set_aside += 1
            else:
                yield entry
                last = entry.key

    def _completed(self, entry: ShownEntry) -> ListedEntry | None:
        """*entry* completed by a HEAD; None: passed over, because there is no such object."""
        if isinstance(entry, PartialEntry):
            if entry.flaw:
                return unsupported(entry, entry.flaw)
            if self.terms.missing_values is MissingValues.REFUSE:
                return unsupported(entry, f"{_UNTOLD}; declare missing_values: head, or exclude the key")
        elif self.terms.believe is Believe.LISTING:
            return entry
        self.heads.asked += 1
        try:
            head = self.head(entry.key, None)
        except ObjectMissing:
            self.heads.missing(entry.key)
            if self.terms.absent is Absent.PASSED_OVER:
                return None
            return unsupported(entry, "the inventory names it, and it is not in the bucket; plan from a newer one")
        except StoreError as error:
            if error.scope is Scope.RUN:
                raise
            return unsupported(entry, f"{_UNTOLD}, and a HEAD of it failed: {error}")
        modified = None if head.last_modified is None else Times().milliseconds(head.last_modified)
        modified = entry.modified_ms if modified is None else modified
        size = told_length(head)
        if size is None or modified is None:
            return unsupported(entry, f"neither the inventory nor a HEAD tells its {'time' if size else 'size'}")
        return new_object((entry.key, size, head.etag or "", modified, head.storage_class, *entry[5:10]))

    def _histories(self, tally: PageTally) -> Iterator[ListedEntry]:
        settler = Settler(None, Times())
        histories = Histories(settler, RowOrder(tally), self.terms.sort_memory)
        ascending = sorted_listing(self._due(tally), as_listed, self.terms.sort_memory)
        for _, group in groupby(ascending, _key):
            yield from histories.oldest_first(group)


_UNTOLD = "the inventory does not tell its size, ETag or time"


class RowOrder(VersionOrder):
    """Rows come in no order, so that only times show which of two versions is newer."""

    def __init__(self, tally: PageTally) -> None:
        super().__init__(tally, in_order=bool)

    def look(self, listed: list[ShownEntry]) -> None:
        """See VersionOrder."""
        times = {entry.modified_ms for entry in listed if not entry.is_latest}
        if len(times) < sum(not entry.is_latest for entry in listed):
            self._tally.unclear(listed[0].key)


def as_listed(positioned: Positioned) -> tuple[str, bool, int, int]:
    """Keys ascending; of one key the latest first, then the newest, as servers list versions."""
    position, entry = positioned
    return entry.key, not entry.is_latest, -(entry.modified_ms or 0), position


def apart(prefixes: Iterable[str]) -> list[str]:
    """*prefixes* without those that begin with another one."""
    found: list[str] = []
    for prefix in sorted(prefixes):
        if not found or not prefix.startswith(found[-1]):
            found.append(prefix)
    return found


def age_note(origin: str, told: str, topped_up: Sequence[str]) -> Risk:
    """That a side was read from an inventory. *told*: what it is and when it was made."""
    but = f", but for the keys under {', '.join(ascii(p) for p in topped_up[:_NAMED])}" if topped_up else ""
    if len(topped_up) > _NAMED:
        but += f" and {count_text(len(topped_up) - _NAMED)} more"
    text = (
        f"the bucket was not listed{but}: the {origin} is {told}. What was written or removed since is not in this "
        "plan; apply finds objects that changed as drift, verify names keys that are new"
    )
    return Risk("inventory", Level.MEDIUM, text)
