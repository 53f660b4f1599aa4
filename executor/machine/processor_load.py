"""Whether processor time is what is scarce: then more threads only wait for each other.

Two signals: the machine has hardly an idle core (/proc/stat, Linux), or this process alone keeps one core busy, which
is all that Python code can use at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

IDLE_SHARE = 0.05
"""Of all cores' time."""
PROCESS_SHARE = 0.95
"""Of one core's time."""


class ProcessorLoad:
    """Looks back to the last call. Where /proc/stat cannot be read the process's own time decides alone."""

    def __init__(
        self,
        stat: Path = Path("/proc/stat"),
        process_seconds: Callable[[], float] = time.process_time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stat = stat
        self._process_seconds = process_seconds
        self._clock = clock
        self._last = self._read()

    def saturated(self) -> bool:
        """True when processor time was scarce since the last call."""
        last, self._last = self._last, self._read()
        now, used, idle, total = (one - other for one, other in zip(self._last, last, strict=True))
        busy_alone = now > 0 and used >= PROCESS_SHARE * now
        return busy_alone or (total > 0 and idle < IDLE_SHARE * total)

    def _read(self) -> tuple[float, float, float, float]:
        idle = total = 0.0
        try:
            ticks = [float(tick) for tick in self._stat.read_text().split("\n", 1)[0].split()[1:9]]
            idle, total = ticks[3] + ticks[4], sum(ticks)
        except (OSError, ValueError, IndexError):
            pass
        return self._clock(), self._process_seconds(), idle, total
