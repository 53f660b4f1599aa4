"""Retries: how often, how long, and never when it cannot help."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clock import Clock

from schema.errors import AccessRefused, ConnectionFailed, ServerFault, StoreError, Throttled
from storage.retrying import Retry, RetryPolicy, delay


def failing(*errors: StoreError) -> Callable[[], str]:
    """A call that raises each of *errors* once and then answers."""
    left = list(errors)

    def call() -> str:
        if left:
            raise left.pop(0)
        return "answer"

    return call


def attempt(call: Callable[[], str], clock: Clock, *, attempts: int = 3, throttle_seconds: float = 60.0) -> str:
    return Retry(
        RetryPolicy(attempts=attempts),
        wait=clock.wait,
        random=lambda: 0.5,
        clock=clock,
        throttle_seconds=throttle_seconds,
    ).call(call)


@given(
    number=st.integers(1, 5000),
    chance=st.floats(0, 1, exclude_max=True),
    after=st.none() | st.floats(0, 100),
    throttled=st.booleans(),
)
def test_a_delay_is_bounded_by_the_cap_and_by_what_the_server_asks(
    number: int, chance: float, after: float | None, throttled: bool
) -> None:
    kind = Throttled if throttled else ServerFault
    seconds = delay(RetryPolicy(), number, kind("no", retry_after=after), random=lambda: chance)

    assert (after or 0.0) <= seconds <= max(20.0, after or 0.0)


def test_delays_double_up_to_the_cap_and_throttling_starts_slower() -> None:
    policy = RetryPolicy()
    fault = [delay(policy, number, ServerFault("no"), random=lambda: 1.0) for number in (1, 2, 3, 7, 8, 1000)]
    slow_down = [delay(policy, number, Throttled("no"), random=lambda: 1.0) for number in (1, 2, 3, 5, 6)]

    assert fault == pytest.approx([0.2, 0.4, 0.8, 12.8, 20, 20])
    assert slow_down == pytest.approx([1, 2, 4, 16, 20])
    assert delay(policy, 3, ServerFault("no"), random=lambda: 0.0) == 0.0


def test_passing_faults_are_passed_over() -> None:
    clock = Clock()

    assert attempt(failing(ServerFault("1"), ConnectionFailed("2")), clock) == "answer"
    assert clock.waits == pytest.approx([0.1, 0.2])


def test_the_last_attempt_raises_what_it_met() -> None:
    clock = Clock()
    with pytest.raises(ConnectionFailed, match="3"):
        attempt(failing(ServerFault("1"), ServerFault("2"), ConnectionFailed("3")), clock)
    assert len(clock.waits) == 2


def test_what_no_waiting_helps_is_raised_at_once() -> None:
    clock = Clock()
    with pytest.raises(AccessRefused):
        attempt(failing(AccessRefused("no")), clock)
    assert clock.waits == []


def test_other_exceptions_are_none_of_its_business() -> None:
    def bug() -> str:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        attempt(bug, Clock())


def test_throttling_does_not_use_up_attempts_but_time() -> None:
    clock = Clock()
    assert attempt(failing(*[Throttled("slow down")] * 6), clock, attempts=1, throttle_seconds=60.0) == "answer"

    with pytest.raises(Throttled):
        attempt(failing(*[Throttled("slow down")] * 1000), clock, attempts=1, throttle_seconds=60.0)


@given(st.floats(0, 1000), st.floats(0, 50))
def test_throttling_never_waits_beyond_its_time(bound: float, after: float) -> None:
    clock = Clock()
    with pytest.raises(Throttled):
        attempt(failing(*[Throttled("slow down", retry_after=after)] * 3000), clock, throttle_seconds=bound)
    assert clock.waited <= bound + 1e-6


def test_an_answer_in_between_starts_the_throttling_time_anew() -> None:
    clock = Clock()
    spell = [Throttled("slow down", retry_after=40.0)]

    assert attempt(failing(*spell, ServerFault("1"), *spell, ServerFault("2"), *spell), clock) == "answer"


def test_each_retry_is_told() -> None:
    told: list[tuple[str, int, float]] = []
    retry = Retry(
        RetryPolicy(attempts=2),
        wait=lambda _seconds: None,
        random=lambda: 0.5,
        clock=lambda: 0.0,
        on_retry=lambda error, number, seconds: told.append((str(error), number, seconds)),
    )

    assert retry.call(failing(Throttled("t"), ServerFault("s"))) == "answer"
    assert told == [("t", 1, 0.5), ("s", 1, 0.1)]


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"base": -1.0}, {"cap": -1.0}, {"throttle_base": -0.1}])
def test_a_policy_that_makes_no_sense_is_a_mistake(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="retry policy"):
        RetryPolicy(**wrong)  # type: ignore[arg-type]
