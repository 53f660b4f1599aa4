"""Worker threads over two lanes: fair, resizable, closed without losing sight of a task."""

from __future__ import annotations

import threading
from functools import partial

from support.clock import SOON

from executor.apply.pool import WorkerPool
from executor.ledger.values import Lane


def test_the_pool_runs_both_lanes_and_closes() -> None:
    ran, pool = threading.Semaphore(0), WorkerPool(lambda _error: None)
    pool.add(Lane.WHOLE, [ran.release] * 5)  # type: ignore[list-item]
    pool.add(Lane.PARTS, [ran.release] * 5)  # type: ignore[list-item]
    assert (pool.waiting(Lane.WHOLE), pool.waiting(Lane.PARTS), pool.idle) == (5, 5, False)
    pool.resize(1)
    assert all(ran.acquire(timeout=SOON) for _ in range(10))
    assert pool.close(SOON)
    pool.add(Lane.WHOLE, [ran.release])  # type: ignore[list-item]
    assert pool.waiting(Lane.WHOLE) == 0


def test_neither_lane_starves_the_other() -> None:
    began, let_go = list[str](), threading.Event()
    pool, started = WorkerPool(lambda _error: None), threading.Semaphore(0)

    def task(name: str) -> None:
        began.append(name)
        started.release()
        let_go.wait(SOON)

    for lane, name in ((Lane.WHOLE, "whole"), (Lane.PARTS, "part")):
        pool.add(lane, [lambda name=name: task(name)] * 4)  # type: ignore[misc]
    pool.resize(2)
    assert all(started.acquire(timeout=SOON) for _ in range(2))
    assert sorted(began) == ["part", "whole"]
    let_go.set()
    assert all(started.acquire(timeout=SOON) for _ in range(6))
    assert pool.close(SOON)


def test_a_smaller_target_rests_threads_and_a_larger_wakes_them() -> None:
    pool = WorkerPool(lambda _error: None)
    together, gate = threading.Semaphore(0), threading.Event()

    def task() -> None:
        together.release()
        gate.wait(SOON)

    pool.resize(3)
    pool.resize(1)
    pool.add(Lane.WHOLE, [task] * 3)
    assert together.acquire(timeout=SOON)
    assert not together.acquire(timeout=0.1)
    assert pool.busy == 1
    pool.resize(3)
    assert together.acquire(timeout=SOON)
    assert together.acquire(timeout=SOON)
    gate.set()
    assert pool.close(SOON)


def test_a_task_that_raises_is_told_and_the_thread_lives() -> None:
    met, ran = list[BaseException](), threading.Event()
    pool = WorkerPool(met.append)
    pool.resize(1)

    def broken() -> None:
        raise KeyError("bug")

    pool.add(Lane.WHOLE, [broken, ran.set])
    assert ran.wait(SOON)
    assert [type(error) for error in met] == [KeyError]
    pool.close(SOON)


def test_waiting_tasks_can_be_dropped() -> None:
    pool = WorkerPool(lambda _error: None)
    pool.add(Lane.WHOLE, [lambda: None] * 3)
    assert pool.drop_waiting() == 3
    assert pool.idle


def test_it_is_idle_only_when_the_last_follower_has_ended() -> None:
    pool, ended, early = WorkerPool(lambda _error: None), threading.Event(), list[int]()

    def task(generation: int) -> None:
        if pool.idle:
            early.append(generation)
        if generation:
            pool.add(Lane.PARTS if generation % 2 else Lane.WHOLE, [partial(task, generation - 1)])
        else:
            ended.set()

    pool.add(Lane.WHOLE, [partial(task, 2_000)])
    pool.resize(4)
    looks = [pool.idle for _ in iter(ended.is_set, True)]
    assert ended.wait(SOON) and pool.close(SOON) and pool.idle
    assert not early and not any(looks[:-1]), "the last look may have come after the end"


def test_closing_waits_for_the_task_that_was_just_taken() -> None:
    for _ in range(50):
        pool, ran = WorkerPool(lambda _error: None), list[str]()
        pool.resize(4)
        pool.add(Lane.WHOLE, [lambda ran=ran: ran.append("began") or ran.append("ended")] * 20)  # type: ignore[misc]
        assert pool.close(SOON)
        assert ran.count("began") == ran.count("ended")
        assert pool.idle


def test_a_lane_that_runs_low_is_told_of_once_per_watch() -> None:
    told, ran, pool = list[int](), threading.Semaphore(0), WorkerPool(lambda _error: None)
    pool.on_low(lambda: told.append(pool.waiting(Lane.WHOLE)))
    pool.watch(Lane.WHOLE, 3)
    pool.add(Lane.WHOLE, [ran.release] * 10)  # type: ignore[list-item]
    pool.resize(1)
    assert all(ran.acquire(timeout=SOON) for _ in range(10))
    assert told == [3]

    pool.add(Lane.WHOLE, [ran.release] * 10)  # type: ignore[list-item]
    assert all(ran.acquire(timeout=SOON) for _ in range(10))
    assert told == [3], "nobody watches"
    assert pool.taken(Lane.WHOLE) == 20
    assert pool.taken(Lane.PARTS) == 0
    assert pool.close(SOON)
