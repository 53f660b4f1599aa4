"""The token bucket, in virtual time."""

from __future__ import annotations

import heapq
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.flow.token_bucket import TokenBucket


class Clients:
    """Callers that take, wait for their turn, and take again."""

    def __init__(self, bucket: TokenBucket, count: int, seed: int = 1, sizes: tuple[float, ...] = (1.0,)) -> None:
        self.passed: list[tuple[float, float]] = []
        self._bucket = bucket
        self._random = random.Random(seed)
        self._sizes = sizes
        self._events: list[tuple[float, int, float, float]] = []
        for number in range(count):
            self._take(0.0, number)

    def _take(self, now: float, number: int) -> None:
        size = self._random.choice(self._sizes)
        heapq.heappush(self._events, (now, number, self._bucket.take(size, now), size))

    def run(self, until: float) -> None:
        while self._events[0][0] < until:
            now, number, ticket, size = heapq.heappop(self._events)
            wait = self._bucket.wait(ticket, now)
            if wait > 1e-9:
                heapq.heappush(self._events, (now + min(wait, 0.5), number, ticket, size))
            else:
                self.passed.append((now, size))
                self._take(now + self._random.random() * 0.01, number)

    def between(self, start: float, end: float) -> float:
        return sum(size for when, size in self.passed if start <= when < end)


@pytest.mark.parametrize("rate", [1, 7.5, 600])
@pytest.mark.parametrize("clients", [1, 40])
def test_a_minute_holds_the_rate_within_two_percent(rate: float, clients: int) -> None:
    callers = Clients(TokenBucket(rate, 0.0), clients)
    callers.run(60)

    passed = callers.between(0, 60)

    if clients == 40:
        assert passed >= 0.98 * rate * 60 - 1
    assert passed <= 1.02 * rate * 60 + 1


def test_bytes_a_second_with_large_and_small_requests() -> None:
    rate = 20e6
    callers = Clients(TokenBucket(rate, 0.0), 16, sizes=(1e5, 1e6, 8e6))
    callers.run(60)

    assert callers.between(0, 60) == pytest.approx(rate * 60, rel=0.02)


def test_no_second_sees_more_than_a_burst_above_the_rate() -> None:
    bucket = TokenBucket(100, 0.0)
    bucket.take(1, 0.0)
    callers = Clients(bucket, 50)
    callers.run(30)

    assert max(callers.between(t / 10, t / 10 + 1) for t in range(290)) <= 100 * 1.25 + 1


def test_idle_time_saves_up_no_more_than_a_quarter_second() -> None:
    bucket = TokenBucket(100, 0.0)

    at_once = 0
    while bucket.wait(bucket.take(1, 3600.0), 3600.0) == 0.0:
        at_once += 1

    assert at_once == 25


def test_a_request_larger_than_a_second_passes_and_the_next_pays() -> None:
    bucket = TokenBucket(1e6, 0.0)

    assert bucket.wait(bucket.take(16e6, 0.0), 0.0) == 0.0
    assert bucket.wait(bucket.take(1, 0.0), 0.0) == pytest.approx(16.0, abs=0.3)


def test_a_new_rate_moves_those_who_wait() -> None:
    bucket = TokenBucket(1.0, 0.0)
    bucket.take(100, 0.0)
    ticket = bucket.take(1, 0.0)
    assert bucket.wait(ticket, 0.0) == pytest.approx(100)

    bucket.set_rate(100.0, 50.0)
    assert bucket.wait(ticket, 50.0) == pytest.approx(0.5)

    bucket.set_rate(math.inf, 50.1)
    assert bucket.wait(ticket, 50.1) == 0.0


def test_an_unlimited_bucket_leaves_no_debt_behind() -> None:
    bucket = TokenBucket(math.inf, 0.0)
    for _ in range(1000):
        bucket.take(1e9, 1.0)

    bucket.set_rate(10.0, 1.0)

    assert bucket.wait(bucket.take(1, 1.0), 1.0) == 0.0
    assert bucket.wait(bucket.take(1, 1.0), 1.0) == pytest.approx(0.1)


def test_time_that_runs_backwards_supplies_nothing() -> None:
    bucket = TokenBucket(1.0, 100.0)
    bucket.take(1, 100.0)
    ticket = bucket.take(1, 100.0)

    assert bucket.wait(ticket, 90.0) == pytest.approx(1.0)
    assert bucket.wait(ticket, 101.0) == 0.0


@pytest.mark.parametrize("rate", [0, -1, math.nan])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="must be more than 0"):
        TokenBucket(rate, 0.0)
    with pytest.raises(ValueError, match="must be more than 0"):
        TokenBucket(1, 0.0).set_rate(rate, 0.0)


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 50), st.floats(0.5, 1000)), max_size=50))
def test_tickets_are_served_in_order(steps: list[tuple[float, float, float]]) -> None:
    bucket, now, tickets = TokenBucket(10.0, 0.0), 0.0, []
    for pause, amount, rate in steps:
        now += pause
        bucket.set_rate(rate, now)
        tickets.append(bucket.take(amount, now))

    waits = [bucket.wait(ticket, now) for ticket in tickets]

    assert waits == sorted(waits)
