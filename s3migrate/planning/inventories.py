"""Opens a declared inventory as a listing that planning can read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from schema.declaration import DeclaredInventory, MissingValues, Side
from schema.ends import listed_by_another_name
from schema.errors import InventoryCorrupt, StalePlan
from schema.formats.quantities import counted_text, duration_text
from schema.objects import ObjectHead
from schema.plan import ListingKind
from schema.timeouts import Timeouts
from storage.inventory.columns import DETAILS, HISTORY, Column, Entries, Row, refuse_missing
from storage.inventory.files import BucketPlace, FileSource, LocalPlace
from storage.inventory.key_list import format_of, key_list_rows
from storage.inventory.report import ReportFormat, created_text, newest_report, read_report, report_rows
from storage.inventory.source import Absent, InventorySource, InventoryTerms, age_note, apart
from storage.listing.entry import ShownEntry
from storage.listing.source import BucketSource
from storage.open_store import open_store
from storage.port import ObjectStore
from storage.retrying import Retry


class _Found(NamedTuple):
    """An inventory that has been found, but not read."""

    rows: Callable[[], Iterator[Row]]
    bucket: str
    """The bucket its rows must name."""
    told: str
    """Describes it in the plan, in the same words wherever and whenever it is read."""
    made_ms: int
    url_encoded: bool
    cure: str
    """What to do about a missing column."""


@dataclass(slots=True)
class InventoryReader:
    """Opens the inventories of one declaration. Close it after planning."""

    beside: Path
    """The folder that relative paths start from."""
    timeouts: Timeouts
    now: Callable[[], float]
    """Seconds since the epoch."""
    read: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By origin: what was read and how old it was; for the plan's provenance."""
    _stores: list[ObjectStore] = field(default_factory=list)

    def source(
        self, declared: DeclaredInventory, side: Side, *, bucket: BucketSource, absent: Absent
    ) -> InventorySource:
        """The *declared* inventory as a listing of *side*, whose bucket is *bucket*.

        Raises InventoryCorrupt, InputMissing, StoreErrors, and StalePlan when it is older than max_age.
        """
        place, name = self._place(declared.place, side)
        found = (_report if declared.report else _key_list)(place, name, declared=declared, side=side)
        origin = bucket.origin.replace(" bucket ", " inventory of bucket ")
        age = max(0.0, self.now() - found.made_ms / 1000)
        self.read[origin] = {"read": found.told, "made": created_text(found.made_ms), "age": duration_text(age)}
        if declared.max_age is not None and age > declared.max_age:
            raise StalePlan(
                f"the {origin} ({found.told}) is {duration_text(age)} old, and max_age is "
                f"{duration_text(declared.max_age)}: name a newer one, or leave inventory out to list the bucket"
            )
        head = bucket.store.head
        retry = Retry()

        def patient_head(key: str, version_id: str | None) -> ObjectHead:
            return retry.call(lambda: head(key, version_id=version_id))

        asks = declared.missing_values or (MissingValues.REFUSE if declared.report else MissingValues.HEAD)
        terms = InventoryTerms(bucket.kind, side.prefix, asks, absent, bucket.believe)
        return InventorySource(
            partial(_entries, found, terms),
            terms,
            origin,
            patient_head,
            [replace(bucket, prefix=side.prefix + prefix) for prefix in apart(declared.top_up)],
            [age_note(origin, found.told, declared.top_up)],
        )

    def close(self) -> None:
        """Close the stores of inventories."""
        for store in self._stores:
            store.close()

    def _place(self, named: str, side: Side) -> tuple[FileSource, str]:
        """The place that holds *named*, and its name there."""
        if not named.startswith("s3://"):
            return LocalPlace(self.beside), named
        bucket, _, key = named.removeprefix("s3://").partition("/")
        store = open_store(replace(side, bucket=bucket, prefix=""), timeouts=self.timeouts)
        self._stores.append(store)
        return BucketPlace(store), key


def _report(place: FileSource, name: str, *, declared: DeclaredInventory, side: Side) -> _Found:
    report = read_report(place, newest_report(place, name))
    if report.bucket != side.bucket and not listed_by_another_name(side.bucket):
        raise InventoryCorrupt(f"{report.name} is an inventory of bucket {report.bucket!r}, not of {side.bucket!r}")
    where = declared.place if declared.place.endswith(".json") else report.name
    told = (
        f"S3 Inventory report {where}, made {created_text(report.created_ms)}, "
        f"{counted_text(len(report.files), f'{report.format.value} file')}"
    )
    cure = "add it to the inventory's configuration" + (
        ", or declare missing_values: head" if Column.KEY in report.columns or not report.columns else ""
    )
    encoded = report.format is ReportFormat.CSV
    return _Found(partial(report_rows, place, report), report.bucket, told, report.created_ms, encoded, cure)


def _key_list(place: FileSource, name: str, *, declared: DeclaredInventory, side: Side) -> _Found:
    told = f"key list {declared.place} ({format_of(declared)})"
    cure = "write it into the list, or leave out missing_values: refuse"
    rows = partial(key_list_rows, place, name, declared)
    return _Found(rows, side.bucket, told, place.modified_ms(name), declared.url_encoded, cure)


def _entries(found: _Found, terms: InventoryTerms) -> Iterator[ShownEntry]:
    """The entries of *found*. Raises InventoryCorrupt when it lacks a column that *terms* need."""
    rows = found.rows()
    first = next(rows, None)
    if first is None:
        return
    refuse_missing(first.values, _needed(first, terms), place=found.told, cure=found.cure)
    yield from map(Entries(found.bucket, url_encoded=found.url_encoded).of, chain((first,), rows))


def _needed(first: Row, terms: InventoryTerms) -> Sequence[Column]:
    needed = [Column.KEY]
    histories = terms.kind is ListingKind.VERSIONS
    if histories or terms.missing_values is MissingValues.REFUSE:
        needed += DETAILS
    if histories or Column.VERSION_ID in first.values:
        needed += HISTORY
    return needed
