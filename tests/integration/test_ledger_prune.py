"""`ledger prune` gives back what an ended run needs no more, and the run stays proven."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.ledger_plan import chunk_specs, completed, failed, ledger_plan, report

from executor.ledger.ledger import Ledger
from executor.ledger.values import ChunkReport, Lane, Outcome, RunState, UploadRecord, Worker
from schema.errors import UsageError
from schema.plan import Gate, Stage

Sql = Callable[..., list[tuple[object, ...]]]
STAGES = (Stage("canary", (), Gate.VERIFIED), Stage("bulk", ("canary",), Gate.COPIED))


@pytest.fixture
def worker(ledger: Ledger) -> Worker:
    """A run under way."""
    plan = ledger_plan([("canary", 6), ("bulk", 10)], STAGES)
    run = ledger.runs.accept(plan, chunk_specs(plan), who="ann", tool_version="0")
    return ledger.workers.join(run, "h", 1, tool_version="0")


def ended(ledger: Ledger, worker: Worker, *, give_up: bool) -> RunState:
    """Do it all: object 3 of each bulk chunk fails once before it arrives, object 9 for good if told to."""
    while chunk := ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60):
        failures = []
        if chunk.batch_no == 1:
            ledger.checkpoints.record_intent(chunk, chunk.lo, "put")
            failures = [failed(chunk, chunk.lo, terminal=False)]
            failures += [failed(chunk, 9)] if give_up and chunk.hi == 10 else []
        ledger.checkpoints.flush(worker, [report(chunk, failures=failures)], lease_seconds=60)
    return ledger.runs.finish(worker.run_id)


def test_a_complete_run_keeps_its_proof_and_nothing_else(ledger: Ledger, worker: Worker, sql: Sql) -> None:
    assert ended(ledger, worker, give_up=False) is RunState.COMPLETE
    before = ledger.reports.progress(worker.run_id)

    pruned = ledger.pruning.prune(worker.run_id, who="ann")

    assert pruned.rows == {"failure": 2, "intent": 2}
    assert pruned.bytes >= 0 and pruned.kept_bytes > 0
    assert ledger.checks.contradictions(worker.run_id) == []
    after = ledger.reports.progress(worker.run_id)
    assert (after.done, after.verified, after.by_outcome) == (before.done, before.verified, before.by_outcome)
    assert [row[0] for row in sql("SELECT count(*) FROM ledger.completion")] == [16]
    assert sql("SELECT count(*) FROM ledger.verification WHERE ok") == [(6,)]
    assert sql("SELECT kind FROM ledger.audit ORDER BY seq DESC LIMIT 1") == [("pruned",)]
    assert ledger.pruning.prune(worker.run_id, who="ann").rows == {}


def test_what_was_given_up_is_kept_and_can_be_retried(ledger: Ledger, worker: Worker) -> None:
    assert ended(ledger, worker, give_up=True) is RunState.FAILED
    given_up = ledger.reports.failures(worker.run_id)
    assert len(given_up) == 1

    assert ledger.pruning.prune(worker.run_id, who="ann").rows == {"failure": 2, "intent": 2}

    assert ledger.reports.failures(worker.run_id) == given_up
    assert ledger.runs.retry(worker.run_id, who="operator", tool_version="") == 1
    again = ledger.workers.join(ledger.runs.all()[0], "h", 2, tool_version="0")
    assert ended(ledger, again, give_up=False) is RunState.COMPLETE
    assert ledger.pruning.prune(worker.run_id, who="ann").rows["failure"] >= 1
    assert ledger.reports.failures(worker.run_id) == []
    assert ledger.checks.contradictions(worker.run_id) == []


def test_a_run_that_has_not_ended_is_refused(ledger: Ledger, worker: Worker) -> None:
    with pytest.raises(UsageError, match="has not ended"):
        ledger.pruning.prune(worker.run_id, who="ann")
    with pytest.raises(UsageError, match="no run 99"):
        ledger.pruning.prune(99, who="ann")


def test_what_was_left_alone_is_still_told_and_uploads_can_still_be_aborted(ledger: Ledger, worker: Worker) -> None:
    """Their objects have completions; an attempt that failed before one of them (object 0) is not kept."""
    chunk = ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60)
    assert chunk is not None
    for upload_id in ("replaced", "open"):
        ledger.uploads.record(chunk, UploadRecord(0, 4, "new", "k", upload_id, "etag", None, 100, 50, 2))
    why = failed(chunk, 1, 2, terminal=False)._replace(error_code="source_changed", message="ETag differs")
    rows = completed(chunk, [0, 2, 3, 4]) + completed(chunk, [1], Outcome.SOURCE_CHANGED)
    failures = [failed(chunk, 0, terminal=False), failed(chunk, 1, terminal=False), why]
    ledger.checkpoints.flush(worker, [ChunkReport(chunk, rows, failures, finished=True)], lease_seconds=60)
    assert ended(ledger, worker, give_up=False) is RunState.COMPLETE
    left_alone, uploads = ledger.reports.left_alone(worker.run_id), ledger.uploads.unfinished(worker.run_id)
    assert ([found.message for found in left_alone], len(uploads)) == (["ETag differs"], 2)

    assert ledger.pruning.prune(worker.run_id, who="ann").rows == {"failure": 4, "intent": 2}

    assert ledger.reports.left_alone(worker.run_id) == left_alone
    assert ledger.uploads.unfinished(worker.run_id) == uploads
