"""How often a step is tried: what counts, what does not, and when it ends."""

from __future__ import annotations

import pytest

from executor.attempts import DIGEST_ATTEMPTS, OBJECT_DEADLINE_SECONDS, AttemptCounter, Retrier
from executor.stop import Stop
from schema import errors
from storage.retrying import RetryPolicy


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
