"""The limits that hold at a given time: set while running, else the calendar's, else the plan's. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from schema.limits import CLOSED, LIMITS, Limits, RunLimits, figure_of

LIFTED = 0.0
"""Value of a limit that was lifted, whatever the plan says."""
AS_PLANNED = -1.0
"""Value of a limit that was reset to the plan's."""


def limits_at(declared: Limits, at: datetime, set_while_running: Mapping[str, float]) -> RunLimits:
    """The limits at *at* (the ledger's clock, so that all processes agree)."""
    row = declared.row_at(at)
    figures: dict[str, float] = {}
    why: dict[str, str] = {}
    for name in LIMITS:
        figure, why[name] = figure_of(declared, name), "plan"
        if (in_row := figure_of(row, name)) is not None:
            figure, why[name] = in_row, "calendar"
        if (chosen := set_while_running.get(name, AS_PLANNED)) >= LIFTED:
            figure, why[name] = chosen, "set while running"
        if figure:
            figures[name] = figure
    closed_until = declared.closed_until(at) if set_while_running.get(CLOSED, AS_PLANNED) != LIFTED else None
    return RunLimits(figures, why, closed_until)
