"""Decided entries delivered: counted, routed to a group, cut into batches, or put into a side manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from planner.batches import BatchCutter, BatchGroup, DraftBatch, Sticky
from planner.inputs import PlanInputs
from planner.review.overview import OverviewCounter, SectionOverview
from planner.review.workload import ClassWork, Largest, PartCount, TierMethod
from planner.stages import CANARY, CANARY_MAX, Group, Router
from schema.attributes.evidence import EXAMPLES, Counted
from schema.attributes.layout import parts_named
from schema.declaration import Pair
from schema.errors import PlanCorrupt
from schema.files.manifest import ManifestWriter
from schema.plan import (
    SOURCE_ACTIONS,
    TRANSFER_ACTIONS,
    Action,
    Entry,
    Inventory,
    Method,
    Tally,
    is_single_put,
    keeps_layout,
    takes_single_puts,
)
from schema.storage_classes import ARCHIVED
from schema.tiers import MAX_PART, MIN_PART, WHOLE_MAX, WINDOW, copied_part_size, part_size, single_put_window

KeyEntries = tuple[list[Entry], bool]
"""The entries of one key (several: its versions), and whether it must be restored first."""


@dataclass(frozen=True, slots=True)
class PutAside:
    """Entries of many keys, ascending, all with one action that moves nothing."""

    entries: list[Entry]


Decided = KeyEntries | PutAside
RUN = 1_000
"""Entries put aside at a time."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a section's entries became."""

    drafts: list[DraftBatch]
    side_manifests: dict[str, str]
    parts: dict[TierMethod, PartCount]
    """The objects that are not held whole."""
    classes: dict[str, ClassWork]
    """By the source's storage class: what is read and written."""
    largest: Largest
    overview: SectionOverview
    uncut: Counted
    """Objects whose part layout should be kept, in more or smaller parts than the destination takes."""


class Delivery:
    """Takes what was decided for one section, ascending by key. Call finish() or discard()."""

    def __init__(
        self,
        pair: Pair,
        inputs: PlanInputs,
        *,
        make_router: Callable[[int], Router],
        sticky: Mapping[BatchGroup, Sticky],
        most_parts: int,
    ) -> None:
        self.by_action: dict[Action, list[int]] = {action: [0, 0] for action in Action}
        """Objects and bytes."""
        self._section = pair.id
        self._manifests = inputs.manifests
        self._staging = inputs.staging
        self._make_router = make_router
        self._targets = inputs.targets
        self._sticky = sticky
        self._budget = inputs.budget
        ends = inputs.pairs[pair.id]
        self._single_puts = takes_single_puts(pair, ends.source_can, ends.destination_can)
        self._most_parts = most_parts
        self._parts: dict[TierMethod, PartCount] = {}
        self._classes: dict[str, ClassWork] = {}
        self._largest = Largest()
        self._overview = OverviewCounter(pair)
        self._preserve = inputs.declaration.preserve
        self._uncut = Counted(0, ())
        self._cutters: dict[Group, BatchCutter] = {}
        self._sides: dict[Action, ManifestWriter] = {}

    def deliver(self, decided: Iterable[Decided]) -> None:
        """Count each entry and write it where it belongs. The first transfer waits for the second (see Router)."""
        by_action = self.by_action
        waiting: KeyEntries | None = None
        router: Router | None = None
        for each in decided:
            if isinstance(each, PutAside):
                self._put_aside(each.entries)
                continue
            entries, restore = each
            moving = entries
            for entry in entries:
                action, size = entry[3], entry[1]
                tally = by_action[action]
                tally[0] += 1
                tally[1] += size
                if action not in TRANSFER_ACTIONS:
                    self._side(action).add(entry)
                    self._overview.add_example(entry)
                    moving = []
            if not moving:
                if len(entries) == 1:
                    continue
                moving = [entry for entry in entries if entry[3] in TRANSFER_ACTIONS]
                if not moving:
                    continue
            if router is None:
                if waiting is None:
                    waiting = (moving, restore)
                    continue
                router = self._make_router(CANARY_MAX)
                self._dispatch(waiting, router)
            self._dispatch((moving, restore), router)
        if router is None and waiting is not None:
            self._dispatch(waiting, self._make_router(0))

    def _put_aside(self, run: list[Entry]) -> None:
        action = run[0][3]
        tally = self.by_action[action]
        tally[0] += len(run)
        tally[1] += sum(entry[1] for entry in run)
        self._side(action).add_run(run)

    def _dispatch(self, moving: KeyEntries, router: Router) -> None:
        entries, restore = moving
        group = router.route(entries, restore)
        cutter, counter = self._cutters.get(group) or self._open_cutter(group), self._overview
        for entry in entries:
            cutter.add(entry)
            counter.add(entry)
            if entry[3] not in (Action.DELETE, Action.DELETE_MARKER):
                self._measure(entry, group, restore)

    def _measure(self, entry: Entry, group: Group, restore: bool) -> None:
        """What moving one object takes, for the estimate."""
        size, storage_class = entry[1], entry[8]
        copied = group[2] is Method.SERVER_COPY
        if not copied and size > self._largest.size:
            self._largest = Largest(size, entry[0], entry[2])
        if self._preserve.part_layout and keeps_layout(entry, self._preserve) and self._cannot_be_cut(entry):
            objects, examples = self._uncut
            self._uncut = Counted(objects + 1, (*examples, entry[0])[:EXAMPLES])
        parts = through = 0
        single = not copied and self._single_puts and is_single_put(size, entry[2])
        if single:
            through = -(-size // single_put_window(self._budget))
            self._parts.setdefault(group[1:], PartCount()).add_single(through)
        elif size > (MAX_PART if copied else WHOLE_MAX):
            most = self._most_parts
            part = copied_part_size(size, most) if copied else part_size(size, self._budget, most)
            parts = self._parts.setdefault(group[1:], PartCount()).add(size, part)
        work = self._classes.get(storage_class)
        if work is None:
            work = self._classes[storage_class] = ClassWork()
        work.objects += 1
        work.bytes += size
        windows = max(1, -(-size // WINDOW))
        work.windows += windows
        if group.stage == CANARY:
            work.read_back += windows
            work.read_back_bytes += size
        if copied or single:
            work.heads += 1
        if not copied:
            work.reads += through or parts or 1
        work.writes += parts + 2 if parts else 1
        if restore and storage_class in ARCHIVED:
            work.restores += 1
            work.restored_bytes += size

    def _cannot_be_cut(self, entry: Entry) -> bool:
        count = parts_named(entry[2])
        return count > self._most_parts or entry[1] < (count - 1) * MIN_PART

    def _open_cutter(self, group: Group) -> BatchCutter:
        name = (self._section, *group)
        cutter = self._cutters[group] = BatchCutter(
            name,
            self._targets[group[1]],
            lambda: ManifestWriter(self._staging),
            store=self._manifests,
            sticky=self._sticky.get(name),
        )
        return cutter

    def _side(self, action: Action) -> ManifestWriter:
        writer = self._sides.get(action)
        if writer is None:
            writer = self._sides[action] = ManifestWriter(self._staging)
        return writer

    def finish(self) -> Delivered:
        """Finish all manifests; batches of one group in key order."""
        drafts = [draft for cutter in self._cutters.values() for draft in cutter.finish()]
        sides = {str(action): writer.finish(self._manifests).digest for action, writer in sorted(self._sides.items())}
        overview = self._overview.finish()
        return Delivered(drafts, sides, self._parts, self._classes, self._largest, overview, self._uncut)

    def discard(self) -> None:
        """Discard open manifests and their temporary files."""
        for cutter in self._cutters.values():
            cutter.discard()
        for writer in self._sides.values():
            writer.discard()


def conserved(
    by_action: dict[Action, list[int]], source: Inventory, destination: Inventory, *, matched: int
) -> dict[str, Tally]:
    """The section's summary. Raises PlanCorrupt when an object of either listing is unaccounted for."""
    summary = {str(action): Tally(*by_action[action]) for action in Action}
    accounted = Tally(
        sum(by_action[action][0] for action in SOURCE_ACTIONS), sum(by_action[action][1] for action in SOURCE_ACTIONS)
    )
    listed = Tally(source.objects, source.bytes)
    found = matched + by_action[Action.DELETE][0] + by_action[Action.EXTRANEOUS][0]
    if accounted != listed or found != destination.objects:
        raise PlanCorrupt(
            f"{listed.objects:,} source and {destination.objects:,} destination objects were listed, but "
            f"{accounted.objects:,} and {found:,} accounted for. No plan was written; this is a fault of s3migrate: "
            "please report it"
        )
    moving = [by_action[action] for action in TRANSFER_ACTIONS]
    summary["listed"] = listed
    summary["transfer"] = Tally(sum(row[0] for row in moving), sum(row[1] for row in moving))
    return summary
