"""How many local processes `apply --processes` means."""

from __future__ import annotations

import click
import pytest

from executor.events import ObjectTrouble
from s3migrate.applying.crew import MOST, OBJECTS_EACH, processes_for, trouble_of
from s3migrate.commands.apply import asked_for
from s3migrate.views.run_view import JsonRun


@pytest.mark.parametrize(
    ("objects", "cores", "count"),
    [
        (0, 8, 1),
        (2 * OBJECTS_EACH - 1, 8, 1),
        (2 * OBJECTS_EACH, 8, 2),
        (10**9, 8, 8),
        (10**9, 1, 1),
        (10**9, 256, MOST),
    ],
)
def test_auto_is_one_for_each_core_that_is_worth_it(objects: int, cores: int, count: int) -> None:
    assert processes_for(objects, cores) == count


@pytest.mark.parametrize(("text", "meant"), [("1", 1), ("64", 64), ("auto", None)])
def test_a_number_or_auto(text: str, meant: int | None) -> None:
    assert asked_for(None, None, text) == meant


@pytest.mark.parametrize("text", ["0", "65", "-1", "many", "1.5", "", "\u0661"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="neither a number"):
        asked_for(None, None, text)


def test_a_trouble_comes_through_the_json_line_as_it_was() -> None:
    trouble = ObjectTrouble("pair-2", "tiny-0a1b2c", 7, "k\n", "Throttled", "slow down", 503, 3, final=True)
    lines: list[dict[str, object]] = []
    JsonRun(lines.append).object_trouble(trouble)
    assert [trouble_of(line) for line in lines] == [trouble]
