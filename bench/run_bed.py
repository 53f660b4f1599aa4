"""A planned run for benches that start its processes themselves: planned, its ledger ready; and what became of it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import psycopg2.extensions

from bench.beds import Ends
from bench.contestants import environment, ours
from bench.measure import EmbeddedLedger, run_or_fail
from bench.scale import planned

PLAN = "bench.plan.yaml"
ENDED = """
    SELECT count(*), count(DISTINCT (batch_no, ord)), (SELECT count(*) FROM ledger.worker),
           (SELECT coalesce(sum(n_bad), 0) FROM ledger.chunk) FROM ledger.completion"""

AT_WORK = """
    SELECT pid FROM ledger.worker
     WHERE stopped_at IS NULL AND last_seen > now() - interval '20 seconds' ORDER BY worker_id"""


class RunBed(NamedTuple):
    """A plan in a folder, and where its ledger is."""

    folder: Path
    words: dict[str, str]
    """The environment of its processes."""
    url: str
    """The ledger's, for psycopg2."""


class RunEnd(NamedTuple):
    """What became of a run's objects, by the ledger."""

    completions: int
    distinct: int
    workers: int
    """That have joined."""
    failed: int


@dataclass(slots=True)
class Seen:
    """What is seen of a run's workers, one look after the other; they are of this machine."""

    killed: int = 0
    at_work: Counter[int] = field(default_factory=Counter)
    """Looks, by the number of workers that had joined and were alive."""

    def look(self, cursor: psycopg2.extensions.cursor) -> list[int]:
        """Who is at work: process ids, the oldest first."""
        cursor.execute(AT_WORK)
        pids = [pid for (pid,) in cursor.fetchall() if Path(f"/proc/{pid}").exists()]
        self.at_work[len(pids)] += 1
        return pids

    def kill(self, pid: int) -> None:
        """SIGKILL for one of them."""
        os.kill(pid, signal.SIGKILL)
        self.killed += 1

    def shares(self) -> str:
        """How many were at work for how much of the time, the most first."""
        looks = self.at_work.total() or 1
        average = sum(workers * seen for workers, seen in self.at_work.items()) / looks
        each = ", ".join(f"{workers} for {seen / looks:.0%}" for workers, seen in sorted(self.at_work.items())[::-1])
        return f"{average:.1f} at work on average: {each} of the time"


@contextmanager
def planned_run(
    ends: Ends, folder: Path, *, limits: dict[str, object] | None = None, ways: Sequence[str] = ()
) -> Iterator[RunBed]:
    """A plan between *ends*, see bench.scale.planned; the embedded PostgreSQL is stopped at the end."""
    words = environment(ends) | {"S3MIGRATE_HOME": str(folder / ".s3migrate")}
    ledger = EmbeddedLedger(folder / ".s3migrate")
    try:
        planned(ends, folder, words, limits=limits, ways=ways)
        run_or_fail([ours(), "ledger", "migrate"], folder, words, folder / "ledger.log")
        url = subprocess.check_output([ours(), "ledger", "url"], cwd=folder, env=words, text=True).strip()
        yield RunBed(folder, words | {"S3MIGRATE_LEDGER": url}, url)
    finally:
        ledger.stop()


def end_of(bed: RunBed) -> RunEnd:
    """Counted now."""
    with psycopg2.connect(bed.url) as connection, connection.cursor() as cursor:
        cursor.execute(ENDED)
        counts = cursor.fetchone() or (0, 0, 0, 0)
    return RunEnd(*counts)
