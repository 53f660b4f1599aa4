"""Multipart uploads are known before their first part, and every acknowledged part is a checkpoint."""

from __future__ import annotations

import pytest
from support.ledger_plan import chunk_specs, ledger_plan

from executor.ledger.ledger import Ledger
from executor.ledger.values import Chunk, Lane, PartRecord, UploadRecord, Worker
from schema.errors import LeaseLost

KEY = "a//b/\0/é/\ud800/" + "x" * 1000


@pytest.fixture
def worker(ledger: Ledger) -> Worker:
    plan = ledger_plan([("bulk", 2)])
    return ledger.workers.join(
        ledger.runs.accept(plan, chunk_specs(plan, 1), who="ann", tool_version="0"), "h", 1, tool_version="0"
    )


@pytest.fixture
def chunk(ledger: Ledger, worker: Worker) -> Chunk:
    return claimed(ledger, worker, 60)


def claimed(ledger: Ledger, worker: Worker, lease_seconds: float) -> Chunk:
    chunk = ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=lease_seconds)
    assert chunk is not None
    return chunk


def upload(upload_id: str = "u1") -> UploadRecord:
    return UploadRecord(0, 0, "bucket", KEY, upload_id, "etag-2", None, 3 * 2**40, 512 * 2**20, 6144)


def part(number: int, etag: str = "e") -> PartRecord:
    return PartRecord(number, f"{etag}{number}", number.to_bytes(8, "big"), 2**29)


def test_an_upload_and_its_parts_are_found_again(ledger: Ledger, chunk: Chunk) -> None:
    assert ledger.uploads.find(chunk.run_id, 0, 0) is None
    ledger.uploads.record(chunk, upload())
    ledger.uploads.record_parts(chunk, 0, [part(3), part(1)])
    ledger.uploads.record_parts(chunk, 0, [])
    ledger.uploads.record_parts(chunk, 0, [part(3, "again"), part(2), part(2, "twice")])
    assert ledger.uploads.find(chunk.run_id, 0, 0) == (upload(), [part(1), part(2, "twice"), part(3, "again")])
    assert list(ledger.uploads.unfinished(chunk.run_id)) == [upload()]
    assert ledger.reports.explain(chunk.run_id, 0, 0)["upload"]["parts_recorded"] == [1, 2, 3]


def test_saying_the_same_upload_again_keeps_its_parts(ledger: Ledger, chunk: Chunk) -> None:
    ledger.uploads.record(chunk, upload())
    ledger.uploads.record_parts(chunk, 0, [part(1)])
    ledger.uploads.record(chunk, upload())
    assert ledger.uploads.find(chunk.run_id, 0, 0) == (upload(), [part(1)])


def test_a_completed_upload_is_forgotten_with_its_parts(ledger: Ledger, chunk: Chunk) -> None:
    ledger.uploads.record(chunk, upload())
    ledger.uploads.record_parts(chunk, 0, [part(1)])
    ledger.uploads.forget(chunk, 0)
    ledger.uploads.forget(chunk, 0)
    assert ledger.uploads.find(chunk.run_id, 0, 0) is None
    assert list(ledger.uploads.unfinished(chunk.run_id)) == []


def test_a_replaced_upload_stays_known_until_it_is_aborted(ledger: Ledger, chunk: Chunk) -> None:
    ledger.uploads.record(chunk, upload("old"))
    ledger.uploads.record_parts(chunk, 0, [part(1)])
    ledger.uploads.record(chunk, upload("new"))
    assert ledger.uploads.find(chunk.run_id, 0, 0) == (upload("new"), [])
    assert {u.upload_id for u in ledger.uploads.unfinished(chunk.run_id)} == {"old", "new"}
    ledger.uploads.forget(chunk, 0)
    assert [u.upload_id for u in ledger.uploads.unfinished(chunk.run_id)] == ["old"]
    ledger.uploads.close(chunk.run_id, 0, 0, upload_id="old")
    assert list(ledger.uploads.unfinished(chunk.run_id)) == []


def test_without_the_lease_nothing_of_an_upload_is_written(ledger: Ledger, worker: Worker) -> None:
    stale = claimed(ledger, worker, -1)
    ledger.uploads.record(stale, upload("mine"))
    ledger.leases.reap(worker.run_id)
    new = claimed(ledger, worker, 60)
    ledger.uploads.record_parts(new, 0, [part(1)])
    for refused in (
        lambda: ledger.uploads.record(stale, upload("other")),
        lambda: ledger.uploads.record_parts(stale, 0, [part(2)]),
        lambda: ledger.uploads.forget(stale, 0),
        lambda: ledger.checkpoints.record_intent(stale, 0, "delete"),
    ):
        with pytest.raises(LeaseLost):
            refused()
    assert ledger.uploads.find(worker.run_id, 0, 0) == (upload("mine"), [part(1)])


def test_parts_of_an_upload_that_the_janitor_closed_are_refused(ledger: Ledger, chunk: Chunk) -> None:
    ledger.uploads.record(chunk, upload())
    ledger.uploads.close(chunk.run_id, 0, 0)
    with pytest.raises(LeaseLost):
        ledger.uploads.record_parts(chunk, 0, [part(1)])
