"""The weekly calendar of bandwidth limits: which row holds at a moment. Pure: the moment is an argument."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from schema.errors import DeclarationError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_ROW = re.compile(r"(\S+) +(\d\d):(\d\d)-(\d\d):(\d\d) +(\S+)")
_MINUTES_A_DAY = 24 * 60
_EXAMPLE = "a row is days, hours and a time zone: mon-fri 08:00-18:00 Europe/Berlin"


@dataclass(frozen=True, slots=True)
class CalendarRow:
    """One row. Hours are wall-clock hours of the zone, so they follow its daylight saving time.

    A span that ends before it starts (22:00-06:00) goes over midnight and belongs to the day it starts on.
    """

    days: frozenset[int]
    """0: Monday."""
    start: int
    """Minutes after midnight, included."""
    end: int
    """Minutes after midnight, excluded; may be 24 * 60."""
    zone: ZoneInfo
    limit: int
    """Bytes per second."""

    def holds(self, moment: datetime) -> bool:
        """Whether the row holds at *moment* (which knows its zone)."""
        local = moment.astimezone(self.zone)
        minute = local.hour * 60 + local.minute
        today = local.weekday()
        if self.start < self.end:
            return today in self.days and self.start <= minute < self.end
        yesterday = (local - timedelta(days=1)).weekday()
        return (today in self.days and minute >= self.start) or (yesterday in self.days and minute < self.end)


@dataclass(frozen=True, slots=True)
class Calendar:
    """Rows in order; the first that holds decides."""

    rows: tuple[CalendarRow, ...] = ()

    def limit_at(self, moment: datetime) -> int | None:
        """Bytes per second at *moment*; None when no row holds. ValueError for a moment without a zone."""
        if moment.tzinfo is None:
            raise ValueError("a moment without a time zone is no moment")
        return next((row.limit for row in self.rows if row.holds(moment)), None)


def parse_calendar(rows: Iterable[tuple[str, int]]) -> Calendar:
    """The calendar of ('mon-fri 08:00-18:00 Europe/Berlin', bytes per second) rows. Raises DeclarationError."""
    return Calendar(tuple(_parse_row(when, limit) for when, limit in rows))


def _parse_row(when: str, limit: int) -> CalendarRow:
    found = _ROW.fullmatch(when.strip())
    if found is None:
        raise _wrong(when, _EXAMPLE)
    days, start_hour, start_minute, end_hour, end_minute, zone = found.groups()
    start = _minutes(when, start_hour, start_minute)
    end = _minutes(when, end_hour, end_minute)
    if start in {end, _MINUTES_A_DAY}:
        raise _wrong(when, "the hours are empty; a whole day is 00:00-24:00")
    if limit <= 0:
        raise _wrong(when, f"a limit must be more than 0 bytes per second, not {limit}")
    try:
        known = ZoneInfo(zone)
    except (ValueError, OSError, LookupError):
        raise _wrong(when, f"this machine knows no time zone {zone!r}; names are such as Europe/Berlin, UTC") from None
    return CalendarRow(_days(when, days), start, end, known, limit)


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
