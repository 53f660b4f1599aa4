"""From runs to one table: medians, ratios to the rival, and how far from the machine's floor."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bench.cases import Case
from bench.contestants import BARE_WIRE, Result

MIB = 1 << 20
MARKS = ("<!-- bench: begin -->", "<!-- bench: end -->")


class Row(NamedTuple):
    """Medians of one contestant in one case. None: not measured, or nothing to compare with."""

    case: str
    contestant: str
    runs: int
    wall_seconds: float
    cpu_ms_per_object: float
    cpu_seconds_per_gb: float
    server_cpu_seconds: float
    ledger_cpu_ms_per_object: float
    peak_rss_mib: float
    plan_seconds: float | None
    wall_ratio: float | None
    cpu_ratio: float | None
    floor_ratio: float | None
    """Wall time over the floor: what the servers' CPU and that of our bare wire leave possible on all cores."""


def rows_of(case: Case, runs: Mapping[str, Sequence[Result]]) -> list[Row]:
    """A row for each contestant that ran."""
    ran = {name: results for name, results in runs.items() if results}
    rival = ran.get(case.rival)
    floor = floor_seconds(ran[BARE_WIRE.name]) if BARE_WIRE.name in ran else None
    return [_row(case, name, results, rival, floor) for name, results in ran.items()]


def floor_seconds(results: Sequence[Result]) -> float:
    """The least wall time of the bare wire and its servers, were every core busy all the time."""
    return median((r.measured.cpu + r.server_cpu) / (os.cpu_count() or 1) for r in results)


def _row(case: Case, name: str, results: Sequence[Result], rival: Sequence[Result] | None, floor: float | None) -> Row:
    wall = median(r.measured.wall for r in results)
    cpu = median(r.measured.cpu for r in results)
    plans = [r.plan.wall for r in results if r.plan is not None]
    return Row(
        case=case.name,
        contestant=name,
        runs=len(results),
        wall_seconds=wall,
        cpu_ms_per_object=cpu / case.workload.objects * 1e3,
        cpu_seconds_per_gb=cpu / case.workload.bytes * 1e9,
        server_cpu_seconds=median(r.server_cpu for r in results),
        ledger_cpu_ms_per_object=median(r.ledger_cpu for r in results) / case.workload.objects * 1e3,
        peak_rss_mib=median(r.measured.peak_rss for r in results) / MIB,
        plan_seconds=median(plans) if plans else None,
        wall_ratio=wall / median(r.measured.wall for r in rival) if rival else None,
        cpu_ratio=cpu / median(r.measured.cpu for r in rival) if rival else None,
        floor_ratio=wall / floor if floor else None,
    )


def table(rows: Sequence[Row]) -> str:
    """Markdown, which reads well on a terminal too."""
    figures_of = ("wall s", "CPU ms/object", "CPU s/GB", "RSS MiB", "wall x", "CPU x", "x floor", "plan s")
    head = ("case", "contestant", *figures_of)
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "--:|" * (len(head) - 2)]
    shown = ""
    for row in rows:
        case = "" if row.case == shown else f"**{row.case}**"
        shown = row.case
        figures = (
            f"{row.wall_seconds:.2f}",
            f"{row.cpu_ms_per_object:.3f}",
            f"{row.cpu_seconds_per_gb:.2f}",
            f"{row.peak_rss_mib:.0f}",
            *(_or_blank(ratio) for ratio in (row.wall_ratio, row.cpu_ratio, row.floor_ratio)),
            _or_blank(row.plan_seconds),
        )
        lines.append("| " + " | ".join((case, row.contestant, *figures)) + " |")
    return "\n".join(lines)


def _or_blank(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.2f}"


def publish(document: Path, text: str, machine: Mapping[str, Any], rounds: int) -> None:
    """Put the table between the marks of *document*, with what it was taken on."""
    begin, end = MARKS
    said = (
        f"Taken {datetime.now(UTC):%Y-%m-%d} on {machine['cores']} cores, {machine['python']} and {machine['rclone']}, "
        f"medians of {rounds} alternating rounds, load {machine['load_at_start'][0]:.1f} at the start."
    )
    written = re.sub(
        re.escape(begin) + ".*?" + re.escape(end),
        lambda _: f"{begin}\n{said}\n\n{text}\n{end}",
        document.read_text(encoding="utf-8"),
        count=1,
        flags=re.DOTALL,
    )
    document.write_text(written, encoding="utf-8")
