"""What a plan moves, counted while it streams by: by tier for the reviewer, by storage class for the bill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from planner.batches import DraftBatch
from schema.plan import Tally
from schema.quantities import size_text
from schema.tiers import MAX_PARTS, TIERS, held_bytes, part_size

OTHER_TIERS = ("canary", "markers", "deletes")


@dataclass(slots=True)
class PartCount:
    """Objects that cross in parts, and their parts."""

    objects: int = 0
    parts: int = 0
    largest_part: int = 0

    def add(self, size: int, budget: int, most_parts: int = MAX_PARTS) -> int:
        """One object too big to cross whole; how many parts it has."""
        part = part_size(size, budget, most_parts)
        parts = -(-size // part)
        self.objects += 1
        self.parts += parts
        self.largest_part = max(self.largest_part, part)
        return parts

    def plus(self, other: PartCount) -> PartCount:
        """Both together."""
        return PartCount(
            self.objects + other.objects, self.parts + other.parts, max(self.largest_part, other.largest_part)
        )


@dataclass(slots=True)
class ClassWork:
    """What is carried out of one storage class. A part is a read and a write; an upload in parts has two more."""

    objects: int = 0
    bytes: int = 0
    reads: int = 0
    writes: int = 0
    restores: int = 0
    """Objects to be asked back from an archive first."""
    restored_bytes: int = 0


@dataclass(frozen=True, slots=True)
class TierWork:
    """What one tier moves, all sections together."""

    batches: int
    tally: Tally
    parts: PartCount

    @property
    def whole(self) -> int:
        """Objects that cross in one GET and one PUT (or are deleted)."""
        return self.tally.objects - self.parts.objects


def work_by_tier(drafts: Sequence[DraftBatch], parts: Sequence[Mapping[str, PartCount]]) -> dict[str, TierWork]:
    """The work of each tier that has any: small before big, then canary, markers and deletes."""
    work: dict[str, TierWork] = {}
    for name in (*(tier.name for tier in TIERS), *OTHER_TIERS):
        manifests = [draft.manifest for draft in drafts if draft.tier == name]
        if not manifests:
            continue
        counted = PartCount()
        for section in parts:
            counted = counted.plus(section.get(name, PartCount()))
        tally = Tally(sum(m.objects for m in manifests), sum(m.bytes for m in manifests))
        work[name] = TierWork(len(manifests), tally, counted)
    return work


def tier_rows(work: Mapping[str, TierWork], budget: int) -> tuple[Mapping[str, Any], ...]:
    """The plan's `tiers`: range, method, batches, objects, bytes."""
    return tuple(
        {
            "tier": name,
            "range": _range_text(name),
            "method": _method_text(name, tier, budget),
            "batches": tier.batches,
            "objects": tier.tally.objects,
            "bytes": tier.tally.bytes,
        }
        for name, tier in work.items()
    )


def _range_text(name: str) -> str:
    low = 0
    for tier in TIERS:
        if tier.name == name:
            return f"{size_text(low)} - {size_text(tier.high)}"
        low = tier.high
    return "any below 256 MiB" if name == "canary" else "any"


def _method_text(name: str, work: TierWork, budget: int) -> str:
    if name == "deletes":
        return "delete"
    if not work.parts.objects:
        return "whole"
    largest = work.parts.largest_part
    window = held_bytes(largest, largest, budget)
    through = "" if window == largest else f" through windows of {size_text(window)}"
    return f"{'whole, or ' if work.whole else ''}parts of up to {size_text(largest)}{through}"
