"""Limits hold within 10 % of their figure, over real servers, while the run goes on and shared by its processes.

Measured where it cannot be talked away: by the moments at which the destination's files were closed.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest
from support.corpus import CorpusObject
from support.json_process import PATIENCE, Lines, some_done
from support.operator import Operator
from support.oracle import fill
from support.servers import RcloneServer

MIB = 1024 * 1024
SIZE = 256 * 1024
Sql = Callable[..., list[tuple[object, ...]]]


def planned(operator: Operator, objects: int, size: int, seed: int, **limits: object) -> Operator:
    fill(
        operator.source.client(),
        operator.source_bucket,
        [CorpusObject(f"{n:04d}", size, seed + n) for n in range(objects)],
    )
    operator.declare(limits=limits)
    ran = operator.plan()
    assert ran.code == 0, ran.err
    return operator


def arrivals(operator: Operator) -> list[float]:
    """When each object's file was complete at the destination, ascending."""
    assert isinstance(operator.destination, RcloneServer)
    folder = operator.destination.folder / operator.destination_bucket
    return sorted(path.stat().st_ctime for path in folder.iterdir() if path.name[0].isdigit())


def per_second(moments: list[float], since: float, until: float) -> float:
    """Objects a second between two moments."""
    inside = [moment for moment in moments if since <= moment <= until]
    assert len(inside) > 50, "too few to judge"
    return (len(inside) - 1) / (inside[-1] - inside[0])


def held(rate: float, limit: float) -> None:
    """Never above the limit; up to it as well, unless other work on this machine leaves no time for it."""
    assert rate <= 1.1 * limit
    starved = os.getloadavg()[0] > 1.5 * (os.cpu_count() or 1)
    assert rate >= (0.4 if starved else 0.9) * limit


@pytest.mark.alone
def test_bandwidth_holds_and_can_be_changed_while_running(on_rclone: Operator, seed: int) -> None:
    planned(on_rclone, 420, SIZE, seed, bandwidth="8MiB/s")
    with on_rclone.background("apply", on_rclone.plan_path, "--json") as applying:
        lines = Lines(applying)
        run_id = lines.until(lambda said: said["type"] == "run_accepted")["run_id"]
        lines.until(lambda said: said["type"] == "progress" and said["done"] > 100)
        changed = on_rclone.run("limit", str(run_id), "bandwidth=16MiB/s")
        assert changed.code == 0, changed.err
        turn = time.time()
        shown = on_rclone.run("status").out
        assert "limit set while running: bandwidth 1.67772e+07" in shown, shown
        lines.until(lambda said: said["type"] == "run_complete")
        assert applying.wait(PATIENCE) == 0
    moments = arrivals(on_rclone)
    held(per_second(moments, 0, turn) * SIZE, 8 * MIB)
    held(per_second(moments, turn + 1.5, moments[-1]) * SIZE, 16 * MIB)


@pytest.mark.alone
def test_two_processes_share_a_limit(on_rclone: Operator, seed: int, sql: Sql) -> None:
    planned(on_rclone, 1_800, 1_000, seed, requests_per_second=300)
    with on_rclone.background("apply", on_rclone.plan_path, "--json", "--processes", "2") as applying:
        lines = Lines(applying)
        lines.until(lambda said: said["type"] == "progress" and said["processes"] == 2 and said["done"] > 0)
        both = time.time()
        lines.until(lambda said: said["type"] == "progress" and said["done"] >= 1_500)
        end = time.time()
        lines.until(lambda said: said["type"] == "run_complete")
        assert applying.wait(PATIENCE) == 0
    held(per_second(arrivals(on_rclone), both + 1.0, end), 300)
    shares = [row[0] for row in sql("SELECT sum(hi - lo) FROM ledger.chunk GROUP BY worker_id")]
    assert len(shares) == 2 and min(shares) >= 400, "the work is shared, evenly"


@pytest.mark.alone
def test_a_drain_keeps_the_limit(on_rclone: Operator, seed: int) -> None:
    planned(on_rclone, 300, 1_000, seed, requests_per_second=40, workers=32)
    with on_rclone.background("apply", on_rclone.plan_path, "--json") as applying:
        Lines(applying).until(some_done)
        turn = time.time()
        applying.send_signal(signal.SIGTERM)
        assert applying.wait(PATIENCE) == 75
    drained = [moment for moment in arrivals(on_rclone) if moment > turn]
    assert len(drained) > 20, "all of the 32 workers had an object in hand"
    saved = 0.25 * 40
    assert len(drained) <= 1.1 * 40 * (drained[-1] - turn) + saved + 1


@pytest.mark.alone
def test_status_shows_what_each_process_sees(on_rclone: Operator, seed: int) -> None:
    planned(on_rclone, 400, 1_000, seed, requests_per_second=80)
    with on_rclone.background("apply", on_rclone.plan_path, "--json") as applying:
        Lines(applying).until(lambda said: said["type"] == "progress" and said["done"] > 200)
        status = on_rclone.run("status", "--json")
        text = on_rclone.run("status").out
        applying.send_signal(signal.SIGTERM)
        assert applying.wait(PATIENCE) == 75
    (seen,) = status.lines("process")
    assert seen["pid"] == applying.pid
    assert seen["workers"] >= 1 and seen["why"]
    assert len(seen["endpoints"]) == 2
    for end in seen["endpoints"].values():
        assert end["breaker"] == "closed"
        assert end["rtt_ms"] > 0
        assert 0.5 * 80 <= end["requests_per_second"] <= 1.25 * 80
    assert seen["limits"]["requests_per_second"] == 80
    assert f"process {applying.pid} on" in text and "of which 100 % here" in text, text
    assert on_rclone.run("status", "--json").lines("process") == [], "nobody is at work any more"


@pytest.mark.parametrize(
    "setting", ["bandwidth", "bandwidth=-1", "bandwidth=fast", "speed=1", "requests_per_second=nan", "bandwidth=0"]
)
def test_a_limit_that_is_none_is_refused(on_rclone: Operator, setting: str) -> None:
    assert on_rclone.run("limit", "1", setting).code == 64
