"""Does any question of a running ledger grow with the work that is finished? Runs of several sizes, all but done.

The rows are made by SQL: one completion for each object, chunks of 200, batches of 50,000, the last 20 chunks left.
Each statement of status, claim, flush and finish is then asked ROUNDS times; the table shows the median, and how many
pages of 8 KiB it touched.
    python -m bench.ledger_scale [OBJECTS ...]
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2
from support.ledger_plan import SIZE, ledger_plan, report

from executor.ledger.embedded.server import EmbeddedPostgres
from executor.ledger.ledger import Ledger
from executor.ledger.values import ChunkKind, ChunkSpec, Lane
from schema.plan import Plan

OBJECTS = (100_000, 1_000_000)
LEFT = 20
"""Chunks that are not done."""
ROUNDS = 9
LEASE = 600.0

DONE = """
    UPDATE ledger.chunk SET state = 3, token = 1, epoch = 1, worker_id = 1, lease_id = gen_random_uuid(),
           n_done = hi - lo, bytes_done = %(size)s * (hi - lo), outcomes[1] = hi - lo, digest = sha256('x')
     WHERE run_id = %(run)s AND chunk_no < %(done)s"""
COMPLETIONS = """
    INSERT INTO ledger.completion (size, run_id, batch_no, ord, token, outcome, attempts, destination_etag, checksum)
    SELECT %(size)s, %(run)s, k.batch_no, o, 1, 1, 1, 'd41d8cd98f00b204e9800998ecf8427e', '\\x0011223344556677'
      FROM ledger.chunk k, generate_series(k.lo, k.hi - 1) o WHERE k.run_id = %(run)s AND k.state = 3"""
FAILURES = """
    INSERT INTO ledger.failure (run_id, batch_no, ord, token, kind, attempt, terminal, worker_id, http_status,
                                error_code, message, request_id)
    SELECT %(run)s, k.batch_no, k.lo, 1, 0, 1, false, 1, 503, 'SlowDown', 'asked to slow down', 'r'
      FROM ledger.chunk k WHERE k.run_id = %(run)s AND k.state = 3"""
COUNTED = """
    UPDATE ledger.batch b SET copy_left = n.left, state = CASE WHEN n.left = 0 THEN 3 ELSE 1 END
      FROM (SELECT batch_no, count(*) FILTER (WHERE state <> 3) AS left FROM ledger.chunk
             WHERE run_id = %(run)s GROUP BY 1) n WHERE b.run_id = %(run)s AND b.batch_no = n.batch_no;
    UPDATE ledger.stage SET batches_left = (SELECT count(*) FROM ledger.batch WHERE run_id = %(run)s AND state < 3)
     WHERE run_id = %(run)s;
    UPDATE ledger.run SET chunks_left = %(left)s WHERE run_id = %(run)s"""


PAGES = """
    SELECT coalesce(sum(heap_blks_hit + heap_blks_read + coalesce(idx_blks_hit, 0) + coalesce(idx_blks_read, 0)), 0)
      FROM pg_statio_user_tables WHERE schemaname = 'ledger'"""


class Size(NamedTuple):
    """How large a run is."""

    objects: int
    per_chunk: int = 200
    per_batch: int = 50_000


class Asked(NamedTuple):
    """One kind of question at one size."""

    name: str
    milliseconds: float
    pages: int


def chunks(plan: Plan, per_chunk: int) -> Iterator[ChunkSpec]:
    """Chunks of *per_chunk* objects."""
    number = 0
    for batch_no, batch in enumerate(plan.batches):
        for lo in range(0, batch.objects, per_chunk):
            yield ChunkSpec(number, batch_no, ChunkKind.OBJECTS, Lane.WHOLE, lo, min(lo + per_chunk, batch.objects), 0)
            number += 1


def filled(ledger: Ledger, cursor: Any, size: Size) -> Any:
    """A run of that *size*, of which all but LEFT chunks are done."""
    batches = [("bulk", size.per_batch)] * (size.objects // size.per_batch)
    plan = ledger_plan(batches, lineage=f"11111111-1111-4111-8111-{size.objects:012}")
    plan = replace(plan, sections=tuple(replace(s, destination=replace(s.destination, prefix=f"{size.objects}/"))
                                        for s in plan.sections))  # fmt: skip
    run = ledger.runs.accept(plan, chunks(plan, size.per_chunk), who="bench", tool_version="bench")
    values = {"run": run.run_id, "done": size.objects // size.per_chunk - LEFT, "left": LEFT, "size": SIZE}
    for statement in (DONE, COMPLETIONS, FAILURES, COUNTED, "VACUUM ANALYZE"):
        cursor.execute(statement, values)
    return run


def questions(ledger: Ledger, run: Any) -> dict[str, Callable[[], object]]:
    """What a running apply and `status` ask."""
    worker = ledger.workers.join(run, "bench", 1, tool_version="bench")
    held: list[Any] = []

    def claim() -> None:
        chunk = ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=LEASE)
        held.append(chunk)

    def flush() -> None:
        ledger.checkpoints.flush(worker, [report(held.pop(0))], lease_seconds=LEASE)

    return {
        "claim a chunk": claim,
        "renew leases": lambda: ledger.leases.renew(worker, held, lease_seconds=LEASE),
        "take back late leases": lambda: ledger.leases.reap(run.run_id),
        "status: progress": lambda: ledger.reports.progress(run.run_id),
        "status: failures": lambda: ledger.reports.failures(run.run_id, 20),
        "objects left alone": lambda: ledger.reports.drifted(run.run_id),
        "is the run at its end": lambda: ledger.runs.finish(run.run_id),
        "flush a finished chunk": flush,
    }


def asked(ledger: Ledger, name: str, question: Callable[[], object]) -> Asked:
    """The median of ROUNDS times, and the pages of one of them."""
    took, before = [], _pages(ledger)
    for _ in range(ROUNDS):
        started = time.perf_counter()
        question()
        took.append(time.perf_counter() - started)
    return Asked(name, statistics.median(took) * 1000, (_pages(ledger) - before) // ROUNDS)


def _pages(ledger: Ledger) -> int:
    """Pages touched so far. All questions go through one connection of the pool, and so do these."""
    for statement in ("SELECT pg_stat_force_next_flush()::text", PAGES):
        with ledger.checks._database.transaction() as transaction:  # noqa: SLF001 - no question of the product
            found = transaction.value(statement)
    return int(found)


def answers(ledger: Ledger, run: Any) -> list[Asked]:
    """Every question, asked."""
    return [asked(ledger, name, question) for name, question in questions(ledger, run).items()]


def measured(objects: int, folder: Path) -> list[Asked]:
    """Everything at one size, on a server of its own."""
    server = EmbeddedPostgres(folder)
    url = server.url()
    ledger = Ledger(url)
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    connection.autocommit = True
    try:
        ledger.schema.migrate()
        with connection.cursor() as cursor:
            started = time.perf_counter()
            run = filled(ledger, cursor, Size(objects))
            cursor.execute("SELECT pg_database_size(current_database())")
            disk = cursor.fetchone()[0] >> 20
            print(f"{objects:,} objects: filled in {time.perf_counter() - started:.0f} s, {disk:,} MiB", flush=True)
            return answers(ledger, run)
    finally:
        connection.close()
        ledger.close()
        server.stop(immediate=True)


def main(arguments: Sequence[str]) -> int:
    """The table: each question, at each size."""
    sizes = [int(text) for text in arguments] or list(OBJECTS)
    columns = []
    for objects in sizes:
        folder = Path(tempfile.mkdtemp(prefix="s3m-"))
        try:
            columns.append(measured(objects, folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    print("| question | " + " | ".join(f"{n:,} objects" for n in sizes) + " |")
    print("|---|" + "---:|" * len(sizes))
    for row in zip(*columns, strict=True):
        print(f"| {row[0].name} | " + " | ".join(f"{a.milliseconds:.2f} ms, {a.pages:,} pages" for a in row) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
