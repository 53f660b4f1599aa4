"""The processor time of requests, timed on this machine."""

from __future__ import annotations

import threading

from storage.probe.processor import processor_cost


def test_a_request_and_a_mib_take_some_microseconds_and_nothing_stays_behind() -> None:
    before = threading.active_count()
    found = processor_cost()
    assert 5 < found.request_us < 5_000
    assert 5 < found.mib_us < 50_000
    assert threading.active_count() == before
