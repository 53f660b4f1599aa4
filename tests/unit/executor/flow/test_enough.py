"""How many workers keep the processors busy: from what a request costs and how long it waits."""

from __future__ import annotations

import math

import pytest

from executor.flow.enough import LEAST_REQUESTS, QUICK_BYTES, REMEMBERED, SLACK, Enough


def learned(cost: float, windows: int = 20, *, cores: int = 2) -> Enough:
    enough = Enough(cores)
    for window in range(windows + 1):
        enough.learn(window * 100 * cost, 100)
    return enough


@pytest.mark.parametrize(
    ("first_byte", "cost", "workers"),
    [(0.0006, 0.0003, 2 * 3), (0.05, 0.00025, 2 * 201), (0.0, 0.0003, 2)],
    ids=["at hand", "50 ms away", "at once"],
)
def test_a_processor_serves_others_while_a_request_is_away(first_byte: float, cost: float, workers: float) -> None:
    assert learned(cost).workers(first_byte, 100_000) == pytest.approx(SLACK * workers)


def test_more_cores_take_more_workers() -> None:
    assert learned(0.001, cores=8).workers(0.001, 1_000) == 4 * learned(0.001).workers(0.001, 1_000)


def test_nothing_is_said_before_anything_is_known_nor_of_large_transfers() -> None:
    assert math.isinf(Enough(2).workers(0.001, 1_000))
    assert math.isinf(learned(0.001).workers(math.inf, 1_000))
    assert math.isinf(learned(0.001).workers(0.001, QUICK_BYTES + 1))
    assert not math.isinf(learned(0.001).workers(0.001, QUICK_BYTES))


def test_other_work_beside_requests_is_no_part_of_what_they_cost() -> None:
    enough = learned(0.0003)
    calm = enough.workers(0.05, 100_000)
    enough.learn(20 * 100 * 0.0003 + 1.0, 100)

    assert enough.workers(0.05, 100_000) == calm


def test_what_requests_cost_once_is_forgotten() -> None:
    enough = learned(0.0003, windows=20)
    for window in range(1, REMEMBERED + 1):
        enough.learn(20 * 100 * 0.0003 + window * 100 * 0.0006, 100)

    assert enough.workers(0.05, 100_000) == pytest.approx(learned(0.0006).workers(0.05, 100_000))


def test_a_few_requests_say_nothing_until_there_are_more() -> None:
    enough = Enough(2)
    enough.learn(1.0, 0)
    enough.learn(1.0 + 49 * 0.0003, LEAST_REQUESTS - 1)
    assert math.isinf(enough.workers(0.05, 100_000))

    enough.learn(1.0 + 50 * 0.0003, 1)
    assert enough.workers(0.05, 100_000) == pytest.approx(learned(0.0003).workers(0.05, 100_000))


def test_a_window_without_requests_teaches_nothing() -> None:
    enough = learned(0.0003)
    calm = enough.workers(0.05, 100_000)
    enough.learn(1e6, 0)

    assert enough.workers(0.05, 100_000) == calm
