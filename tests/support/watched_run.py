"""Watching a run from outside: what has arrived, what is recorded, what was written twice."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable

import pytest

from schema.files.manifest import ManifestFolder, read_entries
from schema.files.planfile import load_plan
from support.fault_proxy import FaultProxy
from support.operator import Operator
from support.oracle import RCLONE_FIELDS, compare

DEADLINE = 60.0
Sql = Callable[..., list[tuple[object, ...]]]


def until(met: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Look again and again, for a minute at most."""
    deadline = time.monotonic() + DEADLINE
    while not met():
        assert time.monotonic() < deadline, "it did not come to that within a minute"
        if process is not None and process.poll() is not None:
            pytest.fail(f"the process ended with {process.returncode}: {process.communicate()}")
        time.sleep(0.01)


def puts(proxy: FaultProxy) -> int:
    """Objects written whole so far."""
    return sum(e.operation == "put" and e.status == 200 for e in proxy.history_from(0))


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Its exit code, stdout and stderr."""
    out, err = process.communicate(timeout=DEADLINE)
    return process.returncode, out, err


def completed(operator: Operator) -> None:
    """Everything is there, proven, and there is nothing left to plan."""
    assert compare(operator.source_side, operator.destination_side, fields=RCLONE_FIELDS) == []
    operator.verify("--level", "content").ok()
    operator.plan("--detailed-exitcode").ok()


def recorded(operator: Operator, sql: Sql) -> set[str]:
    """The destination keys of the objects whose rows are in the ledger now."""
    plan = load_plan(operator.plan_path)
    manifests = ManifestFolder(operator.plan_path.parent / plan.manifest_store)
    keys_of = [{ord: entry.target for ord, entry in read_entries(manifests, b.manifest)} for b in plan.batches]
    return {keys_of[batch][ord] for batch, ord in sql("SELECT batch_no, ord FROM ledger.completion")}  # type: ignore[index]


def written(proxy: FaultProxy, since: int) -> set[str]:
    """Keys that became visible at the destination from then on."""
    return {e.key for e in proxy.history_from(since) if e.operation in ("put", "complete") and e.status == 200}


def written_twice(proxy: FaultProxy) -> set[str]:
    """Keys that were put more than once."""
    count = Counter(e.key for e in proxy.history if e.operation == "put" and e.status == 200)
    return {key for key, times in count.items() if times > 1}
