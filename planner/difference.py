"""What differs between two plans, by level: declaration, capabilities, totals, batches, objects.

Manifests are named by their content, so an equal digest is an equal manifest: only those that one plan has and the
other lacks are read. Serial, time, provenance, and the text of the declaration (its comments, say) do not count; nor
does what follows from the rest (estimate, tiers, overview).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from schema.errors import ManifestCorrupt
from schema.files.manifest import ManifestStore, read_lines
from schema.files.manifest_lines import decode
from schema.formats.plain import plain
from schema.plan import Batch, Entry, Plan, Section, Tally

DECLARED = ("name", "filters", "policy", "preserve", "limits", "timeouts", "guards", "memory_budget", "manifest_store")


class Field(NamedTuple):
    """One value of the plan document that differs."""

    path: str
    old: Any
    """None: not there."""
    new: Any


class Total(NamedTuple):
    """One sum that differs."""

    section: str
    action: str
    old: Tally
    new: Tally


class Change(StrEnum):
    """What differs about one object."""

    ENTERED = "entered"
    """Only the new plan has it."""
    LEFT = "left"
    """Only the old one has it."""
    ACTION = "action"
    SOURCE = "source"
    """Its size, ETag, time, version or storage class there."""
    DESTINATION = "destination"
    """Its key there, or the ETag of what is in its place."""


class ObjectChange(NamedTuple):
    """One object that differs."""

    section: str
    key: str
    changes: tuple[Change, ...]
    old: Entry | None
    new: Entry | None


@dataclass(frozen=True, slots=True)
class PlanDifference:
    """Everything that two plan documents show; for objects see object_changes()."""

    declaration: tuple[Field, ...]
    capabilities: tuple[Field, ...]
    """What the probes found, and what follows: methods, losses, risks."""
    totals: tuple[Total, ...]
    kept: int
    """Manifests that both have."""
    left: tuple[Batch, ...]
    entered: tuple[Batch, ...]
    histories: bool
    """Keys have versions that are migrated one by one."""
    old_manifests: Mapping[str, Mapping[_Group, _Stream]] = field(repr=False)
    """Those that only the old plan has, by section and by what was cut together."""
    new_manifests: Mapping[str, Mapping[_Group, _Stream]] = field(repr=False)

    @property
    def equal(self) -> bool:
        """True: applying one is applying the other."""
        return not (
            self.declaration or self.capabilities or self.totals or self.left or self.entered
            or self.old_manifests or self.new_manifests
        )  # fmt: skip

    @property
    def to_read(self) -> int:
        """Manifests that have to be read for the objects."""
        each = (*self.old_manifests.values(), *self.new_manifests.values())
        return sum(len(stream) for streams in each for stream in streams.values())


_Stream = tuple[str, ...]
"""Digests of manifests that follow each other in key order."""
_Group = tuple[str, ...]
"""Stage, tier and method of batches; ("side", NAME) of a side manifest."""
_Line = tuple[bytes, str, int]
"""A line of a manifest, the manifest's digest, and which line it is."""


def difference_of(old: Plan, new: Plan) -> PlanDifference:
    """The difference of the documents of *old* and *new*. No manifest is read."""
    one, two = _identities(old), _identities(new)
    left, entered = one.keys() - two.keys(), two.keys() - one.keys()
    had, has = _digests(old), _digests(new)
    return PlanDifference(
        declaration=tuple(_fields(_declared(old), _declared(new))),
        capabilities=tuple(_fields(_found_out(old), _found_out(new))),
        totals=tuple(_totals(old, new)),
        kept=len(had & has),
        left=tuple(batch for identity, batch in one.items() if identity in left),
        entered=tuple(batch for identity, batch in two.items() if identity in entered),
        histories="all" in (old.policy.versions, new.policy.versions),
        old_manifests=_streams(old, had - has),
        new_manifests=_streams(new, has - had),
    )


def object_changes(difference: PlanDifference, old: ManifestStore, new: ManifestStore) -> Iterator[ObjectChange]:
    """Every object that differs, by section and ascending by key. Memory does not grow with their number.

    Lines that are equal are not even decoded. Raises ManifestMissing, ManifestCorrupt.
    """
    for section in sorted({*difference.old_manifests, *difference.new_manifests}):
        had, has = difference.old_manifests.get(section, {}), difference.new_manifests.get(section, {})
        unlike = [
            _unlike(_lines(old, had.get(group, ())), _lines(new, has.get(group, ())))
            for group in dict.fromkeys((*had, *has))
        ]
        for key, same_key in groupby(merge(*unlike, key=itemgetter(0)), key=itemgetter(0)):
            before: list[Entry] = []
            after: list[Entry] = []
            for _, is_new, entry in same_key:
                (after if is_new else before).append(entry)
            yield from _of_key(section, key, before=before, after=after, histories=difference.histories)


def _unlike(old: Iterator[_Line], new: Iterator[_Line]) -> Iterator[tuple[str, bool, Entry]]:
    """(key, whether it is the new plan's, entry) of the lines that only one of two ascending streams has."""
    left, right = next(old, None), next(new, None)
    one, two = _decoded(left), _decoded(right)
    while left is not None or right is not None:
        if left is not None and right is not None and left[0] == right[0]:
            left, right = next(old, None), next(new, None)
            while left is not None and right is not None and left[0] == right[0]:
                left, right = next(old, None), next(new, None)
            one, two = _decoded(left), _decoded(right)
        elif two is None or (one is not None and one.key <= two.key):
            if one is not None:
                yield one.key, False, one
            left = next(old, None)
            one = _decoded(left)
        else:
            yield two.key, True, two
            right = next(new, None)
            two = _decoded(right)


def _lines(store: ManifestStore, stream: _Stream) -> Iterator[_Line]:
    return ((line, digest, number) for digest in stream for number, line in enumerate(read_lines(store, digest), 1))


def _decoded(line: _Line | None) -> Entry | None:
    if line is None:
        return None
    try:
        return decode(line[0], line[2])
    except ManifestCorrupt as error:
        raise ManifestCorrupt(f"manifest {line[1]}: {error}") from None


def _of_key(
    section: str, key: str, *, before: list[Entry], after: list[Entry], histories: bool
) -> Iterator[ObjectChange]:
    """The object that is now in the place of one; with *histories* each version with its like."""
    if not histories and len(before) == len(after) == 1:
        pairs: list[tuple[Entry | None, Entry | None]] = [(before[0], after[0])]
    else:
        there = {entry.version_id: entry for entry in after}
        pairs = [(entry, there.pop(entry.version_id, None)) for entry in before]
        pairs += [(None, entry) for entry in there.values()]
    for one, two in pairs:
        changes = tuple(_changes(one, two))
        if changes:
            yield ObjectChange(section, key, changes, one, two)


def _changes(old: Entry | None, new: Entry | None) -> Iterator[Change]:
    if old is None or new is None:
        yield Change.LEFT if new is None else Change.ENTERED
        return
    if old.action is not new.action:
        yield Change.ACTION
    if _at_source(old) != _at_source(new):
        yield Change.SOURCE
    if (old.target, old.destination_etag) != (new.target, new.destination_etag):
        yield Change.DESTINATION


def _at_source(entry: Entry) -> tuple[object, ...]:
    return entry.size, entry.etag, entry.modified_ms, entry.version_id, entry.storage_class


def _identities(plan: Plan) -> dict[tuple[object, ...], Batch]:
    """What a batch is to a reviewer: the same objects, carried in the same way at the same stage."""
    return {(batch.section, batch.stage, batch.tier, batch.method, batch.manifest): batch for batch in plan.batches}


def _digests(plan: Plan) -> set[tuple[str, str]]:
    """(section, digest) of every manifest."""
    sides = {(section.id, digest) for section in plan.sections for digest in section.side_manifests.values()}
    return sides | {(batch.section, batch.manifest) for batch in plan.batches}


def _streams(plan: Plan, wanted: set[tuple[str, str]]) -> dict[str, dict[_Group, _Stream]]:
    """The *wanted* manifests of *plan* by section; batches cut from one group follow each other in key order."""
    groups: dict[str, dict[_Group, dict[str, str]]] = {}
    for batch in plan.batches:
        if (batch.section, batch.manifest) in wanted:
            name = (batch.stage, batch.tier, str(batch.method))
            groups.setdefault(batch.section, {}).setdefault(name, {}).setdefault(batch.manifest, batch.keys[0])
    for section in plan.sections:
        for side, digest in section.side_manifests.items():
            if (section.id, digest) in wanted:
                groups.setdefault(section.id, {})[("side", side)] = {digest: ""}
    return {
        section: {name: tuple(sorted(first_keys, key=first_keys.__getitem__)) for name, first_keys in those.items()}
        for section, those in groups.items()
    }


def _declared(plan: Plan) -> dict[str, Any]:
    """What people wrote: everything except what was found out."""
    sections = {section.id: {"source": section.source, "destination": section.destination} for section in plan.sections}
    return _flat({**{name: getattr(plan, name) for name in DECLARED}, "sections": sections})


def _found_out(plan: Plan) -> dict[str, Any]:
    sections = {section.id: _found_out_of(section) for section in plan.sections}
    risks = {risk.id: f"{risk.level}: {risk.text}" for risk in plan.risks if not _counts_only(risk.id)}
    return _flat({"sections": sections, "risks": risks})


def _counts_only(risk: str) -> bool:
    """True: the risk says in words what the totals say in numbers."""
    return risk in ("overwrites", "deletes", "conflicts", "unsupported", "largest-object", "archived-destination")


def _found_out_of(section: Section) -> dict[str, Any]:
    return {
        "source": section.source_capabilities.facts,
        "destination": section.destination_capabilities.facts,
        "methods": section.methods,
        "losses": {
            loss.id: f"{loss.text} ({'accepted' if loss.accepted else 'not accepted'})" for loss in section.losses
        },
    }


def _flat(document: Any, path: str = "") -> dict[str, Any]:
    """Every scalar of *document* by its path; lists are values."""
    if path == "":
        document = plain(document)
    if not isinstance(document, Mapping) or not document:
        return {path: document}
    flat: dict[str, Any] = {}
    for name, value in document.items():
        flat |= _flat(value, f"{path}.{name}" if path else str(name))
    return flat


def _fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Field]:
    for path in sorted({*old, *new}):
        one, two = old.get(path), new.get(path)
        if one != two:
            yield Field(path, one, two)


def _totals(old: Plan, new: Plan) -> Iterator[Total]:
    had = {section.id: section.summary for section in old.sections}
    has = {section.id: section.summary for section in new.sections}
    for section in dict.fromkeys((*had, *has)):
        one, two = had.get(section, {}), has.get(section, {})
        for action in dict.fromkeys((*one, *two)):
            before, after = one.get(action, Tally()), two.get(action, Tally())
            if before != after:
                yield Total(section, action, before, after)
