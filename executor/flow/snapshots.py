"""What the governor shows of itself and of its endpoints: for status and --json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Quality(StrEnum):
    """How well an endpoint serves us."""

    GOOD = "good"
    DEGRADED = "degraded"
    POOR = "poor"


@dataclass(frozen=True, slots=True)
class EndpointSnapshot:
    """One endpoint as `status` shows it, over the last five seconds or so."""

    in_flight: int
    held: int
    """Requests held back by a limit, the pace or the breaker."""
    rtt_ms: float
    """Median time to the first byte of the last requests; 0.0: none yet."""
    bytes_per_second: float
    requests_per_second: float
    throttled: float
    """Share of requests throttled, 0..1."""
    failed: float
    """Share of requests without a proper answer, 0..1."""
    pace: float | None
    """Requests a second that throttling has taught us; None: it does not throttle."""
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
