"""PostgreSQL killed, full, out of connections: work waits, and nothing acknowledged is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psycopg2
import pytest
from support.ledger_plan import chunk_specs, completed, ledger_plan, report
from support.postgres import PostgresServer, server_folder

from executor.ledger.embedded.server import EmbeddedPostgres
from executor.ledger.ledger import Ledger
from executor.ledger.values import Chunk, ChunkReport, Completion, Lane, RunState, Worker
from schema.errors import LedgerUnavailable

Sql = Callable[..., list[tuple[object, ...]]]
T = TypeVar("T")
LEASE = 3600.0


def joined(ledger: Ledger, objects: int, step: int) -> Worker:
    plan = ledger_plan([("bulk", objects)])
    return ledger.workers.join(
        ledger.runs.accept(plan, chunk_specs(plan, step), who="ann", tool_version="0"), "h", 1, tool_version="0"
    )


def claimed(ledger: Ledger, worker: Worker) -> Chunk:
    chunk = ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=LEASE)
    assert chunk is not None
    return chunk


def test_a_restart_in_mid_flush_loses_nothing_acknowledged() -> None:
    """The server is stopped without a checkpoint, again and again, while a worker flushes as fast as it can."""
    folder = server_folder()
    embedded = EmbeddedPostgres(folder)
    ledger = Ledger(embedded.url())
    stopped = threading.Event()

    def restart() -> None:
        for _ in range(3):
            embedded.stop(immediate=True)
            embedded.url()
        stopped.set()

    try:
        ledger.schema.migrate()
        worker = joined(ledger, 100_000, 500)
        acknowledged: set[int] = set()
        refusals = 0
        killer = threading.Thread(target=restart)
        killer.start()
        while not (stopped.is_set() and refusals):
            chunk = patiently(lambda: ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=LEASE))
            if chunk is None:
                break
            todo = sorted(
                set(range(chunk.lo, chunk.hi)) - patiently(lambda held=chunk: ledger.checkpoints.recorded(held))
            )
            for n in range(0, len(todo), 50):
                part = ChunkReport(chunk, completed(chunk, todo[n : n + 50]), (), n + 50 >= len(todo))
                while True:
                    try:
                        assert ledger.checkpoints.flush(worker, [part], lease_seconds=LEASE) == frozenset()
                    except LedgerUnavailable:
                        refusals += 1
                        stopped.wait(0.02)
                    else:
                        acknowledged.update(row.ord for row in part.completions)
                        break
        killer.join()
        assert refusals
        recorded = [row.ord for row in ledger.reports.completions(worker.run_id, 0)]
        assert set(recorded) == acknowledged
        assert len(recorded) == len(acknowledged)
        assert ledger.checks.contradictions(worker.run_id) == []
    finally:
        ledger.close()
        embedded.stop(immediate=True)
        shutil.rmtree(folder, ignore_errors=True)


def patiently(call: Callable[[], T]) -> T:
    """Ask until the ledger is back."""
    pause = threading.Event()
    while True:
        try:
            return call()
        except LedgerUnavailable:
            pause.wait(0.02)


def test_a_full_disk_is_waited_for_and_the_session_is_usable_again(ledger: Ledger, sql: Sql) -> None:
    """The server itself raises 53100 in mid-transaction, until there is room again."""
    worker = joined(ledger, 10, 5)
    chunk = claimed(ledger, worker)
    sql(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END$$"
    )
    sql(f"CREATE TRIGGER full_disk BEFORE INSERT ON ledger.completion_r{worker.run_id} EXECUTE FUNCTION full_disk()")
    for _ in range(3):
        with pytest.raises(LedgerUnavailable, match="disk is full"):
            ledger.checkpoints.flush(worker, [report(chunk)], lease_seconds=LEASE)
    assert ledger.checkpoints.recorded(chunk) == frozenset()
    assert ledger.reports.progress(worker.run_id).done == 0
    sql(f"DROP TRIGGER full_disk ON ledger.completion_r{worker.run_id}")
    assert ledger.checkpoints.flush(worker, [report(chunk)], lease_seconds=LEASE) == frozenset()
    assert ledger.checkpoints.recorded(chunk) == set(range(5))
    assert ledger.checks.contradictions(worker.run_id) == []


@pytest.fixture
def small_disk(postgres_server: PostgresServer) -> Iterator[Path]:
    """A file system of 2 MB that the server may write to; only root can make one."""
    mount = server_folder()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", mount]).returncode:
        shutil.rmtree(mount)
        pytest.skip("mounting a small file system needs root")
    owner = postgres_server.embedded.data.stat()
    os.chown(mount, owner.st_uid, owner.st_gid)
    yield mount
    subprocess.run(["umount", mount], check=True)
    mount.rmdir()


def test_a_really_full_tablespace(ledger: Ledger, sql: Sql, small_disk: Path) -> None:
    worker = joined(ledger, 100_000, 50_000)
    chunk = claimed(ledger, worker)
    sql(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
    try:
        sql(f"ALTER TABLE ledger.completion_r{worker.run_id} SET TABLESPACE small")
        acknowledged: list[Completion] = []
        rows = completed(chunk)
        with pytest.raises(LedgerUnavailable, match="disk is full"):
            for n in range(0, len(rows), 2000):
                ledger.checkpoints.flush(worker, [ChunkReport(chunk, rows[n : n + 2000])], lease_seconds=LEASE)
                acknowledged += rows[n : n + 2000]
        assert ledger.checkpoints.recorded(chunk) == {row.ord for row in acknowledged}
        assert ledger.reports.progress(worker.run_id).done == len(acknowledged)
        sql(f"ALTER TABLE ledger.completion_r{worker.run_id} SET TABLESPACE pg_default")
        rest = rows[len(acknowledged) :]
        assert (
            ledger.checkpoints.flush(worker, [ChunkReport(chunk, rest, (), True)], lease_seconds=LEASE) == frozenset()
        )
        assert ledger.checks.contradictions(worker.run_id) == []
    finally:
        sql(f"ALTER TABLE ledger.completion_r{worker.run_id} SET TABLESPACE pg_default")
        sql("DROP TABLESPACE small")


def test_a_backend_killed_between_two_flushes_costs_one_refusal(ledger: Ledger, sql: Sql) -> None:
    worker = joined(ledger, 10, 5)
    chunk = claimed(ledger, worker)
    sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with pytest.raises(LedgerUnavailable):
        ledger.checkpoints.flush(worker, [report(chunk)], lease_seconds=LEASE)
    assert ledger.checkpoints.flush(worker, [report(chunk)], lease_seconds=LEASE) == frozenset()


def test_too_many_connections_are_waited_for(ledger_url: str) -> None:
    admin = psycopg2.connect(ledger_url.replace("+psycopg2", ""))
    admin.autocommit = True
    ledger = Ledger(ledger_url)
    with admin.cursor() as cursor:
        cursor.execute("CREATE ROLE narrow LOGIN CONNECTION LIMIT 0")
        try:
            with pytest.raises(LedgerUnavailable):
                Ledger(ledger_url.replace("postgres@", "narrow@")).runs.all()
        finally:
            cursor.execute("DROP ROLE narrow")
    assert ledger.runs.all() == []
    ledger.close()
    admin.close()


def test_an_error_in_the_middle_of_finishing_leaves_nothing_half_done(ledger: Ledger, sql: Sql) -> None:
    """The done step, the batch, the run and the audit event are one transaction with the rows."""
    worker = joined(ledger, 5, 5)
    chunk = claimed(ledger, worker)
    sql("ALTER FUNCTION ledger.audit_append RENAME TO gone")
    with pytest.raises(Exception, match="audit_append"):
        ledger.checkpoints.flush(worker, [report(chunk)], lease_seconds=LEASE)
    assert ledger.checkpoints.recorded(chunk) == frozenset()
    progress = ledger.reports.progress(worker.run_id)
    assert (progress.done, progress.leased, progress.state) == (0, 1, RunState.OPEN)
    sql("ALTER FUNCTION ledger.gone RENAME TO audit_append")
    assert ledger.checkpoints.flush(worker, [report(chunk)], lease_seconds=LEASE) == frozenset()
    assert ledger.reports.progress(worker.run_id).state is RunState.COMPLETE
    assert ledger.checks.contradictions(worker.run_id) == []
