"""Retries draw from their endpoint's budget, in virtual time: when everything fails, they wait instead of hammering."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from executor.attempts import AttemptCounter, Retrier
from executor.flow.endpoint import EndpointGovernor, EndpointRetries
from executor.stop import Stop
from schema.errors import DigestMismatch, ObjectMissing, ServerFault, Stopped, StoreError, Throttled
from storage.port import RequestSample


class TimedStop(Stop):
    """A stop whose waiting moves the clock; it is requested once the clock reaches *at*."""

    def __init__(self, at: float = float("inf")) -> None:
        super().__init__()
        self.now = 0.0
        self._at = at

    def clock(self) -> float:
        """The moment."""
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        if self.now >= self._at:
            self.request()
        return self.draining


class Endpoints:
    """Two endpoints and a retrier over both; full jitter always says 0, so that only the budget makes it wait."""

    def __init__(self, stop: TimedStop | None = None) -> None:
        self.stop = stop or TimedStop()
        self.source = EndpointGovernor("source", clock=self.stop.clock)
        self.destination = EndpointGovernor("destination", clock=self.stop.clock)
        self.retries = EndpointRetries((self.source, self.destination), self.stop.clock)
        self.asked: list[float] = []
        self._retrier = Retrier(self.stop, lambda: 0.0, lambda _stop: None, allowance=self.retries)

    def drain(self, *endpoints: EndpointGovernor) -> None:
        """Nothing is left in these budgets."""
        for endpoint in endpoints:
            while endpoint.may_retry(self.stop.now):
                pass

    def afforded(self, endpoint: EndpointGovernor) -> int:
        """Retries the budget holds now; it is empty afterwards."""
        held = 0
        while endpoint.may_retry(self.stop.now):
            held += 1
        return held

    def run(self, endpoint: EndpointGovernor | None, *answers: StoreError) -> str:
        """One object's step: the endpoint answers with these errors, then well."""
        left = list(answers)

        def step() -> str:
            self.asked.append(self.stop.now)
            if not left:
                return "done"
            error = left.pop(0)
            if endpoint is not None:
                endpoint.after(RequestSample("PutObject", 0.0, 0.0, 0, error))
            raise error

        return self._retrier.run(step, AttemptCounter(), lambda _error, _attempt: None)


def throttled(count: int) -> list[StoreError]:
    return [Throttled("slow down") for _ in range(count)]


def test_with_a_full_budget_nobody_waits_and_a_success_gives_one_cost_back() -> None:
    ends = Endpoints()

    ends.run(ends.destination, *throttled(30))

    assert ends.asked == [0.0] * 31
    assert ends.afforded(ends.destination) == 100 - 29, "the retry that worked costs nothing"
    assert ends.afforded(ends.source) == 100, "the other endpoint's budget is its own"


def test_an_hour_of_throttling_fails_nothing_and_asks_twice_a_second() -> None:
    ends = Endpoints()

    assert ends.run(ends.destination, *throttled(7_300)) == "done"

    assert ends.asked[100] == 0.0, "a hundred retries at once"
    assert 3_590 < ends.stop.now < 3_900
    for minute in range(60):
        inside = [at for at in ends.asked if 60 * minute < at <= 60 * minute + 60]
        assert len(inside) <= 121


def test_an_empty_budget_holds_back_only_its_own_endpoint() -> None:
    ends = Endpoints()
    ends.drain(ends.destination)

    ends.run(ends.source, ServerFault("500", key="a"))
    assert ends.stop.now == 0.0

    ends.run(ends.destination, ServerFault("500", key="a"))
    assert 0.5 <= ends.stop.now <= 1.0


@pytest.mark.parametrize("drained", ["source", "destination"])
def test_bytes_that_differ_are_paid_for_at_both_endpoints_or_at_none(drained: str) -> None:
    ends = Endpoints()
    empty, full = (getattr(ends, name) for name in (drained, {"source", "destination"}.difference({drained}).pop()))
    ends.drain(empty)

    assert ends.retries.pay(DigestMismatch("flipped")) > 0
    assert ends.afforded(full) == 100, "nothing was paid"
    ends.stop.now += 20
    assert ends.retries.pay(DigestMismatch("flipped")) == 0.0
    assert [ends.afforded(one) for one in (empty, full)] == [39, 39]


def test_what_is_not_tried_again_pays_nothing() -> None:
    ends = Endpoints()
    with pytest.raises(ObjectMissing):
        ends.run(ends.source, ObjectMissing("404"))

    assert ends.afforded(ends.source) == 100


def test_successes_fill_the_budget() -> None:
    ends = Endpoints()
    ends.drain(ends.destination)
    for _ in range(50):
        ends.destination.before("PutObject", 0)
        ends.destination.after(RequestSample("PutObject", 0.0, 0.0, 0, None))
    ends.destination.close_window(0.25, ends.stop.now)

    assert ends.afforded(ends.destination) == 10


def test_a_stop_ends_the_waiting_for_the_budget() -> None:
    ends = Endpoints(TimedStop(at=0.3))
    ends.drain(ends.destination)

    with pytest.raises(Stopped):
        ends.run(ends.destination, *throttled(5))
    assert ends.stop.now < 0.6
    assert len(ends.asked) == 1


def test_the_breaker_is_asked_again_while_the_budget_is_waited_for() -> None:
    stop = TimedStop()
    endpoint = EndpointGovernor("one", clock=stop.clock)
    looked: list[float] = []
    ready: Callable[[Stop], None] = lambda _stop: looked.append(stop.now)  # noqa: E731
    retrier = Retrier(stop, lambda: 0.0, ready, allowance=EndpointRetries([endpoint], stop.clock))
    while endpoint.may_retry(0.0):
        pass
    answers: list[StoreError] = [Throttled("slow down")]

    def step() -> str:
        if answers:
            raise answers.pop()
        return "done"

    assert retrier.run(step, AttemptCounter(), lambda _error, _attempt: None) == "done"
    assert len([at for at in looked if at > 0]) >= 2
