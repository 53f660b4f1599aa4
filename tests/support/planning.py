"""Buckets that can only be listed, a manifest store in memory, and planning with everything at its default."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from planner.batches import TARGETS
from planner.build import build_plan
from planner.inputs import PairInputs, PlanInputs
from planner.methods import MethodChoice
from s3migrate.planning.listings import ListingWishes, bucket_listing
from schema.declaration import Declaration, Filters, MappingRule, Pair, Policy, Side
from schema.errors import ManifestMissing
from schema.facts import Capabilities
from schema.files.manifest import read_entries
from schema.objects import ListedEntry, ListedObject
from schema.plan import Entry, Method, Plan
from storage.port import Believe, Listing, PageTally
from support.digests import md5

SOURCE = Side(bucket="from", endpoint_url="http://source.example:9000")
DESTINATION = Side(bucket="to", endpoint_url="http://destination.example:9000")
BUDGET = 256 * 1024 * 1024
POLICY = Policy()
FILTERS = Filters()


def listed(key: str, size: int = 1, etag: str | None = None, modified: int = 1_000, **more: Any) -> ListedObject:
    return ListedObject(key, size, md5(f"{size}") if etag is None else etag, modified, **more)


def listing_of(entries: Iterable[ListedEntry]) -> Listing:
    """A listing that gives *entries*."""
    found = list(entries)
    return Listing((entry for entry in found), PageTally(len(found)))


class Bucket:
    """Lists what it was given, in S3's order (or as given, when told not to sort); may fail on the way."""

    bucket = "fake"

    def __init__(
        self, objects: Iterable[ListedEntry] = (), *, fails_after: int | None = None, error: Exception | None = None,
        sort: bool = True,
    ) -> None:  # fmt: skip
        self.objects = list(objects)
        if sort:
            self.objects.sort(key=lambda item: item.key.encode("utf-8", "surrogatepass"))
        self.believed: list[Believe] = []
        self._fails_after = fails_after
        self._error = error

    def list_objects(
        self, prefix: str, *, start_after: str = "", parallel: int = 1, believe: Believe = Believe.LISTING
    ) -> Listing:
        assert start_after == ""
        assert parallel >= 1
        self.believed.append(believe)
        return Listing(self._listed(prefix), PageTally(sum(item.key.startswith(prefix) for item in self.objects)))

    def _listed(self, prefix: str) -> Generator[ListedEntry, None, None]:
        for number, item in enumerate(self.objects):
            if number == self._fails_after and self._error is not None:
                raise self._error
            if item.key.startswith(prefix):
                yield item
        if self._error is not None and self._fails_after is not None and self._fails_after >= len(self.objects):
            raise self._error

    def ask_listing(self, prefix: str) -> None:
        next(self.list_objects(prefix), None)

    def list_versions(self, prefix: str, *, start_after: str = "", believe: Believe = Believe.LISTING) -> Listing:
        return self.list_objects(prefix, start_after=start_after, believe=believe)


class MemoryManifests:
    """A ManifestStore that keeps the gzip bytes."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def publish(self, digest: str, staged: Path) -> None:
        self.kept.setdefault(digest, staged.read_bytes())

    def open(self, digest: str) -> BinaryIO:
        if digest not in self.kept:
            raise ManifestMissing(digest)
        return io.BytesIO(self.kept[digest])

    def has(self, digest: str) -> bool:
        return digest in self.kept

    def entries(self, digest: str) -> list[Entry]:
        return [entry for _, entry in read_entries(self, digest)]


def declare(
    source: Side = SOURCE, destination: Side = DESTINATION, *, policy: Policy = POLICY, filters: Filters = FILTERS,
    mapping: tuple[MappingRule, ...] = (), **more: Any,
) -> Declaration:  # fmt: skip
    pairs = more.pop("pairs", (Pair("main", source, destination),))
    return Declaration("test", pairs, filters=filters, mapping=mapping, policy=policy, **more)


TWO_ENDPOINTS = MethodChoice(Method.STREAM, "two endpoints")


def plan(
    declaration: Declaration,
    source: Bucket | Iterable[ListedObject],
    destination: Bucket | Iterable[ListedObject] = (),
    *,
    manifests: MemoryManifests,
    staging: Path,
    base: Plan | None = None,
    facts: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
    memory: Iterable[tuple[str, str, str]] = (),
    targets: Mapping[str, int] = TARGETS,
    provenance: Mapping[str, Any] | None = None,
    choice: MethodChoice = TWO_ENDPOINTS,
    **more: Any,
) -> Plan:
    """One section named main."""
    pair = pair_inputs(
        declaration, *(end if isinstance(end, Bucket) else Bucket(end) for end in (source, destination)), facts=facts
    )
    return build_plan(
        PlanInputs(
            declaration,
            {"main": dataclasses.replace(pair, choice=choice)},
            manifests,
            staging,
            BUDGET,
            base=base,
            memory=lambda _section: iter(sorted(memory)),
            provenance=provenance or {},
            targets=targets,
            **more,
        )
    )


def pair_inputs(
    declaration: Declaration,
    source: Any,
    destination: Any,
    *,
    facts: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
    parallel: int = 1,
) -> PairInputs:
    """The two buckets of the declaration's first pair, listed as the face would."""
    pair = declaration.pairs[0]
    listings = []
    for end, store, side, found in (
        ("source", source, pair.source, facts[0]),
        ("destination", destination, pair.destination, facts[1]),
    ):
        wishes = ListingWishes(end, Capabilities(found), declaration.policy.versions == "all", parallel)
        listings.append(bucket_listing(store, side, wishes))
    return PairInputs(*listings, Capabilities(facts[0]), Capabilities(facts[1]))


def moved(made: Plan, manifests: MemoryManifests) -> list[Entry]:
    """The entries of all batches, in the order of the plan."""
    return [entry for batch in made.batches for entry in manifests.entries(batch.manifest)]


def side(made: Plan, manifests: MemoryManifests, name: str) -> list[Entry]:
    """The entries of one side manifest of the first section."""
    digest = made.sections[0].side_manifests.get(name)
    return [] if digest is None else manifests.entries(digest)
