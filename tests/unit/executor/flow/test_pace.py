"""The pace learned from throttling, in virtual time."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.flow.pace import AdaptiveRate


def drive(pace: AdaptiveRate, limit: float, demand: float, seconds: float, start: float) -> tuple[float, float]:
    """(accepted per second, share throttled) when *demand* requests a second meet *limit*, in windows of 0.25 s."""
    accepted = throttled = 0.0
    for window in range(int(seconds * 4)):
        sent = min(demand, pace.rate) / 4
        passed = min(sent, limit / 4)
        pace.on_window(round(passed), round(sent - passed), 0.25, now=start + (window + 1) / 4)
        accepted += passed
        throttled += sent - passed
    return accepted / seconds, throttled / max(1.0, accepted + throttled)


def test_who_is_never_throttled_is_never_paced() -> None:
    pace = AdaptiveRate()

    drive(pace, 1e9, 5000, 3600, 0)

    assert pace.rate == math.inf


def test_a_limit_is_found_and_nearly_used_up_with_hardly_a_refusal() -> None:
    pace = AdaptiveRate()
    drive(pace, 300, 5000, 10, 0)

    accepted, throttled = drive(pace, 300, 5000, 3600, 10)

    assert accepted >= 0.96 * 300
    assert throttled <= 0.01


@pytest.mark.parametrize("chance", [0.01, 0.02])
@pytest.mark.parametrize("demand", [100, 1500])
def test_refusals_by_chance_do_not_slow_it_down(chance: float, demand: float, rng: random.Random) -> None:
    pace, accepted = AdaptiveRate(), 0
    for window in range(4 * 600):
        sent = round(min(demand, pace.rate) / 4)
        refused = sum(rng.random() < chance for _ in range(sent))
        pace.on_window(sent - refused, refused, 0.25, now=(window + 1) / 4)
        if window >= 4 * 60:
            accepted += sent - refused

    assert accepted / 540 >= 0.8 * demand


def test_who_bears_with_refusals_by_chance_still_finds_a_limit(rng: random.Random) -> None:
    pace, accepted = AdaptiveRate(), 0
    for window in range(4 * 240):
        sent = min(2000, pace.rate) / 4
        passed = round(min(sent, 300 / 4 if window > 480 else math.inf) * (1 - 0.01 * rng.uniform(0, 2)))
        pace.on_window(passed, max(0, round(sent) - passed), 0.25, now=(window + 1) / 4)
        accepted += passed if window >= 600 else 0

    assert accepted / 90 >= 0.85 * 300
    assert pace.rate <= 1.2 * 300


def test_a_limit_that_is_lifted_is_forgotten_within_half_a_minute() -> None:
    pace = AdaptiveRate()
    drive(pace, 300, 5000, 60, 0)

    drive(pace, 1e9, 5000, 25, 60)
    assert pace.rate >= 5000

    drive(pace, 1e9, 5000, 25, 85)
    assert pace.rate == math.inf


def test_a_limit_that_falls_is_followed_within_seconds() -> None:
    pace = AdaptiveRate()
    drive(pace, 1000, 5000, 60, 0)
    drive(pace, 50, 5000, 5, 60)

    accepted, throttled = drive(pace, 50, 5000, 60, 65)

    assert accepted >= 0.9 * 50
    assert throttled <= 0.02


def test_a_storm_leaves_one_request_a_second_and_is_over_in_seconds() -> None:
    pace = AdaptiveRate()
    drive(pace, 0, 2000, 60, 0)
    assert pace.rate <= 2

    drive(pace, 1e9, 2000, 12, 60)
    assert pace.rate >= 2000


def test_one_unlucky_request_in_a_quiet_window_does_not_stop_us() -> None:
    pace = AdaptiveRate()
    drive(pace, 300, 5000, 10, 0)
    before = pace.rate

    pace.on_window(9, 1, 0.25, now=100.0)

    assert pace.rate >= 0.7 * before


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 5000), st.floats(0.05, 20)), max_size=60))
def test_the_pace_is_never_below_one_a_second(windows: list[tuple[int, int, float]]) -> None:
    pace, now = AdaptiveRate(), 0.0
    for accepted, throttled, seconds in windows:
        now += seconds
        assert pace.on_window(accepted, throttled, seconds, now=now) >= 1.0
