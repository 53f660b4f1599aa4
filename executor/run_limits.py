"""What a run may use at a moment: what was set while it runs, else the calendar, else the plan. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from executor.calendar_limits import Calendar, parse_calendar
from schema.declaration import Limits

LIFTED = 0.0
"""Set for a limit: there is none, whatever the plan says."""
AS_PLANNED = -1.0
"""Set for a limit: what the plan says holds again."""


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Bounds of the whole run, of which every process takes an equal share; None: no bound."""

    requests_per_second: float | None
    """At each endpoint."""
    bandwidth: float | None
    """Bytes per second at each endpoint, in and out together."""
    why: str
    """Where the bandwidth comes from: plan | calendar | set while running."""
    concurrent_requests: float | None = None
    """In flight at each endpoint; only set while running (the plan's `workers` is each process's own)."""

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
        planned: float | None = self._declared.bandwidth
        why = "plan"
        row = self._calendar.limit_at(moment)
        if row is not None:
            planned, why = row, "calendar"
        bandwidth = _chosen(set_while_running.get("bandwidth", AS_PLANNED), planned)
        if set_while_running.get("bandwidth", AS_PLANNED) >= LIFTED:
            why = "set while running"
        requests = _chosen(set_while_running.get("requests_per_second", AS_PLANNED), self._declared.requests_per_second)
        concurrent = _chosen(
            set_while_running.get("concurrent_requests", AS_PLANNED), self._declared.concurrent_requests
        )
        return RunLimits(requests, bandwidth, why, concurrent)


def _chosen(figure: float, planned: float | None) -> float | None:
    if figure < LIFTED:
        return planned
    return figure or None
