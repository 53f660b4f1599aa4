"""The fleet's loop: whom it places, and when it lets all of them end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import cast

from support.silent import Told
from support.snapshots import snapshot

from executor.ledger.ledger import Ledger
from executor.ledger.values import Progress, RunState, Scaling
from executor.stop import Stop
from s3migrate.applying.engines.engine import WorkerEnd
from s3migrate.applying.fleet import Fleet
from schema.limits import Closure

WORKING = replace(snapshot().progress, state=RunState.OPEN, workers=0)


class Scripted:
    """A ledger whose answers are one of *script* each round, and the engine, whose workers end when they are asked to
    or when the calendar has closed.
    """

    def __init__(self, script: Sequence[tuple[RunState, bool]], *, kills: bool = False, progress: int = 0) -> None:
        """*kills*: every worker dies in the round after it was placed, while each round ends *progress* objects."""
        self.kills = kills
        self.each = progress
        self.leases = self.runs = self.reports = self.workers = self
        self.script = list(script)
        self.now = WORKING.now
        self.there = 0
        self.rounds = 0
        self.placed_in: list[int] = []
        self.ends: list[WorkerEnd] = []
        self.closed = False

    def reap(self, _run_id: int) -> int:
        return 0

    def finish(self, _run_id: int) -> None:
        """Nothing."""

    def progress(self, _run_id: int) -> Progress:
        state, self.closed = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        self.rounds += 1
        return replace(WORKING, state=state, done=self.rounds * self.each)

    def closures(self, _run_id: int) -> list[Closure]:
        return [Closure(self.now, self.now + timedelta(hours=1))] if self.closed else []

    def scaling(self, _run_id: int) -> Scaling:
        return Scaling(1, "", "", 3, 0, 1, 1, 0, "", 0 if self.closed else 3)

    def place(self, _words: Sequence[str]) -> None:
        self.there += 1
        self.placed_in.append(len(self.script))

    def placed(self) -> int:
        return self.there

    def ended(self) -> list[WorkerEnd]:
        if self.closed or self.kills:
            self.stop(-9 if self.kills else 0)
        ends, self.ends = self.ends, []
        return ends

    def stop(self, code: int = 75) -> None:
        self.ends += self.there * [WorkerEnd(code)]
        self.there = 0

    def close(self) -> None:
        """Nothing."""


class Hurried(Stop):
    """Rounds take no time."""

    def wait_abandoned(self, seconds: float) -> bool:
        return super().wait_abandoned(0.0 * seconds)


def fleet(scripted: Scripted, told: Told) -> Fleet:
    return Fleet(scripted, ["apply"], 5, cast(Ledger, scripted), 1, told, Hurried(), print)


OPEN, CLOSED = (RunState.OPEN, False), (RunState.OPEN, True)


def test_a_paused_run_ends_the_fleet() -> None:
    scripted = Scripted([OPEN, OPEN, (RunState.PAUSED, False)])
    end = fleet(scripted, Told()).run()
    assert (end.progress and end.progress.state, end.refused) == (RunState.PAUSED, None)
    assert (len(scripted.placed_in), scripted.there) == (3, 0)


def test_while_the_calendar_is_closed_the_fleet_waits_without_workers() -> None:
    scripted, told = Scripted([OPEN, OPEN, CLOSED, CLOSED, CLOSED, OPEN, OPEN, (RunState.COMPLETE, False)]), Told()
    end = fleet(scripted, told).run()
    assert end.progress is not None and end.progress.state is RunState.COMPLETE
    assert len(scripted.placed_in) == 6, "three before, three after"
    assert [(what, error is None) for what, error in told.waits] == [("calendar", False), ("calendar", True)]


def test_a_fleet_may_lose_any_number_of_workers_as_long_as_it_moves_on() -> None:
    rounds = [OPEN] * 30
    moving = Scripted([*rounds, (RunState.COMPLETE, False)], kills=True, progress=5)
    assert fleet(moving, Told()).run().refused is None
    assert len(moving.placed_in) > 3 * 5
    stuck = Scripted([*rounds, (RunState.COMPLETE, False)], kills=True)
    assert fleet(stuck, Told()).run().refused == WorkerEnd(-9), "control: nothing ends, and all die"
