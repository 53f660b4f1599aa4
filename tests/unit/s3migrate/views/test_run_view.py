"""What a line of progress says first, and what it does not say too soon."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from executor.ledger.values import Outcome, Progress, RunState
from s3migrate.commands.apply import conclude
from s3migrate.views.run_view import HumanRun, Rate, figures, progress_line
from schema.errors import FinishedWithFailures
from schema.formats.quantities import counted_text
from schema.process_view import BreakerState, EndpointView, ProcessView, Quality

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


@pytest.mark.parametrize("breaker", [BreakerState.OPEN, BreakerState.CLOSED])
def test_an_outage_foretells_nothing(breaker: BreakerState) -> None:
    """What was (not) done meanwhile says nothing of what comes; CLOSED: it was merely slow, the control."""
    rate = Rate()
    progress_line(progress(1_000), None, rate)
    flow = ProcessView(16, "", {"old": EndpointView(breaker=breaker)})
    assert "left" not in progress_line(progress(1_000, seconds=20), flow, rate)
    line = progress_line(progress(1_200, seconds=21), None, rate)
    assert (", 9.0 s left" in line) is (breaker is BreakerState.OPEN), line


def test_parts_of_objects_under_way_are_shown() -> None:
    under_way = replace(progress(0, objects=1), bytes_in_parts=300 * 1024 * 1024)
    assert "300.0 MiB in parts of objects under way" in progress_line(under_way, None, Rate())
    assert figures(under_way)["bytes_in_parts"] == 300 * 1024 * 1024
    assert "in parts" not in progress_line(progress(0, objects=1), None, Rate())


def test_what_drifted_is_not_done() -> None:
    assert progress_line(progress(200, objects=200, drifted=2), None, Rate()).startswith("99.0 %, 2 drifted")


def test_retry_is_offered_where_it_finds_something() -> None:
    with pytest.raises(FinishedWithFailures) as drifted:
        conclude(progress(3, objects=3, drifted=2))
    assert "retry" not in str(drifted.value) and "plan again" in str(drifted.value)
    with pytest.raises(FinishedWithFailures, match="`s3migrate retry 1` tries"):
        conclude(replace(progress(2, objects=3, failed=1), parked=1))


def test_troubles_stand_where_a_narrow_terminal_shows_them() -> None:
    flow = ProcessView(16, "", {"old": EndpointView(quality=Quality.POOR), "new": EndpointView(quality=Quality.GOOD)})
    line = progress_line(progress(1_000, failed=2, drifted=3), flow, Rate())
    assert line.startswith("33.2 %, 2 failed, 3 drifted, old poor, 1,000 of 3,000 objects")
    assert line.endswith("16 threads")
    assert "0 failed" in progress_line(progress(1_000), flow, Rate())


def test_what_waits_for_an_archive_is_named_before_the_figures() -> None:
    now = progress(1_000)
    waits = replace(now, restoring=2_000, next_look=now.now + timedelta(minutes=14))
    asked = "waiting for the archive: 2,000 objects (next look in 14 min)"
    assert progress_line(waits, None, Rate()).startswith(f"33.3 %, {asked}, 1,000 of 3,000 objects")
    assert "waiting for the archive: 1 object (" in progress_line(replace(waits, restoring=1), None, Rate())
    assert "archive" not in progress_line(now, None, Rate())
    assert "archive" not in progress_line(replace(waits, state=RunState.SUPERSEDED), None, Rate())
    assert figures(waits)["restoring"] == 2_000


def test_a_wait_for_an_archive_is_told_at_once_and_then_with_the_other_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    view, flow = HumanRun(live=False), ProcessView(1, "")

    def told(now: Progress) -> int:
        view.progress(now, flow)
        return capsys.readouterr().err.count("archive")

    view.progress(progress(0), flow)
    waits = [replace(progress(0, seconds=seconds), restoring=5) for seconds in (1, 2, 11)]
    assert [told(now) for now in waits] == [1, 0, 1]


def test_a_hundred_percent_are_all() -> None:
    assert progress_line(progress(2_999, objects=3_000), None, Rate()).startswith("99.9 %")
    assert progress_line(progress(99_999, objects=100_000), None, Rate()).startswith("99.9 %")
    assert progress_line(progress(3, objects=3), None, Rate()).startswith("100.0 %")


def test_one_object_is_no_plural() -> None:
    assert "0 of 1 object," in progress_line(progress(0, objects=1), None, Rate())


def test_a_run_that_ends_badly_counts_each_without_a_noun() -> None:
    with pytest.raises(FinishedWithFailures, match="with 1 failed, 1,234 drifted and 1 not proven;"):
        conclude(replace(progress(1, failed=1, drifted=1_234), verify_failed=1))


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
