"""What the executor reports while it works. A view decides how it looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from executor.ledger.values import Progress
from schema.errors import MigrationError, RunClosed
from schema.limits import RunLimits, closed_text
from schema.process_view import ProcessView

CALENDAR = "calendar"
"""What `waiting` names while the run's calendar is closed."""


@dataclass(frozen=True, slots=True)
class ObjectTrouble:
    """One object that did not arrive as planned (yet, or for good)."""

    section: str
    batch: str
    ord: int
    key: str
    """Unescaped."""
    reason: str
    """Class of the trouble: an error's class name or an outcome."""
    message: str
    status: int
    attempt: int
    final: bool


class Events(Protocol):
    """Called from several threads; must be quick and must not raise."""

    def run_accepted(self, run_id: int, resumed: bool, progress: Progress) -> None:
        """The plan is in the ledger, or was found there."""

    def batch_finished(self, batch: str) -> None:
        """Every object of a batch is accounted for by this process's last flush."""

    def object_trouble(self, trouble: ObjectTrouble) -> None:
        """An object failed, drifted or is retried."""

    def waiting(self, what: str, error: MigrationError | None) -> None:
        """Work waits until *what* (ledger, endpoint, calendar) is back; error None: it is back."""

    def moved(self, what: str, url: str) -> None:
        """Work that waited for *what* goes on at *url*, which is well."""

    def progress(self, progress: Progress, flow: ProcessView) -> None:
        """About once a second. *progress* is the ledger's, so it is durable; *flow*: threads and endpoints now."""

    def draining(self, abandoning: bool) -> None:
        """A stop was asked for."""


def tell_calendar(events: Events, before: RunLimits, now: RunLimits, *, who: str = "the run") -> None:
    """Tell that the calendar that *who* heeds has closed, or opened again."""
    if before.closed_until is None and now.closed_until is not None:
        text = f"it is {closed_text(now.closed_until)}; {who} continues when it opens"
        events.waiting(CALENDAR, RunClosed(text))
    elif before.closed_until is not None and now.closed_until is None:
        events.waiting(CALENDAR, None)
