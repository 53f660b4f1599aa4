"""How many workers keep the processors busy: more would only wait for one another, and each switch costs."""

from __future__ import annotations

import math
import os
from typing import Protocol

SLACK = 1.5
"""Times the computed number: a worker that is ready must be there whenever a processor is free."""
MEMORY = 0.9
"""Share of what was learned that is kept at each window: about ten windows count."""
QUICK_BYTES = 256 << 10
"""Above this a request is a transfer, whose time depends on how many share the line; those are not counted."""


class Processor(Protocol):
    """The processors as this process sees them."""

    @property
    def cores(self) -> float:
        """How many are this process's share."""

    def saturated(self) -> bool:
        """Processor time was scarce since the last call."""

    def spent(self) -> float:
        """Seconds of processor time this process has used so far."""


class NeverScarce:
    """Processors without end."""

    cores: float = os.cpu_count() or 1

    def saturated(self) -> bool:
        """Never."""
        return False

    def spent(self) -> float:
        """Nothing."""
        return 0.0


class Enough:
    """Learns what a request costs; `workers` says how many workers that makes."""

    def __init__(self, cores: float) -> None:
        self._cores = cores
        self._spent: float | None = None
        self._seconds = self._requests = 0.0

    def learn(self, spent: float, requests: int) -> None:
        """*spent*: processor seconds of this process so far. *requests* have ended since the last call."""
        before, self._spent = self._spent, spent
        if before is not None and requests:
            self._seconds = MEMORY * self._seconds + spent - before
            self._requests = MEMORY * self._requests + requests

    def workers(self, first_byte: float, bytes_each: float) -> float:
        """As many as keep the processors busy, where an answer begins *first_byte* seconds after the request at best.

        math.inf: not known.
        """
        if self._seconds <= 0 or bytes_each > QUICK_BYTES or math.isinf(first_byte):
            return math.inf
        # While one request is in flight, its processor can serve as many others as their cost fits into its time.
        return SLACK * self._cores * (1 + first_byte * self._requests / self._seconds)
