"""How many workers keep the processors busy: from what a request costs and how long it waits."""

from __future__ import annotations

import math

import pytest

from executor.flow.enough import LEAST_REQUESTS, REMEMBERED, Enough


def learned(cost: float, away: float = 0.05, windows: int = 20, *, cores: int = 2) -> Enough:
    enough = Enough(cores)
    for window in range(windows + 1):
        enough.learn(window * 100 * cost, 100, away)
    return enough


@pytest.mark.parametrize(
    ("away", "cost", "workers"),
    [(0.0006, 0.0003, 2 * 3), (0.05, 0.00025, 2 * 201), (0.0, 0.0003, 2)],
    ids=["at hand", "50 ms away", "at once"],
)
def test_a_processor_serves_others_while_a_request_is_away(away: float, cost: float, workers: float) -> None:
    assert learned(cost, away).workers() == pytest.approx(workers)


def test_more_cores_take_more_workers() -> None:
    assert learned(0.001, cores=8).workers() == 4 * learned(0.001).workers()


def test_nothing_is_said_before_anything_is_known() -> None:
    assert math.isinf(Enough(2).workers())
    assert math.isinf(learned(0.0).workers())
    assert not math.isinf(learned(0.001).workers())


def test_other_work_beside_requests_is_no_part_of_what_they_cost() -> None:
    enough = learned(0.0003)
    calm = enough.workers()
    enough.learn(20 * 100 * 0.0003 + 1.0, 100, 0.05)

    assert enough.workers() == calm


def test_requests_that_waited_for_one_another_were_not_away_for_longer() -> None:
    enough = learned(0.0003)
    calm = enough.workers()
    enough.learn(21 * 100 * 0.0003, 100, 0.5)

    assert enough.workers() == pytest.approx(calm)


def test_what_requests_cost_and_how_long_they_were_away_once_is_forgotten() -> None:
    enough = learned(0.0003, windows=20)
    for window in range(1, REMEMBERED + 1):
        enough.learn(20 * 100 * 0.0003 + window * 100 * 0.0006, 100, 0.2)

    assert enough.workers() == pytest.approx(learned(0.0006, 0.2).workers())


def test_a_few_requests_say_nothing_until_there_are_more() -> None:
    enough = Enough(2)
    enough.learn(1.0, 0, 0.05)
    enough.learn(1.0 + 49 * 0.0003, LEAST_REQUESTS - 1, 0.05)
    assert math.isinf(enough.workers())

    enough.learn(1.0 + 50 * 0.0003, 1, 0.05)
    assert enough.workers() == pytest.approx(learned(0.0003).workers())


def test_a_window_without_requests_teaches_nothing() -> None:
    enough = learned(0.0003)
    calm = enough.workers()
    enough.learn(1e6, 0, 0.0)

    assert enough.workers() == calm
