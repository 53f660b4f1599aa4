"""Stages: which objects go first, which last, and what must be true before the next may start."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import networkx as nx

from planner.filters import Matcher
from planner.methods import MethodOf
from schema.plan import DELETES, Action, Entry, Gate, Method, Stage
from schema.tiers import MIB, tier_of

CANARY, HUGE, BULK, ARCHIVED, MARKERS = "canary", "huge", "bulk", "archived", "markers"
ORDER = (CANARY, HUGE, BULK, ARCHIVED, MARKERS, DELETES)

CANARY_BELOW = 256 * MIB
CANARY_MAX = 1_000
_CANARY_THRESHOLD = 2**64 // 1000
"""One key in a thousand."""
_FULL_RATE = 500
_HALF_LIFE = 100
"""After 500 canaries each further 100 halve the rate, so that a very large plan still samples far into its keys."""

_NEEDS = {
    CANARY: (),
    HUGE: (CANARY,),
    BULK: (CANARY,),
    ARCHIVED: (CANARY,),
    MARKERS: (CANARY, HUGE, BULK, ARCHIVED),
    DELETES: (CANARY, HUGE, BULK, ARCHIVED, MARKERS),
}
_NOTES = {
    CANARY: "a sample across all prefixes and sizes below 256 MiB; verified before anything else starts",
    HUGE: "objects above 16 GiB, in parallel with the bulk",
    BULK: "everything else",
    ARCHIVED: "archived objects: restored first, then copied; may take days",
    MARKERS: "written last, so that readers never see a marker before its data",
    DELETES: "extraneous objects; only after everything else has been verified",
}


class Group(NamedTuple):
    """What is cut into batches together."""

    stage: str
    tier: str
    method: Method | None


class Router:
    """Assigns the transfers of one section to groups, one key after the other, in one pass.

    The canary is the first eligible key of each method and a hash sample, at most *canary_max* objects (0: none).
    """

    def __init__(
        self, is_marker: Matcher, prefix_length: int, method_of: MethodOf, *, canary_max: int = CANARY_MAX
    ) -> None:
        self._is_marker = is_marker
        self._prefix_length = prefix_length
        self._method_of = method_of
        self._canary_max = canary_max
        self._canaries = 0
        self._sampled: set[Method] = set()

    def route(self, entries: Sequence[Entry], restore: bool) -> Group:
        """The group of one key's transfers (several: its versions, which must stay together)."""
        first = entries[0]
        if first.action is Action.DELETE:
            return Group(DELETES, DELETES, None)
        method = self._method_of(entries)
        key = first[0]
        size = first[1] if len(entries) == 1 else max(entry[1] for entry in entries)
        if restore:
            return Group(ARCHIVED, tier_of(size).name, method)
        if self._is_marker(key[self._prefix_length :]):
            return Group(MARKERS, MARKERS, method)
        if size < CANARY_BELOW and self._is_canary(key, len(entries), method):
            return Group(CANARY, CANARY, method)
        tier = tier_of(size).name
        return Group(HUGE if tier == "huge" else BULK, tier, method)

    def _is_canary(self, key: str, objects: int, method: Method) -> bool:
        taken = self._canaries
        if taken + objects > self._canary_max:
            return False
        if method in self._sampled:
            digest = hashlib.sha256(b"canary\0" + key.encode("utf-8", "surrogatepass")).digest()
            halvings = 0 if taken < _FULL_RATE else 1 + (taken - _FULL_RATE) // _HALF_LIFE
            if int.from_bytes(digest[:8]) >= _CANARY_THRESHOLD >> halvings:
                return False
        self._canaries = taken + objects
        self._sampled.add(method)
        return True


def stages_for(used: Collection[str]) -> tuple[Stage, ...]:
    """The stages that have batches, in an order in which they may run.

    The canary is gated VERIFIED; with a deletes stage everything before it is.
    """
    deleting = DELETES in used
    stages = tuple(
        Stage(
            name,
            tuple(need for need in _NEEDS[name] if need in used),
            Gate.VERIFIED if name == CANARY or (deleting and name != DELETES) else Gate.COPIED,
            _NOTES[name],
        )
        for name in ORDER
        if name in used
    )
    return in_running_order(stages)


def in_running_order(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """*stages* so that each stands behind those it depends on; ValueError for a cycle or an unknown dependency."""
    by_id = {stage.id: stage for stage in stages}
    graph = nx.DiGraph()
    graph.add_nodes_from(by_id)
    for stage in by_id.values():
        for need in stage.depends_on:
            if need not in by_id:
                raise ValueError(f"stage {stage.id} depends on {need}, which does not exist")
            graph.add_edge(need, stage.id)
    rank = {name: position for position, name in enumerate(by_id)}
    try:
        order = list(nx.lexicographical_topological_sort(graph, key=rank.__getitem__))
    except nx.NetworkXUnfeasible:
        raise ValueError("the stages depend on each other in a circle") from None
    return tuple(by_id[name] for name in order)
