"""What closed hours add to a plan's duration."""

from __future__ import annotations

import pytest

from planner.review.week import WEEK, WeekHours
from schema.limits import Limits, parse_row

HOUR = 3600


def week(*rows: str) -> WeekHours:
    return WeekHours.of(Limits(calendar=tuple(parse_row(row) for row in rows)))


def test_a_calendar_that_never_closes_adds_nothing() -> None:
    always = week("mon-sun 00:00-24:00 UTC: 1MiB/s")
    assert (always.at_best(5 * WEEK), always.at_worst(5 * WEEK), always.assumed) == (5 * WEEK, 5 * WEEK, {})


@pytest.mark.parametrize(
    ("work", "best", "worst"),
    [
        (0, 0, 10 * HOUR),
        (60, 60, 10 * HOUR + 60 * 168 // 118),
        (62 * HOUR, 62 * HOUR, 10 * HOUR + 62 * HOUR * 168 // 118),  # Friday evening to Monday morning
        (90 * HOUR, 90 * HOUR * 168 // 118, 10 * HOUR + 90 * HOUR * 168 // 118),
        (118 * HOUR + 60, WEEK + 60, 10 * HOUR + (118 * HOUR + 60) * 168 // 118),
    ],
)
def test_closed_office_hours_stretch_what_does_not_fit_between_them(work: int, best: int, worst: int) -> None:
    office = week("mon-fri 08:00-18:00 UTC: closed")
    assert office == (118 * HOUR, 62 * HOUR, 10 * HOUR)
    assert (office.at_best(work), office.at_worst(work)) == (best, worst)
    assert "2 d 2 h" in office.assumed["closed_hours"] or "50 h" in office.assumed["closed_hours"]
