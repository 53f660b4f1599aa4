"""The governor of one process: how many workers, how fast, and whether an endpoint is well.

`EndpointGovernor` observes the requests of one endpoint and holds them back; `Governor` decides for the process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from storage.port import RequestSample


class Quality(StrEnum):
    """How well an endpoint serves us."""

    GOOD = "good"
    DEGRADED = "degraded"
    POOR = "poor"


@dataclass(frozen=True, slots=True)
class EndpointSnapshot:
    """One endpoint as `status` shows it."""

    in_flight: int
    rtt_ms: float
    """Median time to the first byte of the last requests; 0.0: none yet."""
    bytes_per_second: float
    requests_per_second: float
    throttled: float
    """Share of requests throttled, 0..1."""
    quality: Quality
    breaker: str
    """closed | open | half-open"""
    retry_in: float | None
    """Seconds until the breaker lets a probe pass; None: closed."""

    def as_dict(self) -> dict[str, Any]:
        """For FlowState and --json."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class GovernorSnapshot:
    """The process as `status` shows it."""

    workers: int
    why: str
    endpoints: Mapping[str, EndpointSnapshot]


class EndpointGovernor:
    """A storage.port.RequestObserver for one endpoint; share one between all stores of that endpoint.

    `before` blocks while a rate limit or the open breaker says so, or until *wait(seconds)* returns True
    (the run is being abandoned).
    """

    def __init__(
        self,
        name: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self.name = name
        self._clock = clock
        self._wait = wait

    def before(self, operation: str, size: int) -> None:
        """Hold the request back as long as limits and breaker ask for."""

    def after(self, sample: RequestSample) -> None:
        """Count the request."""

    def blocked_for(self, now: float) -> float:
        """Seconds until a new request may be tried; 0.0: now. More than 0 only while the breaker is open."""
        return 0.0

    def snapshot(self, now: float) -> EndpointSnapshot:
        """The endpoint over the last few seconds."""
        return EndpointSnapshot(0, 0.0, 0.0, 0.0, 0.0, Quality.GOOD, "closed", None)


class Governor:
    """Owns the concurrency controller of the process and the limits of its endpoints."""

    def __init__(
        self, endpoints: Mapping[str, EndpointGovernor], max_workers: int, *, workers: int | None = None
    ) -> None:
        self.endpoints = dict(endpoints)
        self._target = workers or min(16, max_workers)

    def target(self) -> int:
        """How many worker threads should be active now."""
        return self._target

    def tick(self, now: float, busy: int | None = None) -> None:
        """To be called about every 100 ms; *busy*: workers with a task in hand, when known."""

    def set_limits(
        self, requests_per_second: float | None, bytes_per_second: float | None, *, share: float = 1.0
    ) -> None:
        """Run-wide limits for each endpoint (None: no limit), of which this process may use *share* (0..1]."""

    def blocked_for(self, now: float) -> float:
        """Seconds for which no new object should be begun because an endpoint's breaker is open; 0.0: go on."""
        return max((endpoint.blocked_for(now) for endpoint in self.endpoints.values()), default=0.0)

    def snapshot(self, now: float) -> GovernorSnapshot:
        """Workers, why, and every endpoint."""
        return GovernorSnapshot(
            self._target, "", {name: endpoint.snapshot(now) for name, endpoint in self.endpoints.items()}
        )
