"""What only reads asks for nothing while the calendar is closed, goes on when it opens, and can be stopped then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from support.silent import Told

from executor.stop import Stop
from executor.verify.open_hours import LOOK_SECONDS, OpenHours
from schema.errors import LedgerUnavailable, Stopped
from schema.limits import RunLimits

CLOSED = RunLimits(closed_until=datetime(2026, 3, 1, 18, tzinfo=UTC))
OPEN = RunLimits()


@dataclass
class Hands:
    """Each wait takes its time."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def hours(limits: list[RunLimits], stop: Stop, *, told: Told, clock: Hands) -> OpenHours:
    """The calendar is so at one look after the other."""
    seen = iter(limits)
    return OpenHours(lambda: next(seen), told, stop, "verify", clock, clock.wait)


def test_a_request_waits_until_the_calendar_opens() -> None:
    told, clock = Told(), Hands()
    calendar = hours([CLOSED, CLOSED, OPEN], Stop(), told=told, clock=clock)
    calendar.before("GetObject", 0)
    assert clock.now >= 2 * LOOK_SECONDS
    assert told.waits == [
        ("calendar", "it is closed until Sun 2026-03-01 18:00 UTC; verify continues when it opens"),
        ("calendar", None),
    ]


def test_an_open_calendar_holds_nobody_and_is_looked_at_once_a_second() -> None:
    told, clock = Told(), Hands()
    calendar = hours([OPEN], Stop(), told=told, clock=clock)
    for _ in range(3):
        calendar.before("GetObject", 0)
    assert (clock.now, told.waits) == (0.0, [])


def test_a_stop_ends_the_wait_and_whatever_else_is_asked() -> None:
    stop, clock = Stop(), Hands()

    def limits() -> RunLimits:
        if clock.now > 5:
            stop.request()
        return CLOSED

    calendar = OpenHours(limits, Told(), stop, "verify", clock, clock.wait)
    for _ in range(2):
        with pytest.raises(Stopped, match="verify was stopped"):
            calendar.before("GetObject", 0)


def lost(answers: list[RunLimits | None]) -> Callable[[], RunLimits]:
    """The limits at one look after the other; None: the ledger is away."""
    left = iter(answers)

    def limits() -> RunLimits:
        answer = next(left)
        if answer is None:
            raise LedgerUnavailable("the ledger cannot be reached: it restarts")
        return answer

    return limits


def test_a_ledger_that_is_away_for_a_while_ends_no_wait() -> None:
    told, clock = Told(), Hands()
    limits = lost([CLOSED, None, None, CLOSED, None, OPEN, None])
    calendar = OpenHours(limits, told, Stop(), "verify", clock, clock.wait)
    calendar.before("GetObject", 0)
    assert clock.now >= 5 * LOOK_SECONDS and [text is None for _, text in told.waits] == [False, True]
    clock.wait(LOOK_SECONDS)
    calendar.before("GetObject", 0)
    with pytest.raises(StopIteration):
        limits()


def test_a_ledger_that_never_answered_is_an_error_and_is_asked_again() -> None:
    clock = Hands()
    calendar = OpenHours(lost([None, None, OPEN]), Told(), Stop(), "verify", clock, clock.wait)
    for _ in range(2):
        with pytest.raises(LedgerUnavailable):
            calendar.before("GetObject", 0)
    calendar.before("GetObject", 0)
