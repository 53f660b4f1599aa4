"""What a line of progress says first, and what it does not say too soon."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from executor.events import FlowState
from executor.governor import Quality
from executor.ledger_types import Outcome, Progress, RunState
from s3migrate.views.run_view import Rate, progress_line
from schema.quantities import counted_text

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def progress(done: int, *, objects: int = 3_000, seconds: float = 0.0, failed: int = 0, drifted: int = 0) -> Progress:
    return Progress(
        run_id=1,
        name="photos",
        state=RunState.OPEN,
        objects=objects,
        bytes=objects * 1_000,
        done=done,
        failed=failed,
        bytes_done=done * 1_000,
        leased=0,
        ready=0,
        blocked=0,
        parked=0,
        by_outcome={Outcome.CONFLICT: drifted},
        verified=0,
        verify_failed=0,
        workers=1,
        started_at=BEGAN,
        now=BEGAN + timedelta(seconds=seconds),
    )


def test_a_canary_foretells_no_end() -> None:
    rate = Rate()
    rate.of(progress(0))
    assert "left" not in progress_line(progress(1, seconds=1), None, rate)
    assert "28 s left" in progress_line(progress(101, seconds=1), None, rate)


def test_a_few_huge_objects_do() -> None:
    rate = Rate()
    rate.of(progress(0, objects=3))
    assert "20 s left" in progress_line(progress(1, objects=3, seconds=10), None, rate)


def test_troubles_stand_where_a_narrow_terminal_shows_them() -> None:
    flow = FlowState(16, "", {"old": {"quality": Quality.POOR}, "new": {"quality": Quality.GOOD}})
    line = progress_line(progress(1_000, failed=2, drifted=3), flow, Rate())
    assert line.startswith("33.3 %, 2 failed, 3 drifted, old poor, 1,000 of 3,000 objects")
    assert line.endswith("16 threads")
    assert "0 failed" in progress_line(progress(1_000), flow, Rate())


def test_a_hundred_percent_are_all() -> None:
    assert progress_line(progress(2_999, objects=3_000), None, Rate()).startswith("99.9 %")
    assert progress_line(progress(99_999, objects=100_000), None, Rate()).startswith("99.9 %")
    assert progress_line(progress(3, objects=3), None, Rate()).startswith("100.0 %")


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (1, "process", "1 process"),
        (0, "process", "0 processes"),
        (2, "batch", "2 batches"),
        (1204, "key", "1,204 keys"),
    ],
)
def test_a_number_and_its_noun(number: int, noun: str, text: str) -> None:
    assert counted_text(number, noun) == text
