"""Taking stock of a listing while it streams past: counted, summed, hashed, its order checked."""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from operator import itemgetter, lt
from typing import cast

from schema.errors import ListingRefused, PlanCorrupt
from schema.objects import ListedEntry, ListedObject, UnsupportedEntry
from schema.plan import Inventory, ListingKind
from storage.listing.source import ListingSource
from storage.port import Listing

_BLOCK = 512
_WHOLE = frozenset({ListedObject})
_key, _size = itemgetter(0), itemgetter(1)


class Stocktaker:
    """Wraps one side's listing. The sums and the digest are whole once the stream has ended.

    The digest is over blocks of 512 entries, of each its columns (keys, sizes, ETags, times, classes, versions, flags)
    with their lengths: two listings have one digest exactly when they say the same. Which checksums objects carry is
    left out: no decision depends on it, and an inventory states it differently than a listing does.
    """

    def __init__(self, source: ListingSource, prefix: str, on_block: Callable[[int], None] | None = None) -> None:
        self.objects = 0
        self.bytes = 0
        self._kind = source.kind
        self._prefix = prefix
        self._origin = source.origin
        self._on_block = on_block
        self._hasher = hashlib.sha256()
        self._last = ""
        self._finished = False
        self.unclear_keys = 0
        """Keys whose listing does not show the order of versions of the same time."""
        self.unclear_examples: tuple[str, ...] = ()

    def take(self, listing: Listing) -> Iterator[ListedEntry]:
        """The same entries. Raises ListingRefused when keys do not ascend or lie outside the prefix, PlanCorrupt
        when they are not as many as the pages of the listing showed.
        """
        entries = iter(listing)
        while block := list(islice(entries, _BLOCK)):
            self._check_order(block)
            if _WHOLE.issuperset(map(type, block)):
                columns = _columns(cast("list[ListedObject]", block))
                self.bytes += sum(map(_size, block))
            else:
                columns = _mixed(block)
                self.bytes += sum(item[1] or 0 for item in block)
            self._hasher.update(columns)
            self.objects += len(block)
            if self._on_block is not None:
                self._on_block(self.objects)
            yield from block
        if listing.tally.due != self.objects:
            raise PlanCorrupt(
                f"the listing of {self._origin} showed {listing.tally.due:,} entries, but {self.objects:,} arrived. No "
                "plan was written; this is a fault of s3migrate: please report it"
            )
        self.unclear_keys = listing.tally.unclear_keys
        self.unclear_examples = tuple(listing.tally.unclear_examples)
        self._finished = True

    def _check_order(self, block: list[ListedEntry]) -> None:
        keys = [self._last, *map(_key, block)]
        versions = self._kind is ListingKind.VERSIONS
        ascending = all(map(lt, keys, islice(keys, 1, None)))
        for before, after in () if ascending else pairwise(keys):
            if before >= after and not (versions and before == after):
                raise ListingRefused(
                    f"{self._origin} listed {after!r} after {before!r}; keys must ascend. Nothing was planned",
                    operation="ListObjects",
                    key=after,
                )
        self._last = keys[-1]
        for key in (keys[1], keys[-1]):
            if not key.startswith(self._prefix):
                raise ListingRefused(
                    f"{self._origin} listed {key!r}, which is not under {self._prefix!r}. Nothing was planned",
                    operation="ListObjects",
                    key=key,
                )

    def finished(self) -> Inventory:
        """What the whole listing held. Raises ListingRefused when it was not read to its end."""
        if not self._finished:
            raise ListingRefused(f"the listing of {self._origin} was not read to its end; plan again")
        return Inventory(self._kind, self.objects, self.bytes, "sha256:" + self._hasher.hexdigest())


def _mixed(block: list[ListedEntry]) -> bytes:
    return b"".join(
        _framed(f"{item}".encode("utf-8", "surrogatepass") if isinstance(item, UnsupportedEntry) else _columns([item]))
        for item in block
    )


def _columns(block: list[ListedObject]) -> bytes:
    """Everything in *block* that a plan depends on, encoded so that no other block has the same bytes."""
    keys, sizes, etags, times, classes, _checksums, *rest = zip(*block, strict=True)
    columns = [_texts(keys), _numbers(sizes), _texts(etags), _numbers(times), _texts(classes)]
    for column in rest:
        # Nearly always the same in every entry.
        different = set(column)
        columns.append(repr(different.pop() if len(different) == 1 else column).encode("utf-8", "surrogatepass"))
    return b"".join(map(_framed, columns))


def _framed(column: bytes) -> bytes:
    return b"%d:%b" % (len(column), column)


def _texts(column: tuple[str, ...]) -> bytes:
    """The texts, NUL between them; with their lengths where one holds a NUL itself."""
    joined = "\0".join(column)
    if joined.count("\0") >= len(column):
        joined = f"{joined}{[*map(len, column)]}"
    return joined.encode("utf-8", "surrogatepass")


def _numbers(column: tuple[int, ...]) -> bytes:
    """Eight bytes each, least significant first: a plan's digests are the same on every machine."""
    numbers = array("q", column)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()
