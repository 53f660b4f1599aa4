"""The retry budget, in virtual time."""

from __future__ import annotations

import pytest

from executor.flow.retry_budget import RetryBudget


def spend_all(budget: RetryBudget, now: float) -> int:
    spent = 0
    while budget.spend(now):
        spent += 1
    return spent


def test_a_full_budget_allows_a_hundred_retries_at_once() -> None:
    budget = RetryBudget(0.0)

    assert spend_all(budget, 0.0) == 100
    assert budget.wait(0.0) == pytest.approx(0.5)


def test_empty_it_allows_two_a_second() -> None:
    budget = RetryBudget(0.0)
    spend_all(budget, 0.0)

    assert sum(spend_all(budget, second / 10) for second in range(601)) == 120


def test_a_success_gives_its_cost_back_but_never_more_than_full() -> None:
    budget = RetryBudget(0.0)
    budget.refund(0.0)
    assert spend_all(budget, 0.0) == 100

    budget.refund(0.0)

    assert budget.spend(0.0) and not budget.spend(0.0)


def test_retries_that_succeed_are_not_limited() -> None:
    budget = RetryBudget(0.0)

    for _ in range(10_000):
        assert budget.spend(0.0)
        budget.refund(0.0)


def test_hours_of_rest_fill_it_and_time_backwards_does_not() -> None:
    budget = RetryBudget(0.0)
    spend_all(budget, 0.0)

    assert budget.wait(-100.0) == pytest.approx(0.5), "still empty"
    assert spend_all(budget, 7200.0) == 100
