"""What differs between two plans, by level: declaration, capabilities, totals, batches, objects.

Manifests are named by their content, so an equal digest is an equal manifest: only those that one plan has and the
other lacks are read. Serial, time, provenance, and the text of the declaration (its comments, say) do not count; nor
does what follows from the rest (estimate, tiers, overview).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import merge
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, NamedTuple

from schema.files.manifest import ManifestStore, read_entries
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
    """Everything that two plan documents tell; objects are object_changes()."""

    declaration: tuple[Field, ...]
    capabilities: tuple[Field, ...]
    """What the probes found, and what follows: methods, losses, risks."""
    totals: tuple[Total, ...]
    kept: int
    """Manifests that both have."""
    left: tuple[Batch, ...]
    entered: tuple[Batch, ...]
    old_manifests: Mapping[str, tuple[_Stream, ...]] = field(repr=False)
    new_manifests: Mapping[str, tuple[_Stream, ...]] = field(repr=False)

    @property
    def equal(self) -> bool:
        """True: applying one is applying the other."""
        return not (
            self.declaration or self.capabilities or self.totals or self.left or self.entered
            or self.old_manifests or self.new_manifests
        )  # fmt: skip

    @property
    def to_read(self) -> int:
        """Manifests that have to be read to tell the objects."""
        each = (*self.old_manifests.values(), *self.new_manifests.values())
        return sum(len(stream) for streams in each for stream in streams)


_Stream = tuple[str, ...]
"""Digests of manifests that follow each other in key order."""


def difference_of(old: Plan, new: Plan) -> PlanDifference:
    """What the documents of *old* and *new* tell of their difference. No manifest is read."""
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
        old_manifests=_streams(old, had - has),
        new_manifests=_streams(new, has - had),
    )


def object_changes(difference: PlanDifference, old: ManifestStore, new: ManifestStore) -> Iterator[ObjectChange]:
    """Every object that differs, by section and ascending by key. Memory does not grow with their number.

    Raises ManifestMissing, ManifestCorrupt.
    """
    for section in sorted({*difference.old_manifests, *difference.new_manifests}):
        sides = (
            ((entry.key, 0, entry) for entry in _entries(old, difference.old_manifests.get(section, ()))),
            ((entry.key, 1, entry) for entry in _entries(new, difference.new_manifests.get(section, ()))),
        )
        for key, same_key in groupby(merge(*sides, key=itemgetter(0)), key=itemgetter(0)):
            before: list[Entry] = []
            after: list[Entry] = []
            for _, side, entry in same_key:
                (after if side else before).append(entry)
            yield from _of_key(section, key, before=before, after=after)


def _of_key(section: str, key: str, *, before: list[Entry], after: list[Entry]) -> Iterator[ObjectChange]:
    """The versions of one key, each with its like; a single object with the single one in its place."""
    if len(before) == len(after) == 1:
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


def _entries(store: ManifestStore, streams: Iterable[_Stream]) -> Iterator[Entry]:
    """The entries of all *streams*, ascending by key."""
    each = (
        chain.from_iterable((entry for _, entry in read_entries(store, digest)) for digest in stream)
        for stream in streams
    )
    return merge(*each, key=itemgetter(0))


def _identities(plan: Plan) -> dict[tuple[object, ...], Batch]:
    """What a batch is to a reviewer: the same objects, carried in the same way at the same stage."""
    return {(batch.section, batch.stage, batch.tier, batch.method, batch.manifest): batch for batch in plan.batches}


def _digests(plan: Plan) -> set[tuple[str, str]]:
    """(section, digest) of every manifest."""
    sides = {(section.id, digest) for section in plan.sections for digest in section.side_manifests.values()}
    return sides | {(batch.section, batch.manifest) for batch in plan.batches}


def _streams(plan: Plan, wanted: set[tuple[str, str]]) -> dict[str, tuple[_Stream, ...]]:
    """The *wanted* manifests of *plan* by section; batches cut from one group follow each other in key order."""
    groups: dict[str, dict[tuple[object, ...], dict[str, str]]] = {}
    for batch in plan.batches:
        if (batch.section, batch.manifest) in wanted:
            group = groups.setdefault(batch.section, {}).setdefault((batch.stage, batch.tier, batch.method), {})
            group.setdefault(batch.manifest, batch.keys[0])
    for section in plan.sections:
        for name, digest in section.side_manifests.items():
            if (section.id, digest) in wanted:
                groups.setdefault(section.id, {})[("side", name)] = {digest: ""}
    return {
        section: tuple(tuple(sorted(group, key=group.__getitem__)) for group in of_section.values())
        for section, of_section in groups.items()
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
