"""What differs between two plans, for people and machines: everything counted, some objects as examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from planner.difference import Change, Field, ObjectChange, PlanDifference, difference_of, object_changes
from s3migrate.views.markdown import TEXT_BYTES, code, few, plain_or_code
from schema.errors import MigrationError
from schema.files.manifest import ManifestStore
from schema.formats.escape import one_line, shortened
from schema.formats.quantities import count_text, counted_text, size_text
from schema.plan import Entry, Plan, Tally

FORMAT_VERSION = 1
VALUE_BYTES = 80
ROWS = 8
"""Most rows of one kind in Markdown."""


@dataclass(frozen=True, slots=True)
class PlanChanges:
    """Two plans compared."""

    old: Plan
    new: Plan
    difference: PlanDifference
    counts: Counter[Change]
    """Objects by what differs in them; one object may be counted under several changes."""
    objects: int
    examples: tuple[ObjectChange, ...]
    unread: str | None
    """Why not all objects could be compared; None: they were."""

    @property
    def equal(self) -> bool:
        """Whether nothing differs but names and times."""
        return self.difference.equal


def compare_plans(old: tuple[Plan, ManifestStore], new: tuple[Plan, ManifestStore], *, limit: int) -> PlanChanges:
    """*old* and *new* compared, with at most *limit* objects as examples. Reads only manifests that differ."""
    difference = difference_of(old[0], new[0])
    counts: Counter[Change] = Counter()
    examples: list[ObjectChange] = []
    objects, unread = 0, None
    try:
        for change in object_changes(difference, old[1], new[1]):
            objects += 1
            counts.update(change.changes)
            if len(examples) < limit:
                examples.append(change)
    except MigrationError as error:
        unread = str(error)
    return PlanChanges(old[0], new[0], difference, counts, objects, tuple(examples), unread)


def changes_json(changes: PlanChanges) -> dict[str, Any]:
    """For machines."""
    difference = changes.difference
    return {
        "format_version": FORMAT_VERSION,
        "equal": changes.equal,
        "old": _which(changes.old),
        "new": _which(changes.new),
        "declaration": [field._asdict() for field in difference.declaration],
        "capabilities": [field._asdict() for field in difference.capabilities],
        "totals": [
            {"section": each.section, "action": each.action, "old": each.old._asdict(), "new": each.new._asdict()}
            for each in difference.totals
        ],
        "batches": {
            "manifests_kept": difference.kept,
            "left": [batch.id for batch in difference.left],
            "entered": [batch.id for batch in difference.entered],
        },
        "objects": {
            "total": changes.objects,
            "counts": {str(change): changes.counts[change] for change in Change},
            "manifests_read": difference.to_read,
            "unread": changes.unread,
            "examples": [_object_json(each) for each in changes.examples],
        },
    }


def _which(plan: Plan) -> dict[str, Any]:
    return {"name": plan.name, "serial": plan.serial, "plan_id": plan.plan_id}


def _object_json(change: ObjectChange) -> dict[str, Any]:
    return {
        "section": change.section,
        "key": change.key,
        "changes": [str(each) for each in change.changes],
        "old": None if change.old is None else {**change.old._asdict(), "target": change.old.target},
        "new": None if change.new is None else {**change.new._asdict(), "target": change.new.target},
    }


def changes_text(changes: PlanChanges) -> Iterator[str]:
    """For a terminal."""
    if changes.equal:
        yield f"equal: {changes.old.plan_id} and {changes.new.plan_id} do the same"
        return
    difference = changes.difference
    yield f"serial {changes.old.serial} {changes.old.plan_id} -> serial {changes.new.serial} {changes.new.plan_id}"
    for title, fields in (("declaration", difference.declaration), ("capabilities", difference.capabilities)):
        if fields:
            yield title
            yield from (f"  {one_line(field.path)}: {_value(field.old)} -> {_value(field.new)}" for field in fields)
    if difference.totals:
        yield "totals"
        for total in difference.totals:
            yield f"  {total.section} {total.action}: {_tally(total.old)} -> {_tally(total.new)}"
    yield "batches"
    yield f"  {_batches(difference)}"
    yield "objects"
    yield f"  {_objects(changes)}"
    if changes.unread is not None:
        yield f"  not all could be compared: {one_line(changes.unread)}"
    for each in changes.examples:
        yield f"  {', '.join(each.changes)}: {one_line(each.key)}  {_turn(each)}"
    if changes.objects > len(changes.examples) > 0:
        yield f"  and {count_text(changes.objects - len(changes.examples))} more (--limit)"


def changes_markdown(changes: PlanChanges) -> Iterator[str]:
    """For a pull request, without a title; at most ROWS rows of each kind."""
    if changes.equal:
        yield f"Nothing: it does the same as serial {changes.old.serial}, {code(changes.old.plan_id)}."
        return
    difference = changes.difference
    yield f"Against serial {changes.old.serial}, {code(changes.old.plan_id)}:"
    yield ""
    yield from _field_rows("declared", difference.declaration)
    yield from _field_rows("found", difference.capabilities)
    rows = [
        f"- {plain_or_code(total.section)} {plain_or_code(total.action)}: {_tally(total.old)} → {_tally(total.new)}"
        for total in difference.totals
    ]
    yield from few(rows, ROWS, "s3migrate diff")
    yield f"- {_batches(difference)}"
    yield f"- {_objects(changes)}"
    if changes.unread is not None:
        yield f"- not all objects could be compared: {code(changes.unread, TEXT_BYTES)}"
    for each in changes.examples[:ROWS]:
        yield f"  - {', '.join(each.changes)} {code(each.key)}: {_turn(each)}"


def _field_rows(title: str, fields: Sequence[Field]) -> Iterator[str]:
    rows = [f"- {title}: {code(each.path)} {code(_value(each.old))} → {code(_value(each.new))}" for each in fields]
    yield from few(rows, ROWS, "s3migrate diff")


def _value(value: Any) -> str:
    return "(not there)" if value is None else shortened(one_line(str(value)), VALUE_BYTES)


def _tally(tally: Tally) -> str:
    return f"{counted_text(tally.objects, 'object')}, {size_text(tally.bytes)}"


def _batches(difference: PlanDifference) -> str:
    left, entered = len(difference.left), len(difference.entered)
    kept = counted_text(difference.kept, "manifest")
    return f"{kept} unchanged; {counted_text(left, 'batch')} gone, {counted_text(entered, 'batch')} new"


def _objects(changes: PlanChanges) -> str:
    counts = [f"{count_text(number)} {change}" for change in Change if (number := changes.counts[change])]
    kinds = f": {', '.join(counts)}" if counts else ""
    read = counted_text(changes.difference.to_read, "manifest")
    return f"{counted_text(changes.objects, 'object')} differ{kinds} ({read} read)"


def _turn(change: ObjectChange) -> str:
    """Action and size, old and new."""
    return f"{_entry(change.old)} → {_entry(change.new)}"


def _entry(entry: Entry | None) -> str:
    return "nothing" if entry is None else f"{entry.action} {size_text(entry.size)}"
