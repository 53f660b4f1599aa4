"""apply --engine: as many workers as the run can use, placed by an engine, until the run has ended.

This process moves nothing. It asks the ledger how many workers the run can use (ledger.scaling), has the engine place
what is missing, and judges those that end by their exit codes. It may be killed and run again: the workers go on, and
the next one finds them counted in the ledger.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from executor.events import Events, tell_calendar
from executor.ledger.ledger import Ledger
from executor.ledger.values import ENDED, Progress, RunState, Scaling
from executor.stop import Stop
from s3migrate.applying.crew import REPLACED_EACH
from s3migrate.applying.engines.engine import Engine, WorkerEnd
from schema.errors import LedgerUnavailable
from schema.exit_codes import AfterExit, ExitCode
from schema.limits import RunLimits, closed_at
from schema.process_view import ProcessView

ROUND_SECONDS = 1.0
COUNTED_SECONDS = 60.0
"""So long ledger.scaling counts a worker that is not heard of any more."""


@dataclass(frozen=True, slots=True)
class FleetEnd:
    """How the fleet ended."""

    progress: Progress | None
    """None: the ledger was away at the end."""
    refused: WorkerEnd | None = None
    """The first worker that ended in a way that would come again, or that was one too many."""


@dataclass(slots=True)
class Fleet:
    """The workers of run *run_id*, *most* at the same time; each is `s3migrate WORDS`."""

    engine: Engine
    words: Sequence[str]
    most: int
    ledger: Ledger
    run_id: int
    events: Events
    stop: Stop
    note: Callable[[str], None]
    refused: WorkerEnd | None = None
    broken: int = 0
    """Workers that broke and were replaced since an object last came to its end: a long run may lose any number."""
    done: int = 0
    deaths: list[float] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic
    limits: RunLimits = field(default_factory=RunLimits)
    """Only whether the calendar is closed."""

    def run(self) -> FleetEnd:
        """Until the run has ended or is paused and every worker has ended, a stop has drained them, or one was refused.

        While the run's calendar is closed there are no workers.
        """
        stopped = False
        while True:
            for end in self.engine.ended():
                self._judge(end)
            progress = self._progress()
            over = progress is not None and (progress.state in ENDED or progress.state is RunState.PAUSED)
            if (self.refused or over or self.stop.draining) and not stopped:
                stopped = True
                self.engine.stop()
            if stopped and not self.engine.placed():
                return FleetEnd(progress, self.refused)
            if not stopped:
                self._place()
            self.stop.propagate()
            if self.stop.wait_abandoned(ROUND_SECONDS):
                return FleetEnd(progress, self.refused)

    def _judge(self, end: WorkerEnd) -> None:
        verdict = _after(end.code)
        if verdict is AfterExit.RETRY:
            self.broken += 1
            self.deaths.append(self.clock())
            self.note(f"a worker ended with {end.code}: {end.said.rpartition(chr(10))[2] or 'without a word'}")
        comes_again = verdict is AfterExit.PERSON and end.code != ExitCode.FAILURES
        if comes_again or self.broken > REPLACED_EACH * self.most:
            self.refused = self.refused or end

    def _progress(self) -> Progress | None:
        """As the ledger knows it, shown; None while it is away. Leases that ran out are free again afterwards."""
        try:
            self.ledger.leases.reap(self.run_id)
            if not self.engine.placed():
                self.ledger.runs.finish(self.run_id)
            progress = self.ledger.reports.progress(self.run_id)
            closed = closed_at(self.ledger.runs.closures(self.run_id), progress.now)
        except LedgerUnavailable:
            return None
        if progress.done > self.done:
            self.done, self.broken = progress.done, 0
        before, self.limits = self.limits, RunLimits(closed_until=None if closed is None else closed.ends)
        tell_calendar(self.events, before, self.limits)
        self.events.progress(progress, ProcessView(0, f"{self.engine.placed()} workers placed"))
        return progress

    def _mourned(self) -> int:
        """Workers that broke so lately that the ledger may still count them."""
        now = self.clock()
        self.deaths = [at for at in self.deaths if now - at < COUNTED_SECONDS]
        return len(self.deaths)

    def _place(self) -> None:
        try:
            scaling = self.ledger.workers.scaling(self.run_id)
        except LedgerUnavailable:
            return
        for _ in range(desired(scaling, self.engine.placed(), self.most, mourned=self._mourned())):
            self.engine.place(self.words)


def desired(scaling: Scaling | None, placed: int, most: int, *, mourned: int) -> int:
    """How many workers to place beside the *placed* ones, which may not all have joined yet.

    Workers that somebody else started count as well; of those the ledger counts, *mourned* may be dead.
    """
    if scaling is None:
        return 0
    return max(0, min(scaling.desired_workers, most) - max(placed, scaling.workers - mourned))


def _after(code: int) -> AfterExit:
    """What to do about a worker that ended with *code*; a signal, or a code of somebody else's, may not come again."""
    return {int(known): known.then for known in ExitCode}.get(code, AfterExit.RETRY)
