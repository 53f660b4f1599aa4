"""One forward pass over two ascending streams, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from schema.errors import ListingRefused

Left = TypeVar("Left", bound="tuple[Any, ...]")
Right = TypeVar("Right", bound="tuple[Any, ...]")
EarlierCopy = tuple[str, str, str]
"""(destination key, source ETag, destination ETag) of an object this lineage has copied."""


def march(left: Iterator[Left], right: Iterator[Right]) -> Iterator[tuple[Left | None, Right | None]]:
    """Pair the items of two streams by their first field, which ascends strictly in both.

    Yields (left, right) where both have the key, (left, None), (None, right) otherwise; each item exactly once,
    ascending. The order is relied on, not checked: see Stocktaker.take and AscendingMemory.
    """
    one, two = next(left, None), next(right, None)
    while one is not None and two is not None:
        if one[0] == two[0]:
            yield one, two
            one, two = next(left, None), next(right, None)
        elif one[0] < two[0]:
            yield one, None
            one = next(left, None)
        else:
            yield None, two
            two = next(right, None)
    while one is not None:
        yield one, None
        one = next(left, None)
    while two is not None:
        yield None, two
        two = next(right, None)


class AscendingMemory:
    """What this lineage has completed, read alongside the march: asked for ascending keys, holds one key's rows."""

    def __init__(self, completions: Iterator[EarlierCopy]) -> None:
        self._completions = completions
        self._next = next(completions, None)

    def at(self, key: str) -> tuple[tuple[str, str], ...]:
        """The (source ETag, destination ETag) pairs completed for the destination *key*; () if there are none.

        Raises ListingRefused when the ledger's rows do not ascend.
        """
        row = self._next
        if row is None:
            return ()
        while row[0] < key:
            row = self._advance(row[0])
            if row is None:
                return ()
        if row[0] != key:
            return ()
        found: list[tuple[str, str]] = []
        while row is not None and row[0] == key:
            found.append((row[1], row[2]))
            row = self._advance(key)
        return tuple(found)

    def _advance(self, last: str) -> EarlierCopy | None:
        row = self._next = next(self._completions, None)
        if row is not None and row[0] < last:
            raise ListingRefused(f"the ledger gave {row[0]!r} after {last!r}; its completions must ascend", key=row[0])
        return row
