"""The concurrency controller: against simulated endpoints in virtual time, and its rules one by one."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.flow_simulation import Endpoint, Pacer, Simulation

from executor.flow.concurrency import FEWEST, MODEST, ConcurrencyController, Decision, WindowStats
from schema.tiers import MIB

LAN = Endpoint(rtt=0.0003, service=0.002, slots=2)
WIDE_LAN = Endpoint(rtt=0.0003, service=0.002, slots=8)
FIFTY = Endpoint(rtt=0.05, service=0.002, client_cpu=0.001)
FAR_AND_LOSSY = Endpoint(rtt=0.2, service=0.002, loss=0.01, loss_seconds=1.0, timeout_share=0.5, client_cpu=0.001)
SIXTY_FOUR_SLOTS = Endpoint(rtt=0.0, service=0.04, slots=64, queue=64, client_cpu=0.0005)
LIMITED = Endpoint(rtt=0.05, service=0.002, rate=300, burst=0.05)


def goodput(endpoint: Endpoint, fixed: int, start: float, end: float) -> float:
    simulation = Simulation(replace(endpoint), fixed=fixed)
    simulation.run(end)
    return simulation.counts(start, end).ok / (end - start)


def adaptive(endpoint: Endpoint, seconds: float, **more: object) -> Simulation:
    simulation = Simulation(replace(endpoint), controller=ConcurrencyController(512), **more)  # type: ignore[arg-type]
    simulation.run(seconds)
    return simulation


def rate(simulation: Simulation, start: float, end: float) -> float:
    return simulation.counts(start, end).ok / (end - start)


def mean_target(simulation: Simulation, start: float, end: float) -> float:
    targets = simulation.counts(start, end).targets
    return sum(targets) / len(targets)


@pytest.mark.parametrize(
    ("endpoint", "best_fixed", "warm", "most"),
    [
        pytest.param(LAN, 16, 1, 32, id="fast LAN, two cores"),
        pytest.param(WIDE_LAN, 32, 1, 48, id="fast LAN, eight cores"),
        pytest.param(FIFTY, 128, 2, 160, id="50 ms"),
        pytest.param(FAR_AND_LOSSY, 512, 4, 512, id="200 ms, 1 % loss, half of it timeouts"),
        pytest.param(SIXTY_FOUR_SLOTS, 80, 2, 128, id="64 slots, queue of 64"),
    ],
)
def test_comes_within_ten_percent_of_the_best_fixed_concurrency(
    endpoint: Endpoint, best_fixed: int, warm: float, most: int
) -> None:
    best = goodput(endpoint, best_fixed, 3, 7)
    simulation = adaptive(endpoint, 25)

    assert rate(simulation, warm, warm + 5) >= 0.9 * best, "within seconds"
    assert rate(simulation, 10, 25) >= 0.9 * best, "and ever after"
    assert mean_target(simulation, 15, 25) <= most
    counts = simulation.counts(10, 25)
    assert counts.throttled <= 0.005 * counts.ok


def test_a_fast_lan_is_not_crowded_with_hundreds_of_workers() -> None:
    simulation = adaptive(LAN, 60)

    assert max(simulation.counts(0, 60).targets) <= 32
    assert mean_target(simulation, 40, 60) <= 24


def test_five_thousand_objects_at_50_ms_end_near_the_optimum() -> None:
    quick = replace(FIFTY, client_cpu=0.0003)
    best = min(finished(Simulation(replace(quick), fixed=n, objects=5000)) for n in (200, 400))

    ours = finished(Simulation(replace(quick), controller=ConcurrencyController(512), objects=5000))

    assert ours <= best + 0.5


def finished(simulation: Simulation) -> float:
    simulation.run(60)
    assert simulation.done_at is not None
    return simulation.done_at


@pytest.mark.parametrize("paced", [True, False])
def test_under_a_limit_of_300_requests_a_second(paced: bool) -> None:
    simulation = adaptive(LIMITED, 90, pacer=Pacer() if paced else None)

    counts = simulation.counts(15, 90)

    assert rate(simulation, 15, 90) >= (0.93 if paced else 0.88) * 300
    assert counts.throttled <= (0.005 if paced else 0.02) * counts.ok


def test_near_by_only_the_pace_can_hold_300_requests_a_second() -> None:
    near = replace(LIMITED, rtt=0.0003)
    paced, alone = adaptive(near, 60, pacer=Pacer()), adaptive(near, 60)

    counts = paced.counts(10, 60)
    assert rate(paced, 10, 60) >= 0.95 * 300
    assert counts.throttled <= 0.01 * counts.ok
    assert alone.counts(10, 60).throttled > 3 * counts.throttled


def test_a_capacity_that_drops_and_comes_back_is_followed() -> None:
    changes: dict[float, Callable[[Endpoint], None]] = {
        20: lambda endpoint: setattr(endpoint, "slots", 16),
        50: lambda endpoint: setattr(endpoint, "slots", 64),
    }
    simulation = adaptive(SIXTY_FOUR_SLOTS, 80, changes=changes)

    assert rate(simulation, 10, 20) >= 0.95 * 1600
    assert rate(simulation, 22, 50) >= 0.95 * 400
    assert rate(simulation, 65, 80) >= 0.95 * 1600
    counts = simulation.counts(25, 50)
    assert counts.throttled <= 0.02 * counts.ok


def test_throttled_to_300_for_a_minute_and_back_at_full_rate_within_half_a_minute() -> None:
    changes: dict[float, Callable[[Endpoint], None]] = {
        10: lambda endpoint: setattr(endpoint, "rate", 300),
        70: lambda endpoint: setattr(endpoint, "rate", math.inf),
    }
    simulation = adaptive(FIFTY, 110, changes=changes, pacer=Pacer())

    before = rate(simulation, 5, 10)
    assert rate(simulation, 20, 70) >= 0.95 * 300
    assert simulation.counts(20, 70).throttled <= 0.01 * simulation.counts(20, 70).ok
    assert mean_target(simulation, 60, 70) < 40
    assert rate(simulation, 100, 110) >= 0.9 * before


def test_a_storm_that_refuses_everything_for_a_minute_costs_little_and_ends() -> None:
    changes: dict[float, Callable[[Endpoint], None]] = {
        10: lambda endpoint: setattr(endpoint, "rate", 0.001),
        70: lambda endpoint: setattr(endpoint, "rate", math.inf),
    }
    simulation = adaptive(FIFTY, 110, changes=changes, pacer=Pacer())

    assert simulation.counts(20, 70).throttled <= 3 * 50
    assert rate(simulation, 100, 110) >= 0.9 * rate(simulation, 5, 10)


def test_hours_at_a_slow_endpoint_stay_calm() -> None:
    slow = Endpoint(rtt=0.5, service=4.0, slots=20, sigma=1.0)
    simulation = adaptive(slow, 2 * 3600)

    assert rate(simulation, 300, 2 * 3600) >= 0.9 * 20 / 4
    assert mean_target(simulation, 3600, 2 * 3600) <= 100


def stats(count: int = 100, *, throttles: int = 0, timeouts: int = 0, in_use: float = 1e9) -> WindowStats:
    return WindowStats(0.25, count, count * 100_000, throttles, timeouts, 0.05, in_use)


def busy_machine(
    controller: ConcurrencyController, done: Callable[[int], float], noise: float, rng: random.Random
) -> list[int]:
    """Five minutes of windows in which no core is ever idle; *done* objects a window, by the workers. The targets."""
    targets = []
    for window in range(1_200):
        count = round(done(controller.target) * rng.uniform(1 - noise, 1 + noise))
        seen = WindowStats(0.25, count, count * 1_000, 0, 0, 0.05, 1e9, saturated=True)
        targets.append(controller.on_window(seen, window * 0.25).target)
    return targets


@pytest.mark.parametrize("initial", [1, 4, 16])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_processors_that_others_keep_busy_hold_nobody_down(initial: int, noise: float, rng: random.Random) -> None:
    targets = busy_machine(ConcurrencyController(256, initial=initial), lambda workers: 10 * workers, noise, rng)

    assert sum(targets[-600:]) / 600 >= 100, "each worker adds its share, so there are many"


@pytest.mark.parametrize("initial", [4, 16])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_where_processors_are_what_is_scarce_more_workers_do_not_come(
    initial: int, noise: float, rng: random.Random
) -> None:
    targets = busy_machine(
        ConcurrencyController(512, initial=initial), lambda workers: 200 * min(1.0, workers / 4), noise, rng
    )

    assert sum(targets[-600:]) / 600 <= 20
    assert max(targets[-600:]) <= 32


def test_after_throttling_busy_processors_do_not_keep_it_down(rng: random.Random) -> None:
    controller = ConcurrencyController(512)
    for window in range(40):
        lowest = controller.on_window(replace(stats(100, throttles=30), saturated=True), window * 0.25).target
    assert lowest <= 8

    targets = []
    for window in range(40, 400):
        count = round(200 * min(1.0, controller.target / 4) * rng.uniform(0.95, 1.05))
        targets.append(controller.on_window(replace(stats(count), saturated=True), window * 0.25).target)
    assert min(targets[-100:]) >= 16


def told_enough(
    controller: ConcurrencyController, enough: float, done: Callable[[int], float], windows: Iterable[int] = range(400)
) -> list[int]:
    """*windows* on busy processors, *done* objects in each by the workers, while *enough* is what the estimate says."""
    targets = []
    for window in windows:
        seen = replace(stats(round(done(controller.target))), latency=0.001, saturated=True, enough=enough)
        targets.append(controller.on_window(seen, window * 0.25).target)
    return targets


def test_more_than_enough_workers_go_and_do_not_come_back() -> None:
    targets = told_enough(ConcurrencyController(512, initial=300), 100.0, lambda n: 1000 * min(1.0, n / 100))

    assert targets[0] == 100
    assert max(targets) == 100
    assert min(targets) >= 80


@pytest.mark.parametrize("needed", [150, 300])
def test_workers_that_were_needed_after_all_come_back_and_stay(needed: int) -> None:
    """An estimate that is far too low: some requests are answered much sooner than the others."""
    targets = told_enough(ConcurrencyController(512, initial=300), 20.0, lambda n: 2000 * min(1.0, n / needed))

    assert targets[0] == 20, "it is tried"
    assert min(targets[10:]) >= 0.8 * needed
    assert max(targets) == 300


def test_what_has_been_proven_outlives_a_storm() -> None:
    controller = ConcurrencyController(512, initial=300)
    told_enough(controller, 20.0, lambda n: 2000 * n / 300)
    for window in range(400, 424):
        controller.on_window(replace(stats(92, throttles=8), saturated=True, enough=20.0), window * 0.25)
    assert controller.target <= 8
    targets = told_enough(controller, 20.0, lambda n: 2000 * min(1.0, n / 300), range(424, 3000))

    assert min(targets[-400:]) >= 200


def test_a_refusal_during_a_trial_cuts_from_where_the_trial_began() -> None:
    controller = ConcurrencyController(512, initial=300)
    assert told_enough(controller, 20.0, lambda _n: 2000.0, range(1)) == [20]

    assert controller.on_window(stats(380, throttles=20), 1.0).target == 210


def test_a_trial_without_enough_work_is_taken_back() -> None:
    controller = ConcurrencyController(512, initial=300)
    assert told_enough(controller, 20.0, lambda _n: 2000.0, range(1)) == [20]

    decision = controller.on_window(stats(100, in_use=3.0), 1.0)
    assert decision == Decision(300, "too little work to tell")


def test_at_the_maximum_slow_start_ends_and_fewer_are_tried() -> None:
    controller = ConcurrencyController(64)
    targets = [
        controller.on_window(
            replace(stats(round(1000 * min(1.0, controller.target / 8))), latency=0.06), w * 0.25
        ).target
        for w in range(800)
    ]

    assert targets[-1] <= 20


def test_workers_that_are_not_needed_any_more_go_in_small_steps() -> None:
    controller = ConcurrencyController(512, initial=300)
    told_enough(controller, 20.0, lambda n: 2000 * n / 300)
    targets = told_enough(controller, 20.0, lambda _n: 2000.0, range(400, 1200))

    assert targets[0] == 300
    assert targets[-1] <= 20


def test_a_little_more_than_enough_is_the_estimates_noise() -> None:
    controller = ConcurrencyController(512, initial=120)

    assert controller.on_window(replace(stats(), enough=100.0), 0.25).target == 120


def test_enough_is_never_less_than_a_few() -> None:
    targets = told_enough(ConcurrencyController(512, initial=64), 1.0, lambda _n: 500.0)

    assert targets == [FEWEST] * 400


def test_a_trial_begins_when_enough_requests_have_been_seen() -> None:
    targets = told_enough(ConcurrencyController(512, initial=64), 2.0, lambda _n: 100.0, range(8))

    assert targets == [64] * 3 + [2] * 5


def test_while_nobody_knows_what_is_enough_busy_processors_leave_it_at_a_modest_number(rng: random.Random) -> None:
    targets = busy_machine(ConcurrencyController(512), lambda workers: 200 * min(1.0, workers / 4), 0.0, rng)

    assert min(targets) == MODEST


def test_slow_start_doubles_while_it_pays_and_then_goes_on_by_quarters() -> None:
    controller, count, targets = ConcurrencyController(200), 100, []
    for window in range(8):
        targets.append(controller.on_window(stats(count), window * 0.25).target)
        count *= 2

    assert targets == [32, 64, 80, 100, 125, 156, 195, 200]


def test_slow_start_among_many_workers_must_pay_for_their_connections() -> None:
    controller = ConcurrencyController(512, initial=64)
    for window, count in enumerate((1000, 1060, 1060)):
        decision = controller.on_window(stats(count), window * 0.25)

    assert decision == Decision(64, "more gave no more goodput")


def test_handshakes_far_away_do_not_end_slow_start() -> None:
    near, far = ConcurrencyController(512, initial=64), ConcurrencyController(512, initial=64)
    busy = replace(stats(400), saturated=True)

    assert near.on_window(replace(busy, latency=0.002), 0.25).target == 64
    assert far.on_window(replace(busy, latency=0.06), 0.25).target == 80


@pytest.mark.parametrize(("latency", "expected", "grown"), [(0.02, 16, 32), (0.06, 64, 80)])
def test_a_canary_of_few_objects_is_enough_to_know_that_an_endpoint_is_far(
    latency: float, expected: int, grown: int
) -> None:
    controller = ConcurrencyController(512)
    few = replace(stats(5, in_use=3.0), latency=latency)

    assert [controller.on_window(few, window * 0.25).target for window in range(3)] == [expected] * 3
    assert controller.on_window(replace(stats(400), latency=latency), 1.0).target == grown


@pytest.mark.parametrize(("size", "expected"), [(100_000, 64), (16 * MIB, 16)])
def test_a_part_that_takes_long_for_its_bytes_does_not_make_its_endpoint_far(size: int, expected: int) -> None:
    controller = ConcurrencyController(512)
    few = replace(stats(5, in_use=3.0), latency=0.3, bytes=5 * size)

    assert controller.on_window(few, 0.25).target == expected


def test_slow_start_ends_where_doubling_gives_nothing() -> None:
    controller = ConcurrencyController(512)
    for window, count in enumerate((100, 195, 200, 199)):
        decision = controller.on_window(stats(count), window * 0.25)

    assert decision == Decision(32, "more gave no more goodput")


def test_throttling_cuts_once_then_cools_off() -> None:
    controller = ConcurrencyController(512, initial=200)
    first = controller.on_window(stats(90, throttles=10), 1.0)
    assert first == Decision(100, "throttled: 10 % of requests refused")

    assert controller.on_window(stats(90, throttles=10), 1.25).target == 100
    assert controller.on_window(stats(90, throttles=10), 1.5).target == 70
    assert controller.on_window(stats(0, throttles=50), 2.1).target == 35


def test_a_lost_packet_in_a_hundred_cuts_nothing_one_in_ten_does() -> None:
    calm, hurt = ConcurrencyController(512, initial=100), ConcurrencyController(512, initial=100)

    assert calm.on_window(stats(99, timeouts=1), 1.0).target == 125
    assert calm.on_window(stats(196, timeouts=4), 2.0).target == 156
    assert hurt.on_window(stats(90, timeouts=10), 1.0) == Decision(50, "timeouts: 10 % of requests refused")


def test_cuts_stop_where_the_pace_takes_over() -> None:
    controller = ConcurrencyController(512)
    for window in range(50):
        controller.on_window(stats(0, throttles=10), float(window))

    assert controller.target == 8


def test_a_concurrency_that_is_not_used_does_not_grow() -> None:
    controller = ConcurrencyController(512)
    for window in range(50):
        controller.on_window(stats(100 * (window + 1), in_use=3), window * 0.25)

    assert controller.target == 16


def test_bounds_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="bounds"):
        ConcurrencyController(0)


window = st.builds(
    WindowStats,
    seconds=st.floats(0.05, 20),
    count=st.integers(0, 10_000),
    bytes=st.integers(0, 1 << 40),
    throttles=st.integers(0, 1000),
    timeouts=st.integers(0, 1000),
    latency=st.floats(0, 100),
    in_use=st.floats(0, 1000),
)


@given(st.integers(1, 20), st.integers(0, 500), st.integers(1, 600), st.lists(window, max_size=80))
def test_whatever_happens_the_target_stays_within_its_bounds(
    least: int, span: int, initial: int, windows: list[WindowStats]
) -> None:
    controller, now = ConcurrencyController(least + span, minimum=least, initial=initial), 0.0
    for seen in windows:
        now += seen.seconds
        decision = controller.on_window(seen, now)
        assert least <= decision.target <= least + span
        assert decision.reason
        assert 0.1 <= controller.window_seconds <= 10
