"""What a run may use at a moment: what was set while it runs, else the calendar, else the plan. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from executor.flow.calendar import Calendar, parse_calendar
from schema.declaration import Limits

LIFTED = 0.0
"""Set for a limit: there is none, whatever the plan says."""
AS_PLANNED = -1.0
"""Set for a limit: what the plan says holds again."""
NAMES = ("bandwidth", "requests_per_second", "concurrent_requests")
"""What can be declared, given in a calendar row and set while running."""


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Bounds of the whole run, of which every process takes an equal share; None: no bound."""

    requests_per_second: float | None
    """At each endpoint."""
    bandwidth: float | None
    """Bytes per second at each endpoint, in and out together."""
    concurrent_requests: float | None
    """In flight at each endpoint (the plan's `workers` is each process's own)."""
    why: Mapping[str, str]
    """By limit, where its figure comes from: plan | calendar | set while running."""

    def as_dict(self) -> dict[str, Any]:
        """For status."""
        return asdict(self)


class LimitSchedule:
    """A plan's limits over time."""

    def __init__(self, declared: Limits) -> None:
        self._declared = declared
        self._calendar: Calendar = parse_calendar(declared.calendar)

    def at(self, moment: datetime, set_while_running: Mapping[str, float]) -> RunLimits:
        """The limits at *moment* (the ledger's clock, so that all processes agree)."""
        row = self._calendar.at(moment)
        figures: dict[str, float | None] = {}
        why: dict[str, str] = {}
        for name in NAMES:
            figures[name], why[name] = getattr(self._declared, name), "plan"
            in_row = None if row is None else getattr(row, name)
            if in_row is not None:
                figures[name], why[name] = in_row, "calendar"
            chosen = set_while_running.get(name, AS_PLANNED)
            if chosen >= LIFTED:
                figures[name], why[name] = chosen or None, "set while running"
        return RunLimits(**figures, why=why)
