"""The small parts of the executor: pool, stop, crash, retries, early stop, chunks, ranges, parts."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.memory_store import MemoryStore
from support.sample_plan import sample_plan

from executor.apply.chunking import OBJECTS_PER_CHUNK, chunks_of
from executor.apply.pool import WorkerPool
from executor.attempts import DIGEST_ATTEMPTS, OBJECT_DEADLINE_SECONDS, AttemptCounter, Retrier
from executor.copy.present import SPARE_KEYS, just_before, present_targets
from executor.copy.window import parts_of
from executor.crash import Crash
from executor.early_stop import FIRST_FAILURES, AllRefused, EarlyStop
from executor.ledger.values import ChunkKind, Lane
from executor.stop import Stop
from schema import errors
from schema.plan import Action, Entry, Gate
from storage.retrying import RetryPolicy

SOON = 10.0
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


# --- pool ---------------------------------------------------------------------------------------------------


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


# --- stop and crash -----------------------------------------------------------------------------------------


def test_a_stop_has_two_stages() -> None:
    stop = Stop()
    assert not stop.wait(0)
    stop.request()
    assert (stop.draining, stop.abandoning) == (True, False)
    stop.propagate()
    assert stop.wait(SOON)
    assert not stop.wait_abandoned(0)
    stop.request()
    stop.propagate()
    assert stop.wait_abandoned(SOON)


def test_the_first_crash_is_kept_and_asks_to_stop_once() -> None:
    stop = Stop()
    crash = Crash(stop)
    crash.reraise()
    crash.met(ValueError("first"))
    crash.met(ValueError("second"))
    assert (stop.draining, stop.abandoning) == (True, False)
    with pytest.raises(ValueError, match="first"):
        crash.reraise()


# --- retries ------------------------------------------------------------------------------------------------


class Steps:
    """Raises these errors one after the other, then answers."""

    def __init__(self, *errors_: Exception) -> None:
        self.left = list(errors_)
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        if self.left:
            raise self.left.pop(0)
        return "done"


def retrier(stop: Stop | None = None) -> Retrier:
    return Retrier(stop or Stop(), lambda: 0.0, lambda _stop: None, RetryPolicy(attempts=5))


def test_throttling_never_counts() -> None:
    steps, counter = Steps(*[errors.Throttled("slow")] * 40), AttemptCounter()
    assert retrier().run(steps, counter, lambda _e, _n: None) == "done"
    assert (counter.used, counter.throttled) == (1, 40)


def test_passing_errors_are_bounded() -> None:
    steps, told = Steps(*[errors.ServerFault("500")] * 9), list[int]()
    with pytest.raises(errors.ServerFault):
        retrier().run(steps, AttemptCounter(), lambda _e, n: told.append(n))
    assert steps.asked == 5
    assert told == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("each", "leaf", "asked"),
    [
        (OBJECT_DEADLINE_SECONDS / 2, errors.RequestTimedOut, 2),
        (OBJECT_DEADLINE_SECONDS / 2 - 1, errors.RequestTimedOut, 3),
        (OBJECT_DEADLINE_SECONDS, errors.Throttled, 10),
    ],
)
def test_attempts_that_take_too_long_in_all_are_the_last(
    each: float, leaf: type[errors.StoreError], asked: int
) -> None:
    steps, now = Steps(*[leaf("slow")] * 9), [0.0]

    def step() -> str:
        now[0] += each
        return steps()

    patient = Retrier(Stop(), lambda: 0.0, lambda _stop: None, RetryPolicy(attempts=5), clock=lambda: now[0])
    if leaf is errors.Throttled:
        assert patient.run(step, AttemptCounter(), lambda _e, _n: None) == "done"
    else:
        with pytest.raises(leaf):
            patient.run(step, AttemptCounter(), lambda _e, _n: None)
    assert steps.asked == asked


def test_a_digest_that_fails_three_times_is_given_up() -> None:
    steps = Steps(*[errors.DigestMismatch("flipped")] * 9)
    with pytest.raises(errors.DigestMismatch):
        retrier().run(steps, AttemptCounter(), lambda _e, _n: None)
    assert steps.asked == DIGEST_ATTEMPTS


@pytest.mark.parametrize(
    "error", [errors.AccessRefused("no"), errors.CredentialsExpired("old"), errors.ObjectMissing("")]
)
def test_what_a_retry_cannot_mend_is_raised_at_once(error: errors.StoreError) -> None:
    steps = Steps(error)
    with pytest.raises(type(error)):
        retrier().run(steps, AttemptCounter(), lambda _e, _n: None)
    assert steps.asked == 1


def test_a_stop_ends_the_attempts_but_not_the_first() -> None:
    stop = Stop()
    stop.request()
    assert retrier(stop).run(Steps(), AttemptCounter(), lambda _e, _n: None) == "done"
    with pytest.raises(errors.Stopped):
        retrier(stop).run(Steps(errors.ServerFault("500")), AttemptCounter(), lambda _e, _n: None)


# --- early stop ---------------------------------------------------------------------------------------------


def test_refusals_in_a_row_stop_the_run_but_not_scattered_ones() -> None:
    early = EarlyStop()
    for _ in range(3):
        for _ in range(FIRST_FAILURES - 1):
            early.failed(errors.AccessRefused("no"))
        early.succeeded()
    early.failed(errors.ServerFault("500"))
    for _ in range(FIRST_FAILURES - 1):
        early.failed(errors.AccessRefused("no"))
    with pytest.raises(AllRefused) as refused:
        early.failed(errors.AccessRefused("no"))
    assert refused.value.exit_code == 77


# --- chunks -------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from([*OBJECTS_PER_CHUNK, "markers"]), st.integers(1, 3000)), max_size=4))
def test_chunks_cover_every_batch_exactly(shapes: list[tuple[str, int]]) -> None:
    plan = sample_plan()
    batches = tuple(
        replace(plan.batches[0], id=f"b{n}", tier=tier, objects=objects, stage=("canary", "bulk")[n % 2])
        for n, (tier, objects) in enumerate(shapes)
    )
    made = list(chunks_of(replace(plan, batches=batches)))
    assert [chunk.chunk_no for chunk in made] == list(range(len(made)))
    gated = {stage.id for stage in plan.stages if stage.gate is Gate.VERIFIED}
    for number, batch in enumerate(batches):
        for kind in (ChunkKind.OBJECTS, ChunkKind.VERIFY):
            spans = [(c.lo, c.hi) for c in made if (c.batch_no, c.kind) == (number, kind)]
            if kind is ChunkKind.VERIFY and batch.stage not in gated:
                assert spans == []
                continue
            assert [lo for lo, _ in spans] == [0, *(hi for _, hi in spans[:-1])]
            assert spans[-1][1] == batch.objects


# --- destination range --------------------------------------------------------------------------------------


@given(KEYS, KEYS)
def test_just_before_sorts_before(key: str, other: str) -> None:
    before = just_before(key)
    assert before < key
    assert before.encode() < key.encode()
    assert not any(ord(character) < 0x20 for character in before), "XML cannot say it"
    if other[:-1] == key[:-1] and other < key:
        assert not before < other or other > before


@given(st.sets(KEYS, max_size=20), st.sets(KEYS, min_size=1, max_size=20))
def test_present_targets_is_the_intersection(there: set[str], wanted: set[str]) -> None:
    store = MemoryStore()
    for key in there:
        store.hold(key, b"")
    entries = [Entry(key, 0, "", Action.COPY) for key in sorted(wanted)]
    assert present_targets(store, "", entries) == there & wanted


def test_a_chunk_scattered_over_a_full_bucket_is_not_scanned_through() -> None:
    store = MemoryStore()
    for number in range(SPARE_KEYS + 20):
        store.hold(f"k{number:06d}", b"")
    ends = [Entry("k", 0, "", Action.COPY), Entry("l", 0, "", Action.COPY)]
    assert present_targets(store, "", ends) is None
    assert present_targets(store, "", []) == frozenset()


# --- parts --------------------------------------------------------------------------------------------------


@given(st.integers(1, 10_000), st.integers(1, 1000))
def test_parts_cover_exactly(size: int, part: int) -> None:
    made = parts_of(size, part)
    assert [p.number for p in made] == list(range(1, len(made) + 1))
    assert [p.start for p in made] == [0, *(p.start + p.length for p in made[:-1])]
    assert made[-1].start + made[-1].length == size
    assert {p.length for p in made[:-1]} <= {part}
    assert 0 < made[-1].length <= part
