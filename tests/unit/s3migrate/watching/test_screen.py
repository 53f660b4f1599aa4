"""The terminal's picture: it fits, says what counts, and no key can draw on it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from support.snapshots import HOSTILE, snapshot, worker

from executor.ledger.values import RunState
from s3migrate.views.run_view import Rate
from s3migrate.watching.screen import screen
from s3migrate.watching.snapshot import RunSnapshot

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def plain(shown: RunSnapshot, columns: int = 79, troubles: tuple[str, ...] = ()) -> list[str]:
    """The rows without colours."""
    return [COLOUR.sub("", row) for row in screen(shown, Rate(), troubles, columns=columns)]


@pytest.mark.parametrize("columns", [30, 79, 200])
def test_no_row_is_wider_than_the_terminal_and_there_are_few(columns: int) -> None:
    many = snapshot(workers=[worker(n) for n in range(40)])
    rows = plain(many, columns, ("x" * 500,))
    assert max(map(len, rows)) <= columns
    assert len(rows) <= 26


def test_it_says_how_far_how_long_and_what_needs_a_person() -> None:
    text = "\n".join(plain(snapshot(), 200))
    for words in (
        "Run 3 photos",
        "43.2 %",
        "432,100 of 1,000,000 objects",
        "about 2 h 10 min left (1 h 40 min to 3 h 3 min)",
        "canary",
        "waits for the stages before it",
        "destination.example:443: degraded",
        "process 4711 on host: 60 of 64 threads busy",
        "why not faster: 62 % of thread time",
        "s3migrate retry 3",
    ):
        assert words in text, words


def test_it_is_not_done_before_all_is_done() -> None:
    progress = snapshot().progress
    almost = snapshot(progress=replace(progress, done=progress.objects - 1))
    assert "99.9 %" in plain(almost)[0]
    empty = snapshot(progress=replace(progress, objects=0, done=0, state=RunState.COMPLETE), eta=None)
    assert "100.0 %" in plain(empty)[0]


def test_a_name_cannot_draw_on_the_terminal() -> None:
    shown = snapshot(progress=replace(snapshot().progress, name=HOSTILE))
    rows = plain(shown, 200)
    assert "\x1b" not in "".join(rows) and "\u202e" not in "".join(rows)
    marked = snapshot(progress=replace(snapshot().progress, name="[red]x"))
    assert "[red]x" in plain(marked)[0], "no markup either"
