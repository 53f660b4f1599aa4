"""The live page of a run, and the list of runs: from snapshots, read-only, without script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from executor.ledger.values import Run, StageState
from s3migrate.views.page import render_page
from s3migrate.views.run_view import figures
from s3migrate.views.why import why_figures
from s3migrate.views.worker_view import worker_figures, worker_lines
from s3migrate.watching.charts import Line, Part, heat_map, line_chart, parts_bar
from s3migrate.watching.needs import needs_of
from s3migrate.watching.snapshot import RunSnapshot
from schema.errors import WhichSide
from schema.flow.samples import SIDES, FlowPoint
from schema.formats.quantities import count_text, duration_text, rate_text
from schema.limits import BANDWIDTH, REQUESTS_PER_SECOND

FORMAT_VERSION = 1
"""Of run.json."""
_STAGES = {StageState.BLOCKED: "waits for the stages before it", StageState.OPEN: "open", StageState.PASSED: "done"}


def runs_page(runs: Sequence[Run]) -> str:
    """Every run of the ledger, a row each."""
    return render_page("live_runs.html", runs=runs)


def run_page(snapshot: RunSnapshot) -> str:
    """One run."""
    progress = snapshot.progress
    percent = int(1000 * progress.done / progress.objects) / 10 if progress.objects else 100.0
    return render_page(
        "live_run.html",
        run=snapshot.run,
        progress=progress,
        state=progress.state.name.lower(),
        percent=percent,
        left=_left(snapshot),
        needs=list(needs_of(snapshot)),
        why=snapshot.why,
        shares=parts_bar(_parts(snapshot)),
        parts=_parts(snapshot),
        charts=list(_charts(snapshot)),
        heat=heat_map(
            [(cell.done / cell.objects if cell.objects else 1.0, bool(cell.failed)) for cell in snapshot.cells]
        ),
        stages=[(stage, _STAGES[stage.state]) for stage in snapshot.stages],
        workers=[list(worker_lines(worker)) for worker in snapshot.workers],
        requests=[(side.value, kind.name, n) for side in SIDES for kind, n in snapshot.total.of(side).requests.items()],
        failed_by=snapshot.failed_by,
        failures=snapshot.failures,
    )


def run_json(snapshot: RunSnapshot) -> dict[str, Any]:
    """The same for machines."""
    return {
        "format_version": FORMAT_VERSION,
        **figures(snapshot.progress),
        "plan_id": snapshot.run.plan_id,
        "serial": snapshot.run.serial,
        "started_at": snapshot.progress.started_at.isoformat(),
        "now": snapshot.progress.now.isoformat(),
        "eta_seconds": None if snapshot.eta is None else snapshot.eta._asdict(),
        "planned_seconds": snapshot.planned_seconds,
        "why": why_figures(snapshot.why),
        "needs": [need._asdict() for need in needs_of(snapshot)],
        "stages": [{**stage._asdict(), "state": stage.state.name.lower()} for stage in snapshot.stages],
        "failed_by": dict(snapshot.failed_by),
        "workers": [
            {**worker_figures(worker), "started_at": worker.started_at.isoformat()} for worker in snapshot.workers
        ],
        "requests": {side.value: _requests(snapshot, side) for side in SIDES},
        "desired_workers": None if snapshot.scaling is None else snapshot.scaling.desired_workers,
    }


def _requests(snapshot: RunSnapshot, side: WhichSide) -> Mapping[str, int]:
    return {kind.name.lower(): number for kind, number in snapshot.total.of(side).requests.items()}


def _left(snapshot: RunSnapshot) -> str:
    if snapshot.eta is None:
        return ""
    low, expected, high = (duration_text(seconds) for seconds in snapshot.eta)
    return f"about {expected} ({low} to {high})"


def _parts(snapshot: RunSnapshot) -> list[Part]:
    shares = sorted(snapshot.why.shares.items(), key=lambda item: -item[1])
    return [Part(activity.name.lower(), share) for activity, share in shares]


def _charts(snapshot: RunSnapshot) -> Iterator[Markup]:
    points = snapshot.history
    if len(points) < 2:
        return
    limits = next((w.seen.limits.figures for w in reversed(snapshot.workers) if w.seen and w.seen.limits), {})
    objects = Line("objects a second", [point.counts.objects / point.seconds for point in points])
    yield line_chart("Objects a second", objects, most=f"at most {count_text(round(max(objects.values)))}")
    size = Line("bytes a second", [point.counts.bytes / point.seconds for point in points])
    yield line_chart(
        "Bytes a second", size, most=f"at most {rate_text(max(size.values))}", limit=limits.get(BANDWIDTH.name)
    )
    threads = Line("threads", [sum(point.counts.threads.values()) / point.seconds for point in points])
    yield line_chart("Threads", threads, most=f"at most {count_text(round(max(threads.values)))}")
    asked = Line("requests a second", [_total(point) / point.seconds for point in points])
    limit = limits.get(REQUESTS_PER_SECOND.name)
    yield line_chart(
        "Requests a second, both ends", asked, most=f"at most {max(asked.values):,.0f}", limit=limit and 2 * limit
    )
    refused = Line("throttled", [_refused(point) for point in points])
    yield line_chart("Throttled share of requests", refused, most=f"at most {100 * max(refused.values):.1f} %")


def _total(point: FlowPoint) -> int:
    return sum(point.counts.of(side).total for side in SIDES)


def _refused(point: FlowPoint) -> float:
    total = _total(point)
    return sum(point.counts.of(side).throttled for side in SIDES) / total if total else 0.0
