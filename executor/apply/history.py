"""One process's part of the run's history: samples made from what its threads do and what its counters say."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from executor.apply.feeder import Feeder
from executor.apply.pool import WorkerPool
from executor.apply.writer import LedgerWriter, Recorded
from executor.flow.side_counters import SideCounters
from executor.ledger.samples import NewSample
from executor.machine.buffers import ByteBudget
from executor.machine.processor import ProcessorLoad, waited_seconds
from schema.errors import WhichSide
from schema.flow.samples import NO_REQUESTS, Activity, FlowCounts, SideCounts
from schema.process_view import ProcessView

SAMPLE_SECONDS = 10.0
LOOK_SECONDS = 0.05
"""Minimum seconds between two looks at the threads."""
PROCESSOR_SECONDS = 1.0
"""Seconds between two looks at the processors."""
MOST_UNKEPT = 360
"""Samples held while the ledger is away: an hour. Then no new one is begun; the interval under way grows instead."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What is looked at."""

    pool: WorkerPool
    writer: LedgerWriter
    feeder: Feeder
    budget: ByteBudget
    sides: Mapping[WhichSide, SideCounters]


@dataclass(frozen=True, slots=True)
class _Reading:
    """Counters at one point in time, since the process began."""

    at: float
    recorded: Recorded
    processor_seconds: float
    processor_wait_seconds: float
    sides: Mapping[WhichSide, SideCounts]


class FlowHistory:
    """Used by the runner's thread alone. Times are seconds of one monotonic clock."""

    def __init__(
        self,
        watched: Watched,
        clock: Callable[[], float],
        *,
        processor_seconds: Callable[[], float] = time.process_time,
        saturated: Callable[[], bool] | None = None,
    ) -> None:
        self._watched = watched
        self._processor_seconds = processor_seconds
        self._saturated = saturated or ProcessorLoad().saturated
        # Requests made before the run was joined belong to the first sample.
        self._last = replace(self._read(clock()), sides={})
        self._looked_at = self._processor_looked_at = self._last.at
        self._threads = _no_time()
        self.thread_seconds = _no_time()
        """The same since the process began."""
        self._limits: dict[str, float] = {}
        self._saturated_seconds = 0.0
        self._number = 0
        self._unkept: deque[tuple[float, NewSample]] = deque()

    def look(self, now: float) -> None:
        """Ask each thread what it is doing; the answer stands for the time since the last look."""
        seconds = now - self._looked_at
        if seconds < LOOK_SECONDS:
            return
        self._looked_at = now
        # What is idle while a claim is asked for waits for the ledger.
        asking = self._watched.feeder.activity.doing is Activity.LEDGER
        threads, ever, idle, limit = self._threads, self.thread_seconds, Activity.IDLE, Activity.LIMIT
        for thread in self._watched.pool.activities:
            doing = thread.doing
            if doing is limit:
                self._limits[thread.limit] = self._limits.get(thread.limit, 0.0) + seconds
            doing = Activity.LEDGER if asking and doing is idle else doing
            threads[doing] += seconds
            ever[doing] += seconds
        if now - self._processor_looked_at >= PROCESSOR_SECONDS:
            if self._saturated():
                self._saturated_seconds += now - self._processor_looked_at
            self._processor_looked_at = now

    def due(self, now: float) -> bool:
        """It is time for a sample."""
        return now - self._last.at >= SAMPLE_SECONDS and len(self._unkept) < MOST_UNKEPT

    def take(self, now: float, view: ProcessView) -> None:
        """End the interval with a sample; *view*: how the process stands."""
        reading, last = self._read(now), self._last
        recorded = reading.recorded - last.recorded
        counts = FlowCounts(
            seconds=now - last.at,
            objects=recorded.objects,
            failed=recorded.failed,
            bytes=recorded.bytes,
            processor_seconds=reading.processor_seconds - last.processor_seconds,
            # Threads that have ended are no longer counted, so the sum may shrink.
            processor_wait_seconds=max(0.0, reading.processor_wait_seconds - last.processor_wait_seconds),
            saturated_seconds=self._saturated_seconds,
            threads={activity: self._threads[activity] for activity in Activity if self._threads[activity]},
            limit_seconds=self._limits,
            sides={side: now - last.sides.get(side, NO_REQUESTS) for side, now in reading.sides.items()},
        )
        self._last, self._threads, self._limits = reading, _no_time(), {}
        self._saturated_seconds = 0.0
        self._number += 1
        budget = self._watched.budget
        sample = NewSample(self._number, 0.0, counts, _without_keys(view), budget.in_use, budget.total)
        self._unkept.append((now, sample))

    def unkept(self, now: float) -> list[NewSample]:
        """Samples that are not in the ledger yet, oldest first."""
        return [replace(sample, ago=now - at) for at, sample in self._unkept]

    def kept(self) -> None:
        """The unkept samples are in the ledger now."""
        self._unkept.clear()

    def _read(self, now: float) -> _Reading:
        sides = {side: counters.counts() for side, counters in self._watched.sides.items()}
        return _Reading(now, self._watched.writer.recorded, self._processor_seconds(), waited_seconds(), sides)


def _no_time() -> list[float]:
    """Thread-seconds by Activity; a list, since a member's hash is slow."""
    return [0.0] * (max(Activity) + 1)


def _without_keys(view: ProcessView) -> ProcessView:
    return replace(view, endpoints={name: replace(end, waiting_keys=()) for name, end in view.endpoints.items()})
