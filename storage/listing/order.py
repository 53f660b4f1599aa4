"""In which order listed objects are sorted when their server lists them in another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from sys import getsizeof
from typing import Any

from schema.objects import ListedObject
from storage.disk_sort import Bounds, sort_on_disk

Positioned = tuple[int, ListedObject]
"""An object and its place in the listing it came from."""
SortKey = Callable[[Positioned], Any]

_OBJECT_OVERHEAD = 560
"""Bytes in memory of one object besides its key: two tuples, three strings, four numbers, measured."""

_listed_object = itemgetter(1)


def sorted_listing(listing: Iterable[ListedObject], key: SortKey, memory: int) -> Iterator[ListedObject]:
    """*listing* in another order, holding about *memory* bytes. Raises LocalDiskError."""
    rows = sort_on_disk(enumerate(listing), key, bounds=Bounds(memory), size_of=_bytes_of)
    return map(_listed_object, rows)


def by_key(positioned: Positioned) -> tuple[str, int, int]:
    """Keys ascending; of one key the newest last, then the one listed last."""
    position, listed = positioned
    return listed.key, listed.modified_ms, position


def by_age(positioned: Positioned) -> tuple[str, bool, int, int]:
    """Keys ascending; of one key the oldest version first, the latest last.

    Servers list the newest first, so among versions of the same millisecond the one listed last is the oldest.
    """
    position, listed = positioned
    return listed.key, listed.is_latest, listed.modified_ms, -position


def _bytes_of(positioned: Positioned) -> int:
    return getsizeof(positioned[1].key) + _OBJECT_OVERHEAD
