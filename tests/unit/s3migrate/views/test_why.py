"""The sentence names what holds a run back, for each cause and at the edges between them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from s3migrate.views.why import Bottleneck, why_not_faster
from schema.errors import WhichSide
from schema.flow.request_classes import RequestClass
from schema.flow.samples import Activity, FlowCounts, FlowSample, SideCounts
from schema.limits import RunLimits
from schema.process_view import BreakerState, EndpointView, ProcessView

A = Activity
CALM = ProcessView(10, "fewer gave less goodput")


def counts(
    threads: dict[Activity, float],
    *,
    cores: float = 0.3,
    starved: float = 0.0,
    saturated: float = 0.0,
    throttled: int = 0,
    limit: str = "bandwidth",
) -> FlowCounts:
    """A minute of one process."""
    sides = {
        WhichSide.SOURCE: SideCounts({RequestClass.GET: 1000}, 0, 0, 1, 300.0),
        WhichSide.DESTINATION: SideCounts({RequestClass.PUT: 1000 + throttled}, throttled, 0, 1, 20.0),
    }
    held = {limit: threads[A.LIMIT]} if A.LIMIT in threads else {}
    return FlowCounts(60.0, 1000, 0, 1000, 60 * cores, starved, 60 * saturated, threads, held, sides)


def samples(view: ProcessView) -> list[FlowSample]:
    return [FlowSample(1, 6, datetime(2026, 1, 1, tzinfo=UTC), counts({}), view, 100, 128 << 20)]


@pytest.mark.parametrize(
    ("threads", "more", "expected", "words"),
    [
        (
            {A.SOURCE: 80, A.DESTINATION: 15, A.WORKING: 5},
            {},
            Bottleneck.SOURCE,
            "80 % of thread time waited for the source's answers (300 ms on average)",
        ),
        (
            {A.SOURCE: 15, A.DESTINATION: 80, A.WORKING: 5},
            {},
            Bottleneck.DESTINATION,
            "80 % of thread time waited for the destination's answers (20 ms",
        ),
        (
            {A.THROTTLING: 40, A.SOURCE: 50},
            {"throttled": 250},
            Bottleneck.THROTTLING,
            "The destination throttles: 250 of 1,250 requests",
        ),
        ({A.THROTTLING: 40, A.SOURCE: 50}, {}, Bottleneck.THROTTLING, "between attempts"),
        ({A.LIMIT: 70, A.SOURCE: 30}, {}, Bottleneck.LIMIT, "The limit bandwidth"),
        ({A.MEMORY: 60, A.SOURCE: 40}, {}, Bottleneck.MEMORY, "waited for memory (128.0 MiB in all)"),
        ({A.LEDGER: 60, A.SOURCE: 40}, {}, Bottleneck.LEDGER, "waited for the ledger"),
        (
            {A.SOURCE: 70, A.DESTINATION: 20, A.WORKING: 10},
            {"cores": 0.95},
            Bottleneck.PROCESSOR,
            "used 0.95 of one core, and it cannot use more than one",
        ),
        (
            {A.SOURCE: 70, A.DESTINATION: 20, A.WORKING: 10},
            {"cores": 0.5, "starved": 40.0},
            Bottleneck.PROCESSOR,
            "40 % of thread time was spent waiting for a free one",
        ),
        ({A.SOURCE: 80, A.DESTINATION: 20}, {"cores": 0.1, "starved": 20.0}, Bottleneck.SOURCE, "the source's answers"),
        (
            {A.SOURCE: 20, A.DESTINATION: 80},
            {"cores": 0.45, "saturated": 0.9},
            Bottleneck.PROCESSOR,
            "used 0.45 of one core, and 90 % of the time the machine had none to spare",
        ),
        ({A.SOURCE: 20, A.DESTINATION: 80}, {"cores": 0.1, "saturated": 0.9}, Bottleneck.DESTINATION, "answers"),
        ({A.SOURCE: 20, A.DESTINATION: 80}, {"cores": 0.45, "saturated": 0.5}, Bottleneck.DESTINATION, "answers"),
        ({A.WORKING: 90, A.SOURCE: 10}, {}, Bottleneck.PROCESSOR, "The processor is the limit"),
        ({A.IDLE: 80, A.SOURCE: 20}, {}, Bottleneck.NO_WORK, "80 % of thread time had no object"),
        ({A.LEDGER: 35, A.SOURCE: 65}, {"cores": 0.95}, Bottleneck.LEDGER, "35 % of thread time waited for the ledger"),
        ({A.LIMIT: 29, A.SOURCE: 71}, {}, Bottleneck.SOURCE, "29 % held by a limit"),
    ],
)
def test_the_cause_is_named(
    threads: dict[Activity, float], more: dict[str, float], expected: Bottleneck, words: str
) -> None:
    why = why_not_faster(counts(threads, **more), samples(CALM))  # type: ignore[arg-type]
    assert why.bottleneck is expected
    assert words in why.sentence
    assert sum(why.shares.values()) == pytest.approx(1.0)


def test_without_a_sample_nothing_is_claimed() -> None:
    assert why_not_faster(FlowCounts(), []).bottleneck is Bottleneck.UNKNOWN
    assert why_not_faster(counts({}), []).bottleneck is Bottleneck.UNKNOWN


def test_a_limit_of_requests_at_once_is_named_where_no_request_is_held_back() -> None:
    limits = RunLimits({"concurrent_requests": 4.0}, {"concurrent_requests": "calendar"})
    why = why_not_faster(counts({A.SOURCE: 90, A.DESTINATION: 10}), samples(ProcessView(4, "limited", limits=limits)))
    assert why.bottleneck is Bottleneck.LIMIT
    assert "concurrent_requests (4 requests at once, calendar) holds all processes to 4 threads" in why.sentence


def test_a_limit_is_told_with_its_figure_and_where_it_comes_from() -> None:
    limits = RunLimits({"bandwidth": 8.0 * (1 << 20)}, {"bandwidth": "plan"})
    why = why_not_faster(counts({A.LIMIT: 90, A.SOURCE: 10}), samples(ProcessView(4, "trying more", limits=limits)))
    assert "The limit bandwidth (8.0 MiB/s, plan) held 90 % of thread time back" in why.sentence
    assert "s3migrate limit RUN bandwidth=" in why.sentence


def test_a_closed_calendar_is_told_with_what_opens_it() -> None:
    closed = counts({A.LIMIT: 90, A.SOURCE: 10}, limit="closed")
    why = why_not_faster(closed, samples(ProcessView(4, "trying more")))
    assert why.sentence.startswith("90 % of thread time waited for the calendar, which is closed")
    assert "`s3migrate limit RUN closed=none` opens it" in why.sentence


def test_an_endpoint_that_is_away_is_named() -> None:
    view = ProcessView(4, "", {"far:443": EndpointView(breaker=BreakerState.OPEN)})
    assert (
        "far:443, which is not answering"
        in why_not_faster(counts({A.THROTTLING: 90, A.SOURCE: 10}), samples(view)).sentence
    )


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("fixed", "the plan fixes 10 threads: more may help (limits.workers)"),
        ("more gave no more goodput", "more than 10 threads were no faster"),
        ("trying more", "10 threads now"),
    ],
)
def test_it_says_whether_more_threads_would_help(why: str, said: str) -> None:
    assert said in why_not_faster(counts({A.SOURCE: 90}), samples(ProcessView(10, why))).sentence
