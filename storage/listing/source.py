"""Where planning reads a side's objects from: the port of every such source, and a bucket behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from schema.plan import ListingKind, Risk
from storage.port import Believe, Listing, ObjectStore


class ListingSource(Protocol):
    """All objects of one side."""

    @property
    def kind(self) -> ListingKind:
        """Whether it holds objects or whole histories; written into the plan."""
        ...

    @property
    def origin(self) -> str:
        """What is listed, for messages: 'source bucket b'."""
        ...

    def listing(self) -> Listing:
        """What is under the side's prefix, keys ascending; of a history the oldest version first.

        May be called again, for another pass. Raises StoreErrors, also while it is read.
        """
        ...

    def remarks(self) -> Sequence[Risk]:
        """What a reviewer should know about it, once a listing has ended."""
        ...


@dataclass(frozen=True, slots=True)
class BucketSource:
    """A bucket, asked now."""

    store: ObjectStore
    prefix: str
    kind: ListingKind
    origin: str
    parallel: int = 1
    """LIST requests at a time; versions are listed one page after the other."""
    believe: Believe = Believe.LISTING

    def listing(self) -> Listing:
        """See ListingSource."""
        return self.listing_after("")

    def listing_after(self, key: str) -> Listing:
        """The keys > *key*; '': all."""
        if self.kind is ListingKind.VERSIONS:
            return self.store.list_versions(self.prefix, start_after=key, believe=self.believe)
        return self.store.list_objects(self.prefix, start_after=key, parallel=self.parallel, believe=self.believe)

    def remarks(self) -> Sequence[Risk]:
        """See ListingSource: a bucket asked now is what a plan is made of."""
        return ()
