"""`ledger check` finds one altered row, wherever it is."""

from __future__ import annotations

from collections.abc import Callable

import psycopg2
import pytest
from support.ledger_plan import chunk_specs, failed, ledger_plan, report

from executor.ledger.ledger import Ledger
from executor.ledger.values import Lane
from schema.plan import Gate, Stage

Sql = Callable[..., list[tuple[object, ...]]]

STAGES = (Stage("canary", (), Gate.VERIFIED), Stage("bulk", ("canary",), Gate.COPIED))


@pytest.fixture
def run_id(ledger: Ledger) -> int:
    """A run with everything in it: verified, copied, parked."""
    plan = ledger_plan([("canary", 6), ("bulk", 10)], STAGES)
    run = ledger.runs.accept(plan, chunk_specs(plan), who="ann", tool_version="0")
    worker = ledger.workers.join(run, "h", 1, tool_version="0")
    while chunk := ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60):
        failures = [failed(chunk, 9)] if chunk.batch_no == 1 and chunk.hi == 10 else []
        ledger.checkpoints.flush(worker, [report(chunk, failures=failures)], lease_seconds=60)
    ledger.runs.finish(run.run_id)
    ledger.workers.leave(worker, 3)
    return run.run_id


def test_an_untouched_run_is_whole_and_its_story_is_told(ledger: Ledger, run_id: int, sql: Sql) -> None:
    assert ledger.checks.contradictions(run_id) == []
    kinds = [row[0] for row in sql("SELECT kind FROM ledger.audit ORDER BY seq")]
    assert kinds[:2] == ["plan-accepted", "worker-joined"]
    assert kinds[-2:] == ["run-failed", "worker-left"]
    for kind in ("chunk-done", "chunk-parked", "batch-copied", "batch-verified", "stage-opened"):
        assert kind in kinds


INSERT = (
    "INSERT INTO ledger.completion (size, run_id, batch_no, ord, token, outcome, attempts, destination_etag, checksum)"
)
ALTERATIONS = [
    "UPDATE ledger.completion SET destination_etag = 'x' WHERE batch_no = 1 AND ord = 3",
    "UPDATE ledger.completion SET checksum = 'x' WHERE batch_no = 0 AND ord = 0",
    "UPDATE ledger.completion SET destination_version = NULL WHERE batch_no = 0 AND ord = 0",
    "UPDATE ledger.completion SET outcome = 2 WHERE batch_no = 1 AND ord = 8",
    "DELETE FROM ledger.completion WHERE batch_no = 1 AND ord = 0",
    f"{INSERT} VALUES (1, 1, 1, 9, 1, 1, 1, 'e', '')",
    f"{INSERT} VALUES (1, 1, 1, 77, 1, 1, 1, 'e', '')",
    "UPDATE ledger.verification SET token = 9 WHERE ord = 2",
    "DELETE FROM ledger.verification WHERE ord = 2",
    "UPDATE ledger.chunk SET digest = sha256('x') WHERE chunk_no = 0",
    "UPDATE ledger.chunk SET n_done = n_done - 1 WHERE chunk_no = 0",
    "UPDATE ledger.chunk SET state = 3 WHERE state = 4",
    "UPDATE ledger.batch SET copy_left = 0 WHERE batch_no = 1",
    "UPDATE ledger.batch SET n_done = n_done + 1 WHERE batch_no = 1",
    "UPDATE ledger.batch SET outcomes[2] = 1 WHERE batch_no = 0",
    "UPDATE ledger.stage SET batches_left = 0 WHERE stage_id = 'bulk'",
    "UPDATE ledger.run SET chunks_left = 0",
    "UPDATE ledger.run SET audit_head = 'x'",
]


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_one_altered_row_is_found(ledger: Ledger, run_id: int, sql: Sql, alteration: str) -> None:
    sql(alteration)
    assert ledger.checks.contradictions(run_id) != []


@pytest.mark.parametrize(
    "alteration",
    [
        "UPDATE ledger.audit SET body = replace(body, '\"failed\":1', '\"failed\":0') WHERE kind = 'chunk-parked'",
        "UPDATE ledger.audit SET actor = 'eve' WHERE seq = 1",
        "UPDATE ledger.audit SET at = at + interval '1 second' WHERE seq = 2",
        "DELETE FROM ledger.audit WHERE seq = (SELECT max(seq) FROM ledger.audit)",
        "DELETE FROM ledger.audit WHERE seq = 3",
    ],
)
def test_an_altered_audit_row_is_found_even_when_the_owner_does_it(
    ledger: Ledger, run_id: int, sql: Sql, alteration: str
) -> None:
    sql("ALTER TABLE ledger.audit DISABLE TRIGGER ALL")
    sql(alteration)
    assert any("audit" in complaint for complaint in ledger.checks.contradictions(run_id))


def test_rows_altered_together_with_their_digest_contradict_the_chain(ledger: Ledger, run_id: int, sql: Sql) -> None:
    sql("UPDATE ledger.completion SET destination_etag = 'x' WHERE batch_no = 1 AND ord = 3")
    sql(
        "UPDATE ledger.chunk SET digest = ledger.completion_digest(run_id, batch_no, lo, hi)"
        " WHERE batch_no = 1 AND lo = 0 AND kind = 0"
    )
    complaints = ledger.checks.contradictions(run_id)
    assert len(complaints) == 1
    assert "another digest than the audit chain" in complaints[0]


@pytest.mark.parametrize(
    "statement", ["UPDATE ledger.audit SET actor = 'eve'", "DELETE FROM ledger.audit", "TRUNCATE ledger.audit"]
)
def test_the_audit_table_refuses_changes(run_id: int, sql: Sql, statement: str) -> None:
    assert run_id
    with pytest.raises(psycopg2.errors.RaiseException, match="append-only"):
        sql(statement)
