"""Why objects were never tried, and what to do about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from executor.ledger.values import Blamed, FailedObject, Progress, RunState
from s3migrate.views.ending import ending_text

AT = datetime(2026, 1, 1, tzinfo=UTC)
FAILED = [FailedObject(0, "b0", n, 500, "InternalError", f"reason {n}", "", AT, f"key {n}", False) for n in range(3)]
ENDED = Progress(
    run_id=1,
    name="photos",
    state=RunState.FAILED,
    objects=9_000,
    bytes=0,
    done=0,
    failed=4_000,
    bytes_done=0,
    leased=0,
    ready=0,
    blocked=1,
    parked=1,
    by_outcome={},
    verified=0,
    verify_failed=0,
    workers=0,
    started_at=AT,
    now=AT,
)


@pytest.mark.parametrize(
    ("blamed", "named"),
    [
        (Blamed(FAILED[:1], 1), "(key 0: reason 0)"),
        (Blamed(FAILED, 3), "(key 0: reason 0; key 1: reason 1; key 2: reason 2)"),
        (Blamed(FAILED, 4_000), "(key 0: reason 0; key 1: reason 1; key 2: reason 2; and 3,997 more)"),
    ],
)
def test_three_are_named_and_the_others_counted(blamed: Blamed, named: str) -> None:
    assert named in ending_text(ENDED, blamed)


@pytest.mark.parametrize(
    ("blamed", "advice"),
    [
        (Blamed(FAILED, 3, refused=True, differs=True), "Grant what was refused"),
        (Blamed(FAILED, 3, differs=True), "Declare what need not be kept (preserve) or repair the destination"),
        (Blamed(FAILED, 3), "Declare what need not be kept (preserve, accept_loss)"),
    ],
)
def test_the_advice_fits_whatever_is_among_all_of_them(blamed: Blamed, advice: str) -> None:
    assert advice in ending_text(ENDED, blamed)


def test_nobody_is_blamed_where_everything_was_tried() -> None:
    assert "never tried" not in ending_text(replace(ENDED, failed=9_000), Blamed(FAILED, 4_000))
