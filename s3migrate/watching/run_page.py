"""The live page of a run and the list of runs: read-only, without script."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from executor.ledger.values import Run, StageState
from s3migrate.views.charts import Chart, Point, line_chart
from s3migrate.views.page import render_page
from s3migrate.views.run_view import figures
from s3migrate.views.why import why_figures
from s3migrate.views.worker_view import worker_figures, worker_lines
from s3migrate.watching.needs import needs_of
from s3migrate.watching.shares import Part, heat_map, parts_bar
from s3migrate.watching.snapshot import RunSnapshot
from schema.errors import WhichSide
from schema.flow.samples import SIDES, FlowPoint
from schema.formats.quantities import duration_text, rate_text
from schema.limits import BANDWIDTH

FORMAT_VERSION = 1
"""The version of run.json."""
_STAGES = {StageState.BLOCKED: "waits for the stages before it", StageState.OPEN: "open", StageState.PASSED: "done"}


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


def _charts(snapshot: RunSnapshot) -> Iterator[tuple[str, Markup]]:
    """(title, SVG) of each chart; nothing until there is a history."""
    history = snapshot.history
    limits = next((w.seen.limits.figures for w in reversed(snapshot.workers) if w.seen and w.seen.limits), {})
    if len(history) < 2:
        return

    def chart(title: str, of: Callable[[FlowPoint], float], text: Callable[[float], str], *, limit: str = "") -> Chart:
        moments = [point.begins.timestamp() for point in history]
        points = [Point(at, of(point)) for at, point in zip(moments, history, strict=True)]
        across = [Point(at, limits[limit]) for at in moments] if limit in limits else []
        name = "".join(filter(str.isalpha, title))
        return Chart(name, title, points, history[0].seconds, text, across, binary=text is rate_text)

    for made in (
        chart("Objects a second", _objects, _plain),
        chart("Bytes a second", _bytes, rate_text, limit=BANDWIDTH.name),
        chart("Threads", _threads, _plain),
        chart("Requests a second, both ends", _requests_a_second, _plain),
        chart("Throttled requests", _refused, _percent),
    ):
        yield made.title, Markup(line_chart(made))  # noqa: S704 - drawn and escaped there


def _objects(point: FlowPoint) -> float:
    return point.counts.objects / point.seconds


def _bytes(point: FlowPoint) -> float:
    return point.counts.bytes / point.seconds


def _threads(point: FlowPoint) -> float:
    return sum(point.counts.threads.values()) / point.seconds


def _requests_a_second(point: FlowPoint) -> float:
    return _total(point) / point.seconds


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _total(point: FlowPoint) -> int:
    return sum(point.counts.of(side).total for side in SIDES)


def _refused(point: FlowPoint) -> float:
    total = _total(point)
    return sum(point.counts.of(side).throttled for side in SIDES) / total if total else 0.0
