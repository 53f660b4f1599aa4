"""The live page of a run and the list of runs: read-only, without script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from executor.ledger.values import Run
from s3migrate.views.charts import line_chart
from s3migrate.views.page import render_page
from s3migrate.views.run_charts import charts_of
from s3migrate.views.run_view import figures
from s3migrate.views.why import why_figures
from s3migrate.views.worker_view import worker_figures, worker_lines
from s3migrate.watching.needs import needs_of
from s3migrate.watching.shares import Part, heat_map, parts_bar
from s3migrate.watching.snapshot import STAGE_WORDS, RunSnapshot
from schema.errors import WhichSide
from schema.flow.samples import SIDES
from schema.formats.quantities import duration_text

FORMAT_VERSION = 1
"""The version of run.json."""


def runs_page(runs: Sequence[Run]) -> str:
    """Every run of the ledger, one row each."""
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
        charts=_charts(snapshot),
        heat=heat_map(
            [(cell.done / cell.objects if cell.objects else 1.0, bool(cell.failed)) for cell in snapshot.cells]
        ),
        stages=[(stage, STAGE_WORDS[stage.state]) for stage in snapshot.stages],
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


def _charts(snapshot: RunSnapshot) -> list[tuple[str, Markup]]:
    """(title, SVG) of each chart; none until there is a history."""
    if len(snapshot.history) < 2:
        return []
    limits = next((w.seen.limits.figures for w in reversed(snapshot.workers) if w.seen and w.seen.limits), {})
    charts = charts_of(snapshot.history, lambda name, _point: limits.get(name))
    return [(chart.title, Markup(line_chart(chart))) for chart in charts]  # noqa: S704 - drawn and escaped there
