"""The time that is left: by the slower of objects and bytes, with a band, and only when something is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from support.snapshots import snapshot

from executor.ledger.values import Progress
from s3migrate.watching.eta import eta_of
from schema.flow.samples import FlowCounts, FlowPoint
from schema.limits import Closure


def history(*objects: int, size: int = 1) -> list[FlowPoint]:
    """Steps of ten seconds."""
    begins = datetime(2026, 1, 1, tzinfo=UTC)
    return [FlowPoint(begins, 10.0, FlowCounts(objects=n, bytes=n * size)) for n in objects]


def left(objects: int, size: int) -> Progress:
    return replace(snapshot().progress, objects=objects, done=0, failed=0, bytes=size, bytes_done=0)


def test_an_even_run_has_a_narrow_band() -> None:
    eta = eta_of(left(1000, 1000), history(100, 100, 100, 100))
    assert eta is not None
    assert eta == pytest.approx((100.0, 100.0, 100.0))


def test_the_slower_of_objects_and_bytes_counts() -> None:
    eta = eta_of(left(1000, 1_000_000), history(100, 100, 100, size=10))
    assert eta is not None
    assert eta.expected == pytest.approx(10_000.0)


def test_an_uneven_run_has_a_wide_band_that_holds_the_figure() -> None:
    eta = eta_of(left(1000, 1), history(0, 50, 100, 150, 200, 0, 100, 50))
    assert eta is not None
    assert eta.low < eta.expected < eta.high <= 4 * eta.expected


def test_nothing_is_foretold_of_a_run_that_has_hardly_begun_or_is_done() -> None:
    assert eta_of(left(1000, 1000), history(100, 100)) is None
    assert eta_of(left(1000, 1000), history(0, 0, 0, 0)) is None
    assert eta_of(left(0, 0), history(100, 100, 100)) is None


def test_closed_hours_come_on_top() -> None:
    progress = left(1000, 1000)
    closure = Closure(progress.now + timedelta(seconds=50), progress.now + timedelta(hours=1))
    eta = eta_of(progress, history(100, 100, 100, 100), [closure])
    assert eta == pytest.approx((3650.0, 3650.0, 3650.0))
