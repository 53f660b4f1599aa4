"""Charts as inline SVG, styled by classes (.line, .area, .limit, .grid, .tick), for the live page and the report.

No script, no style attribute, no reference to anything outside: they work under a strict content security policy and
on paper. All text is HTML-escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from schema.formats.escape import html_text

WIDTH, HEIGHT = 560, 190
LEFT, RIGHT, TOP, BOTTOM = 84, 8, 12, 24
_ROWS = 4


class Point(NamedTuple):
    """A value over one step of time."""

    at: float
    """Seconds since the epoch, where the step begins."""
    value: float


@dataclass(frozen=True, slots=True)
class Chart:
    """One quantity over time."""

    name: str
    """Unique on its page: letters and digits."""
    title: str
    points: Sequence[Point]
    """Ascending; a step without a value is left out, and drawn as a gap."""
    step: float
    """Seconds between two points."""
    text: Callable[[float], str]
    """A value for people."""
    limit: Sequence[Point] = ()
    """What the quantity was not to exceed, at the times at which it was limited."""
    binary: bool = False
    """The scale's ticks are powers of two: bytes."""


def line_chart(chart: Chart) -> str:
    """The SVG of *chart*; a sentence if there is nothing to draw."""
    title = html_text(chart.title)
    if not chart.points:
        return f'<p class="empty">{title}: nothing was recorded.</p>'
    top = _ceiling(max(point.value for point in (*chart.points, *chart.limit)), binary=chart.binary)
    begin, end = chart.points[0].at, chart.points[-1].at + chart.step

    def x(at: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (at - begin) / (end - begin)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(value, top) / top

    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"',
        f' aria-labelledby="{chart.name}-t {chart.name}-d"><title id="{chart.name}-t">{title}</title>',
        f'<desc id="{chart.name}-d">{html_text(_description(chart))}</desc>',
        *_grid(chart, top, y),
        *_moments(begin, end),
    ]
    for name, points in (("line", chart.points), ("limit", chart.limit)):
        for run in _unbroken(points, chart.step):
            corners = [(x(at), y(value)) for point in run for at, value in _step(point, chart.step)]
            line = " ".join(f"{across:.1f},{down:.1f}" for across, down in corners)
            if name == "line":
                first, last, floor = corners[0][0], corners[-1][0], HEIGHT - BOTTOM
                parts.append(f'<polygon class="area" points="{first:.1f},{floor} {line} {last:.1f},{floor}"/>')
            parts.append(f'<polyline class="{name}" points="{line}"/>')
    return "".join([*parts, "</svg>"])


def share_bar(share: float, label: str) -> str:
    """A horizontal bar of which *share* (0..1) is filled."""
    filled = 100 * min(1.0, max(0.0, share))
    return (
        f'<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label="{html_text(label)}">'
        f'<rect class="rest" width="100" height="8"/><rect class="part" width="{filled:.2f}" height="8"/></svg>'
    )


def _description(chart: Chart) -> str:
    values = [point.value for point in chart.points]
    mean, most = sum(values) / len(values), max(values)
    begin, end = _moment(chart.points[0].at), _moment(chart.points[-1].at + chart.step)
    words = f"From {begin} to {end} UTC: {chart.text(mean)} on average, {chart.text(most)} at most."
    if chart.limit:
        words += f" The limit was {chart.text(chart.limit[-1].value)} at the end (dashed)."
    return words


def _grid(chart: Chart, top: float, y: Callable[[float], float]) -> Iterable[str]:
    for row in range(_ROWS + 1):
        value = top * row / _ROWS
        down = y(value)
        text = html_text(chart.text(value))
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{down:.1f}" y2="{down:.1f}"/>'
        yield f'<text class="tick" x="{LEFT - 6}" y="{down + 3.5:.1f}" text-anchor="end">{text}</text>'


def _moments(begin: float, end: float) -> Iterable[str]:
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        across = LEFT + (WIDTH - LEFT - RIGHT) * share
        text = _moment(begin + (end - begin) * share, seconds=end - begin < 600)
        yield f'<text class="tick" x="{across:.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{text}</text>'


def _moment(epoch: float, *, seconds: bool = False) -> str:
    return f"{datetime.fromtimestamp(epoch, UTC):{'%H:%M:%S' if seconds else '%d %b %H:%M'}}"


def _step(point: Point, step: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """A value holds for its whole step."""
    return (point.at, point.value), (point.at + step, point.value)


def _unbroken(points: Sequence[Point], step: float) -> Iterable[list[Point]]:
    """Stretches of *points* without a missing step."""
    run: list[Point] = []
    for point in points:
        if run and point.at - run[-1].at > 1.5 * step:
            yield run
            run = []
        run.append(point)
    if run:
        yield run


def _ceiling(value: float, *, binary: bool) -> float:
    """The top of a scale that includes *value* and has round quarters."""
    if value < 1e-300:  # the powers of ten below end at 0
        return 1.0
    if binary:
        return float(2 ** math.ceil(math.log2(max(value, 4.0))))
    power = 10 ** math.floor(math.log10(value))
    return float(next(power * factor for factor in (1, 2, 4, 8, 10) if power * factor >= value * (1 - 1e-9)))
