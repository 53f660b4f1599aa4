"""Accounting by listings: every key of both sides against plan and ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import NamedTuple

from executor.ledger.values import Outcome
from executor.verify.expectation import Expected
from schema.objects import ListedEntry, UnsupportedEntry
from schema.plan import WRITE_ACTIONS, Action


class MismatchKind(StrEnum):
    """What is wrong with a key. Every one of these is reported."""

    DIFFERENT = "different"
    MISSING = "missing"
    NOT_COPIED = "not-copied"
    DRIFTED = "drifted"
    """The run recorded that source or destination had changed since the plan."""
    CHANGED_SINCE = "changed-since-plan"
    NOT_IN_PLAN = "not-in-plan"
    """At the source, and in no manifest."""
    UNACCOUNTED = "unaccounted"
    """At the destination, and in no manifest."""
    NOT_DELETED = "not-deleted"
    UNREADABLE = "unreadable"
    """A side could not be read, so nothing is proven."""
    ORDER_UNKNOWN = "order-unknown"
    """No difference that can be seen: the plan could not tell in which order the source's versions stand."""
    ARCHIVED = "archived"
    """No difference: level content could not read a side that lies in an archive; the detail says what proves it."""
    NOT_MIGRATED = "not-migrated"
    """No difference: the plan leaves the key alone; the detail says as what, and why."""


class Mismatch(NamedTuple):
    """One key that is not as it should be."""

    section: str
    verdict: MismatchKind
    key: str
    """At the source, or at the destination if the source has none."""
    target: str
    detail: str


NOTES = frozenset({MismatchKind.ARCHIVED, MismatchKind.ORDER_UNKNOWN, MismatchKind.NOT_MIGRATED})
"""Reported, but nothing is wrong."""
ARRIVED = frozenset({Outcome.COPIED, Outcome.ALREADY_THERE})
"""The destination holds the object's bytes."""


def source_findings(section: str, listing: Iterator[ListedEntry], lines: Iterator[Expected]) -> Iterator[Mismatch]:
    """Source keys that are not in the plan, or differ from it."""
    for listed, line in merged(listing, lines, lambda e: e.entry.key):
        if line is None:
            if listed is not None:
                yield Mismatch(
                    section, MismatchKind.NOT_IN_PLAN, listed.key, "", "appeared at the source since the plan"
                )
            continue
        entry = line.entry
        if listed is None:
            yield Mismatch(
                section, MismatchKind.CHANGED_SINCE, entry.key, entry.target, "gone from the source since the plan"
            )
        elif isinstance(listed, UnsupportedEntry):
            if entry.action in WRITE_ACTIONS:
                detail = f"at the source: {listed.reason}"
                yield Mismatch(section, MismatchKind.UNREADABLE, entry.key, entry.target, detail)
        elif entry.action in WRITE_ACTIONS and (listed.etag != entry.etag or listed.size != entry.size):
            detail = f"at the source now ETag {listed.etag}, {listed.size} bytes; planned {entry.etag}, {entry.size}"
            yield Mismatch(section, MismatchKind.CHANGED_SINCE, entry.key, entry.target, detail)


def destination_findings(section: str, listing: Iterator[ListedEntry], lines: Iterator[Expected]) -> Iterator[Mismatch]:
    """Destination keys that plan and ledger do not account for, and planned ones that are not there as recorded."""
    for listed, line in merged(listing, lines, lambda e: e.entry.target):
        if line is None:
            if listed is not None:
                told = f"{listed.size} bytes, ETag {listed.etag}"
                if isinstance(listed, UnsupportedEntry):
                    told = listed.reason
                detail = f"at the destination, in no manifest: {told}"
                yield Mismatch(section, MismatchKind.UNACCOUNTED, listed.key, listed.key, detail)
            continue
        found = _judge(line, listed)
        if found is not None:
            yield Mismatch(section, found[0], line.entry.key, line.entry.target, found[1])


def _judge(line: Expected, listed: ListedEntry | None) -> tuple[MismatchKind, str] | None:
    entry, row = line.entry, line.completion
    if entry.action is Action.DELETE:
        return (MismatchKind.NOT_DELETED, "still at the destination") if listed is not None else None
    if entry.action is Action.SKIP:
        if listed is None:
            return MismatchKind.MISSING, "was at the destination when planned, and is gone"
        if isinstance(listed, UnsupportedEntry):
            return MismatchKind.UNREADABLE, f"at the destination: {listed.reason}"
        # Skipped because equal, or because the policy leaves what differs alone: either way it must still be there.
        if entry.destination_etag and listed.etag != entry.destination_etag:
            return (
                MismatchKind.DIFFERENT,
                f"etag: {listed.etag} at the destination, {entry.destination_etag} when planned",
            )
        return None
    if entry.action not in WRITE_ACTIONS:
        return None
    if row is None:
        return MismatchKind.NOT_COPIED, "the ledger has no completion for it"
    if row.outcome not in ARRIVED:
        return MismatchKind.DRIFTED, row.outcome.name.lower().replace("_", " ")
    if listed is None:
        return MismatchKind.MISSING, "recorded as copied, not at the destination"
    if isinstance(listed, UnsupportedEntry):
        return MismatchKind.UNREADABLE, f"at the destination: {listed.reason}"
    if listed.size != entry.size:
        return MismatchKind.DIFFERENT, f"size: {listed.size} at the destination, {entry.size} planned"
    if row.destination_etag and listed.etag not in ("", row.destination_etag):  # "": not told
        return (
            MismatchKind.DIFFERENT,
            f"etag: {listed.etag} at the destination, {row.destination_etag} when it was copied",
        )
    return None


def merged(
    listing: Iterator[ListedEntry], lines: Iterator[Expected], key: Callable[[Expected], str]
) -> Iterator[tuple[ListedEntry | None, Expected | None]]:
    """Pairs by key; several lines may have one key (a conflict and an extraneous line), each is paired."""
    listed, line = next(listing, None), next(lines, None)
    last: ListedEntry | None = None
    while listed is not None or line is not None:
        if line is not None and last is not None and key(line) == last.key:
            yield last, line
            line = next(lines, None)
        elif line is None or (listed is not None and listed.key < key(line)):
            yield listed, None
            last, listed = None, next(listing, None)
        elif listed is None or key(line) < listed.key:
            yield None, line
            last, line = None, next(lines, None)
        else:
            yield listed, line
            last, listed, line = listed, next(listing, None), next(lines, None)
