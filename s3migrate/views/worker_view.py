"""One process of a run as status shows it: threads, endpoints, limits, what it waits for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from executor.ledger.values import Scaling, WorkerSeen
from schema.formats.escape import one_line
from schema.formats.quantities import counted_text, duration_text, rate_text, size_text
from schema.limits import LIMITS
from schema.process_view import BreakerState, EndpointView, ProcessView

SILENT_SECONDS = 20.0
"""Seconds without a heartbeat after which a process is called silent; it sends one every few seconds."""


def worker_figures(worker: WorkerSeen) -> dict[str, Any]:
    """For --json: which process it is, and its view as it wrote it."""
    return {
        "host": worker.host,
        "pid": worker.process.pid,
        "started_at": worker.started_at,
        "silent_seconds": round(worker.silent_seconds, 1),
        **(worker.seen.to_json() if worker.seen else {}),
    }


def worker_lines(worker: WorkerSeen) -> Iterator[str]:
    """For people: the process, one line per endpoint, and what limits it."""
    seen = worker.seen
    who = f"process {worker.process.pid} on {one_line(worker.host)}"
    if worker.silent_seconds > SILENT_SECONDS:
        yield f"{who}: silent for {duration_text(worker.silent_seconds)}"
    elif seen is None:
        yield f"{who}: starting"
    else:
        why = f" ({one_line(seen.why)})" if seen.why else ""
        yield f"{who}: {seen.busy} of {counted_text(seen.workers, 'thread')} busy{why}"
    if seen is not None:
        yield from _view_lines(seen)


def _view_lines(seen: ProcessView) -> Iterator[str]:
    for name, end in sorted(seen.endpoints.items()):
        url = seen.moved.get(name)
        moved = f", requests go to {one_line(url)}" if url else ""
        yield f"  {one_line(name)}: {endpoint_words(end)}{moved}"
        for key in end.waiting_keys:
            yield (
                f"    waits: {one_line(key.key)}: {one_line(key.code)} {counted_text(key.times, 'time')} in "
                f"{duration_text(key.seconds)} while other keys are served"
            )
    if seen.waiting:
        yield f"  waiting: {one_line(seen.waiting)}"
    if seen.limits is not None and seen.limits.figures:
        words = [
            f"{LIMITS[name].text(figure)} ({seen.limits.why.get(name)})" for name, figure in seen.limits.figures.items()
        ]
        yield f"  limits: {', '.join(words)}, of which {100 * seen.share:.0f} % here"


def endpoint_words(end: EndpointView) -> str:
    """One endpoint: its quality, its speed, the state of its breaker."""
    words = [
        str(end.quality),
        f"{end.rtt_ms:.1f} ms",
        f"{end.requests_per_second:.0f} requests/s",
        rate_text(end.bytes_per_second),
    ]
    if end.throttled:
        words.append(f"{100 * end.throttled:.1f} % throttled")
    if end.failed:
        words.append(f"{100 * end.failed:.1f} % failed")
    if end.breaker is not BreakerState.CLOSED:
        words.append(f"breaker {end.breaker}")
    return ", ".join(words)


def scaling_text(scaling: Scaling) -> str:
    """How many processes the run can use now."""
    return (
        f"workers: {scaling.workers} of {scaling.desired_workers} that the run can use now ({scaling.reason}); "
        f"{counted_text(scaling.objects_left, 'object')}, {size_text(scaling.bytes_left)} "
        f"in {scaling.ready_chunks + scaling.leased_chunks} chunks"
    )
