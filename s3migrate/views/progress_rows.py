"""Rows of a progress display on a terminal: the bar of apply, plan and verify. Imports rich only when one is drawn."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from s3migrate.console import output
from schema.formats.escape import one_line

if TYPE_CHECKING:
    from rich.console import RenderableType


def drawn(parts: Iterable[RenderableType], *, columns: int) -> list[str]:
    """The rows, with colours as escape sequences, none wider than *columns*."""
    from rich.console import Console
    from rich.text import Text

    console = Console(
        file=io.StringIO(), force_terminal=True, width=columns, legacy_windows=False, highlight=False, markup=False
    )
    with console.capture() as captured:
        for part in parts:
            console.print(part, no_wrap=isinstance(part, Text) or None, overflow="ellipsis")
    return captured.get().rstrip("\n").split("\n")


def row(words: str, style: str = "") -> RenderableType:
    """One row, cut at the width of the terminal."""
    from rich.text import Text

    return Text(words, style=style)


def bar(title: str, done: int, total: int | None) -> RenderableType:
    """*title*, a bar and the percentage of *total* that is done; for an unknown total (None) the title alone."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    if total is None:
        return row(one_line(title), "bold")
    whole, part = (total, min(done, total)) if total else (1, 1)
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(no_wrap=True, max_width=30, overflow="ellipsis")
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True, justify="right")
    percent = int(1000 * part / whole) / 10  # 100.0 only when all is done
    grid.add_row(
        Text(one_line(title), style="bold"), ProgressBar(total=whole, completed=part), Text(f"{percent:.1f} %")
    )
    return grid


def show_bar(title: str, done: int, total: int | None, *, words: Sequence[str]) -> None:
    """Show a bar over the rows *words* on the terminal, in place of the previous one."""
    rows = drawn([bar(title, done, total), *map(row, words)], columns=output.columns_of_stderr() - 1)
    output.progress("\n".join(rows), err=True)
