"""The migrations make what the statements name, and a schema that does not fit is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import create_engine
from support.ledger_plan import report

from executor.ledger.checkpoints import COMPLETION_COLUMNS
from executor.ledger.enroll import CHUNK_COLUMNS
from executor.ledger.ledger import Ledger
from executor.ledger.runs import RUN_COLUMNS
from executor.ledger.upkeep import migrate
from executor.ledger.uploads import PART_COLUMNS, UPLOAD_COLUMNS
from executor.ledger.values import (
    UNFINISHED,
    Chunk,
    ChunkKind,
    Completion,
    Failure,
    Lane,
    RunState,
    Scaling,
    Worker,
)
from schema.errors import LedgerSchemaError

Sql = Callable[..., list[tuple[object, ...]]]
ALL = [migration.version for migration in migrate.migrations()]


@pytest.fixture
def empty_ledger(empty_database_url: str) -> Iterator[Ledger]:
    opened = Ledger(empty_database_url)
    yield opened
    opened.close()


TABLES = {
    "audit": "run_id, seq, at, actor, kind, body, hash",
    "batch": "run_id, batch_no, batch_id, section, stage_no, manifest, objects, bytes, state, copy_left, verify_left,"
    " n_done, n_verified, bytes_done, outcomes",
    "chunk": f"{CHUNK_COLUMNS}, token, epoch, lease_id, worker_id, lease_until, not_before, n_done, n_bad, n_own,"
    " bytes_done, outcomes, digest",
    "closed_hours": "run_id, begins, ends",
    "completion": f"{COMPLETION_COLUMNS}, finished_at",
    "failure": f"{', '.join(Failure._fields)}, at, run_id, token, kind, worker_id",
    "flow_sample": "run_id, worker_id, number, at, seconds, objects, failed, bytes, processor_seconds,"
    " processor_wait_seconds, saturated_seconds, threads, limit_seconds, source_requests, source_throttled,"
    " source_failed, source_bytes, source_seconds, destination_requests, destination_throttled, destination_failed,"
    " destination_bytes, destination_seconds, buffer_bytes, buffer_limit, view",
    "intent": "at, run_id, batch_no, ord, token, what",
    "run": f"{RUN_COLUMNS}, plan, chunks_left, audit_seq, audit_head, tool_version",
    "run_limit": "run_id, name, value, set_at",
    "scaling": ", ".join(Scaling._fields),
    "schema_version": "version, name, sha256, applied_at, applied_by",
    "scope_lock": "endpoint, bucket, prefix, run_id, lock_id, operation, who, tool_version, created_at",
    "stage": "run_id, stage_no, stage_id, gate, state, batches_left",
    "stage_dependency": "run_id, stage_no, needs_no",
    "upload": f"{UPLOAD_COLUMNS}, run_id, state, created_at",
    "upload_part": f"{PART_COLUMNS}, run_id, batch_no, ord, upload_id",
    "verification": "ord, ok, detail, key, own, at, run_id, batch_no, token",
    "worker": "worker_id, run_id, epoch, host, pid, tool_version, started_at, last_seen, stopped_at, exit_code, place,"
    " pid_started, seen",
}


def test_migrating_from_empty_gives_exactly_the_tables_and_columns(sql: Sql) -> None:
    """The columns that a record's fields or a COPY name are taken from there: one that the schema lacks is seen."""
    found: dict[str, set[object]] = {}
    for table, column in sql(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = %s", "ledger"
    ):
        found.setdefault(str(table), set()).add(column)
    assert found == {table: set(columns.split(", ")) for table, columns in TABLES.items()}
    assert set(Completion._fields) < found["completion"]


def test_migrate_applies_what_is_missing_once(empty_ledger: Ledger) -> None:
    with pytest.raises(LedgerSchemaError, match="ledger migrate"):
        empty_ledger.schema.check()
    assert empty_ledger.schema.migrate() == ALL
    assert empty_ledger.schema.migrate() == []
    empty_ledger.schema.check()


def test_four_processes_may_migrate_at_once(empty_database_url: str) -> None:
    def migrate(_: int) -> list[int]:
        ledger = Ledger(empty_database_url)
        try:
            return ledger.schema.migrate()
        finally:
            ledger.close()

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(migrate, range(4))) == [[], [], [], ALL]


def test_the_script_for_a_dba_makes_the_same_schema(empty_database_url: str, empty_ledger: Ledger) -> None:
    engine = create_engine(empty_database_url)
    with engine.begin() as connection:
        connection.connection.cursor().execute(migrate.script())
    engine.dispose()
    empty_ledger.schema.check()


def test_an_empty_database_is_told_to_migrate(empty_ledger: Ledger) -> None:
    with pytest.raises(LedgerSchemaError, match="s3migrate ledger migrate"):
        empty_ledger.runs.all()


def test_a_newer_ledger_is_refused(ledger: Ledger, sql: Sql) -> None:
    sql("INSERT INTO ledger.schema_version (version, name, sha256) VALUES (99, 'future', 'x')")
    for refused in (ledger.schema.check, ledger.schema.migrate):
        with pytest.raises(LedgerSchemaError, match="99"):
            refused()


def test_an_altered_migration_is_refused(ledger: Ledger, sql: Sql) -> None:
    sql("UPDATE ledger.schema_version SET sha256 = 'other' WHERE version = 1")
    with pytest.raises(LedgerSchemaError, match="differs"):
        ledger.schema.check()


def test_migrations_are_numbered_without_gaps_and_hashed_as_they_are(tmp_path: Path) -> None:
    found = migrate.migrations()
    assert [migration.version for migration in found] == list(range(1, len(found) + 1))
    (tmp_path / "0001_x.sql").write_text("SELECT 1")
    assert migrate.migrations(tmp_path)[0].sha256 == hashlib.sha256(b"SELECT 1").hexdigest()


# A run in each state but 3, which no build has ever set.
OLD_RUN = """
    INSERT INTO ledger.run (plan_id, lineage, serial, name, plan, objects, bytes, chunks_left, created_by, tool_version,
                            state)
    SELECT 'plan ' || n, 'lineage ' || n, 1, 'photos', '{}', 5, 500, 1, 'ann', '0', n FROM generate_series(1, 6) n
     WHERE n <> 3;
    INSERT INTO ledger.batch (run_id, batch_no, batch_id, section, stage_no, manifest, objects, bytes, state, copy_left,
                              verify_left)
    VALUES (1, 0, 'b0', 's', 0, 'm', 5, 500, 1, 1, 0);
    INSERT INTO ledger.worker (run_id, epoch, host, pid, tool_version) VALUES (1, 1, 'h', 1, '0');
    INSERT INTO ledger.chunk (run_id, chunk_no, batch_no, kind, lane, lo, hi, priority, state, token, epoch, lease_id,
                              worker_id, lease_until)
    VALUES (1, 0, 0, 0, 0, 0, 5, 0, 2, 1, 1, '11111111-1111-4111-8111-111111111111', 1, now() + interval '1 hour')"""


def test_migrating_fences_the_workers_of_an_older_build(
    empty_ledger: Ledger, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they flush would be missing from what the new schema counts. Control: before, they held their leases."""
    known = migrate.migrations()
    monkeypatch.setattr(migrate, "migrations", lambda: known[:2])
    assert empty_ledger.schema.migrate() == [1, 2]
    engine = create_engine(empty_database_url)
    with engine.begin() as connection:
        connection.connection.cursor().execute(OLD_RUN)
    worker = Worker(1, 1, 1)
    chunk = Chunk(1, 0, 0, ChunkKind.OBJECTS, Lane.WHOLE, 0, 5, 1, UUID("11111111-1111-4111-8111-111111111111"))
    assert empty_ledger.leases.renew(worker, [chunk], lease_seconds=60) == frozenset()

    monkeypatch.setattr(migrate, "migrations", lambda: known)
    assert empty_ledger.schema.migrate() == ALL[2:]
    assert empty_ledger.schema.migrate() == []

    assert empty_ledger.leases.renew(worker, [chunk], lease_seconds=60) == {0}
    assert empty_ledger.checkpoints.flush(worker, [report(chunk)], lease_seconds=60) == {0}
    assert {run.state: run.epoch for run in empty_ledger.runs.all()} == {
        state: 2 if state in UNFINISHED else 1 for state in RunState
    }
    again = empty_ledger.workers.join(empty_ledger.runs.all()[-1], "h", 2, tool_version="1")
    assert empty_ledger.leases.claim(again, Lane.WHOLE, lease_seconds=60) is not None
    engine.dispose()
