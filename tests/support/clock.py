"""Time as an argument: a clock that waiting moves on, and how long a test waits for what must come at once."""

from __future__ import annotations

SOON = 10.0
"""Seconds a test waits at most for another thread; it fails after them."""


class Clock:
    """Seconds that pass by waiting, or by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        """Time passes at once; False: nothing came in between."""
        self.now += seconds
        self.waits.append(seconds)
        return False

    @property
    def waited(self) -> float:
        """Seconds spent in `wait`."""
        return sum(self.waits)
