"""Where planning reads a side's objects from: the port every source of listings implements, and a bucket behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from schema.objects import ListedObject
from schema.plan import ListingKind
from storage.port import ObjectStore


class Listing(Protocol):
    """All objects of one side."""

    @property
    def kind(self) -> ListingKind:
        """Whether it holds objects or whole histories; written into the plan."""
        ...

    @property
    def origin(self) -> str:
        """What is listed, for messages: 'source bucket b'."""
        ...

    def objects(self) -> Iterator[ListedObject]:
        """The objects under the side's prefix, keys ascending; of a history the oldest version first.

        May be called again for a new pass. Raises StoreErrors. A generator is closed when planning fails elsewhere.
        """
        ...


@dataclass(frozen=True, slots=True)
class BucketListing:
    """A bucket, asked now."""

    store: ObjectStore
    prefix: str
    kind: ListingKind
    origin: str
    parallel: int = 1
    """LIST requests at a time; versions are listed one page after the other."""

    def objects(self) -> Iterator[ListedObject]:
        """See Listing."""
        if self.kind is ListingKind.VERSIONS:
            return self.store.list_versions(self.prefix)
        return self.store.list_objects(self.prefix, parallel=self.parallel)
