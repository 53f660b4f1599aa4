"""One pair of buckets: two listings in, decided entries out into batches and side manifests. Constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby, repeat
from operator import itemgetter
from pathlib import Path

from planner.batches import sticky_cuts
from planner.decide import Earlier, Rules, alike_reason, decide, end_facts, needs_restore
from planner.delivery import RUN, Decided, Delivered, Delivery, KeyEntries, PutAside, conserved
from planner.histories import History, decide_history, histories
from planner.inputs import PlanInputs, PlanProgress
from planner.keys.extraneous import Found, HeldBack
from planner.keys.filters import compile_filters, compile_globs, compile_key_filter
from planner.keys.mapping import FoldedKeys, KeyMapping, NestedKeys, collision, fold_of, holds_keys_beneath_keys
from planner.march import AscendingMemory, march
from planner.methods import chooser
from planner.reasons import Reason
from planner.stages import Router
from planner.stocktaking import Stocktaker
from schema.attributes.evidence import Counted
from schema.declaration import Pair
from schema.objects import ListedEntry, ListedObject, UnsupportedEntry, supported
from schema.plan import TRANSFER_ACTIONS, Action, Entry, Inventory, Risk, Tally, new_entry
from storage.disk_sort import sort_on_disk
from storage.port import Listing

EXAMPLES = 3

SourceRow = tuple[str, ListedEntry, Reason | None]
"""Destination key, entry, and why it is excluded."""


@dataclass(frozen=True, slots=True)
class SectionOutcome:
    """The result of planning a section."""

    source_inventory: Inventory
    destination_inventory: Inventory
    summary: dict[str, Tally]
    delivered: Delivered
    mapping_examples: tuple[tuple[str, str], ...]
    unclear_order: Counted
    """Source keys whose versions of the same time may arrive in another order."""
    remarks: tuple[Risk, ...]
    """Of the two listings, and of what they led to."""


class SectionPlanner:
    """Plans one section. Call plan() once; whatever it raises, it leaves no temporary file behind."""

    def __init__(self, pair: Pair, inputs: PlanInputs) -> None:
        self._pair = pair
        self._in = inputs
        self._ends = ends = inputs.pairs[pair.id]
        declaration = inputs.declaration
        self._policy = declaration.policy
        self._rules = Rules(declaration.policy, end_facts(pair, ends.source_can, ends.destination_can))
        self._mapping = KeyMapping(pair.source.prefix, pair.destination.prefix, declaration.mapping)
        self._source = Stocktaker(ends.source, pair.source.prefix, self._tell)
        self._destination = Stocktaker(ends.destination, pair.destination.prefix, self._tell)
        self._memory = AscendingMemory(inputs.memory(pair.id))
        self._judge_key = compile_key_filter(declaration.filters)
        self._told = 0
        self._matched = 0
        self._examples: list[tuple[str, str]] = []
        self._folded: FoldedKeys | None = None
        self._fold = fold_of(ends.destination_can)
        refused = self._rules.facts.refused_kinds
        self._held_back: HeldBack | None = None
        if self._policy.delete_extraneous == "after-verify" and (self._fold is not None or refused):
            self._held_back = HeldBack(refused, ends.destination_can, staging=inputs.staging)
        self._nested = None if holds_keys_beneath_keys(ends.destination_can) else NestedKeys()
        self._open_listings: list[Listing] = []
        self._delivery = Delivery(
            pair,
            inputs,
            make_router=self._router,
            sticky=sticky_cuts(batch for batch in inputs.base.batches if batch.section == pair.id)
            if inputs.base is not None
            else {},
            most_parts=ends.destination_can.most_parts,
        )

    def _router(self, canary_max: int) -> Router:
        return Router(
            compile_globs(self._policy.markers),
            len(self._pair.source.prefix),
            chooser(self._ends.choice, self._in.declaration.preserve, self._pair.id),
            canary_max=canary_max,
            chosen=self._ends.canary,
        )

    def plan(self) -> SectionOutcome:
        """List, decide, write. Raises what the listings raise, DeclarationError for keys that would collide.

        Nothing of a section is final before both listings have ended; until then everything is a draft, deletes above
        all.
        """
        with ExitStack() as cleanup:
            cleanup.callback(self._discard)
            if self._fold is not None:
                self._folded = FoldedKeys(self._fold, self._in.staging)
            decided: Iterator[Decided] = self._histories() if self._policy.versions == "all" else self._objects()
            if not self._mapping.preserves_order:
                decided = _by_source_key(decided, self._in.staging)
            self._delivery.deliver(decided)
            if self._folded is not None:
                self._folded.refuse_collisions()
            return self._outcome()

    # --- the two streams

    def _listings(self) -> tuple[Iterator[ListedEntry], Iterator[ListedEntry]]:
        one, two = self._ends.source.listing(), self._ends.destination.listing()
        self._open_listings = [one, two]
        return self._source.take(one), self._destination.take(two)

    def _tell(self, _objects: int) -> None:
        seen = self._source.objects + self._destination.objects
        if seen - self._told >= 8192:
            self._told = seen
            self._report(finished=False)

    def _report(self, *, finished: bool) -> None:
        self._in.on_progress(PlanProgress(self._pair.id, self._source.objects, self._destination.objects, finished))

    def _rows(self, listing: Iterator[ListedEntry]) -> Iterator[SourceRow]:
        """The source in the order of the destination's keys, and no two participants with one destination key."""
        rows = self._mapped(listing)
        if not self._mapping.preserves_order:
            tagged = (((row[0], row[2] is not None), row) for row in rows)
            rows = self._distinct(row for _, row in sort_on_disk(tagged, itemgetter(0), folder=self._in.staging))
        return rows if self._nested is None else self._unnested(rows, self._nested)

    def _mapped(self, listing: Iterator[ListedEntry]) -> Iterator[SourceRow]:
        exclusion = compile_filters(self._in.declaration.filters, self._mapping.source_prefix)
        identity, target_of = self._mapping.is_identity, self._mapping.target
        examples, folded, held_back = self._examples, self._folded, self._held_back
        for item in listing:
            key = item[0]
            target = key if identity else target_of(key)
            if held_back is not None:
                held_back.source(target)
            excluded = None if exclusion is None else exclusion(item)
            if excluded is None and not isinstance(item, UnsupportedEntry):
                if not identity and len(examples) < EXAMPLES and target != key and (key, target) not in examples:
                    examples.append((key, target))
                if folded is not None:
                    folded.add(target, key)
            yield target, item, excluded

    def _unnested(self, rows: Iterator[SourceRow], nested: NestedKeys) -> Iterator[SourceRow]:
        for row in rows:
            if _takes_part(row):
                nested.check(row[0], row[1].key)
            yield row

    def _distinct(self, rows: Iterator[SourceRow]) -> Iterator[SourceRow]:
        """Participants stand before excluded rows of the same destination key."""
        last: SourceRow | None = None
        for row in rows:
            if _takes_part(row):
                if last is not None and last[0] == row[0] and last[1].key != row[1].key:
                    raise collision(last[1].key, row[1].key, row[0])
                last = row
            yield row

    # --- decisions

    def _objects(self) -> Iterator[Decided]:
        """Most keys of most plans are already there: they are set aside many at a time."""
        source, destination = self._listings()
        at = self._memory.at
        alike = alike_reason(self._rules) if self._mapping.is_identity else None
        run: list[ListedObject] = []
        for left, right in march(self._rows(source), destination):
            earlier = () if left is None or right is None else at(left[0])
            if alike is not None and left is not None and right is not None and left[2] is None and not earlier:
                ours = left[1]
                if ours[1:3] == right[1:3] and ours[2] and type(ours) is type(right) is ListedObject:
                    run.append(ours)
                    if len(run) == RUN:
                        yield self._skipped(run, alike)
                        run.clear()
                    continue
            if run:
                yield self._skipped(run, alike or Reason.SAME_SIZE)
                run.clear()
            yield self._decided(left, right, earlier)
        if run:
            yield self._skipped(run, alike or Reason.SAME_SIZE)
        if self._held_back is not None:
            for found, safe in self._held_back.given_back():
                yield [self._released(found, safe)], False

    def _skipped(self, run: list[ListedObject], reason: Reason) -> PutAside:
        self._matched += len(run)
        keys, sizes, etags, times, classes, _, versions, *_ = zip(*run, strict=True)
        actions, targets, reasons = repeat(Action.SKIP), repeat(None), repeat(reason._value_)
        rows = zip(keys, sizes, etags, actions, times, targets, etags, versions, classes, reasons, strict=False)
        return PutAside(list(map(new_entry, rows)))

    def _decided(self, left: SourceRow | None, right: ListedEntry | None, earlier: Earlier) -> KeyEntries:
        """What happens to one key, of which at least one side has an object."""
        if left is None:
            if right is None:
                return [], False
            if self._held_back is not None:
                entry = self._destination_only(right)
                self._held_back.destination(Found(entry, right, entry.action is Action.DELETE))
                return [], False
            return [self._destination_only(right)], False
        target, item, excluded = left
        there = None
        if right is not None:
            self._matched += 1
            there = right[2]
        if isinstance(item, UnsupportedEntry) or isinstance(right, UnsupportedEntry):
            return [_unsupported(left, right)], False
        if excluded is not None:
            return [_entry(item, target, Action.EXCLUDED, destination_etag=there, reason=excluded._value_)], False
        action, reason = decide(item, target, right, rules=self._rules, earlier=earlier)
        if action is Action.COPY or action is Action.OVERWRITE:
            return [_entry(item, target, action, destination_etag=there)], needs_restore(item)
        return [_entry(item, target, action, destination_etag=there, reason=reason._value_)], False

    def _histories(self) -> Iterator[KeyEntries]:
        source, destination = self._listings()
        for left, right in march(_histories_of(self._rows(source)), histories(destination)):
            if left is None:
                if right is not None:
                    yield self._destination_history(right), False
                continue
            target, rows = left
            listed: list[ListedEntry] = []
            if right is not None:
                listed = right[1]
                self._matched += len(listed)
            there = list(supported(listed))
            if len(there) < len(listed):
                unknown = next(entry for entry in listed if isinstance(entry, UnsupportedEntry))
                yield [_unsupported(row, unknown) for row in rows], False
            else:
                yield self._history(target, rows, there)

    def _history(self, target: str, rows: list[SourceRow], there: list[ListedObject]) -> KeyEntries:
        entries: list[Entry] = []
        restore = False
        taking_part = [item for _, item, excluded in rows if excluded is None and isinstance(item, ListedObject)]
        earlier = self._memory.at(target) if there else ()
        decisions = decide_history(taking_part, target, there, rules=self._rules, earlier=earlier)
        for row in rows:
            _, item, excluded = row
            if isinstance(item, UnsupportedEntry):
                entries.append(_unsupported(row, None))
                continue
            if excluded is not None:
                entries.append(_entry(item, target, Action.EXCLUDED, reason=str(excluded)))
                continue
            _, action, reason, etag = next(decisions)
            moved = action in TRANSFER_ACTIONS
            restore = restore or (moved and needs_restore(item))
            entries.append(_entry(item, target, action, destination_etag=etag, reason="" if moved else str(reason)))
        return entries, restore

    def _destination_only(self, item: ListedEntry) -> Entry:
        """DELETE where the declaration wants it and no filter protects the key; else EXTRANEOUS."""
        if isinstance(item, UnsupportedEntry):
            return _kept(item)
        key = item.key
        if self._judge_key is not None and self._judge_key(key[len(self._mapping.destination_prefix) :]) is not None:
            reason = Reason.FILTERED_AT_DESTINATION
        elif self._policy.delete_extraneous == "after-verify":
            # Without a version: a delete of a version would end its history.
            return _entry(item, key, Action.DELETE, destination_etag=item.etag)._replace(version_id=None)
        else:
            reason = Reason.NOT_AT_SOURCE
        return _entry(item, key, Action.EXTRANEOUS, destination_etag=item.etag, reason=str(reason))

    def _released(self, found: Found, safe: bool) -> Entry:
        """What happens to a key that was held back until all of the source's keys were known."""
        if not found.deletable or safe:
            return found.entry
        reason = str(Reason.FOLDED_AT_DESTINATION)
        return _entry(_as_listed(found.listed), found.entry.key, Action.EXTRANEOUS,
                      destination_etag=found.listed.etag, reason=reason)  # fmt: skip

    def _destination_history(self, history: History) -> list[Entry]:
        """At most the current version is deleted (a delete marker is laid over it); history itself is kept."""
        versions = history[1]
        if any(isinstance(item, UnsupportedEntry) for item in versions):
            return [_kept(item) for item in versions]
        entries = [_kept(item) for item in versions[:-1]]
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
        summary = conserved(self._delivery.by_action, source, destination, matched=self._matched)
        unclear = Counted(self._source.unclear_keys, self._source.unclear_examples)
        remarks = (*self._ends.source.remarks(), *self._ends.destination.remarks())
        if self._held_back is not None:
            remarks += self._held_back.remarks()
        return SectionOutcome(source, destination, summary, delivered, tuple(self._examples), unclear, remarks)

    def _discard(self) -> None:
        """Discard drafts and temporary files; stop a listing whose other side has failed, with its threads."""
        self._delivery.discard()
        for listing in self._open_listings:
            listing.close()
        if self._folded is not None:
            self._folded.close()
        if self._held_back is not None:
            self._held_back.close()


def _takes_part(row: SourceRow) -> bool:
    """Whether the row's object will exist at the destination, as far as its listing and the filters say."""
    return row[2] is None and not isinstance(row[1], UnsupportedEntry)


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


def _entry(
    item: ListedObject, target: str, action: Action, *, destination_etag: str | None = None, reason: str = ""
) -> Entry:
    """The manifest line for *item*. Positions, because a line is made for every object."""
    key, size, etag, modified, storage_class, _, version_id = item[:7]
    destination_key = None if target == key else target
    return new_entry(
        (key, size, etag, action, modified, destination_key, destination_etag, version_id, storage_class, reason)
    )


def _as_listed(entry: ListedEntry) -> ListedObject:
    """*entry* for a manifest line, with nothing in place of what is not known."""
    if isinstance(entry, ListedObject):
        return entry
    return ListedObject(
        entry.key, entry.size or 0, entry.etag or "", entry.modified_ms or 0, version_id=entry.version_id
    )


def _unsupported(row: SourceRow, there: ListedEntry | None) -> Entry:
    """EXCLUDED or UNSUPPORTED, for a key about which one of the two listings does not say enough."""
    target, item, excluded = row
    action, reason = Action.EXCLUDED, str(excluded)
    if excluded is None:
        action = Action.UNSUPPORTED
        reason = item.reason if isinstance(item, UnsupportedEntry) else ""
    if not reason and isinstance(there, UnsupportedEntry):
        reason = f"at the destination: {there.reason}"
    etag = None if there is None else there.etag
    return _entry(_as_listed(item), target, action, destination_etag=etag, reason=reason)


def _kept(item: ListedEntry) -> Entry:
    """EXTRANEOUS: a version at the destination that is left alone."""
    reason = item.reason if isinstance(item, UnsupportedEntry) else str(Reason.OLDER_VERSION)
    return _entry(_as_listed(item), item.key, Action.EXTRANEOUS, destination_etag=item.etag, reason=reason)


def _by_source_key(decided: Iterator[Decided], staging: Path) -> Iterator[KeyEntries]:
    """Manifests ascend by source key: after a march in another order, back to it."""
    rows = (
        (key, list(same_key), restore)
        for entries, restore in (each if isinstance(each, tuple) else (each.entries, False) for each in decided)
        for key, same_key in groupby(entries, key=itemgetter(0))
    )
    for _, entries, restore in sort_on_disk(rows, itemgetter(0), folder=staging):
        yield entries, restore
