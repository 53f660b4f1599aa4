"""The charts of a run's history, with the limits that were in force."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from executor.flow.limits import limits_at
from s3migrate.views.charts import Chart, Point
from s3migrate.views.report.facts import RunReport
from schema.flow.samples import SIDES, FlowPoint
from schema.formats.quantities import rate_text
from schema.limits import BANDWIDTH, CONCURRENT_REQUESTS, REQUESTS_PER_SECOND


def charts_of(report: RunReport) -> list[Chart]:
    """Five quantities over time; a limit is drawn into the chart of what it limits."""
    history = report.history
    step = history[0].seconds if history else 1.0

    def curve(value: Callable[[FlowPoint], float]) -> list[Point]:
        return [Point(point.begins.timestamp(), value(point)) for point in history]

    def limit(name: str) -> list[Point]:
        return list(_limit(report, name))

    return [
        Chart("objects", "Objects a second", curve(lambda p: p.counts.objects / p.seconds), step, _plain),
        Chart("bytes", "Bytes a second, of objects that arrived", curve(lambda p: p.counts.bytes / p.seconds), step,
              rate_text, limit(BANDWIDTH.name), binary=True),
        Chart("threads", "Worker threads", curve(lambda p: sum(p.counts.threads.values()) / p.seconds), step, _plain,
              limit(CONCURRENT_REQUESTS.name)),
        Chart("requests", "Requests a second", curve(lambda p: _requests(p) / p.seconds), step, _plain,
              limit(REQUESTS_PER_SECOND.name)),
        Chart("throttled", "Requests refused as too many", curve(_throttled), step, _percent),
    ]  # fmt: skip


def _requests(point: FlowPoint) -> int:
    return sum(point.counts.of(side).total for side in SIDES)


def _throttled(point: FlowPoint) -> float:
    requests = _requests(point)
    return sum(point.counts.of(side).throttled for side in SIDES) / requests if requests else 0.0


def _limit(report: RunReport, name: str) -> Iterable[Point]:
    """The limit by plan and calendar at each point; one that was set during the run is drawn over all of it."""
    for point in report.history:
        figure = limits_at(report.plan.limits, point.begins, report.limits_set).figures.get(name)
        if figure is not None:
            yield Point(point.begins.timestamp(), figure)


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def _percent(value: float) -> str:
    return f"{round(100 * value, 1):g} %"
