"""The weekly calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.calendar import DAYS, Hours
from schema.limits import CalendarRow, Limits, closed_at, parse_row, through_closures
from schema.tiers import MIB

OFFICE = Limits(calendar=(CalendarRow(Hours.parse("mon-fri 08:00-18:00 Europe/Berlin"), 50 * MIB),))


def bandwidth_at(calendar: Limits, moment: datetime) -> int | None:
    """Of the row that holds; None: no row does."""
    row = calendar.row_at(moment)
    return None if row is None else row.bandwidth


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "limited"),
    [
        ("2026-11-20T06:59:59", False),  # a Friday in winter: 07:59:59 in Berlin
        ("2026-11-20T07:00:00", True),
        ("2026-11-20T16:59:59", True),
        ("2026-11-20T17:00:00", False),
        ("2026-11-21T12:00:00", False),  # Saturday
        ("2026-11-23T12:00:00", True),
        ("2026-07-20T06:00:00", True),  # summer: one hour earlier
        ("2026-07-20T16:00:00", False),
        ("2026-03-27T07:00:00", True),  # the Friday before the clocks change
        ("2026-03-30T06:00:00", True),  # the Monday after
        ("2026-03-30T05:59:00", False),
    ],
)
def test_hours_are_those_of_the_zone_in_summer_and_winter(moment: str, limited: bool) -> None:
    assert bandwidth_at(OFFICE, at(moment)) == (50 * MIB if limited else None)


@pytest.mark.parametrize(
    ("moment", "limited"),
    [
        ("2026-11-20T21:59", False),
        ("2026-11-20T22:00", True),  # Friday night
        ("2026-11-21T05:59", True),  # belongs to Friday
        ("2026-11-21T06:00", False),
        ("2026-11-21T22:00", False),  # Saturday night is not in the row
        ("2026-11-23T03:00", False),  # neither is the night to Monday
        ("2026-11-23T22:30", True),
    ],
)
def test_a_span_over_midnight_belongs_to_the_day_it_starts_on(moment: str, limited: bool) -> None:
    nights = Limits(calendar=(CalendarRow(Hours.parse("mon-fri 22:00-06:00 UTC"), 1),))

    assert (nights.row_at(at(moment)) is not None) == limited


def test_the_hour_that_comes_twice_is_limited_twice_and_the_one_that_does_not_come_never() -> None:
    calendar = Limits(calendar=(CalendarRow(Hours.parse("sun 02:00-03:00 Europe/Berlin"), 1),))

    def minutes(day: str) -> int:
        start = at(day)
        return sum(calendar.row_at(start + timedelta(minutes=n)) is not None for n in range(24 * 60))

    assert minutes("2026-10-25") == 120
    assert minutes("2026-03-29") == 0
    assert minutes("2026-11-22") == 60


def test_the_first_row_that_holds_decides() -> None:
    lunch = CalendarRow(Hours.parse("wed 12:00-13:00 UTC"), requests_per_second=5.5)
    always = CalendarRow(Hours.parse("mon-sun 00:00-24:00 UTC"), bandwidth=9, concurrent_requests=2)
    calendar = Limits(calendar=(lunch, always))

    assert calendar.row_at(at("2026-11-25T11:59:59")) == always
    assert calendar.row_at(at("2026-11-25T12:00")) == lunch, "and none of the other row's limits"
    assert calendar.row_at(at("2026-11-25T12:59:59")) == lunch
    assert calendar.row_at(at("2026-11-25T13:00")) == always
    assert Limits(calendar=()).row_at(at("2026-11-25T13:00")) is None


def test_midnight_is_the_end_of_one_day_and_the_start_of_the_next() -> None:
    days = [CalendarRow(Hours.parse(f"{day} 00:00-24:00 Europe/Berlin"), number + 1) for number, day in enumerate(DAYS)]
    calendar = Limits(calendar=tuple(days))

    assert bandwidth_at(calendar, at("2026-11-22T22:59:59.999999")) == 7  # Sunday in Berlin
    assert bandwidth_at(calendar, at("2026-11-22T23:00")) == 1
    assert bandwidth_at(calendar, at("2026-10-24T21:59:59")) == 6, "the day before the clocks change"
    assert bandwidth_at(calendar, at("2026-10-24T22:00")) == 7
    assert bandwidth_at(calendar, at("2026-10-25T22:59:59")) == 7, "it has 25 hours"
    assert bandwidth_at(calendar, at("2026-10-25T23:00")) == 1


@pytest.mark.parametrize(
    ("days", "names"),
    [("fri-mon", "fri sat sun mon"), ("sat,sun", "sat sun"), ("tue", "tue"), ("Mon-Wed,fri", "mon tue wed fri")],
)
def test_days_come_as_ranges_and_lists(days: str, names: str) -> None:
    hours = Hours.parse(f"{days} 00:00-24:00 UTC")

    assert sorted(DAYS[day] for day in hours.days) == sorted(names.split())


@pytest.mark.parametrize(
    ("row", "limit", "why"),
    [
        ("", 1, "a row is days, hours"),
        ("mon-fri 08:00-18:00", 1, "a row is days, hours"),
        ("mon-fri 8:00-18:00 UTC", 1, "a row is days, hours"),
        ("mon-fri 08:00-18:00 UTC please", 1, "a row is days, hours"),
        ("monday 08:00-18:00 UTC", 1, "'monday' is not a day"),
        ("mon- 08:00-18:00 UTC", 1, "'mon-' is not a day"),
        ("mon,,tue 08:00-18:00 UTC", 1, "'' is not a day"),
        ("mon 08:60-18:00 UTC", 1, "08:60 is not a time of day"),
        ("mon 08:00-24:01 UTC", 1, "24:01 is not a time of day"),
        ("mon 08:00-08:00 UTC", 1, "hours are empty"),
        ("mon 24:00-06:00 UTC", 1, "hours are empty"),
        ("mon 08:00-18:00 Europe/Atlantis", 1, "'Europe/Atlantis' is not a time zone this machine knows"),
        ("mon 08:00-18:00 ../../etc/passwd", 1, "is not a time zone this machine knows"),
        ("mon 08:00-18:00 UTC", 0, "a rate of 0 would never end"),
        ("mon 08:00-18:00 UTC", {}, "the row names no limit"),
        ("mon 08:00-18:00 UTC", "shut", "shut"),
    ],
)
def test_a_wrong_row_is_named_with_its_mistake(row: str, limit: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_row({row: limit})


@pytest.mark.parametrize(
    "limits",
    [
        {"requests_per_second": 0.0},
        {"requests_per_second": float("nan")},
        {"requests_per_second": float("inf")},
        {"requests_per_second": "0.0"},
        {"concurrent_requests": 0},
        {"bandwidth": 5, "concurrent_requests": -1},
    ],
)
def test_each_limit_of_a_row_must_be_one(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"(requests_per_second|concurrent_requests): must be (more than 0|a whole)"):
        parse_row({"mon 08:00-18:00 UTC": limits})


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        OFFICE.row_at(datetime(2026, 11, 20, 12))  # noqa: DTZ001  the point of the test


def closed(*rows: str) -> Limits:
    return Limits(calendar=tuple(parse_row(row) for row in rows))


def test_a_closed_row_says_until_when_and_what_stands_before_it_opens_some_of_its_hours() -> None:
    office = closed("wed 12:00-13:00 Europe/Berlin: 1MiB/s", "mon-fri 08:00-18:00 Europe/Berlin: closed")

    assert office.closed_until(at("2026-11-25T06:59:59")) is None
    assert office.closed_until(at("2026-11-25T07:00")) == at("2026-11-25T11:00"), "Wednesday's lunch is open"
    assert office.closed_until(at("2026-11-25T11:30")) is None
    assert office.closed_until(at("2026-11-25T12:00")) == at("2026-11-25T17:00")
    assert office.closed_until(at("2026-11-28T12:00")) is None, "a Saturday"
    assert OFFICE.closed_until(at("2026-11-25T12:00")) is None, "control: a limit does not close"


def test_closed_hours_that_meet_are_one_closure() -> None:
    weekend = closed("sat,sun 00:00-24:00 UTC: closed", "fri 20:00-24:00 UTC: closed", "mon 00:00-06:00 UTC: closed")

    found = list(weekend.closures(at("2026-11-23T12:00"), at("2026-12-05T12:00")))

    assert [(c.begins, c.ends) for c in found] == [
        (at("2026-11-27T20:00"), at("2026-11-30T06:00")),
        (at("2026-12-04T20:00"), at("2026-12-05T12:00")),
    ], "the last one is cut off where the question ends"


@given(
    st.lists(
        st.builds(
            "{} {:02}:{:02}-{:02}:{:02} {}: {}".format,
            st.sampled_from(["mon", "sun", "fri-mon", "mon-sun", "sat,sun"]),
            st.integers(0, 11),
            st.sampled_from([0, 7, 30]),
            st.integers(12, 23),
            st.sampled_from([0, 20, 59]),
            st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
            st.sampled_from(["closed", "1MiB/s"]),
        ),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from(["2026-03-28", "2026-10-24", "2026-10-31", "2026-04-04", "2026-11-25"]),
)
def test_closures_are_the_minutes_whose_row_is_closed(rows: list[str], day: str) -> None:
    """Also where clocks change."""
    limits = closed(*rows)
    begins, ends = at(day), at(day) + timedelta(days=2)

    closures = list(limits.closures(begins, ends))

    for minute in range(0, 2 * 24 * 60, 10):
        moment = begins + timedelta(minutes=minute)
        row = limits.row_at(moment)
        assert (closed_at(closures, moment) is not None) == bool(row and row.closed), moment


def test_open_hours_pass_only_while_it_is_open() -> None:
    nights = list(closed("mon-sun 08:00-20:00 UTC: closed").closures(at("2026-11-23T07:00"), at("2026-11-26T00:00")))

    assert through_closures(3600, at("2026-11-23T07:00"), nights) == 3600, "it ends when the day begins"
    assert through_closures(2 * 3600, at("2026-11-23T07:00"), nights) == 14 * 3600
    assert through_closures(60, at("2026-11-23T12:00"), nights) == 8 * 3600 + 60
    assert through_closures(14 * 3600, at("2026-11-23T07:00"), nights) == 38 * 3600
    assert through_closures(50, at("2026-11-23T12:00"), []) == 50


@given(st.text(max_size=60))
def test_any_text_is_hours_or_a_value_error(text: str) -> None:
    try:
        hours = Hours.parse(text)
    except ValueError:
        return
    assert Hours.parse(str(hours)) == hours


@given(st.integers(0, 7 * 24 * 60 - 1))
def test_each_minute_of_a_week_has_one_answer(minute: int) -> None:
    night, day = Hours.parse("mon-sun 20:00-08:00 UTC"), Hours.parse("mon-sun 08:00-20:00 UTC")
    halves = Limits(calendar=(CalendarRow(night, 1), CalendarRow(day, 2)))

    moment = at("2026-11-23") + timedelta(minutes=minute)

    assert bandwidth_at(halves, moment) == (2 if 8 <= moment.hour < 20 else 1)
