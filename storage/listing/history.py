"""The versions of one key, from the order they were listed in to oldest first; and whether that order is certain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, pairwise

from schema.objects import ListedEntry
from storage.listing.entry import PartialEntry, ShownEntry
from storage.listing.order import by_age, listing_sort, without_positions
from storage.listing.settle import Settler, unsupported
from storage.port import PageTally

_VERSION_BYTES = 1024
"""Bytes one version takes in memory, generously."""
NO_LATEST = "the listing calls no version of this key the latest; exclude the key, or repair it and plan again"
NO_ID = "the listing gives this version no id, so that it cannot be read; exclude the key"
MANY_LATEST = "the listing calls several versions of this key the latest; exclude the key, or repair it and plan again"


class VersionOrder:
    """Whether a listing shows the order of versions and delete markers of the same time.

    Some servers list markers apart from versions. Where times differ this means nothing; of the same time, what is
    listed first is no longer what is newer. A server that was seen to list a marker between versions is not one of
    them.
    """

    def __init__(self, tally: PageTally, in_order: Callable[[], bool]) -> None:
        """*in_order*: whether entries still come as the server lists them."""
        self._tally = tally
        self._in_order = in_order

    def look(self, listed: list[ShownEntry]) -> None:
        """The versions of one key as the server lists them."""
        kinds = [entry.delete_marker for entry in listed]
        changes = sum(before != after for before, after in pairwise(kinds))
        if changes == 0:
            return
        if _listed_oldest_first(listed) is None:
            self._tally.unclear(listed[0].key)
            return
        times = [entry.modified_ms or 0 for entry in listed]
        rising, falling = sorted(times), sorted(times, reverse=True)
        if changes > 1 and self._in_order() and times in (rising, falling):
            self._tally.interleaves = True
            return
        settled = [entry for entry in listed if not entry.is_latest]
        versions = {entry.modified_ms for entry in settled if not entry.delete_marker}
        markers = {entry.modified_ms for entry in settled if entry.delete_marker}
        if versions & markers:
            self._tally.unclear(listed[0].key)

    def set_aside(self) -> None:
        """A version was listed once more."""
        self._tally.set_aside += 1

    def conclude(self, interleaves: bool) -> bool:
        """At the end: whether the server lists markers between versions, now or *interleaves* before."""
        self._tally.interleaves = self._tally.interleaves or interleaves
        if self._tally.interleaves:
            self._tally.clear()
        return self._tally.interleaves


@dataclass(frozen=True, slots=True)
class Histories:
    """Puts the versions of each key in order, oldest first."""

    settler: Settler
    order: VersionOrder
    sort_memory: int
    """Bytes; a key with more versions than fit is sorted on disk."""

    def oldest_first(self, listed: Iterator[ShownEntry]) -> Iterator[ListedEntry]:
        """The versions *listed* of one key, each once, the latest last; all unsupported unless exactly one is that."""
        few = list(islice(listed, max(1, self.sort_memory // _VERSION_BYTES)))
        more = next(listed, None)
        if more is None:
            self.order.look(few)
            yield from self._judged(_by_age(few), _latest_of(few))
            return
        with listing_sort(by_age, self.sort_memory) as sorter:
            latest: dict[str | None, None] = {}
            for position, entry in enumerate(chain(few, (more,), listed)):
                if entry.is_latest:
                    latest[entry.version_id] = None
                sorter.add((position, entry))
            few.clear()
            yield from self._judged(without_positions(sorter.ascending()), len(latest))

    def _judged(self, versions: Iterable[ShownEntry], latest: int) -> Iterator[ListedEntry]:
        held: ShownEntry | None = None
        reason = "" if latest == 1 else NO_LATEST if latest == 0 else MANY_LATEST
        for number, entry in enumerate(versions, 1):
            if entry.version_id is None:
                flaw = entry.flaw if isinstance(entry, PartialEntry) else ""
                entry = PartialEntry(*entry[:6], f"(unnamed {number})", *entry[7:10], flaw or NO_ID)  # noqa: PLW2901
            if held is not None and held.version_id != entry.version_id:
                yield self._settled(held, reason)
            elif held is not None:
                self.order.set_aside()
            held = entry
        if held is not None:
            yield self._settled(held, reason)

    def _settled(self, entry: ShownEntry, reason: str) -> ListedEntry:
        if reason:
            return unsupported(entry, entry.flaw or reason if isinstance(entry, PartialEntry) else reason)
        (found,) = self.settler.settle([entry])
        return found


def _latest_of(versions: list[ShownEntry]) -> int:
    """How many different versions claim to be the latest."""
    return len({entry.version_id for entry in versions if entry.is_latest})


def _listed_oldest_first(few: list[ShownEntry]) -> bool | None:
    """Whether the versions of one key come oldest first, S3's order turned round. None: unknown.

    The latest comes last then; but a delete marker may come last, too, because markers are listed apart from versions.
    """
    if few[0].is_latest or not few[-1].is_latest:
        return False
    if not few[-1].delete_marker:
        return True
    times = [entry.modified_ms or 0 for entry in few if not entry.delete_marker]
    if len(times) < 2:
        return True
    return None if times[0] == times[-1] else times[0] < times[-1]


def _by_age(few: list[ShownEntry]) -> list[ShownEntry]:
    """The oldest first, the latest last. The order listed breaks ties, turned round unless it is oldest first."""
    if not _listed_oldest_first(few):
        few.reverse()
    few.sort(key=lambda entry: (bool(entry.is_latest), entry.modified_ms or 0))
    return few
