"""The weekly calendar of limits: which row holds at a moment. Pure: the moment is an argument."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from schema.declaration import CalendarRow
from schema.errors import DeclarationError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_ROW = re.compile(r"(\S+) +(\d\d):(\d\d)-(\d\d):(\d\d) +(\S+)")
_MINUTES_A_DAY = 24 * 60
_EXAMPLE = "a row is days, hours and a time zone: mon-fri 08:00-18:00 Europe/Berlin"


@dataclass(frozen=True, slots=True)
class Hours:
    """When a row holds. They are wall-clock hours of the zone, so they follow its daylight saving time.

    A span that ends before it starts (22:00-06:00) goes over midnight and belongs to the day it starts on.
    """

    days: frozenset[int]
    """0: Monday."""
    start: int
    """Minutes after midnight, included."""
    end: int
    """Minutes after midnight, excluded; may be 24 * 60."""
    zone: ZoneInfo

    def holds(self, moment: datetime) -> bool:
        """Whether *moment* (which knows its zone) lies in them."""
        local = moment.astimezone(self.zone)
        minute = local.hour * 60 + local.minute
        today = local.weekday()
        if self.start < self.end:
            return today in self.days and self.start <= minute < self.end
        yesterday = (local - timedelta(days=1)).weekday()
        return (today in self.days and minute >= self.start) or (yesterday in self.days and minute < self.end)


@dataclass(frozen=True, slots=True)
class Calendar:
    """Rows in order; the first that holds decides, also over what it does not name."""

    rows: tuple[tuple[Hours, CalendarRow], ...] = ()

    def at(self, moment: datetime) -> CalendarRow | None:
        """The row that holds at *moment*, if any. ValueError for a moment without a zone."""
        if moment.tzinfo is None:
            raise ValueError("a moment without a time zone is no moment")
        return next((row for hours, row in self.rows if hours.holds(moment)), None)


def parse_calendar(rows: Iterable[CalendarRow]) -> Calendar:
    """The calendar of *rows*, in their order. Raises DeclarationError."""
    return Calendar(tuple((_hours(row.when), _checked(row)) for row in rows))


def _checked(row: CalendarRow) -> CalendarRow:
    named = [limit for limit in (row.bandwidth, row.requests_per_second, row.concurrent_requests) if limit is not None]
    if not named:
        raise _wrong(row.when, "it names no limit")
    if not all(0 < limit < math.inf for limit in named):
        raise _wrong(row.when, "a limit must be a number of more than 0")
    return row


def _hours(when: str) -> Hours:
    found = _ROW.fullmatch(when.strip())
    if found is None:
        raise _wrong(when, _EXAMPLE)
    days, start_hour, start_minute, end_hour, end_minute, zone = found.groups()
    start = _minutes(when, start_hour, start_minute)
    end = _minutes(when, end_hour, end_minute)
    if start in {end, _MINUTES_A_DAY}:
        raise _wrong(when, "the hours are empty; a whole day is 00:00-24:00")
    try:
        known = ZoneInfo(zone)
    except (ValueError, OSError, LookupError):
        raise _wrong(when, f"this machine knows no time zone {zone!r}; names are such as Europe/Berlin, UTC") from None
    return Hours(_days(when, days), start, end, known)


def _minutes(when: str, hour: str, minute: str) -> int:
    minutes = int(hour) * 60 + int(minute)
    if int(minute) > 59 or minutes > _MINUTES_A_DAY:
        raise _wrong(when, f"{hour}:{minute} is no time of day; hours go from 00:00 to 24:00")
    return minutes


def _days(when: str, text: str) -> frozenset[int]:
    days: set[int] = set()
    for item in text.lower().split(","):
        first, dash, last = item.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise _wrong(when, f"{item!r} are no days; write {', '.join(DAYS)}, ranges (mon-fri) or lists (sat,sun)")
        low = DAYS.index(first)
        high = DAYS.index(last) if dash else low
        days.update(day % 7 for day in range(low, high + 1 if high >= low else high + 8))
    return frozenset(days)


def _wrong(when: str, why: str) -> DeclarationError:
    return DeclarationError(f"limits.calendar row {when[:100]!r}: {why}")
