"""What is on the screen while a plan is verified or certified."""

from __future__ import annotations

import pytest
from support.sample_plan import sample_plan

from executor.verify.run import Looked
from s3migrate.console import output
from s3migrate.views.proof_progress import ProofLines, expected_of, keys_of


def told(*, deep: bool, live: bool) -> list[str]:
    """Lines of a verify that lists 800 keys in ten seconds, then compares 400 objects in forty."""
    said: list[str] = []
    now = [0.0]
    lines = ProofLines(said.append, lambda: now[0], live, Looked(800, 400 if deep else 0))
    looked = Looked()
    for _step in range(20):
        now[0] += 0.5
        looked.listed += 40
        lines.tell(looked)
    for _step in range(20 if deep else 0):
        now[0] += 0.5
        looked.objects += 5
        lines.tell(looked)
    return said


def test_a_line_a_second_with_what_is_left_once_objects_are_compared() -> None:
    said = told(deep=True, live=False)

    assert len(said) == 20
    assert said[0] == "  40 keys listed, 0 objects compared"
    assert said[9] == "  760 keys listed, 0 objects compared, 84/s", "how long comparing takes is not known yet"
    assert said[-1] == "  800 keys listed, 95 objects compared, 47/s, about 28 s left"


def test_at_level_listing_the_keys_tell_what_is_left() -> None:
    assert told(deep=False, live=False)[5] == "  440 keys listed, 88/s, about 4.1 s left"


def test_on_a_terminal_a_bar_that_listing_moves_too(monkeypatch: pytest.MonkeyPatch) -> None:
    drawings: list[str] = []
    monkeypatch.setattr(output, "progress", lambda text, **_stream: drawings.append(text))

    assert told(deep=True, live=True) == []
    assert "30.0 %" in drawings[4] and "left" not in drawings[4]
    assert "74.5 %" in drawings[-1] and "about 28 s left" in drawings[-1]


def test_what_will_be_looked_at_is_what_the_plan_counts() -> None:
    plan = sample_plan()
    summaries = [section.summary for section in plan.sections]
    listed = sum(summary["listed"].objects for summary in summaries)
    written = sum(summary[action].objects for summary in summaries for action in ("copy", "overwrite"))
    kept = sum(summary[action].objects for summary in summaries for action in ("skip", "extraneous"))

    whole = expected_of(plan, deep=True, sample=None)

    assert keys_of(plan) >= listed
    assert written > 3 and kept > 0
    assert whole == Looked(listed + written + kept, written)
    assert expected_of(plan, deep=True, sample=3).objects == 3 * len(plan.sections)
    assert expected_of(plan, deep=False, sample=None) == Looked(whole.listed, 0)


def test_certify_tells_of_objects_alone() -> None:
    said: list[str] = []
    now = [0.0]
    lines = ProofLines(said.append, lambda: now[0], False, Looked(0, 300), title="Certify", verb="looked at")
    for count in (1, 100, 200):
        lines.tell(Looked(0, count))
        now[0] += 2.0

    assert said[0] == "  1 objects looked at"
    assert said[-1] == "  200 objects looked at, 50/s, about 2.0 s left"
