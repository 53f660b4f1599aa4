"""What planning is given: the declaration, what was found out about every pair, and where to put the outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from planner.batches import TARGETS
from planner.march import EarlierCopy
from planner.methods import STREAMED, MethodChoice
from planner.review.calibration import UNMEASURED, Borne, Calibrated, Calibration, PlanningMachine
from schema.declaration import Declaration
from schema.facts import Capabilities
from schema.files.manifest import ManifestStore
from schema.plan import Loss, Plan
from storage.listing.source import ListingSource

CompletedBefore = Callable[[str], Iterator[EarlierCopy]]
"""Section id -> (destination key, source ETag, destination ETag) of what this lineage has copied into the section,
ascending by destination key; a key may come several times."""


def nothing_completed(_section: str) -> Iterator[EarlierCopy]:
    """The memory of a lineage that has not copied anything."""
    return iter(())


class PlanProgress(NamedTuple):
    """How far planning is."""

    section: str
    source_listed: int
    destination_listed: int
    finished: bool


def _ignore(_progress: PlanProgress) -> None:
    """For planning without an observer."""


@dataclass(frozen=True, slots=True)
class PairInputs:
    """One pair: its two listings, and what the probes found. Without a probe nothing is known and everything is
    streamed.
    """

    source: ListingSource
    destination: ListingSource
    source_can: Capabilities = field(default_factory=Capabilities)
    destination_can: Capabilities = field(default_factory=Capabilities)
    losses: tuple[Loss, ...] = ()
    choice: MethodChoice = STREAMED
    canary: frozenset[str] = frozenset()
    """Keys that should go first (see planner.stages.exercising)."""
    calibration: Calibration = UNMEASURED


@dataclass(frozen=True, slots=True)
class PlanInputs:
    """All that a plan is made of."""

    declaration: Declaration
    pairs: Mapping[str, PairInputs]
    """By pair id."""
    manifests: ManifestStore
    staging: Path
    """A folder for temporary files."""
    budget: int
    """Bytes that part sizes are cut for."""
    machine: PlanningMachine | None = None
    """This one; None: not timed."""
    borne: Borne | None = None
    """What the endpoints gave an earlier run that they refused requests."""
    base: Plan | None = None
    """The plan before, whose batch cuts are kept."""
    memory: CompletedBefore = nothing_completed
    provenance: Mapping[str, Any] = field(default_factory=dict)
    on_progress: Callable[[PlanProgress], None] = _ignore
    targets: Mapping[str, int] = field(default_factory=lambda: TARGETS)
    """Objects a batch of each tier should have."""

    @property
    def measured(self) -> Calibrated:
        """What the estimate is made from."""
        return Calibrated(self.machine, {name: pair.calibration for name, pair in self.pairs.items()}, self.borne)
