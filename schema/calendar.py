"""Hours of the week, as a declaration writes them: parsed once, here, and values from then on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from schema.formats.plain import TextValue

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"(\S+) (\d\d):(\d\d)-(\d\d):(\d\d) (\S+)", re.ASCII)
_MINUTES_A_DAY = 24 * 60
SHOWN = 40
"""Characters of a wrong word quoted in a message."""


@dataclass(frozen=True, slots=True)
class Hours(TextValue):
    """Wall-clock hours of a time zone on some days of the week; they follow the zone's daylight saving time.

    A span that ends before it starts (22:00-06:00) goes over midnight and belongs to the day it starts on.
    """

    text: str
    """As it was written: 'mon-fri 08:00-18:00 Europe/Berlin'."""
    days: frozenset[int]
    """0: Monday."""
    start: int
    """Minutes after midnight, included."""
    end: int
    """Minutes after midnight, excluded; may be 24 * 60."""
    zone: ZoneInfo

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str) -> Hours:
        """The hours *text* means: days (mon..sun, ranges, lists), hours and the name of a time zone. ValueError."""
        text = " ".join(text.split())
        found = _HOURS.fullmatch(text)
        if found is None:
            raise ValueError("a row is days, hours and a zone: mon-fri 08:00-18:00 Europe/Berlin")
        days, start_hour, start_minute, end_hour, end_minute, zone = found.groups()
        start = _minutes(start_hour, start_minute)
        end = _minutes(end_hour, end_minute)
        if start in {end, _MINUTES_A_DAY}:
            raise ValueError("the hours are empty; a whole day is 00:00-24:00")
        return cls(text, _days(days), start, end, _zone(zone))

    def hold(self, at: datetime) -> bool:
        """Whether *at* lies in them. ValueError for a time without a zone."""
        if at.tzinfo is None:
            raise ValueError("the time must have a time zone")
        local = at.astimezone(self.zone)
        minute = local.hour * 60 + local.minute
        today = local.weekday()
        if self.start < self.end:
            return today in self.days and self.start <= minute < self.end
        yesterday = (local - timedelta(days=1)).weekday()
        return (today in self.days and minute >= self.start) or (yesterday in self.days and minute < self.end)

    def edges(self, day: date) -> Iterator[datetime]:
        """Every moment of *day* in the zone at which `hold` may change, and some more; in UTC, in no order."""
        before, after = (self._moment(day + timedelta(days=n), 0).utcoffset() for n in (0, 1))
        clocks_change = range(0, _MINUTES_A_DAY, 30) if before != after else ()
        for minute in {self.start, self.end, *clocks_change}:
            moment = self._moment(day, minute)
            yield from {moment.replace(fold=fold).astimezone(UTC) for fold in (0, 1)}

    def _moment(self, day: date, minute: int) -> datetime:
        return datetime.combine(day, time(), self.zone) + timedelta(minutes=minute)  # on the clock on the wall


def _minutes(hour: str, minute: str) -> int:
    minutes = int(hour) * 60 + int(minute)
    if int(minute) > 59 or minutes > _MINUTES_A_DAY:
        raise ValueError(f"{hour}:{minute} is not a time of day; hours go from 00:00 to 24:00")
    return minutes


def _days(text: str) -> frozenset[int]:
    days: set[int] = set()
    for item in text.lower().split(","):
        first, dash, last = item.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise ValueError(
                f"{item[:SHOWN]!r} is not a day; write {', '.join(DAYS)}, ranges (mon-fri) or lists (sat,sun)"
            )
        low = DAYS.index(first)
        high = DAYS.index(last) if dash else low
        days.update(day % 7 for day in range(low, high + 1 if high >= low else high + 8))
    return frozenset(days)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise ValueError(
            f"{name[:SHOWN]!r} is not a time zone this machine knows, such as Europe/Berlin or UTC"
        ) from None
