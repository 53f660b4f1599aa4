"""A stop in two stages, and the first error of any thread."""

from __future__ import annotations

import pytest
from support.clock import SOON

from executor.stop import Crash, Stop


def test_a_stop_has_two_stages() -> None:
    stop = Stop()
    assert not stop.wait(0)
    stop.request()
    assert (stop.draining, stop.abandoning) == (True, False)
    stop.propagate()
    assert stop.wait(SOON)
    assert not stop.wait_abandoned(0)
    stop.request()
    stop.propagate()
    assert stop.wait_abandoned(SOON)


def test_the_first_crash_is_kept_and_asks_to_stop_once() -> None:
    stop = Stop()
    crash = Crash(stop)
    crash.reraise()
    crash.met(ValueError("first"))
    crash.met(ValueError("second"))
    assert (stop.draining, stop.abandoning) == (True, False)
    with pytest.raises(ValueError, match="first"):
        crash.reraise()
