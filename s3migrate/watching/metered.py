"""The figures of one apply process, for whatever exports them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from executor.apply.surroundings import Window
from executor.events import Events, ObjectTrouble
from executor.flow.meters import RequestMeter
from executor.flow.side_counters import SideCounters
from executor.ledger.values import Progress
from schema.errors import WhichSide
from schema.process_view import ProcessView


@dataclass(frozen=True, slots=True)
class Metered:
    """The figures of a process."""

    window: Window
    meters: Mapping[WhichSide, RequestMeter]
    sides: Mapping[WhichSide, SideCounters]
    retries: Counter[str] = field(default_factory=Counter)
    """By reason."""


class CountedEvents:
    """Passes all events on to *events*, and counts retries in *retries*."""

    def __init__(self, events: Events, retries: Counter[str]) -> None:
        self._retries = retries
        self._events = events
        self.run_accepted = events.run_accepted
        self.batch_finished = events.batch_finished
        self.waiting = events.waiting
        self.moved = events.moved
        self.draining = events.draining

    def object_trouble(self, trouble: ObjectTrouble) -> None:
        """Counted when the object will be tried again."""
        if not trouble.final:
            self._retries[trouble.reason] += 1
        self._events.object_trouble(trouble)

    def progress(self, progress: Progress, flow: ProcessView) -> None:
        """Passed on unchanged."""
        self._events.progress(progress, flow)
