"""A planned run for benches that start its processes themselves: planned, its ledger ready; and what became of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import psycopg2

from bench.beds import Ends
from bench.contestants import environment, ours
from bench.measure import EmbeddedLedger, run_or_fail
from bench.scale import planned

PLAN = "bench.plan.yaml"
ENDED = """
    SELECT count(*), count(DISTINCT (batch_no, ord)), (SELECT count(*) FROM ledger.worker),
           (SELECT coalesce(sum(n_bad), 0) FROM ledger.chunk) FROM ledger.completion"""

SPANS = """
    SELECT extract(epoch FROM started_at)::float, extract(epoch FROM coalesce(stopped_at, last_seen))::float
      FROM ledger.worker"""


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
    at_once: float
    """Workers that had joined and not ended, on average over the run: one that an engine has placed may still start."""
    most_at_once: int


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
        cursor.execute(SPANS)
        average, most = side_by_side(cursor.fetchall())
    return RunEnd(*counts, average, most)


def side_by_side(spans: Sequence[tuple[float, float]]) -> tuple[float, int]:
    """How many of *spans* (beginning, end) overlap: on average between the first and the last moment, and at most."""
    if not spans:
        return 0.0, 0
    whole = max(end for _, end in spans) - min(begin for begin, _ in spans)
    edges = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    average = sum(end - begin for begin, end in spans) / whole if whole else float(len(spans))
    return average, max(accumulate(step for _, step in edges))
