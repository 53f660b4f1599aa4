"""The evidence for losses: what the declaration asks for, the probes' facts and a sample of the source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schema.declaration import Preserve
from schema.facts import Capabilities
from schema.objects import ObjectHead

EXAMPLES = 5
"""Keys named with a loss, at most."""


class SampledObject(NamedTuple):
    """One source object that the probe looked at."""

    key: str
    """Unescaped."""
    head: ObjectHead
    tags: tuple[tuple[str, str], ...] | None
    """None: not asked for or not readable."""
    grants: tuple[tuple[str, str], ...] | None
    """(grantee, permission) besides the owner's own; None: not asked for or not readable."""
    annotations: int | None = None
    """The number of its annotations (at least); None: not asked, or the server knows none."""
    version_id: str | None = None
    """As listed."""


class Counted(NamedTuple):
    """The number of objects of a kind, and some of their keys."""

    objects: int
    examples: tuple[str, ...]


def counted(pairs: Iterable[tuple[str, str]]) -> dict[str, Counted]:
    """(kind, key) pairs by kind."""
    keys: dict[str, list[str]] = {}
    for kind, key in pairs:
        keys.setdefault(kind, []).append(key)
    return {kind: Counted(len(found), tuple(found[:EXAMPLES])) for kind, found in keys.items()}


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything the losses of one section are judged from."""

    preserve: Preserve
    source_facts: Capabilities
    destination_facts: Capabilities
    sample: Sequence[SampledObject] = ()
    """From storage.probe.source.survey_source."""
    storage_classes: Mapping[str, Counted] = field(default_factory=dict)
    """By class, as listed; empty: the sample decides."""
    key_kinds: Mapping[str, Counted] = field(default_factory=dict)
    """By kind of planner.review.losses.key_kinds, as listed; empty: the sample speaks."""
    all_versions: bool = False
    """policy.versions is 'all'."""

    def keys(self, has: Callable[[SampledObject], object]) -> list[str]:
        """Keys of the sampled objects for which *has* is true."""
        return [found.key for found in self.sample if has(found)]


class FoundLoss(NamedTuple):
    """A loss, before it is known whether the declaration accepts it."""

    id: str
    text: str
    examples: Sequence[str] = ()
    objects: int | None = None
    """None: not countable from a listing."""
