"""How many workers keep the processors busy: more would only wait for one another, and each switch costs."""

from __future__ import annotations

import math
import os
from collections import deque
from typing import Protocol

SLACK = 1.5
"""Times the computed number: bodies take time beside the first byte, and few answers begin as early as the best."""
LEAST_REQUESTS = 50
"""So many have a cost together: of fewer, it depends on which of them end within the window that pays for them."""
REMEMBERED = 10
"""The least of so many costs counts: a new connection's handshake and what else the process does in passing are no part
of what a request costs, and neither is what too many workers cost one another."""
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
        self._since: float | None = None
        self._requests = 0
        self._costs: deque[float] = deque(maxlen=REMEMBERED)

    def learn(self, spent: float, requests: int) -> None:
        """*spent*: processor seconds of this process so far. *requests* have ended since the last call."""
        if self._since is None:
            self._since = spent
            return
        self._requests += requests
        if self._requests >= LEAST_REQUESTS:
            self._costs.append((spent - self._since) / self._requests)
            self._since, self._requests = spent, 0

    def workers(self, first_byte: float, bytes_each: float) -> float:
        """As many as keep the processors busy, where an answer begins *first_byte* seconds after the request at best.

        math.inf: not known.
        """
        cost = min(self._costs, default=0.0)
        if cost <= 0 or bytes_each > QUICK_BYTES or math.isinf(first_byte):
            return math.inf
        # While one request is in flight, its processor can serve as many others as their cost fits into its time.
        return SLACK * self._cores * (1 + first_byte / cost)
