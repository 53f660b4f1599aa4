"""The governors: what they hold back, count, decide and show. Time is a clock that waiting moves on."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
from support.clock import Clock

from executor.apply.runner import hold_to
from executor.flow.endpoint import EndpointGovernor
from executor.flow.governor import Governor
from executor.flow.limits import AS_PLANNED, LIFTED, limits_at
from executor.stop import Stop
from schema.errors import ConnectionFailed, ObjectMissing, RequestTimedOut, ServerFault, StoreError, Throttled
from schema.limits import Limits
from schema.process_view import Quality
from schema.tiers import MIB
from storage.port import RequestSample


def endpoint(clock: Clock) -> EndpointGovernor:
    return EndpointGovernor("s3.example", clock=clock, wait=clock.wait)


def request(
    governor: EndpointGovernor, error: StoreError | None = None, *, size: int = 0, seconds: float = 0.01
) -> None:
    governor.before("GetObject", size)
    governor.after(RequestSample("GetObject", seconds, seconds / 2, size, error))


def refused(key: str = "k") -> ConnectionFailed:
    return ConnectionFailed("refused", key=key)


def test_without_limits_nothing_waits() -> None:
    clock = Clock()
    governor = endpoint(clock)
    for _ in range(1000):
        request(governor, size=MIB)

    assert clock.waited == 0


@pytest.mark.parametrize("limit", [5.0, 300.0])
def test_requests_a_second_are_kept(limit: float) -> None:
    clock = Clock()
    governor = endpoint(clock)
    governor.set_limits({"requests_per_second": limit})
    for _ in range(int(limit * 60)):
        request(governor)

    assert clock.waited == pytest.approx(60, rel=0.02, abs=1 / limit)


def test_bytes_a_second_are_kept_whatever_the_sizes() -> None:
    clock = Clock()
    governor = endpoint(clock)
    governor.set_limits({"bandwidth": 20 * MIB})
    for _ in range(60):
        for size in (16 * MIB, 3 * MIB, 0, MIB):
            request(governor, size=size)

    assert clock.waited == pytest.approx(60, rel=0.02)


def test_limits_change_while_a_request_is_held_back() -> None:
    clock = Clock()
    governor = endpoint(clock)
    governor.set_limits({"bandwidth": 1})
    request(governor, size=1000)

    def wait(seconds: float) -> bool:
        clock.wait(seconds)
        governor.set_limits({})
        return False

    governor.heed(lambda: False, wait)
    request(governor)

    assert clock.waited <= 0.5
    assert governor.held == 0


def test_a_process_uses_its_share_of_the_limits() -> None:
    clock = Clock()
    one = endpoint(clock)
    governor = Governor({"source": one, "destination": one}, 64)
    governor.set_limits({"requests_per_second": 300}, share=0.25)
    for _ in range(750):
        request(one)

    assert clock.waited == pytest.approx(10, rel=0.05)


def test_concurrent_requests_bound_the_workers_of_a_process_by_its_share() -> None:
    clock = Clock()
    one = endpoint(clock)
    governor = Governor({"source": one}, 300)
    governor.set_limits({"concurrent_requests": 9}, share=1 / 3)
    assert (governor.target(), governor.snapshot(clock.now).why) == (3, "limited")
    governor.set_limits({"concurrent_requests": 1}, share=1 / 3)
    assert governor.target() == 1, "without any it could not work at all"
    governor.set_limits({"concurrent_requests": 1_000})
    assert (governor.target(), governor.snapshot(clock.now).why) == (16, "starting")
    governor.set_limits({})
    assert governor.target() == 16


def test_limits_set_while_running_reach_the_governor() -> None:
    clock = Clock()
    one = endpoint(clock)
    governor = Governor({"source": one}, 300)
    plan = Limits(requests_per_second=500)
    at = datetime(2026, 11, 27, tzinfo=UTC)
    hold_to(governor, limits_at(plan, at, {"concurrent_requests": 8.0, "requests_per_second": 20.0}), 0.5)
    for _ in range(100):
        request(one)
    assert (governor.target(), clock.waited) == (4, pytest.approx(10, rel=0.05))

    hold_to(governor, limits_at(plan, at, {"concurrent_requests": LIFTED, "requests_per_second": AS_PLANNED}), 1.0)
    assert governor.target() == 16

    declared = Limits(concurrent_requests=6)
    hold_to(governor, limits_at(declared, at, {}), 0.5)
    assert governor.target() == 3
    hold_to(governor, limits_at(declared, at, {"concurrent_requests": LIFTED}), 0.5)
    assert governor.target() == 16


def test_an_abandoned_run_holds_nothing_back() -> None:
    clock = Clock()
    governor = endpoint(clock)
    governor.heed(lambda: True, lambda _seconds: True)
    governor.set_limits({"requests_per_second": 0.001})
    for _ in range(100):
        request(governor)

    assert clock.now == 1000.0


def test_a_drain_waits_for_the_limits_until_it_is_let_go() -> None:
    clock, stop = Clock(), Stop()
    stop.request()
    stop.propagate()
    governor = endpoint(clock)

    def wait(seconds: float) -> bool:
        if not stop.abandoning:
            clock.wait(seconds)
        if clock.now >= 1010.0:
            stop.request()
            stop.propagate()
        return stop.wait_abandoned(0)

    governor.heed(lambda: stop.draining, wait)
    governor.set_limits({"requests_per_second": 1.0})
    for _ in range(100):
        request(governor)

    assert 1010.0 <= clock.now < 1011.0, "ten at one a second; the others once it was let go"


def test_a_dead_endpoint_opens_the_breaker_which_holds_requests_until_a_probe_succeeds() -> None:
    clock = Clock()
    governor = endpoint(clock)
    for _ in range(10):
        request(governor, refused())
    assert governor.blocked_for(clock.now) == 5.0
    assert governor.snapshot(clock.now).breaker == "open"

    request(governor, refused(), seconds=0.0)
    assert clock.waited == 5.0, "the probe waited its time"
    assert governor.blocked_for(clock.now) == 10.0

    request(governor, seconds=0.0)
    assert clock.waited == 15.0
    assert governor.well and governor.blocked_for(clock.now) == 0.0
    request(governor)
    assert clock.waited == 15.0


def test_one_probe_goes_and_the_others_wait_for_its_answer() -> None:
    clock = Clock()
    governor = endpoint(clock)
    for _ in range(10):
        request(governor, refused())
    clock.now += 5
    governor.before("GetObject", 0)

    held_until: list[float] = []

    def wait(seconds: float) -> bool:
        held_until.append(clock.now)
        clock.wait(seconds)
        if len(held_until) == 3:
            governor.after(RequestSample("GetObject", 0.1, 0.1, 0, None))
        return False

    governor.heed(lambda: False, wait)
    governor.before("PutObject", 0)

    assert len(held_until) == 3


def test_a_draining_run_does_not_wait_for_a_dead_endpoint() -> None:
    clock = Clock()
    governor = endpoint(clock)
    for _ in range(10):
        request(governor, refused())

    governor.heed(lambda: True, clock.wait)
    request(governor, refused())

    assert clock.waited == 0


@pytest.mark.parametrize("error", [Throttled("slow down"), ObjectMissing("404")])
def test_throttling_and_missing_objects_do_not_open_the_breaker(error: StoreError) -> None:
    governor = endpoint(Clock())
    for _ in range(100):
        request(governor, error)

    assert governor.well


def test_a_poisoned_object_does_not_open_the_breaker_a_broken_endpoint_does() -> None:
    governor = endpoint(Clock())
    for _ in range(100):
        request(governor, ServerFault("500", key="poison"))
    assert governor.well

    for number in range(10):
        request(governor, ServerFault("500", key=f"key/{number}"))
    assert not governor.well


def test_throttling_sets_a_pace_below_which_requests_are_held() -> None:
    clock = Clock()
    one = endpoint(clock)
    for number in range(200):
        request(one, Throttled("slow down") if number % 2 else None)
    one.close_window(0.25, clock.now)
    pace = one.snapshot(clock.now).pace
    assert pace == pytest.approx(380, rel=0.01)

    for _ in range(int(pace)):
        request(one)

    assert clock.waited == pytest.approx(1, rel=0.05)


def test_the_snapshot_tells_rates_shares_and_quality() -> None:
    clock = Clock()
    one = endpoint(clock)
    assert one.snapshot(clock.now).quality is Quality.GOOD

    for _ in range(90):
        request(one, size=MIB, seconds=0.1)
    for _ in range(4):
        request(one, RequestTimedOut("late"))
    one.before("GetObject", 0)
    clock.now += 2
    one.close_window(2.0, clock.now)
    seen = one.snapshot(clock.now)

    assert (seen.in_flight, seen.rtt_ms) == (1, 50.0)
    assert seen.bytes_per_second == 45 * MIB
    assert seen.requests_per_second == 47
    assert seen.failed == pytest.approx(4 / 94)
    assert seen.quality is Quality.DEGRADED
    assert set(seen.to_json()) >= {"in_flight", "rtt_ms", "quality", "breaker", "retry_in", "throttled", "pace"}


def test_quality_is_poor_while_throttled_hard_and_good_again_later() -> None:
    clock = Clock()
    one = endpoint(clock)
    for number in range(100):
        request(one, Throttled("slow down") if number % 4 == 0 else None)
    one.close_window(1.0, clock.now)
    assert one.snapshot(clock.now).quality is Quality.POOR

    clock.now += 30
    for _ in range(100):
        request(one)
    one.close_window(1.0, clock.now)
    assert one.snapshot(clock.now).quality is Quality.GOOD


def test_much_slower_answers_than_ever_are_degraded() -> None:
    clock = Clock()
    one = endpoint(clock)
    for seconds in (0.02, 0.5):
        for _ in range(300):
            request(one, seconds=seconds)
        clock.now += 10
        one.close_window(10.0, clock.now)

    assert one.snapshot(clock.now).quality is Quality.DEGRADED


def run_windows(governor: Governor, one: EndpointGovernor, clock: Clock, seconds: float, latency: float = 0.05) -> None:
    """An endpoint that serves every worker at once."""
    for _ in range(int(seconds * 10)):
        for _ in range(round(governor.target() * 0.1 / latency)):
            request(one, size=100_000, seconds=latency)
        clock.now += 0.1
        governor.tick(clock.now, governor.target())


def test_the_governor_grows_to_where_the_maximum_is() -> None:
    clock = Clock()
    one = endpoint(clock)
    governor = Governor({"source": one}, 300)
    governor.tick(clock.now)

    run_windows(governor, one, clock, 3)

    assert governor.target() == 300
    assert governor.snapshot(clock.now).endpoints["source"].bytes_per_second > 0


class Scarce:
    """Two processors that are always busy; what this process used of them is *used*."""

    cores = 2

    def __init__(self) -> None:
        self.used = 0.0

    def saturated(self) -> bool:
        return True

    def spent(self) -> float:
        return self.used


@pytest.mark.parametrize(("best", "answered", "grows"), [(0.051, 0.055, True), (0.001, 0.005, False)])
def test_busy_processors_stop_the_growth_only_where_requests_wait_for_them(
    best: float, answered: float, grows: bool
) -> None:
    clock = Clock()
    one = endpoint(clock)
    governor = Governor({"s3.example": one}, 512, processor=Scarce())
    targets = []
    for window in range(12):
        for _ in range(300 if window else 10):
            request(one, seconds=2 * (answered if window else best))
        for _ in range(3):
            clock.now += 0.1
            governor.tick(clock.now, busy=governor.target())
        targets.append(governor.target())

    assert (max(targets) >= 32) is grows, targets


@pytest.mark.parametrize(("answered", "least", "most"), [(0.001, 6, 16), (0.05, 100, 303)], ids=["near", "far"])
def test_workers_end_where_all_processors_are_busy(answered: float, least: int, most: int) -> None:
    """Even where others keep the processors busy, and each further worker takes a share of it from them."""
    clock, scarce = Clock(), Scarce()
    one = endpoint(clock)
    governor = Governor({"s3.example": one}, 512, processor=scarce)
    for _ in range(100):
        for _ in range(30 * governor.target()):
            request(one, size=100_000, seconds=answered)
            scarce.used += 0.0005
        for _ in range(3):
            clock.now += 0.1
            governor.tick(clock.now, busy=governor.target())

    assert least <= governor.target() <= most


def test_a_request_that_waits_for_others_is_told_from_one_that_does_not() -> None:
    one = endpoint(Clock())
    assert one.unhindered_seconds == 0.0
    for number in range(100):
        request(one, seconds=0.05 if number < 15 else 0.3)

    assert one.unhindered_seconds == 0.05


def test_requests_are_away_as_long_as_both_ends_make_them_on_average() -> None:
    """Half of the requests take 1 ms, the others 99: with 1 ms of work for each, 2 x (1 + 50) keep two cores busy."""
    clock, scarce = Clock(), Scarce()
    source, destination = endpoint(clock), endpoint(clock)
    governor = Governor({"source": source, "destination": destination}, 512, processor=scarce)
    targets = []
    for _ in range(100):
        for _ in range(min(1000, 10 * governor.target())):
            request(source, size=1000, seconds=0.001)
            request(destination, size=1000, seconds=0.099)
            scarce.used += 0.002
        for _ in range(3):
            clock.now += 0.1
            governor.tick(clock.now, busy=governor.target())
        targets.append(governor.target())

    assert 80 <= min(targets[-50:]) <= max(targets[-50:]) <= 128, targets


def test_refusals_alone_do_not_teach_that_requests_are_near() -> None:
    clock, scarce = Clock(), Scarce()
    one = endpoint(clock)
    governor = Governor({"s3.example": one}, 512, processor=scarce)
    known = []
    for window in range(8):
        for _ in range(300):
            request(one, Throttled("slow down") if window == 5 else None, seconds=0.05)
            scarce.used += 0.0005
        for _ in range(3):
            clock.now += 0.1
            governor.tick(clock.now, busy=governor.target())
        known.append(governor._enough.workers())

    assert min(known[2:]) >= 90


def test_the_governor_says_why_it_cut() -> None:
    clock = Clock()
    one = endpoint(clock)
    governor = Governor({"source": one}, 300)
    governor.tick(clock.now)
    run_windows(governor, one, clock, 3)
    while one.unseen():
        clock.now += 0.1
        governor.tick(clock.now, 300)

    for number in range(100):
        request(one, Throttled("slow down") if number % 5 == 0 else None)
    for _ in range(5):
        clock.now += 0.1
        governor.tick(clock.now, 300)

    seen = governor.snapshot(clock.now)
    assert seen.workers < 300
    assert "throttled: 20 %" in seen.why


def test_a_fixed_number_of_workers_stays() -> None:
    clock = Clock()
    one = endpoint(clock)
    governor = Governor({"source": one}, 300, workers=7)
    governor.tick(clock.now)

    run_windows(governor, one, clock, 3)

    assert (governor.target(), governor.snapshot(clock.now).why) == (7, "fixed")


def test_nothing_is_learned_while_a_breaker_is_open() -> None:
    clock = Clock()
    one = endpoint(clock)
    governor = Governor({"source": one}, 300)
    governor.tick(clock.now)
    run_windows(governor, one, clock, 3)

    for _ in range(300):
        one.after(RequestSample("GetObject", 0.0, 0.0, 0, refused()))
    for _ in range(100):
        clock.now += 0.1
        governor.tick(clock.now, 300)

    assert governor.target() == 300
    assert governor.blocked_for(clock.now - 9) > 0


def test_ticks_without_any_answer_decide_nothing() -> None:
    clock = Clock()
    governor = Governor({"source": endpoint(clock)}, 300)
    for _ in range(600):
        clock.now += 0.1
        governor.tick(clock.now, 16)

    assert governor.target() == 16


def test_the_retry_budget_runs_out_and_refills() -> None:
    clock = Clock()
    one = endpoint(clock)

    assert sum(one.may_retry(clock.now) for _ in range(150)) == 100
    assert one.retry_wait(clock.now) == pytest.approx(0.5)
    one.retry_succeeded(clock.now)
    assert one.may_retry(clock.now) and not one.may_retry(clock.now)


def test_counts_of_many_threads_add_up_also_after_they_ended() -> None:
    clock = Clock()
    one = endpoint(clock)
    for _ in range(100):
        threads = [threading.Thread(target=lambda: [request(one, size=10) for _ in range(5)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert one.unseen() == 4000

    totals = one.close_window(1.0, clock.now)

    assert (totals.ok, totals.bytes, one.in_flight, one.unseen()) == (4000, 40_000, 0, 0)
    assert one.close_window(1.0, clock.now).ended == 0
