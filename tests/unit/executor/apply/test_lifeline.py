"""The tie to the ledger: renewals, freshness, limits over time and by share, neighbours that died."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from support.clock import Clock
from support.silent import Told

from executor.apply.endpoint_watch import EndpointCare, EndpointWatch
from executor.apply.lifeline import Lifeline
from executor.apply.settings import ApplySettings
from executor.flow.endpoint import EndpointGovernor
from executor.flow.limits import AS_PLANNED, LIFTED, limits_at
from executor.ledger.ledger import Ledger
from executor.ledger.values import Outcome, ProcessPlace, Progress, RunState, Worker, WorkerSeen
from executor.ledger.workers import this_process
from schema.calendar import Hours
from schema.errors import ConnectionFailed, LedgerUnavailable, ObjectMissing, ServerFault
from schema.limits import LIMITS, CalendarRow, Limits
from schema.process_view import ProcessView
from storage.port import RequestSample

MONDAY_NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SATURDAY = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
PROGRESS = Progress(
    1, "p", RunState.OPEN, 10, 10, 0, 0, 0, 1, 0, 0, 0, dict.fromkeys(Outcome, 0), 0, 0, 3, MONDAY_NOON, MONDAY_NOON
)


class Notebook:
    """A ledger, and each of its parts, that only notes what it is asked."""

    def __init__(self) -> None:
        self.leases = self.workers = self.runs = self.reports = self
        self.away = False
        self.beats = 0
        self.buried: list[int] = []
        self.shown: list[ProcessView] = []
        self.seen: list[WorkerSeen] = []

    def _ask(self) -> None:
        if self.away:
            raise LedgerUnavailable("away")

    def renew(self, *_: object, **_named: object) -> frozenset[int]:
        self._ask()
        self.beats += 1
        return frozenset()

    def reap(self, _run_id: int) -> int:
        self._ask()
        return 0

    def present(self, _run_id: int) -> list[WorkerSeen]:
        self._ask()
        return self.seen

    def bury(self, _run_id: int, dead: Collection[int], **_named: object) -> int:
        self._ask()
        self.buried += dead
        return len(dead)

    def show(self, _worker: Worker, seen: Mapping[str, Any]) -> None:
        self._ask()
        self.shown.append(seen)


def lifeline(ledger: Notebook, clock: Clock, limits: Limits | None = None) -> Lifeline:
    return Lifeline(
        cast(Ledger, ledger),
        Worker(1, 1, 1),
        ApplySettings("ann", "host", os.getpid(), "0", 1, lease_seconds=30.0, process=this_process(os.getpid())),
        declared=limits or Limits(),
        clock=clock,
    )


def test_nothing_new_is_begun_long_before_a_lease_that_cannot_be_renewed_ends() -> None:
    ledger, clock = Notebook(), Clock()
    line = lifeline(ledger, clock)
    clock.now += 8
    assert line.renew([]) == frozenset()
    assert (ledger.beats, line.fresh) == (1, True)
    ledger.away = True
    for _ in range(17):
        clock.now += 1
        line.renew([])
        assert line.fresh
    clock.now += 2
    assert not line.fresh, "19 of 30 seconds without renewal"
    ledger.away = False
    line.renew([])
    assert line.fresh


def test_a_dead_neighbour_is_buried_a_living_one_and_a_stranger_are_not() -> None:
    ledger, clock = Notebook(), Clock()
    here = this_process(os.getpid())
    places = [
        here,
        here._replace(started=here.started - 1),
        here._replace(place="another machine", started=1),
        ProcessPlace("", 1, 0),
    ]
    ledger.seen = [WorkerSeen(n, "h", place, MONDAY_NOON, 0.0, None) for n, place in enumerate(places, 10)]
    line = lifeline(ledger, clock)
    assert line.bury_dead() == 1
    assert ledger.buried == [11]
    line.show(lambda: ProcessView(3, ""))
    line.show(lambda: ProcessView(4, ""))
    assert (ledger.shown, ledger.buried) == ([ProcessView(3, "")], [11, 11])
    ledger.away = True
    clock.now += 5
    line.show(lambda: ProcessView(5, ""))
    assert line.bury_dead() == 0


def test_processes_that_hold_work_share_the_limits() -> None:
    line = lifeline(Notebook(), Clock(), Limits(requests_per_second=300, bandwidth=1000))
    limits = line.limits(dataclasses.replace(PROGRESS, workers=3, working=2), holding=True)
    assert (limits.figures, line.share) == ({"requests_per_second": 300, "bandwidth": 1000}, 0.5)
    line.limits(dataclasses.replace(PROGRESS, workers=3, working=0), holding=True)
    assert line.share == 1.0, "its own lease came after the reading"


def test_a_process_without_work_reckons_with_all_that_may_take_work_with_it() -> None:
    line = lifeline(Notebook(), Clock(), Limits(requests_per_second=300))
    line.limits(dataclasses.replace(PROGRESS, workers=3, working=1), holding=False)
    assert line.share == pytest.approx(1 / 3)
    line.limits(dataclasses.replace(PROGRESS, workers=0, working=0), holding=False)
    assert line.share == 1.0


@pytest.mark.parametrize(
    ("moment", "said", "expected"),
    [
        (MONDAY_NOON, None, (50, "calendar")),
        (SATURDAY, None, (1000, "plan")),
        (MONDAY_NOON, 20.0, (20, "set while running")),
        (SATURDAY, 20.0, (20, "set while running")),
        (MONDAY_NOON, LIFTED, (None, "set while running")),
        (MONDAY_NOON, AS_PLANNED, (50, "calendar")),
        (SATURDAY, AS_PLANNED, (1000, "plan")),
    ],
)
@pytest.mark.parametrize("name", LIMITS)
def test_what_was_set_wins_over_the_calendar_and_that_over_the_plan(
    name: str, moment: datetime, said: float | None, expected: tuple[float | None, str]
) -> None:
    row = CalendarRow(Hours.parse("mon-fri 08:00-18:00 Europe/Berlin"), **{name: 50})  # type: ignore[arg-type]
    declared = Limits(calendar=(row,), **{name: 1000})  # type: ignore[arg-type]
    found = limits_at(declared, moment, {} if said is None else {name: said})
    assert (found.figures.get(name), found.why[name]) == expected
    others = [other for other in LIMITS if other != name]
    assert [(found.figures.get(other), found.why[other]) for other in others] == len(others) * [(None, "plan")]


def test_a_limit_that_the_row_does_not_name_stays_as_declared_or_set() -> None:
    row = CalendarRow(Hours.parse("mon-fri 08:00-18:00 Europe/Berlin"), bandwidth=50, concurrent_requests=4)
    always = CalendarRow(Hours.parse("mon-sun 00:00-24:00 UTC"), 7, 8, 9)
    declared = Limits(bandwidth=1000, requests_per_second=300, calendar=(row, always))
    found = limits_at(declared, MONDAY_NOON, {})
    assert found.figures == {"bandwidth": 50, "requests_per_second": 300, "concurrent_requests": 4}
    assert found.why == {**dict.fromkeys(LIMITS, "plan"), "bandwidth": "calendar", "concurrent_requests": "calendar"}
    assert limits_at(declared, MONDAY_NOON, {"requests_per_second": 6.0}).figures["requests_per_second"] == 6
    second = limits_at(declared, SATURDAY, {})
    assert second.figures == {"bandwidth": 7, "requests_per_second": 8, "concurrent_requests": 9}


def test_a_closed_calendar_closes_until_its_hours_are_over_or_somebody_opens_it() -> None:
    declared = Limits(calendar=(CalendarRow(Hours.parse("mon-fri 08:00-18:00 Europe/Berlin"), closed=True),))
    line = lifeline(Notebook(), Clock(), declared)
    assert not line.closed
    limits = line.limits(PROGRESS, holding=True)
    assert (line.closed, limits.closed_until) == (True, MONDAY_NOON.replace(hour=17))
    line.limits(dataclasses.replace(PROGRESS, now=MONDAY_NOON.replace(hour=17)), holding=True)
    assert not line.closed
    line.limits(dataclasses.replace(PROGRESS, limits={"closed": LIFTED}), holding=True)
    assert not line.closed
    line.limits(dataclasses.replace(PROGRESS, limits={"closed": AS_PLANNED}), holding=True)
    assert line.closed


def fail(endpoint: EndpointGovernor, times: int) -> None:
    for _ in range(times):
        endpoint.before("GetObject", 1)
        endpoint.after(RequestSample("GetObject", 0.0, 0.0, 0, ConnectionFailed("refused")))


def until(watch: EndpointWatch, clock: Clock, seconds: float) -> None:
    """Ticks of 0.1 s; a probe's thread is waited for, so that each tick sees its answer."""
    for _ in range(round(seconds * 10)):
        clock.now += 0.1
        watch.tick(clock.now)
        for thread in watch._probes.values():
            thread.join(10)


def test_an_endpoint_that_is_away_is_asked_until_it_is_back_and_told_of_once() -> None:
    clock, told = Clock(), Told()
    endpoint = EndpointGovernor("old:9000", clock=clock)
    asked: list[float] = []
    well = False

    def probe() -> None:
        asked.append(clock.now)
        error = None if well else ConnectionFailed("refused")
        endpoint.before("HeadObject", 0)
        endpoint.after(RequestSample("HeadObject", 0.0, 0.0, 0, error))
        raise ObjectMissing("404") if well else ConnectionFailed("refused")

    watch = EndpointWatch({"old:9000": endpoint}, {"old:9000": EndpointCare(probe)}, told)
    fail(endpoint, 10)
    until(watch, clock, 1)
    assert watch.blocked(clock.now) > 0 and watch.blameless()
    assert "old:9000 does not answer" in (watch.waiting(clock.now) or "")
    until(watch, clock, 20)
    assert len(asked) == 2, "after 5 s, after 10 more"
    well = True
    until(watch, clock, 25)
    assert endpoint.well and watch.blocked(clock.now) == 0.0 and not watch.blameless()
    assert watch.waiting(clock.now) is None
    assert [what for what, _ in told.waits] == ["endpoint old:9000"] * 2
    assert told.waits[0][1] is not None and told.waits[1][1] is None


def test_a_choice_among_candidates_is_told_once_each_way() -> None:
    clock, told, at = Clock(), Told(), ["http://A:1/"]
    endpoint = EndpointGovernor("a:1", clock=clock)
    watch = EndpointWatch({"a:1": endpoint}, {"a:1": EndpointCare(lambda: None, in_use=lambda: at[0])}, told)
    until(watch, clock, 1)
    assert (told.moves, watch.moved()) == ([], {}), "the planned one, however it is spelled"
    for url in ("http://b:2", "http://A:1/"):
        at[0] = url
        until(watch, clock, 1)
    assert told.moves == [("endpoint a:1", "http://b:2"), ("endpoint a:1", "http://A:1/")]
    assert watch.moved() == {"a:1": "http://A:1/"}


def test_with_candidates_the_run_moves_on_each_time_the_breaker_opens() -> None:
    clock, told = Clock(), Told()
    endpoint = EndpointGovernor("a:1", clock=clock)
    urls = iter(["http://b:2", "http://a:1"])
    at: list[str] = []

    def move() -> str:
        at.append(next(urls))
        return at[-1]

    def probe() -> None:
        error = ConnectionFailed("refused") if at == ["http://b:2"] else None
        endpoint.before("HeadObject", 0)
        endpoint.after(RequestSample("HeadObject", 0.0, 0.0, 0, error))

    watch = EndpointWatch({"a:1": endpoint}, {"a:1": EndpointCare(probe, move)}, told)
    fail(endpoint, 10)
    until(watch, clock, 30)
    assert at == ["http://b:2", "http://a:1"]
    assert endpoint.well and watch.moved() == {"a:1": "http://a:1"}
    assert len(told.waits) == 3 and "http://b:2" in (told.waits[0][1] or "")


@pytest.mark.parametrize("well", [True, False])
def test_an_endpoint_in_doubt_is_asked_at_once(well: bool) -> None:
    clock, told = Clock(), Told()
    endpoint = EndpointGovernor("old:9000", clock=clock)

    def probe() -> None:
        endpoint.before("HeadObject", 0)
        error = ObjectMissing("404", key="probe") if well else ServerFault("500", key="probe")
        endpoint.after(RequestSample("HeadObject", 0.0, 0.0, 0, error))
        raise error

    watch = EndpointWatch({"old:9000": endpoint}, {"old:9000": EndpointCare(probe)}, told)
    endpoint.before("PutObject", 0)
    endpoint.after(RequestSample("PutObject", 0.0, 0.0, 0, None))
    for number in range(10):
        endpoint.before("PutObject", 0)
        endpoint.after(RequestSample("PutObject", 0.0, 0.0, 0, ServerFault("500", key=f"key/{number}")))
    assert endpoint.well and endpoint.to_be_asked(clock.now)
    until(watch, clock, 0.1)

    assert endpoint.well == well and not endpoint.to_be_asked(clock.now)
    until(watch, clock, 0.1)
    assert [what for what, _ in told.waits] == ([] if well else ["endpoint old:9000"])
