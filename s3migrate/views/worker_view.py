"""What one process of a run sees, as status shows it: threads, endpoints, limits, what it waits for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from executor.ledger.values import WorkerSeen
from schema.escape import one_line
from schema.quantities import counted_text, duration_text, rate_text

SILENT_SECONDS = 20.0
"""Longer without a word, and the process is said to be silent: it beats every few seconds."""


def worker_figures(worker: WorkerSeen) -> dict[str, Any]:
    """For --json: the snapshot as the process wrote it, and who it is."""
    return {
        "host": worker.host,
        "pid": worker.process.pid,
        "started_at": worker.started_at,
        "silent_seconds": round(worker.silent_seconds, 1),
        **worker.seen,
    }


def worker_lines(worker: WorkerSeen) -> Iterator[str]:
    """For people: the process, a line for each endpoint, and what holds it back."""
    seen = worker.seen
    who = f"process {worker.process.pid} on {one_line(worker.host)}"
    if worker.silent_seconds > SILENT_SECONDS:
        yield f"{who}: silent for {duration_text(worker.silent_seconds)}"
    elif not seen:
        yield f"{who}: starting"
    else:
        why = f" ({one_line(seen['why'])})" if seen.get("why") else ""
        yield f"{who}: {seen.get('busy', 0)} of {counted_text(seen.get('workers', 0), 'thread')} busy{why}"
    for name, end in sorted(seen.get("endpoints", {}).items()):
        yield f"  {one_line(name)}: {endpoint_words(end)}" + moved_words(seen, name)
    if seen.get("waiting"):
        yield f"  waiting: {one_line(seen['waiting'])}"
    limits = seen.get("limits") or {}
    if any(limits.get(name) for name in ("bandwidth", "requests_per_second", "concurrent_requests")):
        yield f"  limits: {limit_words(limits)}"


def endpoint_words(end: dict[str, Any]) -> str:
    """One endpoint: how well it is, how fast, how its breaker stands."""
    words = [
        str(end.get("quality", "")),
        f"{end.get('rtt_ms', 0.0):.1f} ms",
        f"{end.get('requests_per_second', 0.0):.0f} requests/s",
        rate_text(end.get("bytes_per_second", 0.0)),
    ]
    if end.get("throttled"):
        words.append(f"{100 * end['throttled']:.1f} % throttled")
    if end.get("failed"):
        words.append(f"{100 * end['failed']:.1f} % failed")
    if end.get("breaker", "closed") != "closed":
        words.append(f"breaker {end['breaker']}")
    return ", ".join(words)


def moved_words(seen: dict[str, Any] | Any, name: str) -> str:
    """Where the requests go instead, after a failover."""
    url = (seen.get("moved") or {}).get(name)
    return f", requests go to {one_line(url)}" if url else ""


def limit_words(limits: dict[str, Any]) -> str:
    """The run's limits, and this process's share of them."""
    words = []
    why = limits.get("why") or {}
    if limits.get("bandwidth"):
        words.append(f"{rate_text(limits['bandwidth'])} ({why.get('bandwidth')})")
    for name, noun in (("requests_per_second", "requests/s"), ("concurrent_requests", "requests at once")):
        if limits.get(name):
            words.append(f"{limits[name]:g} {noun} ({why.get(name)})")
    return ", ".join(words) + f", of which {100 * limits.get('share', 1.0):.0f} % here"
