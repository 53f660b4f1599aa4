"""How many workers keep the processors busy: more would only wait for one another, and each switch costs."""

from __future__ import annotations

import math
import os
from collections import deque
from typing import Protocol

LEAST_REQUESTS = 50
"""So many have a cost together: of fewer, it depends on which of them end within the window that pays for them."""
REMEMBERED = 10
"""The least of so many costs counts: a new connection's handshake and what else the process does in passing are no part
of what a request costs, and neither is what too many workers cost one another."""


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
    """Learns what a request costs and how long it is away; `workers` says how many workers that makes."""

    def __init__(self, cores: float) -> None:
        self._cores = cores
        self._since: float | None = None
        self._requests = 0
        self._costs: deque[float] = deque(maxlen=REMEMBERED)
        self._away: deque[float] = deque(maxlen=REMEMBERED)

    def learn(self, spent: float, requests: int, away: float) -> None:
        """*spent*: processor seconds of this process so far. *requests* have ended since the last call, and one that
        nothing here holds up takes *away* seconds.
        """
        if self._since is None:
            self._since = spent
            return
        self._requests += requests
        if self._requests >= LEAST_REQUESTS:
            self._costs.append((spent - self._since) / self._requests)
            self._away.append(away)
            self._since, self._requests = spent, 0

    def workers(self) -> float:
        """As many as keep the processors busy; math.inf: not known."""
        cost = min(self._costs, default=0.0)
        if cost <= 0:
            return math.inf
        # While one request is away, its processor can serve as many others as their cost fits into its time.
        return self._cores * (1 + min(self._away) / cost)
