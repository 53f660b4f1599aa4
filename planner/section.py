"""One pair of buckets: two listings in, decided entries out into batches and side manifests. Constant memory."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from planner.batches import BatchGroup, Sticky
from planner.decide import EndFacts, decide, needs_restore
from planner.delivery import Delivered, Delivery, Verdict, conserved
from planner.filters import compile_filters, compile_globs, compile_key_filter
from planner.inventory import OBJECTS, VERSIONS, InventoryTaker
from planner.mapping import FoldedKeys, KeyMapping, NestedKeys, collision, fold_of, holds_keys_beneath_keys
from planner.march import AscendingMemory, Completion, march
from planner.methods import MethodChoice, chooser
from planner.reasons import Reason
from planner.stages import Router
from planner.versions import History, decide_history, histories
from schema.declaration import Declaration, Pair
from schema.manifest import ManifestStore
from schema.objects import ListedObject
from schema.plan import TRANSFER_ACTIONS, Action, Capabilities, Entry, Inventory, Tally
from storage.disk_sort import sort_on_disk
from storage.port import ObjectStore

EXAMPLES = 3

SourceRow = tuple[str, ListedObject, Reason | None]
"""Destination key, object, and why it takes no part."""


class SectionStores(NamedTuple):
    """The two ends of one section."""

    source: ObjectStore
    destination: ObjectStore


class PlanProgress(NamedTuple):
    """How far planning is."""

    section: str
    source_listed: int
    destination_listed: int
    finished: bool


@dataclass(frozen=True, slots=True)
class SectionInputs:
    """All that a section's planning needs beside the two stores."""

    declaration: Declaration
    pair: Pair
    facts: EndFacts
    source_capabilities: Capabilities
    destination_capabilities: Capabilities
    manifests: ManifestStore
    staging: Path
    choice: MethodChoice
    completions: Iterator[Completion]
    sticky: dict[BatchGroup, Sticky]
    targets: Mapping[str, int]
    budget: int
    on_progress: Callable[[PlanProgress], None]
    parallel_listing: int


@dataclass(frozen=True, slots=True)
class SectionOutcome:
    """What became of a section."""

    source_inventory: Inventory
    destination_inventory: Inventory
    summary: dict[str, Tally]
    delivered: Delivered
    mapping_examples: tuple[tuple[str, str], ...]


class SectionPlanner:
    """Plans one section. Call plan() once; whatever it raises, it leaves no temporary file behind."""

    def __init__(self, inputs: SectionInputs, stores: SectionStores) -> None:
        self._in = inputs
        self._stores = stores
        self._policy = inputs.declaration.policy
        pair = inputs.pair
        self._mapping = KeyMapping(pair.source.prefix, pair.destination.prefix, inputs.declaration.mapping)
        self._versions = self._policy.versions == "all"
        self._source = InventoryTaker(
            self._kind(inputs.source_capabilities),
            pair.source.prefix,
            f"source bucket {pair.source.bucket}",
            self._tell,
        )
        self._destination = InventoryTaker(
            self._kind(inputs.destination_capabilities),
            pair.destination.prefix,
            f"destination bucket {pair.destination.bucket}",
            self._tell,
        )
        self._memory = AscendingMemory(inputs.completions)
        self._judge_key = compile_key_filter(inputs.declaration.filters)
        self._told = 0
        self._matched = 0
        self._examples: list[tuple[str, str]] = []
        self._folded: FoldedKeys | None = None
        can = inputs.destination_capabilities
        self._fold = fold_of(can)
        self._keeps_keys = self._fold is None and not inputs.facts.refused_kinds
        self._nested = None if holds_keys_beneath_keys(can) else NestedKeys()
        self._open_listings: list[Iterator[ListedObject]] = []
        self._delivery = Delivery(
            pair.id,
            inputs.manifests,
            inputs.staging,
            lambda canary_max: Router(
                compile_globs(self._policy.markers),
                len(pair.source.prefix),
                chooser(inputs.choice, inputs.declaration.preserve, pair.id),
                canary_max,
            ),
            inputs.targets,
            inputs.sticky,
            inputs.budget,
            can.most_parts,
        )

    def plan(self) -> SectionOutcome:
        """List, decide, write. Raises what the listings raise, DeclarationError for keys that would collide.

        Nothing is said of a section before both listings have ended: until then all is a draft, deletes above all.
        """
        with ExitStack() as cleanup:
            cleanup.callback(self._discard)
            if self._fold is not None:
                self._folded = FoldedKeys(self._fold, self._in.staging)
            verdicts = self._histories() if self._versions else self._objects()
            if not self._mapping.preserves_order:
                verdicts = _by_source_key(verdicts, self._in.staging)
            self._delivery.deliver(verdicts)
            if self._folded is not None:
                self._folded.refuse_collisions()
            return self._outcome()

    # --- the two streams

    def _listings(self) -> tuple[Iterator[ListedObject], Iterator[ListedObject]]:
        source, destination = self._stores
        one = self._listed(source, self._in.pair.source.prefix, self._in.source_capabilities)
        two = self._listed(destination, self._in.pair.destination.prefix, self._in.destination_capabilities)
        self._open_listings = [one, two]
        return self._source.take(one), self._destination.take(two)

    def _listed(self, store: ObjectStore, prefix: str, can: Capabilities) -> Iterator[ListedObject]:
        if self._kind(can) == VERSIONS:
            return store.list_versions(prefix)
        return store.list_objects(prefix, parallel=self._in.parallel_listing)

    def _kind(self, can: Capabilities) -> str:
        return VERSIONS if self._versions and not can.never_versioned else OBJECTS

    def _tell(self, _objects: int) -> None:
        seen = self._source.objects + self._destination.objects
        if seen - self._told >= 8192:
            self._told = seen
            self._report(finished=False)

    def _report(self, *, finished: bool) -> None:
        self._in.on_progress(PlanProgress(self._in.pair.id, self._source.objects, self._destination.objects, finished))

    def _rows(self, listing: Iterator[ListedObject]) -> Iterator[SourceRow]:
        """The source in the order of the destination's keys, and no two participants with one destination key."""
        rows = self._mapped(listing)
        if not self._mapping.preserves_order:
            tagged = (((row[0], row[2] is not None), row) for row in rows)
            rows = self._distinct(row for _, row in sort_on_disk(tagged, itemgetter(0), folder=self._in.staging))
        return rows if self._nested is None else self._unnested(rows, self._nested)

    def _mapped(self, listing: Iterator[ListedObject]) -> Iterator[SourceRow]:
        exclusion = compile_filters(self._in.declaration.filters, self._mapping.source_prefix)
        identity, target_of = self._mapping.is_identity, self._mapping.target
        examples, folded = self._examples, self._folded
        for item in listing:
            key = item[0]
            target = key if identity else target_of(key)
            excluded = None if exclusion is None else exclusion(item)
            if excluded is None:
                if not identity and len(examples) < EXAMPLES and target != key and (key, target) not in examples:
                    examples.append((key, target))
                if folded is not None:
                    folded.add(target, key)
            yield target, item, excluded

    def _unnested(self, rows: Iterator[SourceRow], nested: NestedKeys) -> Iterator[SourceRow]:
        for row in rows:
            if row[2] is None:
                nested.check(row[0], row[1].key)
            yield row

    def _distinct(self, rows: Iterator[SourceRow]) -> Iterator[SourceRow]:
        """Participants stand before excluded rows of the same destination key."""
        last: SourceRow | None = None
        for row in rows:
            if row[2] is None:
                if last is not None and last[0] == row[0] and last[1].key != row[1].key:
                    raise collision(last[1].key, row[1].key, row[0])
                last = row
            yield row

    # --- decisions

    def _objects(self) -> Iterator[Verdict]:
        source, destination = self._listings()
        policy, facts, at = self._policy, self._in.facts, self._memory.at
        for left, right in march(self._rows(source), destination):
            if left is None:
                if right is not None:
                    yield [self._destination_only(right)], False
                continue
            target, item, excluded = left
            there = None
            if right is not None:
                self._matched += 1
                there = right[2]
            key, size, etag, modified, storage_class = item[:5]
            other_key = None if target == key else target
            if excluded is not None:
                entry = Entry(
                    key, size, etag, Action.EXCLUDED, modified, other_key, there, None, storage_class, str(excluded)
                )
                yield [entry], False
                continue
            action, reason = decide(item, target, right, policy, facts, () if right is None else at(target))
            if action is Action.COPY:
                entry = Entry(key, size, etag, action, modified, other_key, None, item[6], storage_class)
                yield [entry], needs_restore(item)
            elif action is Action.OVERWRITE:
                entry = Entry(key, size, etag, action, modified, other_key, there, item[6], storage_class)
                yield [entry], needs_restore(item)
            else:
                entry = Entry(
                    key, size, etag, action, modified, other_key, there, item[6], storage_class, reason._value_
                )
                yield [entry], False

    def _histories(self) -> Iterator[Verdict]:
        source, destination = self._listings()
        for left, right in march(_histories_of(self._rows(source)), histories(destination)):
            if left is None:
                if right is not None:
                    yield self._destination_history(right), False
                continue
            target, rows = left
            there: list[ListedObject] = []
            if right is not None:
                there = right[1]
                self._matched += len(there)
            yield self._history(target, rows, there)

    def _history(self, target: str, rows: list[SourceRow], there: list[ListedObject]) -> Verdict:
        entries: list[Entry] = []
        restore = False
        taking_part = [item for _, item, excluded in rows if excluded is None]
        earlier = self._memory.at(target) if there else ()
        decisions = decide_history(taking_part, target, there, self._policy, self._in.facts, earlier)
        for _, item, excluded in rows:
            if excluded is not None:
                entries.append(_version_entry(item, target, Action.EXCLUDED, str(excluded), None))
                continue
            _, action, reason, etag = next(decisions)
            moved = action in TRANSFER_ACTIONS
            restore = restore or (moved and needs_restore(item))
            entries.append(_version_entry(item, target, action, "" if moved else str(reason), etag))
        return entries, restore

    def _destination_only(self, item: ListedObject) -> Entry:
        """DELETE where the declaration wants it and neither filters nor folding protect the key; else EXTRANEOUS.

        A destination that folds keys lists a copied '/a' as 'a': deleting what "is not at the source" would delete it.
        """
        key, size, etag, modified, storage_class = item[:5]
        if self._judge_key is not None and self._judge_key(key[len(self._mapping.destination_prefix) :]) is not None:
            reason = Reason.FILTERED_AT_DESTINATION
        elif self._policy.delete_extraneous == "after-verify" and not self._keeps_keys:
            reason = Reason.FOLDED_AT_DESTINATION
        elif self._policy.delete_extraneous == "after-verify":
            return Entry(key, size, etag, Action.DELETE, modified, None, etag, None, storage_class)
        else:
            reason = Reason.NOT_AT_SOURCE
        return Entry(key, size, etag, Action.EXTRANEOUS, modified, None, etag, item[6], storage_class, str(reason))

    def _destination_history(self, history: History) -> list[Entry]:
        """At most the current version is deleted (a delete marker is laid over it); history itself is kept."""
        versions = history[1]
        entries = [
            Entry(
                item.key, item.size, item.etag, Action.EXTRANEOUS, item.modified_ms, None, item.etag, item.version_id,
                item.storage_class, str(Reason.OLDER_VERSION),
            )
            for item in versions[:-1]
        ]  # fmt: skip
        current = self._destination_only(versions[-1])
        if versions[-1].delete_marker and current.action is Action.DELETE:
            current = current._replace(
                action=Action.EXTRANEOUS, version_id=versions[-1].version_id, reason=str(Reason.NOT_AT_SOURCE)
            )
        return [*entries, current]

    def _outcome(self) -> SectionOutcome:
        source, destination = self._source.finished(), self._destination.finished()
        self._report(finished=True)
        delivered = self._delivery.finish()
        summary = conserved(self._delivery.by_action, source, destination, self._matched)
        return SectionOutcome(source, destination, summary, delivered, tuple(self._examples))

    def _discard(self) -> None:
        """Drop drafts and temporary files; stop a listing whose other side has failed, with its threads."""
        self._delivery.discard()
        for listing in self._open_listings:
            if isinstance(listing, Generator):
                listing.close()
        if self._folded is not None:
            self._folded.close()


def _histories_of(rows: Iterator[SourceRow]) -> Iterator[tuple[str, list[SourceRow]]]:
    """Rows of one destination key together. Rows of an excluded other key with the same target come along."""
    group: list[SourceRow] = []
    for row in rows:
        if group and group[0][0] != row[0]:
            yield group[0][0], group
            group = []
        group.append(row)
    if group:
        yield group[0][0], group


def _version_entry(item: ListedObject, target: str, action: Action, reason: str, etag: str | None) -> Entry:
    other_key = None if target == item.key else target
    return Entry(
        item.key, item.size, item.etag, action, item.modified_ms, other_key, etag, item.version_id,
        item.storage_class, reason,
    )  # fmt: skip


def _by_source_key(verdicts: Iterator[Verdict], staging: Path) -> Iterator[Verdict]:
    """Manifests ascend by source key: after a march in another order, back to it."""
    rows = (
        (key, list(same_key), restore)
        for entries, restore in verdicts
        for key, same_key in groupby(entries, key=itemgetter(0))
    )
    for _, entries, restore in sort_on_disk(rows, itemgetter(0), folder=staging):
        yield entries, restore
