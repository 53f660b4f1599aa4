"""A failure that hits every object ends the run; scattered ones do not."""

from __future__ import annotations

from executor.early_stop import FIRST_FAILURES, AllRefused, EarlyStop
from schema import errors


def test_refusals_in_a_row_stop_the_run_but_not_scattered_ones() -> None:
    early = EarlyStop()
    for _ in range(3):
        for _ in range(FIRST_FAILURES - 1):
            assert early.ending(errors.AccessRefused("no")) is None
        early.succeeded()
    assert early.ending(errors.ServerFault("500")) is None
    for _ in range(FIRST_FAILURES - 1):
        assert early.ending(errors.AccessRefused("no")) is None
    refused = early.ending(errors.AccessRefused("no"))
    assert isinstance(refused, AllRefused)
    assert refused.exit_code == 77
