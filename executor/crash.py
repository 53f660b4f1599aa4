"""The first thing that went wrong in any thread; it asks everybody to stop."""

from __future__ import annotations

import threading

from executor.stop import Stop


class Crash:
    """Keeps the first error; later ones are its consequences."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._lock = threading.Lock()
        self._first: BaseException | None = None

    def met(self, error: BaseException) -> None:
        """Called in the failing thread."""
        with self._lock:
            if self._first is None:
                self._first = error
                self._stop.request()

    def reraise(self) -> None:
        """Raise the first error, if there was one."""
        if self._first is not None:
            raise self._first
