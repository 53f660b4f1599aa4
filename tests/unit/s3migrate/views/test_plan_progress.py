"""What is on the screen while a plan is made."""

from __future__ import annotations

from planner.inputs import PlanProgress
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
