"""Where the listing of a side comes from. To add a source: implement ListingSource, add a line to SOURCES."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from s3migrate.planning.checkpoints import ListingCheckpoints
from s3migrate.planning.inventories import InventoryReader
from schema.declaration import DeclaredInventory, Side
from schema.facts import Capabilities
from schema.plan import ListingKind
from storage.inventory.source import Absent
from storage.listing.checkpoint import ResumedSource
from storage.listing.source import BucketSource, ListingSource
from storage.port import ObjectStore, believed


class ListingWishes(NamedTuple):
    """What a plan needs from a listing."""

    end: str
    """source | destination"""
    can: Capabilities
    all_versions: bool
    parallel: int
    """LIST requests in flight."""
    inventory: DeclaredInventory | None = None
    """Declared to be read instead of the bucket."""
    inventories: InventoryReader | None = None
    section: str = ""
    checkpoints: ListingCheckpoints | None = None
    """From which an interrupted listing resumes; None: it starts again."""

    @property
    def kind(self) -> ListingKind:
        """VERSIONS when all versions are moved and the bucket may have any."""
        return ListingKind.VERSIONS if self.all_versions and not self.can.never_versioned else ListingKind.OBJECTS


def declared_inventory(store: ObjectStore, side: Side, wishes: ListingWishes) -> ListingSource | None:
    """The inventory that the declaration names instead of a listing, if any."""
    if wishes.inventory is None or wishes.inventories is None:
        return None
    absent = Absent.UNSUPPORTED if wishes.end == "source" else Absent.PASSED_OVER
    bucket = bucket_listing(store, side, wishes)
    return wishes.inventories.source(wishes.inventory, side, bucket=bucket, absent=absent)


def bucket_listing(store: ObjectStore, side: Side, wishes: ListingWishes) -> BucketSource:
    """The bucket, listed from the start."""
    origin = f"{wishes.end} bucket {side.bucket}"
    believe = believed(wishes.can)
    return BucketSource(store, side.prefix, wishes.kind, origin, wishes.parallel, believe)


def resumed_listing(store: ObjectStore, side: Side, wishes: ListingWishes) -> ListingSource | None:
    """The bucket, resumed where an earlier plan was interrupted."""
    if wishes.checkpoints is None:
        return None
    bucket = bucket_listing(store, side, wishes)
    checkpoint = wishes.checkpoints.of(side, bucket, section=wishes.section)
    return ResumedSource(bucket, checkpoint)


SOURCES: Sequence[Callable[[ObjectStore, Side, ListingWishes], ListingSource | None]] = (
    declared_inventory,
    resumed_listing,
    bucket_listing,
)
"""In order of precedence: the first that returns a listing is used."""


def source_of(store: ObjectStore, side: Side, wishes: ListingWishes) -> ListingSource:
    """The listing that planning reads of *side*."""
    found = (source(store, side, wishes) for source in SOURCES)
    return next(listing for listing in found if listing is not None)
