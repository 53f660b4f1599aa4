"""When buffers that nobody uses are given back to the system: a run may wait for hours. Pure; time is an argument."""

from __future__ import annotations

IDLE_SECONDS = 5.0


class IdleMemory:
    """Says once that nothing has been lent for five seconds and memory is still held."""

    def __init__(self) -> None:
        self._idle_since: float | None = None

    def due(self, lent: int, held: int, now: float) -> bool:
        """Whether to release what is idle. *lent*: bytes in use, *held*: these and the idle ones."""
        if lent or not held:
            self._idle_since = None
            return False
        if self._idle_since is None:
            self._idle_since = now
        return now - self._idle_since >= IDLE_SECONDS
