"""Taking stock of a listing while it streams past: counted, summed, hashed, its order checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from typing import cast

from schema.errors import ListingRefused, PlanCorrupt
from schema.objects import ListedEntry, ListedObject, UnsupportedEntry
from schema.plan import Inventory, ListingKind
from storage.listing.source import ListingSource
from storage.port import Listing

_BLOCK = 512


class Stocktaker:
    """Wraps one side's listing. The sums and the digest are whole once the stream has ended.

    The digest is over one line an object (key length, key, size, ETag, time, class, version, flags): two listings
    have one digest exactly when they say the same.
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
        """Keys whose listing does not tell the order of versions of the same time."""
        self.unclear_examples: tuple[str, ...] = ()

    def take(self, listing: Listing) -> Iterator[ListedEntry]:
        """The same entries. Raises ListingRefused when keys do not ascend or lie outside the prefix, PlanCorrupt
        when they are not as many as the pages of the listing showed.
        """
        entries = iter(listing)
        while block := list(islice(entries, _BLOCK)):
            self._check_order(block)
            whole = UnsupportedEntry not in map(type, block)
            lines = _lines(cast("list[ListedObject]", block)) if whole else _mixed_lines(block)
            self._hasher.update("".join(lines).encode("utf-8", "surrogatepass"))
            self.objects += len(block)
            self.bytes += sum(item[1] or 0 for item in block)
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
        keys = [self._last, *(item[0] for item in block)]
        versions = self._kind is ListingKind.VERSIONS
        for before, after in pairwise(keys):
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


def _mixed_lines(block: list[ListedEntry]) -> Iterator[str]:
    for item in block:
        if isinstance(item, UnsupportedEntry):
            yield f"{len(item.key)}:{item.key}\0{item[1:]}\n"
        else:
            yield from _lines([item])


def _lines(block: list[ListedObject]) -> list[str]:
    return [
        f"{len(key)}:{key}\0{size}\0{etag}\0{modified}\0{storage}\0{checksum}\0{version or ''}\0{latest:d}{marker:d}"
        f"{restored:d}\n"
        for key, size, etag, modified, storage, checksum, version, latest, marker, restored in block
    ]
