"""The soak: kills at random moments over many objects with faults on, in two processes, and then nothing is missing.

SOAK_OBJECTS and SOAK_KILLS set its size; `make soak` takes 100,000 objects and 200 kills.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from support.corpus import CorpusObject
from support.fault_process import FaultProxyProcess
from support.fault_rules import Delay, FlipBit, Reset, Rule, internal_error, slow_down
from support.operator import ROOT, Operator
from support.oracle import RCLONE_FIELDS, describe, fill
from support.servers import scrubbed_environment

OBJECTS = int(os.environ.get("SOAK_OBJECTS", "100000"))
KILLS = int(os.environ.get("SOAK_KILLS", "200"))
LARGEST = 2_000
SAMPLE = 200
"""Objects read and compared by the oracle, which shares no code with the product; verify reads them all."""
FAULTS = [
    Rule(Reset(), operations=("get", "put"), probability=0.01),
    Rule(Reset(after=True), operations=("put",), probability=0.01),
    Rule(slow_down(retry_after=0), operations=("get", "put"), probability=0.01),
    Rule(internal_error(), operations=("get", "put"), probability=0.01),
    Rule(FlipBit(), operations=("get",), probability=0.01),
    Rule(Delay(0.0, 0.02), probability=0.2),
]
CHANCE = 5
"""Objects that may be parked: 6 % of attempts meet a fault and an object has five, 1 % a flipped bit and it has three;
of 100,000 objects a fifth of one is to be expected."""
INJECTED = {"ConnectionFailed", "DigestMismatch", "BadDigest", "InternalError", "ServerFault"}
LAST_REASONS = "SELECT DISTINCT error_code FROM ledger.failure WHERE terminal"
Sql = Callable[..., list[tuple[object, ...]]]


def begin(operator: Operator) -> subprocess.Popen[bytes]:
    """An apply of two processes whose words nobody reads."""
    return subprocess.Popen(
        [sys.executable, "-m", "s3migrate", "apply", str(operator.plan_path), "--processes", "2"],
        cwd=operator.folder,
        env=scrubbed_environment() | operator.environment() | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def run_and_kill(operator: Operator, sql: Sql, rng: random.Random, kills: int) -> int:
    """Kill a worker process, or the parent of both, at random moments until the run has ended; how many died."""
    done = 0
    crew: subprocess.Popen[bytes] | None = None
    while done < kills:
        if crew is None or crew.poll() is not None:
            crew = begin(operator)
        time.sleep(rng.uniform(0.3, 2.0))
        if sql("SELECT count(*) FROM ledger.run WHERE state = 4") == [(1,)]:
            break
        alive = [row[0] for row in sql("SELECT pid FROM ledger.worker WHERE stopped_at IS NULL ORDER BY worker_id")]
        victims = [pid for pid in alive if isinstance(pid, int) and _lives(pid)]
        if not victims:
            continue
        os.kill(crew.pid if rng.random() < 0.1 else rng.choice(victims), signal.SIGKILL)
        done += 1
    if crew is not None:
        crew.wait(3600)
    return done


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.soak
def test_soak(on_rclone: Operator, sql: Sql, rng: random.Random, seed: int) -> None:
    objects = [CorpusObject(f"{n % 100:02d}/{n:07d}", rng.randrange(LARGEST), seed + n) for n in range(OBJECTS)]
    fill(on_rclone.source.client(), on_rclone.source_bucket, objects, threads=16)
    with (
        FaultProxyProcess(on_rclone.source.endpoint_url, seed=seed) as before,
        FaultProxyProcess(on_rclone.destination.endpoint_url, seed=seed + 1) as behind,
    ):
        on_rclone.source_url, on_rclone.destination_url = before.endpoint_url, behind.endpoint_url
        on_rclone.plan().ok()
        for proxy in (before, behind):
            proxy.set_rules(FAULTS)
        began = time.monotonic()
        killed = run_and_kill(on_rclone, sql, rng, KILLS)
        ran = on_rclone.apply("--json")
        parked = 0
        while ran.code == 3 and parked < CHANCE:
            # Of so many objects one may meet faults at every attempt. It is parked with its reason, and tried again.
            reasons = {str(row[0]) for row in sql(LAST_REASONS)}
            assert reasons <= INJECTED, reasons
            parked += ran.lines("run_complete")[0]["failed"]
            assert on_rclone.run("retry", str(ran.lines("run_complete")[0]["run_id"])).code == 0
            ran = on_rclone.apply("--json")
        ran.ok()
        seconds = time.monotonic() - began
        for proxy in (before, behind):
            proxy.set_rules([])
        complete = ran.lines("run_complete")[0]
        assert (complete["done"], complete["failed"], complete["objects"]) == (OBJECTS, 0, OBJECTS)
        assert sql("SELECT count(*), count(DISTINCT (batch_no, ord)) FROM ledger.completion") == [(OBJECTS, OBJECTS)]
        assert sql("SELECT count(*) FROM ledger.upload") == [(0,)]
        assert on_rclone.uploads() == []
        assert on_rclone.run("ledger", "check").code == 0
        on_rclone.verify("--level", "content").ok()
    for one in rng.sample(objects, min(SAMPLE, OBJECTS)):
        sides = (on_rclone.source_side, on_rclone.destination_side)
        there, here = (describe(side, one.key, RCLONE_FIELDS) for side in sides)
        assert there == here, one.key
    buried = sql("SELECT count(*) FROM ledger.audit WHERE kind = 'worker-died'")[0][0]
    adopted = complete["outcomes"].get("already_there", 0)
    reasons = sql(LAST_REASONS)
    attempts = sql("SELECT max(attempts), sum(attempts) FROM ledger.completion")[0]
    print(
        f"\nsoak: seed {seed}, {OBJECTS} objects, {killed} kills, {buried} workers buried, {adopted} adopted, "
        f"{parked} parked {reasons}, attempts {attempts[1]} in all, {attempts[0]} at most, {seconds:.0f} s"
    )
