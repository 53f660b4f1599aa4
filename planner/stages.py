"""Stages: which objects go first, which last, and what must be true before the next may start.

The canary should show what a plan has to move. What a listing shows of every key (method, tier, written in parts, not
ASCII) the router sees as the keys go by. What it cannot see in one pass is chosen by `exercising`, from the sample that
was looked at before planning: tags, metadata and whatever else objects carry, the largest of each tier, and keys far
into the bucket.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from planner.keys.filters import Matcher
from planner.methods import MethodOf
from schema.attributes.every import ATTRIBUTES
from schema.attributes.evidence import SampledObject
from schema.objects import ListedObject
from schema.plan import DELETES, MARKERS, Action, Entry, Gate, Method, Stage
from schema.tiers import MIB, WHOLE_MAX, tier_of

CANARY, HUGE, BULK, ARCHIVED = "canary", "huge", "bulk", "archived"
ORDER = (CANARY, HUGE, BULK, ARCHIVED, MARKERS, DELETES)

CANARY_BELOW = 256 * MIB
"""Bytes of the objects that may go first."""
CANARY_MAX = 1_000
SPREAD = 4
"""Keys of the sample's beginning, end and between: neighbours tend to be alike, also in their faults."""
METADATA = "x-amz-meta-"
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
    CANARY: "objects below 256 MiB that show what the plan moves; verified before anything else starts",
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


class _Kind(NamedTuple):
    """The kind of an object as far as its listing shows it: the canary has one of each kind."""

    method: Method
    tier: str
    in_parts: bool
    ascii: bool


class Router:
    """Assigns the transfers of one section to groups, one key after the other, in one pass.

    The canary is the keys *chosen*, the first eligible one of each method and kind of object, and a hash sample: at
    most *canary_max* objects (0: none).
    """

    def __init__(
        self,
        is_marker: Matcher,
        prefix_length: int,
        method_of: MethodOf,
        *,
        canary_max: int = CANARY_MAX,
        chosen: Collection[str] = (),
    ) -> None:
        self._is_marker = is_marker
        self._prefix_length = prefix_length
        self._method_of = method_of
        self._canary_max = canary_max
        self._chosen = frozenset(chosen)
        self._canaries = 0
        self._shown: set[_Kind] = set()
        """Kinds of object that the canary has."""

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
        tier = tier_of(size).name
        if size < CANARY_BELOW and self._is_canary(entries, _Kind(method, tier, "-" in first[2], key.isascii())):
            return Group(CANARY, CANARY, method)
        return Group(HUGE if tier == "huge" else BULK, tier, method)

    def _is_canary(self, entries: Sequence[Entry], kind: _Kind) -> bool:
        taken, objects, key = self._canaries, len(entries), entries[0][0]
        if taken + objects > self._canary_max:
            return False
        if kind in self._shown and key not in self._chosen:
            digest = hashlib.sha256(b"canary\0" + key.encode("utf-8", "surrogatepass")).digest()
            halvings = 0 if taken < _FULL_RATE else 1 + (taken - _FULL_RATE) // _HALF_LIFE
            if int.from_bytes(digest[:8]) >= _CANARY_THRESHOLD >> halvings:
                return False
        self._canaries = taken + objects
        self._shown.add(kind)
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
    if not by_id:
        return ()
    import networkx as nx  # takes 0.1 s to import, which plans that move nothing need not wait for

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
        raise ValueError("the stages depend on each other in a cycle") from None
    return tuple(by_id[name] for name in order)


def exercising(listed: Sequence[ListedObject], sampled: Iterable[SampledObject]) -> frozenset[str]:
    """Keys of *listed*, one for each trait that any of them shows; a dozen or two.

    They are some hundred megabytes at most: of each tier the largest, and beyond that small ones.
    """
    chosen: dict[str, str] = {}
    largest: dict[str, ListedObject] = {}
    live = [entry for entry in listed if entry.size < CANARY_BELOW and not entry.delete_marker]
    for entry in live:
        name = tier_of(entry.size).name
        if name not in largest or entry.size > largest[name].size:
            largest[name] = entry
    for found in sampled:
        if (found.head.size or 0) <= WHOLE_MAX:
            for trait in _carried(found):
                chosen.setdefault(trait, found.key)
    small = [entry for entry in live if entry.size <= WHOLE_MAX]
    for entry in small:
        for trait in _listed(entry):
            chosen.setdefault(trait, entry.key)
    spread = [small[(len(small) - 1) * step // SPREAD].key for step in range(SPREAD + 1)] if small else []
    return frozenset((*chosen.values(), *(entry.key for entry in largest.values()), *spread))


def _carried(found: SampledObject) -> Iterator[str]:
    """Traits that only a HEAD of the object shows."""
    if found.tags or found.head.tag_count:
        yield "tags"
    for name in found.head.headers:
        if name.startswith(METADATA):
            yield "metadata"
    for attribute in ATTRIBUTES:
        yield from attribute.shown_by(found)


def _listed(entry: ListedObject) -> Iterator[str]:
    """What a listing shows, of keys that are rarer than one in each tier."""
    yield f"class {entry.storage_class}"
    if entry.key.endswith("/") and entry.size:
        yield "folder with content"
    if not entry.key.isascii():
        yield "key beyond ASCII"
