"""The metrics of one apply process, read when they are scraped."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from executor.apply.surroundings import ProcessState
from executor.flow.meters import Histogram
from s3migrate.watching.families import family, histogram_family
from s3migrate.watching.metered import Metered
from schema.flow.samples import Activity
from schema.limits import LIMITS, Bounds
from schema.process_view import BreakerState, EndpointView, ProcessView

_BREAKER = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}


class MigrationCollector(Collector):
    """Exports a process."""

    def __init__(self, metered: Metered) -> None:
        self._metered = metered

    def collect(self) -> Iterator[Metric]:
        """One family for each metric of PROCESS_METRICS; until the process is at work, those about it are missing."""
        yield from self._requests()
        retries = list(self._metered.retries.items())
        yield family("s3migrate_retries_total", [((reason,), number) for reason, number in retries])
        if self._metered.window.look is not None:
            yield from _at_work(self._metered.window.look())

    def _requests(self) -> Iterator[Metric]:
        meters = {side.value: meter for side, meter in self._metered.meters.items()}
        durations: dict[tuple[str, ...], Histogram] = {}
        first_bytes: dict[tuple[str, ...], Histogram] = {}
        answered: list[tuple[tuple[str, ...], float]] = []
        for side, meter in meters.items():
            with meter.lock:
                durations |= {(side, operation): h.copy() for operation, h in meter.durations.items()}
                first_bytes |= {(side, operation): h.copy() for operation, h in meter.first_bytes.items()}
                answered += [((side, *counted), number) for counted, number in meter.answered.items()]
        yield histogram_family("s3migrate_request_duration_seconds", durations)
        yield histogram_family("s3migrate_first_byte_seconds", first_bytes)
        yield family("s3migrate_requests_total", answered)
        throttled = [((side.value,), counters.counts().throttled) for side, counters in self._metered.sides.items()]
        yield family("s3migrate_throttled_requests_total", throttled)
        moved = [((side, "sent"), meter.sent) for side, meter in meters.items()]
        moved += [((side, "received"), meter.received) for side, meter in meters.items()]
        yield family("s3migrate_wire_bytes_total", moved)
        yield family("s3migrate_in_flight_requests", [((side,), meter.in_flight) for side, meter in meters.items()])


def _at_work(state: ProcessState) -> Iterator[Metric]:
    view = state.view
    yield family("s3migrate_concurrency_limit", [((), view.workers)])
    seconds = [((activity.name.lower(),), state.thread_seconds[activity]) for activity in Activity]
    yield family("s3migrate_thread_seconds_total", seconds)
    breakers = [((name,), _BREAKER[end.breaker]) for name, end in view.endpoints.items()]
    yield family("s3migrate_breaker_state", breakers)
    limits = {name: figure * view.share for name, figure in (view.limits.figures if view.limits else {}).items()}
    yield family("s3migrate_limit", [((name,), figure) for name, figure in limits.items()])
    used = [((name,), _used(name, view) / figure) for name, figure in limits.items()]
    yield family("s3migrate_limit_used_ratio", used)
    yield family("s3migrate_buffer_bytes", [((), state.buffer_bytes)])
    yield family("s3migrate_buffer_limit_bytes", [((), state.buffer_limit)])
    yield family("s3migrate_ledger_queue_rows", [((), state.queued_rows)])
    yield histogram_family("s3migrate_ledger_commit_duration_seconds", {(): state.flush_seconds})
    yield histogram_family("s3migrate_object_size_bytes", {(): state.object_sizes})


def _used(name: str, view: ProcessView) -> float:
    """How much of the limit *name* is used at the endpoint that uses most."""
    amount = {
        Bounds.BYTES: _bytes,
        Bounds.REQUESTS: _requests_of,
        Bounds.AT_ONCE: _in_flight,
    }[LIMITS[name].bounds]
    return max((amount(end) for end in view.endpoints.values()), default=0.0)


def _bytes(end: EndpointView) -> float:
    return end.bytes_per_second


def _requests_of(end: EndpointView) -> float:
    return end.requests_per_second


def _in_flight(end: EndpointView) -> float:
    return end.in_flight
