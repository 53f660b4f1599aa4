"""In which order listed objects are sorted when their server lists them in another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from sys import getsizeof
from typing import Any

from storage.disk_sort import DiskSort, SortBounds
from storage.listing.entry import ShownEntry

Positioned = tuple[int, ShownEntry]
"""An object and its place in the listing it came from."""
SortKey = Callable[[Positioned], Any]

_OBJECT_OVERHEAD = 560
"""Bytes in memory of one object besides its key: two tuples, three strings, four numbers, measured."""

_entry = itemgetter(1)


def listing_sort(key: SortKey, memory: int) -> DiskSort[Positioned]:
    """A sort of entries that holds about *memory* bytes."""
    return DiskSort(key, bounds=SortBounds(memory), size_of=_bytes_of)


def sorted_listing(listing: Iterable[ShownEntry], key: SortKey, memory: int) -> Iterator[ShownEntry]:
    """*listing* in another order. Raises LocalDiskError."""
    with listing_sort(key, memory) as sorter:
        for positioned in enumerate(listing):
            sorter.add(positioned)
        yield from without_positions(sorter.ascending())


def without_positions(entries: Iterable[Positioned]) -> Iterator[ShownEntry]:
    """Only the entries."""
    return map(_entry, entries)


def by_key(positioned: Positioned) -> tuple[str, int, int]:
    """Keys ascending; of one key the newest last, then the one listed last."""
    position, listed = positioned
    return listed.key, listed.modified_ms or 0, position


def by_age(positioned: Positioned) -> tuple[str, bool, int, int]:
    """Keys ascending; of one key the oldest version first, the latest last.

    Servers list the newest first, so among versions of the same millisecond the one listed last is the oldest.
    """
    position, listed = positioned
    return listed.key, bool(listed.is_latest), listed.modified_ms or 0, -position


def _bytes_of(positioned: Positioned) -> int:
    return getsizeof(positioned[1].key) + _OBJECT_OVERHEAD
