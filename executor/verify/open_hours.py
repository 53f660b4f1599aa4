"""Commands that only read send no request while the run's calendar is closed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from executor.events import Events, tell_calendar
from executor.stop import Stop, stopped_reading
from schema.errors import LedgerUnavailable
from schema.limits import RunLimits
from storage.port import RequestSample

LOOK_SECONDS: Final = 1.0
"""Between two looks at the limits."""
POLL_SECONDS: Final = 0.1


@dataclass(slots=True)
class OpenHours:
    """A storage.port.RequestObserver: requests wait until the calendar opens. One for all stores; for many threads."""

    limits: Callable[[], RunLimits]
    """The limits in force now."""
    events: Events
    """Its `waiting` is called when the calendar closes or opens."""
    stop: Stop
    who: str
    """The command that waits, for messages."""
    clock: Callable[[], float] = time.monotonic
    wait: Callable[[float], None] = time.sleep
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _seen: RunLimits | None = None
    """None: never looked."""
    _next_look: float = float("-inf")

    def before(self, operation: str, size: int) -> None:  # noqa: ARG002  the port's signature
        """Wait until the calendar is open. Raises Stopped after a stop, LedgerUnavailable when the limits were never
        seen; later, what was seen last counts until the ledger answers again.
        """
        while not self.stop.draining and self._closed():
            self.wait(POLL_SECONDS)
        if self.stop.draining:
            raise stopped_reading(self.who)

    def after(self, sample: RequestSample) -> None:
        """Nothing."""

    def _closed(self) -> bool:
        with self._lock:
            now = self.clock()
            if self._seen is None or now >= self._next_look:
                self._seen = self._look(self._seen)
                self._next_look = now + LOOK_SECONDS
            return self._seen.closed_until is not None

    def _look(self, before: RunLimits | None) -> RunLimits:
        try:
            seen = self.limits()
        except LedgerUnavailable:
            if before is None:
                raise
            return before
        tell_calendar(self.events, before or RunLimits(), seen, who=self.who)
        return seen
