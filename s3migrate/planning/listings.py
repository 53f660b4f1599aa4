"""Which source of listings a side's objects are read from. To add one: implement Listing, add a line to SOURCES."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from schema.declaration import Side
from schema.facts import Capabilities
from schema.plan import ListingKind
from storage.listing.source import BucketListing, Listing
from storage.port import ObjectStore


class ListingWishes(NamedTuple):
    """What a plan wants of a listing."""

    end: str
    """source | destination"""
    can: Capabilities
    all_versions: bool
    parallel: int
    """LIST requests at a time."""

    @property
    def kind(self) -> ListingKind:
        """Histories where all versions travel and the bucket may have any."""
        return ListingKind.VERSIONS if self.all_versions and not self.can.never_versioned else ListingKind.OBJECTS


def bucket_listing(store: ObjectStore, side: Side, wishes: ListingWishes) -> Listing:
    """The bucket itself."""
    origin = f"{wishes.end} bucket {side.bucket}"
    return BucketListing(store, side.prefix, wishes.kind, origin, parallel=wishes.parallel)


SOURCES: Sequence[Callable[[ObjectStore, Side, ListingWishes], Listing | None]] = (bucket_listing,)
"""The first that has a listing of a side gives it."""


def listing_of(store: ObjectStore, side: Side, wishes: ListingWishes) -> Listing:
    """The listing that planning reads of *side*."""
    found = (source(store, side, wishes) for source in SOURCES)
    return next(listing for listing in found if listing is not None)
