"""The charts of a run's history, with the limits that were in force."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from s3migrate.views.charts import Chart, Point
from schema.flow.samples import SIDES, FlowPoint
from schema.formats.quantities import rate_text
from schema.limits import BANDWIDTH, CONCURRENT_REQUESTS, REQUESTS_PER_SECOND

LimitAt = Callable[[str, FlowPoint], float | None]
"""A limit of the whole run, by its name, during a step of the history; None: there was none."""


def charts_of(history: Sequence[FlowPoint], limit_at: LimitAt) -> list[Chart]:
    """Five quantities over time; a limit is drawn into the chart of what it limits."""
    step = history[0].seconds if history else 1.0

    def curve(value: Callable[[FlowPoint], float]) -> list[Point]:
        return [Point(point.begins.timestamp(), value(point)) for point in history]

    def limit(name: str) -> list[Point]:
        return list(_limit(name, history, limit_at))

    return [
        Chart("objects", "Objects per second", curve(lambda p: p.counts.objects / p.seconds), step, _plain),
        Chart("bytes", "Bytes per second, of objects that arrived", curve(lambda p: p.counts.bytes / p.seconds), step,
              rate_text, limit(BANDWIDTH.name), binary=True),
        Chart("threads", "Worker threads", curve(lambda p: sum(p.counts.threads.values()) / p.seconds), step, _plain,
              limit(CONCURRENT_REQUESTS.name)),
        Chart("requests", "Requests per second", curve(lambda p: _requests(p) / p.seconds), step, _plain,
              limit(REQUESTS_PER_SECOND.name)),
        Chart("throttled", "Requests refused as too many", curve(_throttled), step, _percent),
    ]  # fmt: skip


def _requests(point: FlowPoint) -> int:
    return sum(point.counts.of(side).total for side in SIDES)


def _throttled(point: FlowPoint) -> float:
    requests = _requests(point)
    return sum(point.counts.of(side).throttled for side in SIDES) / requests if requests else 0.0


def _limit(name: str, history: Sequence[FlowPoint], limit_at: LimitAt) -> Iterable[Point]:
    for point in history:
        figure = limit_at(name, point)
        if figure is not None:
            yield Point(point.begins.timestamp(), figure)


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def _percent(value: float) -> str:
    return f"{round(100 * value, 1):g} %"
