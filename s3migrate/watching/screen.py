"""A run on the terminal: a few rows, redrawn each second. Imports rich only when they are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from s3migrate.views.progress_rows import bar, drawn, row
from s3migrate.views.run_view import Rate
from s3migrate.views.worker_view import endpoint_words, worker_lines
from s3migrate.watching.needs import needs_of
from s3migrate.watching.snapshot import STAGE_WORDS, RunSnapshot
from schema.formats.escape import one_line
from schema.formats.quantities import count_text, duration_text, rate_text, size_text
from schema.process_view import Quality, endpoints_of

if TYPE_CHECKING:
    from rich.console import RenderableType

WORKERS_SHOWN = 8
TROUBLES_SHOWN = 5
_COLOURS = {Quality.GOOD: "green", Quality.DEGRADED: "yellow", Quality.POOR: "red"}


def screen(snapshot: RunSnapshot, rate: Rate, troubles: Sequence[str], *, columns: int) -> list[str]:
    """The rows, with colours as escape sequences, none wider than *columns*. *troubles* are escaped already."""
    return drawn(_parts(snapshot, rate, troubles), columns=columns)


def _parts(snapshot: RunSnapshot, rate: Rate, troubles: Sequence[str]) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    progress = snapshot.progress
    yield bar(f"Run {progress.run_id} {progress.name}", progress.done, progress.objects)
    yield row(_totals(snapshot, rate))
    yield from map(row, _left(snapshot, rate))
    yield from _stages(snapshot)
    yield from _endpoints(snapshot)
    processes = [next(worker_lines(worker)) for worker in snapshot.workers]
    yield from (row(f"  {line}", "dim") for line in processes[:WORKERS_SHOWN])
    if len(processes) > WORKERS_SHOWN:
        yield row(f"  and {len(processes) - WORKERS_SHOWN} more processes", "dim")
    if snapshot.why.shares:
        yield Padding(Text(f"why not faster: {snapshot.why.sentence}"), (0, 0, 0, 2))
    yield from (row(f"  {trouble}", "red") for trouble in troubles[-TROUBLES_SHOWN:])
    for need in needs_of(snapshot):
        yield row(f"! {one_line(need.what)}", "bold yellow")
        if need.command:
            yield row(f"    {need.command}", "bold")


def _totals(snapshot: RunSnapshot, rate: Rate) -> str:
    progress = snapshot.progress
    objects, size = rate.of(progress)
    failed = f"{count_text(progress.failed)} failed, " if progress.failed else ""
    speed = f", {objects:,.0f}/s, {rate_text(size)}" if objects else ""
    return (
        f"  {failed}{count_text(progress.done)} of {count_text(progress.objects)} objects, "
        f"{size_text(progress.bytes_done)} of {size_text(progress.bytes)}" + speed
    )


def _left(snapshot: RunSnapshot, rate: Rate) -> Iterator[str]:
    if snapshot.eta is not None:
        eta = snapshot.eta
        yield (f"  about {duration_text(eta.expected)} left ({duration_text(eta.low)} to {duration_text(eta.high)})")
    elif not snapshot.ended and (left := rate.left(snapshot.progress)) is not None:
        yield f"  about {duration_text(left)} left"


def _stages(snapshot: RunSnapshot) -> Iterator[RenderableType]:
    from rich.table import Table

    if len(snapshot.stages) < 2:
        return
    table = Table.grid(padding=(0, 2))
    for justify in ("left", "right", "left"):
        table.add_column(no_wrap=True, justify=justify, overflow="ellipsis")
    for stage in snapshot.stages:
        failed = f", {count_text(stage.failed)} failed" if stage.failed else ""
        counts = f"{count_text(stage.done)} of {count_text(stage.objects)}"
        table.add_row(f"  {one_line(stage.stage)}", counts, STAGE_WORDS[stage.state] + failed)
    yield table


def _endpoints(snapshot: RunSnapshot) -> Iterator[RenderableType]:
    views = [worker.seen for worker in snapshot.workers if worker.seen is not None]
    for name, end in sorted(endpoints_of(views).items()):
        yield row(f"  {one_line(name)}: {endpoint_words(end)}", _COLOURS[end.quality])
