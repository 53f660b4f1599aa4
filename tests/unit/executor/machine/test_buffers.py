"""The byte budget and the buffer pool."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.machine.buffers import BufferPool, ByteBudget, capacity_for
from schema.tiers import MIB

ROOT = Path(__file__).parents[4]


def at_once() -> bool:
    """The stop of one who will not wait."""
    return True


def never() -> bool:
    return False


class Waiting:
    """A thread that waits for a reservation."""

    def __init__(self, budget: ByteBudget, size: int, stop: threading.Event | None = None) -> None:
        self.granted: bool | None = None
        self._budget = budget
        before = budget.waiting
        self._thread = threading.Thread(target=self._run, args=(size, stop), daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 5
        while budget.waiting == before and self._thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0)

    def _run(self, size: int, stop: threading.Event | None) -> None:
        self.granted = self._budget.reserve(size, stop.is_set if stop else never)

    def join(self) -> bool | None:
        self._thread.join(5)
        assert not self._thread.is_alive()
        return self.granted

    @property
    def waits(self) -> bool:
        return self._thread.is_alive()


def test_what_fits_is_reserved_at_once_and_the_peak_is_kept() -> None:
    budget = ByteBudget(100)

    assert budget.reserve(60, never) and budget.reserve(40, never)
    assert not budget.reserve(1, at_once)
    budget.release(60)

    assert (budget.in_use, budget.peak) == (40, 100)


@pytest.mark.parametrize("size", [101, -1])
def test_a_reservation_that_can_never_be_is_refused(size: int) -> None:
    budget = ByteBudget(100)

    with pytest.raises(ValueError, match="can never be reserved"):
        budget.reserve(size, never)
    assert budget.in_use == 0


def test_more_than_was_reserved_cannot_be_given_back() -> None:
    budget = ByteBudget(100)
    budget.reserve(10, never)

    with pytest.raises(ValueError, match="given back"):
        budget.release(11)


def test_a_release_wakes_who_waits_in_order_of_arrival() -> None:
    budget = ByteBudget(100)
    budget.reserve(100, never)
    first, second = Waiting(budget, 80), Waiting(budget, 80)

    budget.release(100)

    assert first.join() and second.waits
    budget.release(80)
    assert second.join()


def test_small_ones_use_the_room_a_large_one_cannot_but_do_not_starve_it() -> None:
    budget = ByteBudget(100)
    budget.reserve(50, never)
    large = Waiting(budget, 100)
    overtaken = 0
    while True:
        small = Waiting(budget, 50)
        if small.waits:
            break
        overtaken += 50
        budget.release(50)

    assert overtaken == 100, "the large one is overtaken for one turnover of the budget, then all wait for it"
    budget.release(50)
    assert large.join() and small.waits
    budget.release(100)
    assert small.join()


def test_who_gives_up_leaves_no_trace_and_lets_the_next_go() -> None:
    budget = ByteBudget(100)
    budget.reserve(70, never)
    stop = threading.Event()
    head = Waiting(budget, 80, stop)
    for _ in range(3):
        budget.reserve(30, never)
        budget.release(30)
    behind = Waiting(budget, 40)
    stop.set()

    assert head.join() is False
    budget.release(70)
    assert behind.join()
    assert (budget.in_use, budget.waiting) == (40, 0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 100), min_size=1, max_size=60), st.integers(1, 8))
def test_any_mix_ends_and_never_exceeds_the_total(sizes: list[int], threads: int) -> None:
    budget = ByteBudget(100)
    held, most, lock = 0, 0, threading.Lock()

    def work(mine: list[int]) -> None:
        nonlocal held, most
        for size in mine:
            assert budget.reserve(size, never)
            with lock:
                held += size
                most = max(most, held)
            with lock:
                held -= size
            budget.release(size)

    workers = [threading.Thread(target=work, args=(sizes[n::threads],), daemon=True) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(10)

    assert not any(worker.is_alive() for worker in workers)
    assert most <= 100 and budget.peak <= 100
    assert (budget.in_use, budget.waiting) == (0, 0)


@given(st.integers(0, 1 << 40))
def test_size_classes_hold_the_size_and_waste_at_most_a_quarter(size: int) -> None:
    capacity = capacity_for(size)

    assert capacity >= size
    assert capacity <= max(4096, size * 1.25)
    assert capacity_for(capacity) == capacity


@given(st.integers(12, 40))
def test_powers_of_two_are_classes(exponent: int) -> None:
    assert capacity_for(1 << exponent) == 1 << exponent


@pytest.mark.parametrize("size", [0, 1, 5000, 100_000, 3 * MIB])
def test_a_view_is_as_long_as_asked_for_and_writable(size: int) -> None:
    pool = BufferPool(ByteBudget(4 * MIB))

    view = pool.take(size, never)

    assert view is not None and len(view) == size
    view[:] = b"x" * size
    assert pool.budget.in_use == capacity_for(size)
    pool.give(view)
    assert pool.budget.in_use == 0


def test_buffers_are_reused() -> None:
    pool = BufferPool(ByteBudget(4 * MIB))
    first = pool.take(100_000, never)
    assert first is not None
    buffer = first.obj
    pool.give(first)

    second = pool.take(99_000, never)

    assert second is not None and second.obj is buffer


def test_idle_buffers_make_room_for_other_sizes() -> None:
    pool = BufferPool(ByteBudget(4 * MIB))
    views = [pool.take(MIB, never) for _ in range(4)]
    for view in views:
        assert view is not None
        pool.give(view)
    assert pool.held_bytes == 4 * MIB

    view = pool.take(2 * MIB, never)

    assert view is not None
    assert pool.held_bytes == 4 * MIB, "two idle ones of 1 MiB went for one of 2 MiB"
    pool.give(view)
    assert pool.release_idle() == 4 * MIB
    assert pool.held_bytes == 0


def test_a_size_near_the_whole_budget_gets_it_and_more_is_refused() -> None:
    pool = BufferPool(ByteBudget(MIB + 1))

    view = pool.take(MIB + 1, never)

    assert view is not None and len(view) == MIB + 1
    pool.give(view)
    with pytest.raises(ValueError, match="can never be reserved"):
        pool.take(MIB + 2, never)


def test_take_gives_up_when_told_to() -> None:
    pool = BufferPool(ByteBudget(MIB))
    view = pool.take(MIB, never)

    assert pool.take(1, lambda: True) is None
    assert view is not None
    pool.give(view)


def test_a_slice_kept_too_long_does_no_harm() -> None:
    pool = BufferPool(ByteBudget(MIB))
    view = pool.take(MIB, never)
    assert view is not None
    kept = view[:10]

    pool.give(view)

    assert pool.release_idle() == MIB
    assert bytes(kept) == bytes(10)


def test_only_views_of_a_pool_can_be_given_back() -> None:
    with pytest.raises(TypeError, match="lent by this pool"):
        BufferPool(ByteBudget(MIB)).give(memoryview(b"abc"))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 900_000), st.booleans()), max_size=40))
def test_lent_and_idle_together_never_exceed_the_total(steps: list[tuple[int, bool]]) -> None:
    pool = BufferPool(ByteBudget(MIB))
    lent: list[memoryview] = []
    for size, give_first in steps:
        if lent and give_first:
            pool.give(lent.pop(0))
        view = pool.take(size, lambda: True)
        if view is not None:
            lent.append(view)
        assert pool.held_bytes <= MIB
        assert sum(len(v) for v in lent) <= pool.budget.in_use <= pool.held_bytes


RESIDENT = """
import random, threading
from executor.machine.buffers import BufferPool, ByteBudget
from executor.machine.memory import set_malloc_arenas, trim

def resident(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))

set_malloc_arenas()
pool = BufferPool(ByteBudget(32 << 20))
source = bytes(1 << 20)

def work(seed):
    chance = random.Random(seed)
    for _ in range(25):
        size = int(chance.choice([1e5, 1e5, 1e6, 8 << 20, 16 << 20]) * chance.uniform(0.5, 1))
        view = pool.take(size, lambda: False)
        for start in range(0, size, 1 << 20):
            part = view[start : start + (1 << 20)]
            part[:] = source[: len(part)]
            part.release()
        pool.give(view)

before = resident("VmRSS")
threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
[t.start() for t in threads]
[t.join() for t in threads]
peak = resident("VmHWM") - before
pool.release_idle()
trim()
print(peak >> 20, resident("VmRSS") - before >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_resident_memory_stays_within_the_budget_and_goes_back_to_the_system() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RESIDENT], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    peak, after = map(int, done.stdout.split())

    assert peak <= 32 + 12, "threads and heap beside the budget of 32 MiB"
    assert after <= 8
