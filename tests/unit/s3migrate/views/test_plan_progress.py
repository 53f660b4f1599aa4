"""What is on the screen while a plan is made."""

from __future__ import annotations

import pytest

from planner.inputs import PlanProgress
from s3migrate.console import output
from s3migrate.views.plan_progress import PlanLines


def test_a_line_at_once_then_one_a_second_and_the_last_word_always() -> None:
    said: list[str] = []
    now = [10.0]
    lines = PlanLines(said.append, lambda: now[0])
    lines.probing(2)
    for step in range(31):
        now[0] = 10.0 + step / 10
        lines.tell(PlanProgress("photos", 1_000 * step, 500 * step, finished=False))
    lines.tell(PlanProgress("photos", 40_000, 20_000, finished=True))

    assert said == [
        "  probing both ends of 2 pairs",
        "  photos: listing 0 at the source, 0 at the destination",
        "  photos: listing 10,000 at the source, 5,000 at the destination, 15,000 keys/s",
        "  photos: listing 20,000 at the source, 10,000 at the destination, 15,000 keys/s",
        "  photos: listing 30,000 at the source, 15,000 at the destination, 15,000 keys/s",
        "  photos: listed 40,000 at the source, 20,000 at the destination, 20,000 keys/s",
    ]


def test_each_pair_has_a_rate_of_its_own() -> None:
    said: list[str] = []
    now = [0.0]
    lines = PlanLines(said.append, lambda: now[0])
    for name, seconds in (("a", 10.0), ("b", 20.0)):
        lines.tell(PlanProgress(name, 0, 0, finished=False))
        now[0] += seconds
        lines.tell(PlanProgress(name, 100, 100, finished=True))

    assert [line.rpartition(", ")[2] for line in said if "listed" in line] == ["20 keys/s", "10 keys/s"]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is drawn on the terminal, one drawing an item."""
    drawings: list[str] = []
    monkeypatch.setattr(output, "progress", lambda text, **_stream: drawings.append(text))
    return drawings


def test_on_a_terminal_a_bar_and_what_is_left_where_the_plan_before_tells(shown: list[str]) -> None:
    said: list[str] = []
    now = [0.0]
    lines = PlanLines(said.append, lambda: now[0], live=True, expected={"photos": 4_000})
    for step in range(3):
        now[0] = 10.0 * step
        lines.tell(PlanProgress("photos", 1_000 * step, 0, finished=False))
        lines.tell(PlanProgress("other", 5, 0, finished=False))

    assert "50.0 %" in shown[-1] and "about 20 s left" in shown[-1]
    assert said == []
    now[0] += 2
    lines.tell(PlanProgress("other", 6, 0, finished=False))
    assert "%" not in shown[-1], "how many keys there are is not known"
    lines.tell(PlanProgress("photos", 4_000, 0, finished=True))
    assert len(said) == 1 and "listed 4,000" in said[0]
