"""The feeder: no worker waits for the next look, and the ledger is not asked in vain at each task."""

from __future__ import annotations

import threading
from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.clock import SOON, Clock

from executor.apply import feeder as module
from executor.apply.feeder import Feeder
from executor.apply.pool import Task, WorkerPool
from executor.ledger.values import Lane
from executor.patience import LedgerPatience
from executor.stop import Stop

CHUNK = 40


class Ledger:
    """Has *chunks* in the whole-object lane and none in the other; counts what it is asked."""

    def __init__(self, chunks: int) -> None:
        self.chunks = chunks
        self.asked: Counter[Lane] = Counter()
        self.parts_asked = threading.Semaphore(0)
        self.leases = self

    def claim(self, _worker: object, lane: Lane, **_terms: object) -> object | None:
        self.asked[lane] += 1
        if lane is Lane.PARTS:
            self.parts_asked.release()
            return None
        if not self.chunks:
            return None
        self.chunks -= 1
        return object()


class Fed:
    """A feeder, a pool and tasks that only count."""

    def __init__(self, chunks: int) -> None:
        self.clock, self.ledger, self.ran = Clock(), Ledger(chunks), threading.Semaphore(0)
        self.pool = WorkerPool(lambda error: pytest.fail(repr(error)))
        stop = Stop()
        given = SimpleNamespace(
            clock=self.clock,
            stop=stop,
            ledger=self.ledger,
            settings=SimpleNamespace(lease_seconds=30.0),
            patience=LedgerPatience(stop, cast(Any, None)),
        )
        crash = SimpleNamespace(met=lambda error: pytest.fail(repr(error)))
        member = SimpleNamespace(blocked=lambda _now: 0.0, worker=None, batches=None, crash=crash)
        writer = SimpleNamespace(begin=lambda _work: None)
        self.feeder = Feeder(
            cast(Any, given), cast(Any, member), cast(Any, self), pool=self.pool, writer=cast(Any, writer)
        )

    def load(self, _chunk: object) -> tuple[object, dict[Lane, list[Task]]]:
        return object(), {Lane.WHOLE: [self.ran.release] * CHUNK, Lane.PARTS: []}

    def all_run(self, tasks: int, seconds: float) -> bool:
        return all(self.ran.acquire(timeout=seconds) for _ in range(tasks))

    def close(self) -> None:
        assert self.pool.close(SOON)
        assert self.feeder.close(SOON)


def begun(chunks: int) -> Fed:
    """Two workers, and the feeder claims."""
    fed = Fed(chunks)
    fed.pool.resize(2)
    fed.feeder.start()
    return fed


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks of its own the feeder lets pass more time than a test waits."""
    monkeypatch.setattr(module, "IDLE_SECONDS", 6 * SOON)


@pytest.mark.usefixtures("patient")
def test_the_next_chunk_is_claimed_when_a_lane_runs_low() -> None:
    fed = begun(chunks=10)

    assert fed.all_run(10 * CHUNK, SOON)
    fed.close()


@pytest.mark.usefixtures("patient")
def test_without_the_pools_word_the_workers_would_wait() -> None:
    fed = Fed(chunks=10)
    fed.pool.resize(2)
    fed.pool.on_low = lambda _tell: None  # type: ignore[method-assign]
    fed.feeder.start()

    assert not fed.all_run(10 * CHUNK, 0.3)
    fed.close()


@pytest.mark.usefixtures("patient")
def test_a_lane_that_the_ledger_has_nothing_for_is_not_asked_for_again_at_once() -> None:
    fed = begun(chunks=10)
    assert fed.all_run(10 * CHUNK, SOON)

    assert fed.ledger.asked[Lane.PARTS] == 1
    assert fed.ledger.asked[Lane.WHOLE] <= 11
    fed.close()


@pytest.mark.usefixtures("patient")
def test_a_finished_chunk_makes_it_ask_again() -> None:
    fed = begun(chunks=1)
    assert fed.all_run(CHUNK, SOON)

    fed.ledger.chunks = 1
    fed.feeder.wake()
    assert fed.all_run(CHUNK, SOON)
    fed.close()


@pytest.mark.usefixtures("patient")
def test_time_makes_it_ask_again_while_another_lane_is_busy() -> None:
    """Others finish chunks too, and what those held back is ready then."""
    fed = begun(chunks=2)
    assert fed.all_run(2 * CHUNK, SOON)
    assert fed.ledger.asked[Lane.PARTS] == 1

    fed.clock.now += 6 * SOON
    fed.ledger.chunks = 1
    fed.pool.watch(Lane.WHOLE, 1)
    fed.pool.add(Lane.WHOLE, [fed.ran.release] * 2)  # type: ignore[list-item]
    assert fed.all_run(2 + CHUNK, SOON)
    assert fed.ledger.asked[Lane.PARTS] == 2
    fed.close()


@pytest.mark.usefixtures("patient")
def test_only_a_round_in_which_every_lane_was_asked_for_in_vain_is_starved() -> None:
    """With `leave_when_idle` such rounds end the process."""
    fed = Fed(chunks=1)
    fed.feeder.start()
    assert fed.ledger.parts_asked.acquire(timeout=SOON)
    fed.feeder.wake()
    assert fed.ledger.parts_asked.acquire(timeout=SOON)
    assert fed.feeder.starved_rounds == 0, "objects wait in the other lane"

    fed.pool.resize(1)
    assert fed.all_run(CHUNK, SOON)
    fed.feeder.wake()
    assert fed.ledger.parts_asked.acquire(timeout=SOON)
    fed.close()
    assert fed.feeder.starved_rounds > 0
