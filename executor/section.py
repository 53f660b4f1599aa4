"""One pair of buckets at run time: its stores, and what the plan's probe says may be relied on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from schema.plan import Action, Capabilities, Entry, Plan, Section
from schema.tiers import WHOLE_MAX, part_size
from storage.port import Guard, HeaderList, ObjectStore, Pin

CHECKSUM_MODE: HeaderList = (("x-amz-checksum-mode", "ENABLED"),)


@dataclass(frozen=True, slots=True)
class SectionRuntime:
    """What a copy needs to know beside the entry itself."""

    plan: Plan
    section: Section
    source: ObjectStore
    destination: ObjectStore
    budget: int
    """Bytes of object buffers of this process."""

    @property
    def source_facts(self) -> Capabilities:
        """What the source was seen to do."""
        return self.section.source_capabilities

    @property
    def destination_facts(self) -> Capabilities:
        """What the destination was seen to enforce."""
        return self.section.destination_capabilities

    @property
    def read_extra(self) -> HeaderList:
        """Headers of a HEAD or a whole GET at the source."""
        return CHECKSUM_MODE if self.source_facts.enforces("checksums_returned") else ()

    @property
    def destination_read_extra(self) -> HeaderList:
        """Headers of a HEAD at the destination."""
        return CHECKSUM_MODE if self.destination_facts.enforces("checksums_returned") else ()

    @property
    def server_copy(self) -> bool:
        """The plan chose to copy inside the endpoint."""
        return self.section.method == "server-copy"

    def is_whole(self, size: int) -> bool:
        """True: the object crosses in one GET and one PUT; False: in parts."""
        return size <= min(WHOLE_MAX, self.budget // 2)

    def part_size(self, size: int) -> int:
        """The cut that the plan fixed; the same in every process and after every resume."""
        return part_size(size, self.plan.memory_budget)

    def guarded(self, action: Action) -> bool:
        """True when the destination itself refuses a write that the plan did not foresee."""
        return self.destination_facts.enforces("if_match" if action is Action.OVERWRITE else "if_none_match")

    def version(self, answered: str | None) -> str | None:
        """The version id of a write, where the destination keeps versions; others answer 'null' or nonsense."""
        return answered if self.destination_facts.enforces("versioning") else None

    def guard(self, entry: Entry) -> Guard:
        """The precondition under which the plan may write *entry*. None for versions: all (history is laid on top)."""
        if self.plan.policy.versions == "all":
            return Guard()
        if entry.action is Action.OVERWRITE:
            return Guard(if_match=entry.destination_etag)
        return Guard(if_none_match=True)


def pin(entry: Entry) -> Pin:
    """The source object as planned."""
    return Pin(entry.etag or None, entry.version_id)


def sections_of(
    plan: Plan, stores: Mapping[str, tuple[ObjectStore, ObjectStore]], budget: int
) -> dict[str, SectionRuntime]:
    """Every section of *plan* with its (source, destination) stores."""
    return {s.id: SectionRuntime(plan, s, *stores[s.id], budget) for s in plan.sections}
