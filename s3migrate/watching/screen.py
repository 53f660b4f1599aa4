"""A run on the terminal: a few rows, redrawn each second. Rich is imported when the first is drawn."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from executor.ledger.values import StageState
from s3migrate.views.run_view import Rate
from s3migrate.views.worker_view import endpoint_words, worker_lines
from s3migrate.watching.needs import needs_of
from s3migrate.watching.snapshot import RunSnapshot
from schema.formats.escape import one_line
from schema.formats.quantities import count_text, duration_text, rate_text, size_text
from schema.process_view import EndpointView, Quality

if TYPE_CHECKING:
    from rich.console import RenderableType

WORKERS_SHOWN = 8
TROUBLES_SHOWN = 5
_COLOURS = {Quality.GOOD: "green", Quality.DEGRADED: "yellow", Quality.POOR: "red"}
_STAGES = {StageState.BLOCKED: "waits for the stages before it", StageState.OPEN: "open", StageState.PASSED: "done"}


def screen(snapshot: RunSnapshot, rate: Rate, troubles: Sequence[str], *, columns: int) -> list[str]:
    """The rows, with colours as escape sequences, none wider than *columns*. Texts of *troubles* are escaped."""
    from rich.console import Console
    from rich.text import Text

    console = Console(
        file=io.StringIO(), force_terminal=True, width=columns, legacy_windows=False, highlight=False, markup=False
    )
    with console.capture() as drawn:
        for part in _parts(snapshot, rate, troubles):
            console.print(part, no_wrap=isinstance(part, Text) or None, overflow="ellipsis")
    return drawn.get().rstrip("\n").split("\n")


def _parts(snapshot: RunSnapshot, rate: Rate, troubles: Sequence[str]) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    yield _bar(snapshot)
    yield _row(_totals(snapshot, rate))
    yield from map(_row, _left(snapshot, rate))
    yield from _stages(snapshot)
    yield from _endpoints(snapshot)
    processes = [next(worker_lines(worker)) for worker in snapshot.workers]
    yield from (_row(f"  {line}", "dim") for line in processes[:WORKERS_SHOWN])
    if len(processes) > WORKERS_SHOWN:
        yield _row(f"  and {len(processes) - WORKERS_SHOWN} more processes", "dim")
    if snapshot.why.shares:
        yield Padding(Text(f"why not faster: {snapshot.why.sentence}"), (0, 0, 0, 2))
    yield from (_row(f"  {trouble}", "red") for trouble in troubles[-TROUBLES_SHOWN:])
    for need in needs_of(snapshot):
        yield _row(f"! {one_line(need.what)}", "bold yellow")
        if need.command:
            yield _row(f"    {need.command}", "bold")


def _row(words: str, style: str = "") -> RenderableType:
    """One row, cut where the terminal ends."""
    from rich.text import Text

    return Text(words, style=style)


def _bar(snapshot: RunSnapshot) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    progress = snapshot.progress
    total = progress.objects or 1
    done = progress.done if progress.objects else 1
    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(no_wrap=True, max_width=30, overflow="ellipsis")
    row.add_column(ratio=1)
    row.add_column(no_wrap=True, justify="right")
    percent = int(1000 * done / total) / 10  # 100.0 only when all is done
    bar = ProgressBar(total=total, completed=done)
    row.add_row(Text(f"Run {progress.run_id} {one_line(progress.name)}", style="bold"), bar, Text(f"{percent:.1f} %"))
    return row


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
        table.add_row(f"  {one_line(stage.stage)}", counts, _STAGES[stage.state] + failed)
    yield table


def _endpoints(snapshot: RunSnapshot) -> Iterator[RenderableType]:
    endpoints: dict[str, EndpointView] = {}
    for worker in snapshot.workers:
        for name, end in (worker.seen.endpoints if worker.seen else {}).items():
            endpoints[name] = endpoints[name].with_other(end) if name in endpoints else end
    for name, end in sorted(endpoints.items()):
        yield _row(f"  {one_line(name)}: {endpoint_words(end)}", _COLOURS[end.quality])
