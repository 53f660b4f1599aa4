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
"""How long ledger.scaling goes on counting a worker that no longer reports."""


@dataclass(frozen=True, slots=True)
class FleetEnd:
    """How the fleet ended."""

    progress: Progress | None
    """None: the ledger was unavailable at the end."""
    refused: WorkerEnd | None = None
    """The first worker whose failure another would repeat, or for which no replacement was left."""


@dataclass(slots=True)
class Fleet:
    """The workers of run *run_id*, at most *most* at once; each is `s3migrate WORDS`."""

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
    """Workers that crashed since an object was last completed: a long run may lose any number in all."""
    done: int = 0
    deaths: list[float] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic
    limits: RunLimits = field(default_factory=RunLimits)
    """Only closed_until is ever set."""

    def run(self) -> FleetEnd:
        """Return when every worker has ended, because the run has ended or is paused, a stop drained them, or one was
        refused. While the run's calendar is closed there are no workers.
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
            self.note(f"a worker ended with {end.code}: {end.said.rpartition(chr(10))[2] or 'it printed nothing'}")
        comes_again = verdict is AfterExit.PERSON and end.code != ExitCode.FAILURES
        if comes_again or self.broken > REPLACED_EACH * self.most:
            self.refused = self.refused or end

    def _progress(self) -> Progress | None:
        """Release expired leases, then read and show the progress; None while the ledger is unavailable."""
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

    def _lately_dead(self) -> int:
        """Workers that crashed so recently that the ledger may still count them."""
        now = self.clock()
        self.deaths = [at for at in self.deaths if now - at < COUNTED_SECONDS]
        return len(self.deaths)

    def _place(self) -> None:
        try:
            scaling = self.ledger.workers.scaling(self.run_id)
        except LedgerUnavailable:
            return
        for _ in range(desired(scaling, self.engine.placed(), self.most, lately_dead=self._lately_dead())):
            self.engine.place(self.words)


def desired(scaling: Scaling | None, placed: int, most: int, *, lately_dead: int) -> int:
    """How many workers to add to the *placed* ones, some of which may not have joined yet.

    Workers started by others count as well; up to *lately_dead* of those in *scaling* are dead.
    """
    if scaling is None:
        return 0
    return max(0, min(scaling.desired_workers, most) - max(placed, scaling.workers - lately_dead))


def _after(code: int) -> AfterExit:
    """What to do about a worker that ended with *code*; after a signal or a code that is not ours, try again."""
    return {int(known): known.then for known in ExitCode}.get(code, AfterExit.RETRY)
