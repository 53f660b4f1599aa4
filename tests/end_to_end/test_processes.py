"""Several processes on one run: killed, stopped, joining and leaving; the work is shared and nothing is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest
from support.corpus import mixed
from support.json_process import PATIENCE, Lines, some_done
from support.operator import Operator
from support.oracle import RCLONE_FIELDS, compare, fill


@pytest.fixture
def limited(on_rclone: Operator, seed: int) -> Operator:
    """150 small objects at 5 requests a second at each end: half a minute of work, until the limit is lifted."""
    fill(on_rclone.source.client(), on_rclone.source_bucket, mixed(seed, 150, largest=2_000, tags=False))
    on_rclone.declare(limits={"requests_per_second": 5, "workers": 4})
    on_rclone.plan().ok()
    return on_rclone


def lift(operator: Operator) -> None:
    """What was to be seen has been seen: on, as fast as it goes."""
    operator.run("limit", "1", "requests_per_second=5000").ok()


def arrived(operator: Operator) -> None:
    """Everything, once, and the ledger is whole."""
    assert compare(operator.source_side, operator.destination_side, fields=RCLONE_FIELDS) == []
    assert operator.run("ledger", "check").code == 0
    assert operator.verify("--level", "listing").code == 0


def test_after_a_kill_the_next_apply_goes_on_at_once(limited: Operator) -> None:
    with limited.background("apply", limited.plan_path, "--json") as first:
        Lines(first).until(some_done)
        first.kill()
    lift(limited)
    began = time.monotonic()
    with limited.background("apply", limited.plan_path, "--json") as second:
        lines = Lines(second)
        found = lines.until(lambda said: said["type"] == "run_accepted")
        assert found["resumed"] and found["chunks"]["leased"] > 0, "the dead process held leases"
        lines.until(lambda said: said["type"] == "run_complete")
        assert second.wait(PATIENCE) == 0
    assert time.monotonic() - began < 25, "leases of 30 s were not waited for"
    arrived(limited)


def workers(sql: Callable[..., list[tuple[object, ...]]]) -> object:
    """How many processes have ever joined."""
    return sql("SELECT count(*) FROM ledger.worker")[0][0]


def test_several_processes_share_a_run_and_a_killed_one_is_replaced(
    limited: Operator, sql: Callable[..., list[tuple[object, ...]]]
) -> None:
    with limited.background("apply", limited.plan_path, "--json", "--processes", "3") as crew:
        lines = Lines(crew)
        lines.until(lambda said: some_done(said) and said["processes"] == 3)
        victim = sql("SELECT pid FROM ledger.worker ORDER BY worker_id LIMIT 1")[0][0]
        assert isinstance(victim, int) and victim != crew.pid
        os.kill(victim, signal.SIGKILL)
        replaced = lines.until(lambda said: said["type"] == "process")
        assert f"process {victim} was killed by SIGKILL" in replaced["message"]
        lines.until(lambda said: said["type"] == "progress" and workers(sql) == 4)
        lift(limited)
        complete = lines.until(lambda said: said["type"] == "run_complete")
        assert crew.wait(PATIENCE) == 0
    assert complete["done"] == 150
    arrived(limited)
    assert workers(sql) == 4, "three, and the one in place of the dead"
    assert sql("SELECT count(*) FROM ledger.audit WHERE kind = 'worker-died'") == [(1,)]


def test_a_signal_reaches_every_process(limited: Operator, sql: Callable[..., list[tuple[object, ...]]]) -> None:
    with limited.background("apply", limited.plan_path, "--json", "--processes", "2") as crew:
        Lines(crew).until(lambda said: some_done(said) and said["processes"] == 2)
        crew.send_signal(signal.SIGTERM)
        assert crew.wait(PATIENCE) == 75
    assert sql("SELECT DISTINCT exit_code FROM ledger.worker WHERE stopped_at IS NOT NULL") == [(75,)]
    assert sql("SELECT count(*) FROM ledger.chunk WHERE state = 2") == [(0,)], "all leases were given back"
    lift(limited)
    assert limited.apply().code == 0
    arrived(limited)


@pytest.mark.soak
def test_a_process_that_joins_takes_its_share_and_may_leave(limited: Operator) -> None:
    with limited.background("apply", limited.plan_path, "--json") as first:
        lines = Lines(first)
        lines.until(some_done)
        with limited.background("apply", limited.plan_path, "--json") as second:
            others = Lines(second)
            others.until(lambda said: said["type"] == "progress" and said["processes"] == 2)
            second.send_signal(signal.SIGINT)
            assert second.wait(PATIENCE) == 75
        lift(limited)
        lines.until(lambda said: said["type"] == "run_complete")
        assert first.wait(PATIENCE) == 0
    arrived(limited)


def test_a_refusal_is_told_once(limited: Operator) -> None:
    ran = limited.run("apply", limited.plan_path, "--processes", "2", "--expect-plan-id", "sha256:" + "0" * 64)
    assert ran.code == 7 and ran.err.count("s3migrate:") == 1, ran.err
