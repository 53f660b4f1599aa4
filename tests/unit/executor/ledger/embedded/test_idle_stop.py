"""When an embedded server has been idle for long enough: a decision over times that are arguments."""

from __future__ import annotations

import pytest

from executor.ledger.embedded.idle_stop import LONGEST_PAUSE, SHORTEST_PAUSE, Idleness, pause


def test_it_is_due_when_nobody_used_it_for_so_long() -> None:
    idleness = Idleness(100.0)
    assert not idleness.is_due(399.0, 300.0, in_use=False, touched=0.0)
    assert idleness.is_due(400.0, 300.0, in_use=False, touched=0.0)


def test_use_begins_the_count_anew() -> None:
    idleness = Idleness(100.0)
    assert not idleness.is_due(500.0, 300.0, in_use=True, touched=0.0)
    assert not idleness.is_due(799.0, 300.0, in_use=False, touched=0.0)
    assert idleness.is_due(800.0, 300.0, in_use=False, touched=0.0)


def test_a_command_too_short_to_be_seen_counts_by_its_time_on_file() -> None:
    idleness = Idleness(100.0)
    assert not idleness.is_due(410.0, 300.0, in_use=False, touched=390.0)
    assert idleness.is_due(690.0, 300.0, in_use=False, touched=390.0)


def test_zero_means_never() -> None:
    assert not Idleness(0.0).is_due(1e9, 0.0, in_use=False, touched=0.0)


@pytest.mark.parametrize(("idle", "seconds"), [(300.0, LONGEST_PAUSE), (8.0, 2.0), (0.01, SHORTEST_PAUSE), (0.0, 15.0)])
def test_looks_are_rare_and_fit_the_time(idle: float, seconds: float) -> None:
    assert pause(idle) == seconds
