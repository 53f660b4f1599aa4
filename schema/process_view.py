"""What one apply process sees of its run: written to the ledger and to --json by it, read by `status` and its parent.

Readers may be of another version: unknown fields are ignored, missing ones have their default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, NamedTuple

from schema.limits import RunLimits


class Quality(StrEnum):
    """How well an endpoint responds, best first."""

    GOOD = "good"
    DEGRADED = "degraded"
    POOR = "poor"

    def worse_of(self, other: Quality) -> Quality:
        """The worse of the two."""
        return max(self, other, key=list(Quality).index)


class BreakerState(StrEnum):
    """Closed lets all pass, open none, half-open one probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class WaitingKey(NamedTuple):
    """A key that its endpoint keeps throttling."""

    key: str
    """Unescaped."""
    code: str
    """The error code of the refusals, or their HTTP status."""
    times: int
    """Refusals between any two of which others were answered."""
    seconds: float
    """Since the first of them."""


@dataclass(frozen=True, slots=True)
class EndpointView:
    """One endpoint over the last five seconds or so."""

    in_flight: int = 0
    held: int = 0
    """Requests held back by a limit, the pace or the breaker."""
    rtt_ms: float = 0.0
    """Median time to the first byte of the last requests; 0.0: none yet."""
    bytes_per_second: float = 0.0
    requests_per_second: float = 0.0
    throttled: float = 0.0
    """Share of requests throttled, 0..1."""
    failed: float = 0.0
    """Share of requests without a proper answer, 0..1."""
    pace: float | None = None
    """The request rate set after throttling; None: it does not throttle."""
    quality: Quality = Quality.GOOD
    breaker: BreakerState = BreakerState.CLOSED
    retry_in: float | None = None
    """Seconds until the breaker lets a probe pass; None: closed."""
    waiting_keys: tuple[WaitingKey, ...] = ()
    """Keys that are throttled again and again while others are served; the worst ten."""

    def to_json(self) -> dict[str, Any]:
        """A map of plain values."""
        return {**asdict(self), "waiting_keys": [key._asdict() for key in self.waiting_keys]}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> EndpointView:
        """What `to_json` wrote."""
        known = {name: said[name] for name in _ENDPOINT_FIELDS if said.get(name) is not None}
        for name, kind in (("quality", Quality), ("breaker", BreakerState)):
            word = known.pop(name, None)
            if word in set(kind):
                known[name] = kind(word)
        keys = known.pop("waiting_keys", ())
        return cls(**known, waiting_keys=tuple(WaitingKey(*(key[n] for n in WaitingKey._fields)) for key in keys))

    def with_other(self, other: EndpointView) -> EndpointView:
        """The endpoint as two processes see it: sums of what is counted, the worse of what is judged."""
        paces = [view.pace for view in (self, other) if view.pace is not None]
        waits = [view.retry_in for view in (self, other) if view.retry_in is not None]
        return EndpointView(
            in_flight=self.in_flight + other.in_flight,
            held=self.held + other.held,
            rtt_ms=max(self.rtt_ms, other.rtt_ms),
            bytes_per_second=self.bytes_per_second + other.bytes_per_second,
            requests_per_second=self.requests_per_second + other.requests_per_second,
            throttled=max(self.throttled, other.throttled),
            failed=max(self.failed, other.failed),
            pace=sum(paces) if paces else None,
            quality=self.quality.worse_of(other.quality),
            breaker=self.breaker if other.breaker is BreakerState.CLOSED else other.breaker,
            retry_in=max(waits, default=None),
            waiting_keys=self.waiting_keys + other.waiting_keys,
        )


_ENDPOINT_FIELDS = tuple(field.name for field in fields(EndpointView))


@dataclass(frozen=True, slots=True)
class ProcessView:
    """One process, or several taken together."""

    workers: int
    """Threads that should be active."""
    why: str
    """The reason for their number: the last decision of the concurrency controller."""
    endpoints: Mapping[str, EndpointView] = field(default_factory=dict)
    """By the name of the server (schema.ends.endpoint_of)."""
    busy: int = 0
    """Threads with a task in hand."""
    waiting: str | None = None
    """Why no work is started; None: nothing is blocked."""
    moved: Mapping[str, str] = field(default_factory=dict)
    """Endpoint -> the URL used instead of the planned one, after a failover."""
    limits: RunLimits | None = None
    """The run's; None: not known yet."""
    share: float = 1.0
    """Of the run's limits, this process's part."""

    def flow_json(self) -> dict[str, Any]:
        """What a line of progress says: threads and endpoints."""
        ends = {name: end.to_json() for name, end in self.endpoints.items()}
        return {"workers": self.workers, "why": self.why, "endpoints": ends}

    def to_json(self) -> dict[str, Any]:
        """A map of plain values."""
        return {
            **self.flow_json(),
            "busy": self.busy,
            "waiting": self.waiting,
            "moved": dict(self.moved),
            "limits": None if self.limits is None else {**self.limits.to_json(), "share": self.share},
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> ProcessView:
        """What `to_json` or `flow_json` wrote."""
        limits = said.get("limits")
        return cls(
            workers=said.get("workers", 0),
            why=said.get("why", ""),
            endpoints={name: EndpointView.from_json(end) for name, end in (said.get("endpoints") or {}).items()},
            busy=said.get("busy", 0),
            waiting=said.get("waiting"),
            moved=said.get("moved") or {},
            limits=RunLimits.from_json(limits) if limits else None,
            share=limits.get("share", 1.0) if limits else 1.0,
        )


def endpoints_of(views: Iterable[ProcessView]) -> dict[str, EndpointView]:
    """Every endpoint by name, as all of *views* see it together."""
    endpoints: dict[str, EndpointView] = {}
    for view in views:
        for name, end in view.endpoints.items():
            endpoints[name] = endpoints[name].with_other(end) if name in endpoints else end
    return endpoints
