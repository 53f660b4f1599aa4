"""The circuit breaker, in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.flow.breaker import Breaker
from schema.process_view import BreakerState


def fail(breaker: Breaker, count: int, now: float = 0.0, subject: str | None = None) -> None:
    for _ in range(count):
        breaker.record(False, now, subject=subject)


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    fail(breaker, 10, now)
    assert breaker.state is BreakerState.OPEN
    return breaker


def test_ten_failures_in_a_row_open_it_and_nine_do_not() -> None:
    breaker = Breaker()
    fail(breaker, 9)
    assert breaker.allow(0.0)

    breaker.record(True, 0.0)
    fail(breaker, 9)
    assert breaker.state is BreakerState.CLOSED

    fail(breaker, 1)
    assert breaker.state is BreakerState.OPEN
    assert not breaker.allow(4.9)
    assert breaker.opens_until == 5.0


@pytest.mark.parametrize(("bad_of_ten", "state"), [(4, BreakerState.CLOSED), (5, BreakerState.OPEN)])
def test_half_of_twenty_within_ten_seconds_open_it(bad_of_ten: int, state: BreakerState) -> None:
    breaker = Breaker()
    for number in range(200):
        breaker.record(number % 10 < 10 - bad_of_ten, number * 0.05)

    assert breaker.state is state


def test_results_older_than_ten_seconds_do_not_count() -> None:
    breaker = Breaker()
    for number in range(12):
        breaker.record(number % 2 == 0, 0.0)
    for number in range(12):
        breaker.record(number % 2 == 0, 10.5)

    assert breaker.state is BreakerState.CLOSED


def test_one_or_two_poisoned_objects_do_not_open_it_three_do() -> None:
    breaker = Breaker()
    for _ in range(50):
        fail(breaker, 1, subject="poison/1")
        fail(breaker, 1, subject="poison/2")
    assert breaker.state is BreakerState.CLOSED

    fail(breaker, 1, subject="poison/3")
    assert breaker.state is BreakerState.OPEN


def test_half_open_lets_one_probe_pass_and_its_success_closes() -> None:
    breaker = opened()

    assert [breaker.allow(5.0), breaker.allow(5.0), breaker.allow(6.0)] == [True, False, False]
    assert breaker.state is BreakerState.HALF_OPEN
    breaker.record(True, 6.5, started=5.1)

    assert breaker.state is BreakerState.CLOSED
    assert breaker.allow(6.5)


def test_failed_probes_double_the_wait_up_to_a_minute_and_success_resets_it() -> None:
    breaker, now, waits = opened(), 0.0, []
    for _ in range(6):
        waits.append(breaker.opens_until - now)
        now = breaker.opens_until
        assert breaker.allow(now)
        breaker.record(False, now, started=now)
    assert waits == [5, 10, 20, 40, 60, 60]

    now = breaker.opens_until
    assert breaker.allow(now)
    breaker.record(True, now, started=now)
    fail(breaker, 10, now + 1)

    assert breaker.opens_until == now + 6


def test_late_answers_of_requests_from_before_tell_nothing() -> None:
    breaker = opened(now=10.0)
    assert breaker.allow(15.0)

    breaker.record(False, 15.5, started=1.0)
    assert breaker.state is BreakerState.HALF_OPEN
    breaker.record(True, 15.6, started=9.0)
    assert breaker.state is BreakerState.HALF_OPEN
    breaker.record(True, 15.7, started=15.0)
    assert breaker.state is BreakerState.CLOSED


def test_a_probe_that_never_answers_is_given_up() -> None:
    breaker = opened()
    assert breaker.allow(5.0)

    assert not breaker.allow(124.0)
    assert breaker.allow(125.0)


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans(), st.sampled_from([None, "a", "b", "c", "d"])), max_size=400))
def test_an_endpoint_that_recovers_is_used_again(steps: list[tuple[float, bool, str | None]]) -> None:
    breaker, now = Breaker(), 0.0
    for pause, ok, subject in steps:
        now += pause
        if breaker.allow(now):
            breaker.record(ok, now, started=now, subject=subject)

    now += 61
    assert breaker.allow(now), "after the longest wait a probe may go"
    breaker.record(True, now, started=now)

    assert breaker.state is BreakerState.CLOSED


def test_an_hour_of_outage_costs_few_requests() -> None:
    breaker, sent = Breaker(), 0
    for tick in range(36_000):
        now = tick / 10
        if breaker.allow(now):
            sent += 1
            breaker.record(False, now, started=now)

    assert sent <= 10 + 4 + 60


def test_an_object_that_fails_again_after_others_were_served_counts_no_more() -> None:
    breaker = Breaker()
    for number in range(300):
        breaker.record(number % 5 != 0, number * 0.01, subject=None if number % 5 else f"poison/{number % 50}")

    assert breaker.state is BreakerState.CLOSED
    assert breaker.at_fault("poison/5") and not breaker.at_fault("another")


def test_answers_that_were_on_the_way_when_an_outage_began_do_not_excuse_the_endpoint() -> None:
    breaker = Breaker()
    breaker.record(False, 0.0, subject="first")
    breaker.served(9, 0.1)
    assert not breaker.at_fault("first")

    breaker.served(1, 0.2)
    assert breaker.at_fault("first")


def test_without_a_good_answer_in_between_the_same_objects_count_each_time() -> None:
    breaker = Breaker()
    for number in range(10):
        breaker.record(False, 0.0, subject=f"key/{number % 4}")

    assert breaker.state is BreakerState.OPEN


def doubtful(*, good_at: float, now: float, subject: str | None = "key") -> Breaker:
    """An endpoint that can be asked, well at *good_at*; ten objects in a row have failed *now*."""
    breaker = Breaker()
    breaker.askable = True
    breaker.record(True, good_at)
    for number in range(10):
        breaker.record(False, now, subject=subject and f"{subject}/{number}")
    return breaker


@pytest.mark.parametrize(("well", "state"), [(True, BreakerState.CLOSED), (False, BreakerState.OPEN)])
def test_an_endpoint_that_was_well_a_moment_ago_is_asked_before_the_breaker_opens(
    well: bool, state: BreakerState
) -> None:
    breaker = doubtful(good_at=0.0, now=1.0)
    assert breaker.state is BreakerState.CLOSED and breaker.in_doubt
    breaker.asked(well, 1.2)

    assert (breaker.state, breaker.in_doubt) == (state, False)


def test_it_opens_at_once_when_the_failures_name_no_object_or_nothing_was_served_lately() -> None:
    assert doubtful(good_at=0.0, now=1.0, subject=None).state is BreakerState.OPEN
    assert doubtful(good_at=0.0, now=20.0).state is BreakerState.OPEN


def test_a_question_without_an_answer_is_an_answer() -> None:
    breaker = doubtful(good_at=0.0, now=1.0)
    breaker.record(False, 7.0, subject="one/more")

    assert breaker.state is BreakerState.OPEN
