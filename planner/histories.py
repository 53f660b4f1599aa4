"""Whole histories (`versions: all`): one key's versions, oldest first, against those at the destination."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from planner.decide import EQUAL, Earlier, Rules, Ruling, compare, judge_difference, unsupported
from planner.reasons import Reason
from schema.objects import ListedEntry, ListedObject
from schema.plan import Action

History = tuple[str, list[ListedEntry]]
"""A key and its versions and delete markers, oldest first."""


class VersionDecision(NamedTuple):
    """What happens to one version; `destination_etag` guards the first write to a key that exists."""

    version: ListedObject
    action: Action
    reason: Reason
    destination_etag: str | None


def histories(listing: Iterator[ListedEntry]) -> Iterator[History]:
    """The listing, one item per key. Memory: one key's versions."""
    for key, versions in groupby(listing, key=attrgetter("key")):
        yield key, list(versions)


def decide_history(
    source: Sequence[ListedObject],
    target: str,
    destination: Sequence[ListedObject],
    *,
    rules: Rules,
    earlier: Earlier = (),
) -> Iterator[VersionDecision]:
    """One decision a version, in order.

    What the destination has already is skipped (see _settled). When it holds other versions besides, the policy for
    differences speaks for all that is left. Versions that cannot be copied count as absent from the source's history;
    where the destination keeps no versions, these are all but the current object.
    Writes: the first is COPY onto nothing, or OVERWRITE with the current ETag there; the later ones of the key are
    COPY, for the destination then holds what was just written: their order is the guard, and nothing is replaced.
    """
    complaints = [unsupported(version, target, rules) for version in source]
    if not rules.facts.keeps_versions:
        complaints = [
            complaint or (Reason.NO_HISTORY if version.delete_marker or version is not source[-1] else None)
            for version, complaint in zip(source, complaints, strict=True)
        ]
    copyable = [version for version, complaint in zip(source, complaints, strict=True) if complaint is None]

    def same(ours: ListedObject, theirs: ListedObject) -> bool:
        if ours.delete_marker or theirs.delete_marker:
            return ours.delete_marker and theirs.delete_marker
        return compare(ours, theirs, rules, earlier=earlier) in EQUAL

    settled, diverged = _settled(copyable, destination, same)
    refused: Ruling | None = None
    if diverged and settled < len(copyable):
        judged = judge_difference(
            copyable[-1], destination[-1], Reason.HISTORY_DIVERGED, policy=rules.policy, earlier=earlier
        )
        refused = None if judged[0] is Action.OVERWRITE else judged
    current = destination[-1] if destination else None
    seen = 0
    for version, complaint in zip(source, complaints, strict=True):
        if complaint is not None:
            yield VersionDecision(version, Action.UNSUPPORTED, complaint, None)
            continue
        seen += 1
        if seen <= settled:
            reason = Reason.SAME_MARKER if version.delete_marker else Reason.SAME_VERSION
            yield VersionDecision(version, Action.SKIP, reason, None)
        elif refused is not None:
            yield VersionDecision(version, *refused, None)
        elif version.delete_marker:
            yield VersionDecision(version, Action.DELETE_MARKER, Reason.ABSENT, None)
        elif seen > settled + 1 or current is None or current.delete_marker:
            yield VersionDecision(version, Action.COPY, Reason.ABSENT, None)
        else:
            yield VersionDecision(version, Action.OVERWRITE, Reason.ABSENT, current.etag)


def _settled(
    source: Sequence[ListedObject],
    destination: Sequence[ListedObject],
    same: Callable[[ListedObject, ListedObject], bool],
) -> tuple[int, bool]:
    """How many of *source*'s first versions need no writing, and whether the destination holds others besides.

    Settled are those with which both histories begin, and those after them with which the destination's history
    ends: that is how it looks when the rest was written after foreign versions. When all are there but the last
    is not the current one, the last is not settled.
    """
    common = 0
    for ours, theirs in zip(source, destination, strict=False):
        if not same(ours, theirs):
            break
        common += 1
    foreign = len(destination) - common
    if foreign == 0:
        return common, False
    rest = source[common:]
    if not rest:
        current = bool(source) and same(source[-1], destination[-1])
        return (common if current else max(0, common - 1)), not current
    for length in range(min(len(rest), foreign), 0, -1):
        if all(map(same, rest[:length], destination[-length:])):
            return common + length, True
    return common, True
