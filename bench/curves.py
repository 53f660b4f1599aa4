"""Draws the curves of docs/scale.md from tables of what was measured.

    python -m bench.curves [FOLDER]      docs/scale, with curves.csv and tenths.csv

curves.csv has a row for each run: objects first, then what `python -m bench.scale small OBJECTS` printed; an empty
field was not measured, and its line ends before it. Dashed: on as between the last two sizes measured, to the largest
of the table. tenths.csv has a row for each tenth of a run, as `bench.scale` prints them.
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench import ROOT
from schema.formats.escape import html_text
from schema.formats.quantities import count_text

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 150, 30, 28
ROWS = 4
COLOURS = ("#2563eb", "#c2410c", "#15803d", "#7e22ce")
FONT = 'font-family="sans-serif" font-size="11" fill="#6b7280"'


class Curve(NamedTuple):
    """One quantity, by the number of objects."""

    name: str
    points: Sequence[tuple[float, float]]
    """Ascending."""


class Picture(NamedTuple):
    """Curves of one unit."""

    name: str
    title: str
    columns: Mapping[str, str]
    """Of the table, and what they are called."""


PICTURES = (
    Picture(
        "processor",
        "Processor seconds",
        {"plan_cpu_s": "plan", "apply_cpu_s": "apply", "verify_cpu_s": "verify", "ledger_cpu_s": "ledger"},
    ),
    Picture(
        "memory",
        "Memory of a command, MiB",
        {"plan_memory_mib": "plan", "apply_memory_mib": "apply", "verify_memory_mib": "verify"},
    ),
    Picture("disk", "Disk, MiB", {"manifests_mib": "manifests", "ledger_folder_mib": "ledger's folder"}),
)


TABLES = ("curves.csv", "tenths.csv")
TENTHS = {"objects_per_second": "Objects a second", "cpu_ms": "Milliseconds of CPU an object"}
"""The columns of tenths.csv that are drawn."""


def shown_objects(objects: float) -> str:
    """A place on the axis of sizes."""
    return f"{objects / 1e6:g} M" if objects >= 1e5 else count_text(round(objects))


def shown_share(tenth: float) -> str:
    """A place on the axis of a run's tenths."""
    return f"{tenth * 10:g} %"


def tenths_of(rows: Sequence[Mapping[str, str]], column: str) -> list[Curve]:
    """One curve for each run, over its tenths."""
    runs: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        runs.setdefault(row["run"], []).append((float(row["tenth"]), float(row[column])))
    return [Curve(name, sorted(points)) for name, points in runs.items()]


def curves_of(rows: Sequence[Mapping[str, str]], picture: Picture) -> list[Curve]:
    """The curves of *picture*; those without a point are left out."""
    found = []
    for column, name in picture.columns.items():
        points = sorted((float(row["objects"]), float(row[column])) for row in rows if row[column])
        if points:
            found.append(Curve(name, points))
    return found


def drawn(title: str, curves: Sequence[Curve], most: float, *, shown: Callable[[float], str] = shown_objects) -> str:
    """The SVG. *most*: the right end of the axis, whose places read as *shown*."""
    top = ceiling(max(extended(curve, most)[1] for curve in curves))

    def x(objects: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * objects / most

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{html_text(title)}</title>",
        f'<text x="{LEFT}" y="16" {FONT}>{html_text(title)}</text>',
    ]
    for row in range(ROWS + 1):
        value, objects = top * row / ROWS, most * row / ROWS
        parts.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="#d1d5db" stroke-width="0.5"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end" {FONT}>{value:,g}</text>')
        text = html_text(shown(objects))
        parts.append(f'<text x="{x(objects):.1f}" y="{HEIGHT - 8}" text-anchor="middle" {FONT}>{text}</text>')
    labels = Labels()
    for curve, colour in zip(curves, COLOURS, strict=False):
        corners = " ".join(f"{x(objects):.1f},{y(value):.1f}" for objects, value in curve.points)
        parts.append(f'<polyline points="{corners}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts += [f'<circle cx="{x(o):.1f}" cy="{y(v):.1f}" r="2.5" fill="{colour}"/>' for o, v in curve.points]
        end = extended(curve, most)
        if end != curve.points[-1]:
            (begin, level), (last, value) = curve.points[-1], end
            parts.append(
                f'<path d="M{x(begin):.1f} {y(level):.1f}L{x(last):.1f} {y(value):.1f}" stroke="{colour}" '
                'stroke-dasharray="4 3"/>'
            )
        down = labels.place(y(end[1]) + 4)
        parts.append(
            f'<text x="{WIDTH - RIGHT + 8}" y="{down:.1f}" font-family="sans-serif" font-size="11" fill="{colour}">'
            f"{html_text(curve.name)}: {'' if end == curve.points[-1] else 'about '}{end[1]:,.4g}</text>"
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


class Labels:
    """Places texts below one another where they would overlap."""

    def __init__(self) -> None:
        self._taken: list[float] = []

    def place(self, wanted: float) -> float:
        """Where the text goes that belongs at *wanted*."""
        while any(abs(wanted - other) < 12 for other in self._taken):
            wanted -= 12
        self._taken.append(wanted)
        return wanted


def extended(curve: Curve, most: float) -> tuple[float, float]:
    """Where *curve* would be at *most* objects, going on as between its last two points; the last if it is there."""
    objects, value = curve.points[-1]
    if objects >= most or len(curve.points) < 2:
        return objects, value
    earlier, before = curve.points[-2]
    return most, value + (value - before) / (objects - earlier) * (most - objects)


def ceiling(value: float) -> float:
    """The end of a scale that holds *value* and whose quarters are round."""
    power = 10 ** math.floor(math.log10(max(value, 1.0)))
    return float(next(power * factor for factor in (1, 2, 4, 8, 10) if power * factor >= value))


def main(arguments: Sequence[str]) -> int:
    """Write one SVG for each picture."""
    folder = Path(arguments[0]) if arguments else ROOT / "docs" / "scale"
    sizes, tenths = (list(csv.DictReader((folder / name).read_text().splitlines())) for name in TABLES)
    most = max(float(row["objects"]) for row in sizes)
    pictures = {picture.name: drawn(picture.title, curves_of(sizes, picture), most) for picture in PICTURES}
    for column, title in TENTHS.items():
        pictures[column] = drawn(f"{title}, by tenth of the run", tenths_of(tenths, column), 10, shown=shown_share)
    for name, picture in pictures.items():
        path = folder / f"{name}.svg"
        path.write_text(picture)
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
