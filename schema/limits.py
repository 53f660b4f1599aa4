"""The limits of a run, in one table.

Declaration, plan, both JSON Schemas (by test), the weekly calendar, `s3migrate limit`, `status`, the example that
`init` writes and the governor walk LIMITS. A new limit is a row here with its two fields below, its shape in the two
JSON Schemas and, where it bounds something new, what a request costs in executor/flow/endpoint.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Any

from schema.calendar import Hours
from schema.formats.quantities import parse_rate, rate_text

MOST_AT_ONCE = 100_000
A_MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
"""For questions about any week."""
LOOKED_AHEAD = timedelta(days=8)
"""A week, and the hour that a change of clocks may add."""
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?", re.ASCII)


class Bounds(Enum):
    """What a limit bounds, at each endpoint."""

    BYTES = auto()
    """A second, in and out together."""
    REQUESTS = auto()
    """A second."""
    AT_ONCE = auto()
    """Requests in flight."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of the whole run, which its processes share."""

    name: str
    """In the declaration, the plan, a calendar row, the ledger and `s3migrate limit`."""
    bounds: Bounds
    parse: Callable[[Any], float]
    """A figure of what a person wrote. ValueError says what is wrong."""
    text: Callable[[float], str]
    """A figure for people, with its unit."""
    expected: str
    """What a value must be: x-expected in the JSON Schema."""
    says: str
    """What it bounds, for people: the description in the JSON Schema."""
    example: str


def parse_number(value: str | float) -> float:
    """More than 0, of a number or decimal text. ValueError."""
    if isinstance(value, str):
        if _NUMBER.fullmatch(value.strip()) is None:
            raise ValueError(f"{value[:40]!r} is not a number")
        value = float(value)
    if isinstance(value, bool) or not 0 < value < math.inf:
        raise ValueError("must be more than 0")
    return float(value)


def parse_count(value: str | int) -> int:
    """1 to MOST_AT_ONCE, of an integer or its digits. ValueError."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:20])
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_AT_ONCE:
        raise ValueError(f"must be a whole number from 1 to {MOST_AT_ONCE:,}")
    return value


BANDWIDTH = Limit(
    "bandwidth",
    Bounds.BYTES,
    parse_rate,
    rate_text,
    expected="bytes a second: 200MiB/s, 10 MB/s",
    says="Bytes a second of the whole run, per endpoint, in and out together.",
    example="200MiB/s",
)
REQUESTS_PER_SECOND = Limit(
    "requests_per_second",
    Bounds.REQUESTS,
    parse_number,
    lambda figure: f"{figure:g} requests/s",
    expected="a number of requests a second",
    says="Of the whole run, per endpoint.",
    example="500",
)
CONCURRENT_REQUESTS = Limit(
    "concurrent_requests",
    Bounds.AT_ONCE,
    parse_count,
    lambda figure: f"{figure:g} requests at once",
    expected="a number of requests at once",
    says="In flight at once, of the whole run, per endpoint; its processes share them.",
    example="64",
)

LIMITS: Mapping[str, Limit] = {limit.name: limit for limit in (BANDWIDTH, REQUESTS_PER_SECOND, CONCURRENT_REQUESTS)}
"""Every limit by its name."""


@dataclass(frozen=True, slots=True)
class CalendarRow:
    """Limits for some hours of the week. What is None stays as it is declared beside the calendar."""

    when: Hours
    bandwidth: int | None = None
    requests_per_second: float | None = None
    concurrent_requests: int | None = None
    closed: bool | None = None
    """True: nothing runs. None: something may."""


@dataclass(frozen=True, slots=True)
class Closure:
    """A time in which nothing runs."""

    begins: datetime
    ends: datetime
    """Excluded."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.ends - self.begins).total_seconds()


def closed_at(closures: Iterable[Closure], at: datetime) -> Closure | None:
    """The one of *closures* that *at* lies in, if any."""
    return next((closure for closure in closures if closure.begins <= at < closure.ends), None)


def through_closures(seconds: float, at: datetime, closures: Iterable[Closure]) -> float:
    """Seconds from *at* until *seconds* of open hours have passed. *closures*: in order."""
    open_at, left = at, seconds
    for closure in closures:
        if (opened := (closure.begins - open_at).total_seconds()) >= left:
            break
        left -= max(0.0, opened)
        open_at = max(open_at, closure.ends)
    return (open_at - at).total_seconds() + left


@dataclass(frozen=True, slots=True)
class Limits:
    """What a declaration bounds: memory and workers of one process, everything in LIMITS of the whole run."""

    memory: int | None = None
    """Bytes; None: 60 % of the cgroup's or the machine's memory."""
    workers: int | None = None
    """None: adaptive."""
    requests_per_second: float | None = None
    bandwidth: int | None = None
    """Bytes per second."""
    calendar: tuple[CalendarRow, ...] = ()
    """The first row whose hours it is holds; the others do not."""
    concurrent_requests: int | None = None

    def row_at(self, at: datetime) -> CalendarRow | None:
        """The calendar's row that holds at *at*, if any. ValueError for a time without a zone."""
        return next((row for row in self.calendar if row.when.hold(at)), None)

    def closed_until(self, at: datetime) -> datetime | None:
        """When the calendar opens again, in UTC, LOOKED_AHEAD later at most; None: it is open at *at*."""
        row = self.row_at(at)
        if row is None or not row.closed:
            return None
        return next(self.closures(at, at + LOOKED_AHEAD)).ends

    @property
    def closes(self) -> bool:
        """The calendar has a row that lets nothing run."""
        return any(row.closed for row in self.calendar)

    @property
    def always_closed(self) -> bool:
        """No hour of a week is open."""
        return self.closed_until(A_MONDAY) == A_MONDAY + LOOKED_AHEAD

    def closures(self, begins: datetime, ends: datetime) -> Iterator[Closure]:
        """The times between *begins* and *ends* in which nothing runs, in order, cut off at both."""
        since: datetime | None = None
        for moment in self._edges(begins, ends) if self.closes else ():
            row = self.row_at(moment)
            if row is not None and row.closed:
                since = since or moment
            elif since is not None:
                yield Closure(since, moment)
                since = None
        if since is not None:
            yield Closure(since, ends)

    def _edges(self, begins: datetime, ends: datetime) -> Iterator[datetime]:
        """*begins*, and every moment after it and before *ends* at which another row may hold; in order."""
        first, last = (moment.astimezone(UTC).date() for moment in (begins, ends))
        days = [first + timedelta(days=n) for n in range(-2, (last - first).days + 3)]
        edges = {edge for row in self.calendar for day in days for edge in row.when.edges(day)}
        yield begins.astimezone(UTC)
        yield from sorted(edge for edge in edges if begins < edge < ends)


def figure_of(limits: Limits | CalendarRow | None, name: str) -> float | None:
    """The figure *limits* gives the limit *name*; None: it sets none."""
    figure: float | None = None if limits is None else getattr(limits, name)
    return figure


@dataclass(frozen=True, slots=True)
class RunLimits:
    """The limits of a run at one point in time."""

    figures: Mapping[str, float] = field(default_factory=dict)
    """Limit name -> figure; a limit that is not in it does not bound the run."""
    why: Mapping[str, str] = field(default_factory=dict)
    """Limit name -> where its figure, or its absence, comes from: plan | calendar | set while running."""
    closed_until: datetime | None = None
    """The calendar lets nothing run before; None: it is open."""

    def to_json(self) -> dict[str, Any]:
        """Every limit by its name, null where there is none, "why", and "closed_until"."""
        until = None if self.closed_until is None else self.closed_until.isoformat()
        return {**{name: self.figures.get(name) for name in LIMITS}, "why": dict(self.why), "closed_until": until}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> RunLimits:
        """What `to_json` wrote, also of a version that knows other limits."""
        until = said.get("closed_until")
        return cls(
            {name: said[name] for name in LIMITS if said.get(name)},
            said.get("why") or {},
            None if until is None else datetime.fromisoformat(until),
        )


CLOSED = "closed"
"""What a calendar's row says in place of limits, and the name by which a person opens it for a run that goes on."""


def closed_text(until: datetime) -> str:
    """Of a closed calendar, for people; *until* is in UTC."""
    return f"{CLOSED} until {until:%a %Y-%m-%d %H:%M} UTC"


_ROW = "a row is: mon-fri 08:00-18:00 Europe/Berlin: 50MiB/s"
_ROW_WITHOUT_LIMIT = f"the row names no limit; give it one of {', '.join(LIMITS)}, or say {CLOSED}"


def parse_row(row: str | Mapping[str, Any]) -> CalendarRow:
    """A row as a declaration writes it: text ('mon-fri 08:00-18:00 Europe/Berlin: 50MiB/s') or a map of one key.

    A rate alone is bandwidth; a map names its limits; the word "closed": nothing runs. ValueError.
    """
    if isinstance(row, str):
        when, colon, figures = row.rpartition(": ")
        if not colon:
            raise ValueError(_ROW)
    elif row:
        ((when, figures),) = row.items()
    else:
        raise ValueError(_ROW_WITHOUT_LIMIT)  # an empty value counts as an absent key
    if figures == CLOSED:
        return CalendarRow(Hours.parse(when), closed=True)
    named: Mapping[str, Any] = figures if isinstance(figures, Mapping) else {BANDWIDTH.name: figures}
    if not named:
        raise ValueError(_ROW_WITHOUT_LIMIT)
    return CalendarRow(Hours.parse(when), **{name: _figure(LIMITS[name], value) for name, value in named.items()})


def _figure(limit: Limit, value: Any) -> Any:
    try:
        return limit.parse(value)
    except ValueError as error:
        raise ValueError(f"{limit.name}: {error}") from None
