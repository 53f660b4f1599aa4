"""Accounting for `versions: all`: per key, the destination's history must be the source's, in order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from executor.ledger.values import Completion, Outcome
from executor.route import Route
from executor.verify.expectation import Expectations, Expected
from executor.verify.listing import ARRIVED, Mismatch, MismatchKind
from schema.formats.quantities import counted_text
from schema.objects import ListedEntry, ListedObject, UnsupportedEntry, supported
from schema.plan import HELD_MARKER, HELD_VERSION, Action
from storage.port import believed

LAID = ARRIVED | {Outcome.MARKER_LAID}
"""The destination holds the version, be it an object or a delete marker."""


def version_findings(route: Route, lines: Expectations) -> Iterator[Mismatch]:
    """One finding for each key whose history differs, is missing, or is in no manifest."""
    store, prefix = route.destination, route.section.destination.prefix
    believe = believed(route.destination_facts)
    if route.destination_facts.never_versioned:
        listing = store.list_objects(prefix, believe=believe)
    else:
        listing = store.list_versions(prefix, believe=believe)
    histories = groupby(listing, key=lambda v: v.key)
    planned = groupby(lines.by_target(), key=lambda e: e.entry.target)
    there, plan = next(histories, None), next(planned, None)
    # groupby's groups die when it moves on, so each is made a list before the next is asked for.
    held = (there[0], list(there[1])) if there else None
    wanted = (plan[0], list(plan[1])) if plan else None
    while held is not None or wanted is not None:
        key = min(k[0] for k in (held, wanted) if k is not None)
        versions = held[1] if held is not None and held[0] == key else []
        expected = wanted[1] if wanted is not None and wanted[0] == key else []
        finding = _compare(route.section.id, key, versions, expected=expected)
        if finding is not None:
            yield finding
        if held is not None and held[0] == key:
            there = next(histories, None)
            held = (there[0], list(there[1])) if there else None
        if wanted is not None and wanted[0] == key:
            plan = next(planned, None)
            wanted = (plan[0], list(plan[1])) if plan else None


def _compare(section: str, key: str, listed: list[ListedEntry], *, expected: list[Expected]) -> Mismatch | None:
    versions = list(supported(listed))
    moved = [e for e in expected if e.entry.action in (Action.COPY, Action.OVERWRITE, Action.DELETE_MARKER)]
    held = [e for e in expected if e.entry.action is Action.SKIP and e.entry.reason in (HELD_VERSION, HELD_MARKER)]
    if not expected:
        detail = f"{counted_text(len(listed), 'version')} in no manifest"
        return Mismatch(section, MismatchKind.UNACCOUNTED, key, key, detail)
    unknown = next((entry for entry in listed if isinstance(entry, UnsupportedEntry)), None)
    if unknown is not None:
        if not (moved or held):
            return None
        detail = f"at the destination: {unknown.reason}"
        return Mismatch(section, MismatchKind.UNREADABLE, expected[0].entry.key, key, detail)
    if not moved:
        lost = _gone(held, versions)
        if lost:
            return Mismatch(section, MismatchKind.MISSING, held[0].entry.key, key, lost)
        if held and len(held) == len(expected) and not _is_current(held[-1], versions[-1]):
            detail = "the newest version is not the one that was there when planned"
            return Mismatch(section, MismatchKind.DIFFERENT, held[0].entry.key, key, detail)
        return None
    source_key = moved[0].entry.key
    rows = [e.completion for e in moved]
    if any(row is None or row.outcome not in LAID for row in rows):
        return Mismatch(section, MismatchKind.NOT_COPIED, source_key, key, "not every version is recorded as copied")
    ours = versions[-len(moved) :]
    if len(ours) < len(moved):
        detail = f"{counted_text(len(versions), 'version')} at the destination, {len(moved)} at the source"
        return Mismatch(section, MismatchKind.MISSING, source_key, key, detail)
    lost = _gone(held, versions[: -len(moved)])
    if lost:
        return Mismatch(section, MismatchKind.MISSING, source_key, key, lost)
    for place, (line, row, there) in enumerate(zip(moved, rows, ours, strict=True), 1):
        difference = _different(line, row, there)
        if difference:
            return Mismatch(
                section, MismatchKind.DIFFERENT, source_key, key, f"version {place} of {len(moved)}: {difference}"
            )
    if not ours[-1].is_latest:
        return Mismatch(section, MismatchKind.DIFFERENT, source_key, key, "the newest version is not the current one")
    return None


def _gone(held: list[Expected], versions: list[ListedObject]) -> str:
    """What is wrong when the versions that were there when planned are no longer there, in their order."""
    left = iter(versions)
    for place, line in enumerate(held, 1):
        if not any(_alike(line, there) for there in left):
            return f"version {place} of the {len(held)} that were there when planned is gone"
    return ""


def _alike(line: Expected, there: ListedObject) -> bool:
    """As far as a listing shows: ETags of the two sides need not be equal."""
    marker = line.entry.reason == HELD_MARKER
    return there.delete_marker if marker else not there.delete_marker and there.size == line.entry.size


def _is_current(line: Expected, newest: ListedObject) -> bool:
    return newest.is_latest and _alike(line, newest)


def _different(line: Expected, row: Completion | None, there: ListedObject) -> str:
    marker = line.entry.action is Action.DELETE_MARKER
    if marker != there.delete_marker:
        return "a delete marker on one side only"
    if marker:
        return ""
    if there.size != line.entry.size:
        return f"size {there.size}, planned {line.entry.size}"
    if row is not None and row.destination_etag and there.etag not in ("", row.destination_etag):  # "": not told
        return f"ETag {there.etag}, {row.destination_etag} when it was copied"
    return ""
