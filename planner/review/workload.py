"""What a plan moves, counted while it streams by: by tier for the reviewer, by storage class for the bill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from planner.batches import DraftBatch
from schema.formats.quantities import size_text
from schema.plan import DELETES, Method, Tally
from schema.tiers import TIERS, held_bytes

OTHER_TIERS = ("canary", "markers", "deletes")


TierMethod = tuple[str, Method | None]


class Largest(NamedTuple):
    """The largest object to be streamed."""

    size: int = -1
    """-1: none is."""
    key: str = ""
    etag: str = ""


@dataclass(slots=True)
class PartCount:
    """Objects too big to be held: those that travel in parts, and those that do in one PUT."""

    objects: int = 0
    """In parts."""
    parts: int = 0
    largest_part: int = 0
    windows: int = 0
    """GETs by which those are read that cross in one PUT."""

    def add_single(self, windows: int) -> None:
        """One object in one PUT, read through so many *windows*."""
        self.windows += windows

    def add(self, size: int, part: int) -> int:
        """One object too big to travel whole, in parts of *part* bytes; how many these are."""
        parts = -(-size // part)
        self.objects += 1
        self.parts += parts
        self.largest_part = max(self.largest_part, part)
        return parts

    def plus(self, other: PartCount) -> PartCount:
        """Both together."""
        return PartCount(
            self.objects + other.objects,
            self.parts + other.parts,
            max(self.largest_part, other.largest_part),
            self.windows + other.windows,
        )


@dataclass(slots=True)
class ClassWork:
    """What is carried out of one storage class. A part is a read and a write; an upload in parts has two more.

    What the endpoint copies on its own is a write without a read; what is too big to be held and crosses in one PUT is
    a read for each window.
    """

    objects: int = 0
    bytes: int = 0
    reads: int = 0
    writes: int = 0
    restores: int = 0
    """Objects to be asked back from an archive first."""
    restored_bytes: int = 0
    heads: int = 0
    """Objects that get a HEAD first: those that the endpoint copies, or that cross in one PUT without being held."""
    windows: int = 0
    """GETs by which an end is asked for all of it once more."""
    read_back: int = 0
    """GETs at each end by which what was written is proven: the canary, or everything (see `with_all_proven`)."""
    read_back_bytes: int = 0
    """What they read at each end."""


def with_tags_asked(classes: Mapping[str, ClassWork]) -> dict[str, ClassWork]:
    """The same where heads do not count tags: a GetObjectTagging for each object as well."""
    return {name: replace(work, reads=work.reads + work.objects) for name, work in classes.items()}


def with_all_proven(classes: Mapping[str, ClassWork]) -> dict[str, ClassWork]:
    """The same where the plan deletes: every object is read at both ends before anything is deleted."""
    return {name: replace(work, read_back=work.windows, read_back_bytes=work.bytes) for name, work in classes.items()}


@dataclass(frozen=True, slots=True)
class TierWork:
    """What one tier moves, all sections together."""

    batches: int
    tally: Tally
    parts: PartCount
    """Of objects that are streamed."""
    copied: Tally
    """The part of it that the endpoint copies."""
    copied_parts: PartCount

    @property
    def whole(self) -> int:
        """Objects that travel in one PUT, or in one CopyObject (or are deleted)."""
        return self.tally.objects - self.parts.objects - self.copied_parts.objects


def work_by_tier(drafts: Sequence[DraftBatch], parts: Sequence[Mapping[TierMethod, PartCount]]) -> dict[str, TierWork]:
    """The work of each tier that has any: small before big, then canary, markers and deletes."""
    work: dict[str, TierWork] = {}
    for name in (*(tier.name for tier in TIERS), *OTHER_TIERS):
        those = [draft for draft in drafts if draft.tier == name]
        if not those:
            continue
        counted = {method: PartCount() for method in Method}
        for section in parts:
            for method, count in counted.items():
                counted[method] = count.plus(section.get((name, method), PartCount()))
        copied = _tally(draft for draft in those if draft.method is Method.SERVER_COPY)
        streamed_parts, copied_parts = counted[Method.STREAM], counted[Method.SERVER_COPY]
        work[name] = TierWork(len(those), _tally(those), streamed_parts, copied, copied_parts)
    return work


def _tally(drafts: Iterable[DraftBatch]) -> Tally:
    objects = total = 0
    for draft in drafts:
        objects += draft.manifest.objects
        total += draft.manifest.bytes
    return Tally(objects, total)


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
    """How the objects of a tier are cut; those that the endpoint copies are listed separately."""
    if name == DELETES:
        return "delete"
    copied, streamed = work.copied.objects, work.tally.objects - work.copied.objects
    rows = []
    if copied:
        rows.append(f"copied by the endpoint: {_cut_text(copied, work.copied_parts)}")
    if streamed:
        largest = work.parts.largest_part
        window = held_bytes(largest, largest, budget)
        through = "" if window == largest else f" through windows of {size_text(window)}"
        rows.append(f"{'streamed: ' if copied else ''}{_cut_text(streamed, work.parts)}{through}")
    return "; ".join(rows)


def _cut_text(objects: int, parts: PartCount) -> str:
    if not parts.objects:
        return "whole"
    return f"{'whole, or ' if objects > parts.objects else ''}parts of up to {size_text(parts.largest_part)}"
