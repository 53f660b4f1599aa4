"""When a lane is to be filled again: by how fast its tasks are taken."""

from __future__ import annotations

from executor.flow.demand import AHEAD_SECONDS, FORGETTING, WINDOW_SECONDS, Demand


def taken_at(rate: float, seconds: float) -> Demand:
    demand = Demand()
    for tick in range(int(seconds * 10) + 1):
        demand.learn(round(rate * tick / 10), tick / 10)
    return demand


def test_before_anything_is_known_the_least_decides() -> None:
    demand = Demand()
    demand.learn(0, 1000.0)
    assert demand.low_water(32) == 32
    demand.learn(500, 1000.0 + WINDOW_SECONDS / 2)
    assert demand.low_water(32) == 32


def test_what_is_taken_while_a_chunk_is_claimed_must_wait() -> None:
    assert taken_at(1000, 2.0).low_water(4) == round(1000 * AHEAD_SECONDS)


def test_few_tasks_of_large_objects_are_not_hoarded() -> None:
    assert taken_at(10, 2.0).low_water(4) == 4


def test_a_pause_is_forgotten_step_by_step() -> None:
    demand = taken_at(1000, 2.0)
    demand.learn(2000, 2.5)
    assert demand.low_water(0) == round(1000 * FORGETTING * AHEAD_SECONDS)
    for window in range(1, 60):
        demand.learn(2000, 2.5 + window * WINDOW_SECONDS)
    assert demand.low_water(0) == 0
