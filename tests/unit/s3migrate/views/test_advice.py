"""What is advised, for endpoints with known limits; and nothing beyond what they were seen to bear."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from support.snapshots import snapshot

from executor.ledger.values import Progress, RunState, Scaling
from s3migrate.views.advice import Advice, advice_figures, advise
from s3migrate.views.why import Bottleneck, Why
from schema.errors import WhichSide
from schema.flow.request_classes import RequestClass
from schema.flow.samples import Activity, FlowCounts, FlowPoint, SideCounts
from schema.limits import Closure


def history(*steps: tuple[int, float], knee: float = 1e9) -> list[FlowPoint]:
    """Ten seconds each of so many workers that asked for so many objects a second, of which *knee* are served."""
    points = []
    for number, (workers, rate) in enumerate(steps):
        served = min(rate, knee)
        requests = SideCounts({RequestClass.PUT: int(10 * rate)}, int(10 * (rate - served)))
        counts = FlowCounts(10.0 * workers, int(10 * served), sides={WhichSide.DESTINATION: requests})
        points.append(FlowPoint(datetime(2026, 1, 1, 0, number, tzinfo=UTC), 10.0, counts))
    return points


def progress(workers: int, state: RunState = RunState.OPEN) -> Progress:
    return replace(snapshot().progress, objects=100_000, done=10_000, failed=0, workers=workers, state=state)


def asked(
    workers: int,
    points: list[FlowPoint],
    *,
    bottleneck: Bottleneck = Bottleneck.DESTINATION,
    usable: int = 20,
    state: RunState = RunState.OPEN,
) -> Advice:
    scaling = Scaling(1, "", "", usable, 0, 1, 1, workers, "working", usable)
    return advise(progress(workers, state), scaling, Why(bottleneck, {}, f"It is {bottleneck.value}."), history=points)


def test_more_workers_where_nothing_was_refused_but_no_more_than_twice_as_many() -> None:
    found = asked(4, history((4, 200), (4, 200)))
    assert (found.workers, found.advised, found.rate, found.expected) == (4, 8, 200, 400)
    assert found.sentence.startswith("8 workers instead of 4. More workers should relieve the bottleneck (destination)")
    assert found.sentence.endswith("What is left: 7 min 30 s now, 3 min 45 s then.")
    assert asked(4, history((4, 200)), usable=5).advised == 5, "the run has no chunks for more"


@pytest.mark.parametrize("workers", [2, 6, 12])
def test_never_more_than_the_destination_was_seen_to_bear(workers: int) -> None:
    steps = [(n, 50.0 * n) for n in (1, 2, 4, 6, 12, workers)]
    found = asked(workers, history(*steps, knee=310))
    assert found.advised == {2: 4, 6: 6, 12: 6}[workers]
    assert found.borne == 300
    assert found.expected is not None
    assert found.expected <= 300
    control = asked(12, history(*steps[:5]))
    assert control.advised == 20, "without a refusal more are worth a try"


def test_workers_that_were_tried_in_vain_are_not_advised_again() -> None:
    found = asked(4, history((8, 210), (4, 200)))
    assert (found.advised, "8 workers were tried and were no faster than 4" in found.sentence) == (4, True)
    assert asked(4, history((8, 390), (4, 200))).advised == 8


@pytest.mark.parametrize("bottleneck", [Bottleneck.LIMIT, Bottleneck.LEDGER, Bottleneck.NO_WORK])
def test_where_workers_are_not_what_is_short_none_is_added_and_the_bottleneck_is_named(bottleneck: Bottleneck) -> None:
    found = asked(4, history((4, 200)), bottleneck=bottleneck)
    assert (found.advised, found.bottleneck) == (4, bottleneck)
    assert f"It is {bottleneck.value}" in found.sentence


def test_fewer_where_the_run_can_use_fewer_and_none_at_its_end() -> None:
    found = asked(4, history((4, 200)), usable=1)
    assert (found.advised, found.expected) == (1, 50)
    assert asked(4, history((4, 200)), state=RunState.COMPLETE).advised == 0


def test_what_is_unknown_is_not_a_number() -> None:
    found = asked(2, [], bottleneck=Bottleneck.UNKNOWN)
    assert (found.advised, found.rate, found.expected, found.seconds_left) == (2, None, None, None)
    assert advice_figures(found)["objects_per_second"] is None


def test_closed_hours_are_counted_in_and_while_it_is_closed_no_worker_is_advised() -> None:
    running = progress(4)
    scaling = Scaling(1, "", "", 20, 0, 1, 1, 4, "working", 20)
    hours = [timedelta(minutes=5), timedelta(minutes=65)]
    closure = Closure(*(running.now + hour for hour in hours))
    why = Why(Bottleneck.LEDGER, {}, "It is the ledger.")
    later = advise(running, scaling, why, history=history((4, 200)), closures=[closure])
    assert later.seconds_left == 90_000 / 200 + 3600
    now = advise(replace(running, now=closure.begins), scaling, why, history=history((4, 200)), closures=[closure])
    assert now.advised == 0
    assert "The calendar is closed until" in now.sentence
    waited = FlowPoint(running.now, 10.0, FlowCounts(40.0, threads={Activity.LIMIT: 10}, limit_seconds={"closed": 9}))
    assert advise(running, scaling, why, history=[*history((4, 200)), waited]).rate == 200, (
        "it tells nothing of the rate"
    )
