"""Long throttling by the server, over real processes: nothing fails, and afterwards the run is as fast as before.

THROTTLED_SECONDS sets how long it lasts; `make soak` takes a minute.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.fault_process import FaultProxyProcess
from support.fault_rules import RateLimit, Rule, slow_down
from support.json_process import PATIENCE, Lines
from support.operator import Operator
from support.oracle import RCLONE_FIELDS, describe

SECONDS = float(os.environ.get("THROTTLED_SECONDS", "60"))
BEFORE = 10.0
AFTER = 30.0
"""Seconds at full rate before the throttling, and after it."""
LIMIT = 300.0
SIZE = 1_000
FASTEST = 1_800
"""Objects a second that the work must last for."""
pytestmark = pytest.mark.soak
Curve = list[tuple[float, int]]
"""(moment, objects done)"""


@pytest.fixture
def proxy(on_rclone: Operator, seed: int) -> Iterator[FaultProxyProcess]:
    """Before the destination, in a process of its own: it must not be what limits the rate."""
    with FaultProxyProcess(on_rclone.destination.endpoint_url, seed=seed) as faulty:
        on_rclone.destination_url = faulty.endpoint_url
        yield faulty


def planned(operator: Operator, objects: int, rng: random.Random) -> list[str]:
    """So many small objects at the source, written past the server; planned. Their keys."""
    folder = operator.source.folder / operator.source_bucket  # type: ignore[attr-defined]
    # Two thousand folders: with a hundred, rclone itself was a quarter slower after 50,000 objects.
    names = [f"{number % 2000:04d}/{number:06d}" for number in range(objects)]
    block = rng.randbytes(SIZE - 9)
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(name.encode() + block)
    operator.plan().ok()
    return names


def followed(lines: Lines, seconds: float) -> Curve:
    """The run's progress for so long; it must not end before."""
    curve: Curve = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        said = lines.until(lambda line: line["type"] == "progress")
        assert said["failed"] == 0
        curve.append((time.monotonic(), said["done"]))
    return curve


def rate(curve: Curve, last: float) -> float:
    """Objects a second over the last so many seconds of it."""
    inside = [point for point in curve if point[0] >= curve[-1][0] - last]
    return (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0])


def arrived(operator: Operator, names: list[str], complete: dict[str, Any], rng: random.Random) -> None:
    """Everything, nothing failed; a sample is read and compared."""
    assert (complete["done"], complete["failed"]) == (len(names), 0)
    assert operator.run("ledger", "check").code == 0
    for name in rng.sample(names, 50):
        there, here = (
            describe(side, name, RCLONE_FIELDS) for side in (operator.source_side, operator.destination_side)
        )
        assert there == here, name


def test_throttled_to_300_a_second_for_a_minute_nothing_fails_and_full_rate_comes_back(
    on_rclone: Operator, proxy: FaultProxyProcess, rng: random.Random
) -> None:
    names = planned(on_rclone, int(FASTEST * (BEFORE + AFTER) + LIMIT * SECONDS), rng)
    with on_rclone.background("apply", on_rclone.plan_path, "--json") as applying:
        lines = Lines(applying)
        lines.until(lambda said: said["type"] == "progress" and said["done"] > 0)
        before = rate(followed(lines, BEFORE), BEFORE / 2)
        limit = min(LIMIT, before / 2)  # a machine that is busy with other things must feel it too
        proxy.set_rules([Rule(RateLimit(limit, burst=limit / 5), operations=("put",))])
        throttled = followed(lines, SECONDS)
        during = rate(throttled, SECONDS / 2)
        proxy.set_rules([])
        after = rate(followed(lines, AFTER), AFTER / 3)
        complete = lines.until(lambda said: said["type"] == "run_complete")
        assert applying.wait(PATIENCE) == 0
    print(
        f"\nthrottled: {before:.0f} objects/s before, {during:.0f} under a limit of {limit:.0f} for {SECONDS:.0f} s, "
        f"{after:.0f} afterwards"
    )
    starved = os.getloadavg()[0] > 1.5 * (os.cpu_count() or 1)  # other work on this machine takes the time
    least = 0.4 if starved else 0.85
    assert during <= 1.05 * limit
    assert during >= least * limit, "the limit is used"
    assert after >= least * before
    refused = sum(exchange.status == 503 for exchange in proxy.history())
    assert 0 < refused < 0.05 * len(names)
    arrived(on_rclone, names, complete, rng)


def test_a_long_storm_of_503_fails_no_object(on_rclone: Operator, proxy: FaultProxyProcess, rng: random.Random) -> None:
    names = planned(on_rclone, 2_000, rng)
    proxy.set_rules([Rule(slow_down(retry_after=None), operations=("put",), skip=100, probability=0.9)])
    calm = threading.Timer(SECONDS, lambda: proxy.set_rules([]))
    with on_rclone.background("apply", on_rclone.plan_path, "--json") as applying:
        lines = Lines(applying)
        calm.start()
        try:
            complete = lines.until(lambda said: said["type"] == "run_complete")
            assert applying.wait(PATIENCE) == 0
        finally:
            calm.cancel()
            calm.join()
    refused = [exchange.started for exchange in proxy.history() if exchange.status == 503]
    assert refused[-1] - refused[0] > SECONDS / 2, "the storm was long"
    arrived(on_rclone, names, complete, rng)
