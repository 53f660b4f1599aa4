"""Leases and fences: a chunk has one owner, and only the owner's work is written."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.ledger_plan import SIZE, chunk_specs, completed, failed, ledger_plan, report

from executor.ledger.ledger import Ledger
from executor.ledger.values import (
    Chunk,
    ChunkKind,
    ChunkReport,
    ChunkSpec,
    Completion,
    Lane,
    Outcome,
    RunState,
    Verification,
    Worker,
)
from schema.plan import Gate, Stage

Sql = Callable[..., list[tuple[object, ...]]]
LEASE = 60.0
EXPIRED = -1.0
"""A lease that has run out when it is given: no test waits for one."""


@pytest.fixture
def worker(ledger: Ledger) -> Worker:
    """A worker on a run of two chunks of five objects."""
    plan = ledger_plan()
    return ledger.workers.join(
        ledger.runs.accept(plan, chunk_specs(plan), who="ann", tool_version="0"), "h", 1, tool_version="0"
    )


def claimed(ledger: Ledger, worker: Worker, *, lease_seconds: float = LEASE, lane: Lane = Lane.WHOLE) -> Chunk:
    chunk = ledger.leases.claim(worker, lane, lease_seconds=lease_seconds)
    assert chunk is not None
    return chunk


def test_each_chunk_is_claimed_once_by_two_claimers(ledger: Ledger, ledger_url: str) -> None:
    plan = ledger_plan([("bulk", 1000)])
    run = ledger.runs.accept(plan, chunk_specs(plan, 1), who="ann", tool_version="0")

    def claim_all(pid: int) -> list[int]:
        with_own_connections = Ledger(ledger_url)
        try:
            worker = with_own_connections.workers.join(run, "h", pid, tool_version="0")
            return [
                c.chunk_no
                for c in iter(lambda: with_own_connections.leases.claim(worker, Lane.WHOLE, lease_seconds=LEASE), None)
            ]
        finally:
            with_own_connections.close()

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(claim_all, (1, 2))
    assert sorted(one + other) == list(range(1000))
    assert one == sorted(one)
    assert other == sorted(other)


def test_claims_go_by_priority_and_lane_and_may_be_held_to_some_batches(ledger: Ledger) -> None:
    plan = ledger_plan([("bulk", 1), ("bulk", 1), ("bulk", 1)])
    specs = [
        ChunkSpec(0, 0, ChunkKind.OBJECTS, Lane.WHOLE, 0, 1, 20),
        ChunkSpec(1, 1, ChunkKind.OBJECTS, Lane.WHOLE, 0, 1, 10),
        ChunkSpec(2, 2, ChunkKind.OBJECTS, Lane.PARTS, 0, 1, 0),
    ]
    worker = ledger.workers.join(ledger.runs.accept(plan, specs, who="ann", tool_version="0"), "h", 1, tool_version="0")
    assert ledger.leases.claim(worker, Lane.PARTS, lease_seconds=LEASE, batches=[0, 1]) is None
    assert ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=LEASE, batches=[0]) is not None
    assert claimed(ledger, worker).batch_no == 1
    assert ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=LEASE) is None
    parts = claimed(ledger, worker, lane=Lane.PARTS)
    assert (parts.batch_no, parts.lane, parts.token) == (2, Lane.PARTS, 1)


def test_what_is_flushed_is_recorded_and_counted(ledger: Ledger, worker: Worker) -> None:
    chunk = claimed(ledger, worker)
    first = completed(chunk, [0, 1])
    second = completed(chunk, [3], Outcome.ALREADY_THERE)
    reports = [ChunkReport(chunk, first), ChunkReport(chunk, second, [failed(chunk, 2, terminal=False)])]
    assert ledger.checkpoints.flush(worker, reports, lease_seconds=LEASE) == frozenset()
    assert ledger.checkpoints.recorded(chunk) == {0, 1, 3}
    assert list(ledger.reports.completions(chunk.run_id, 0)) == first + second
    assert list(ledger.reports.completions(chunk.run_id, 0, lo=1, hi=3)) == first[1:]
    progress = ledger.reports.progress(chunk.run_id)
    assert (progress.done, progress.failed, progress.bytes_done, progress.leased) == (3, 0, 3 * SIZE, 1)
    assert {o: n for o, n in progress.by_outcome.items() if n} == {Outcome.COPIED: 2, Outcome.ALREADY_THERE: 1}
    assert ledger.reports.failures(chunk.run_id) == []


def test_values_at_their_limits_come_back_as_they_were(ledger: Ledger, worker: Worker) -> None:
    chunk = claimed(ledger, worker)
    rows = [
        Completion(0, 0, Outcome.COPIED, 32_767, 48 * 2**40, 'W\\"\t\n\r\\.\\N', b"\x00\xff" * 4, "\\N"),
        Completion(0, 1, Outcome.CONFLICT, 1, 0, "", b"", None),
        Completion(0, 2, Outcome.MARKER_LAID, 1, 0, "é-ÿ", b"", ""),
        Completion(0, 3, Outcome.DELETED, 1, 0, "a'b%s{}", b"", "a b"),
    ]
    ledger.checkpoints.flush(worker, [ChunkReport(chunk, rows)], lease_seconds=LEASE)
    assert list(ledger.reports.completions(chunk.run_id, 0)) == rows


def test_hostile_messages_are_kept_as_text(ledger: Ledger, worker: Worker) -> None:
    chunk = claimed(ledger, worker)
    failure = failed(chunk, 0)._replace(message="a\0b\udc80\x1b[31m" + "x" * 5000)
    ledger.checkpoints.flush(worker, [ChunkReport(chunk, (), [failure])], lease_seconds=LEASE)
    message = ledger.reports.failures(chunk.run_id)[0].message
    assert message.startswith("a\\0b\\udc80\x1b[31mxxx")
    assert len(message) < 2100


def test_a_stale_flush_is_refused_and_the_other_chunks_in_it_are_written(ledger: Ledger, worker: Worker) -> None:
    stale = claimed(ledger, worker, lease_seconds=EXPIRED)
    good = claimed(ledger, worker)
    assert ledger.leases.reap(worker.run_id) == 1
    new = claimed(ledger, worker)
    assert (new.chunk_no, new.token) == (stale.chunk_no, 2)
    lost = ledger.checkpoints.flush(worker, [report(stale), report(good)], lease_seconds=LEASE)
    assert lost == {stale.chunk_no}
    assert ledger.checkpoints.recorded(new) == frozenset()
    assert ledger.checkpoints.recorded(good) == set(range(5, 10))
    assert ledger.checkpoints.flush(worker, [report(new)], lease_seconds=LEASE) == frozenset()
    assert ledger.reports.progress(worker.run_id).state is RunState.COMPLETE
    assert ledger.checks.contradictions(worker.run_id) == []


def test_reports_of_a_lost_and_of_the_present_claim_are_told_apart_in_one_flush(ledger: Ledger, worker: Worker) -> None:
    stale = claimed(ledger, worker, lease_seconds=EXPIRED)
    ledger.leases.reap(worker.run_id)
    new = claimed(ledger, worker)
    reports = [ChunkReport(stale, completed(stale, [0, 1])), ChunkReport(new, completed(new, [2]))]
    ledger.checkpoints.flush(worker, reports, lease_seconds=LEASE)
    assert ledger.checkpoints.recorded(new) == {2}


@pytest.mark.parametrize("forged", ["token", "lease_id"])
def test_both_halves_of_the_fence_hold(ledger: Ledger, worker: Worker, forged: str) -> None:
    chunk = claimed(ledger, worker)
    other = chunk._replace(**{forged: chunk.token + 1 if forged == "token" else uuid.uuid4()})
    assert ledger.checkpoints.flush(worker, [report(other)], lease_seconds=LEASE) == {chunk.chunk_no}
    assert ledger.leases.renew(worker, [other], lease_seconds=LEASE) == {chunk.chunk_no}
    ledger.leases.release(worker, [other])
    assert ledger.leases.renew(worker, [chunk], lease_seconds=LEASE) == frozenset()


def test_a_heartbeat_keeps_a_lease_from_the_reaper(ledger: Ledger, worker: Worker) -> None:
    kept, dropped = claimed(ledger, worker, lease_seconds=EXPIRED), claimed(ledger, worker, lease_seconds=EXPIRED)
    assert ledger.leases.renew(worker, [kept], lease_seconds=LEASE) == frozenset()
    assert ledger.leases.reap(worker.run_id) == 1
    assert ledger.leases.renew(worker, [kept, dropped], lease_seconds=LEASE) == {dropped.chunk_no}
    assert ledger.leases.renew(worker, [], lease_seconds=LEASE) == frozenset()


def test_a_flush_prolongs_the_lease_too(ledger: Ledger, worker: Worker) -> None:
    chunk = claimed(ledger, worker, lease_seconds=EXPIRED)
    ledger.checkpoints.flush(worker, [ChunkReport(chunk, completed(chunk, [0]))], lease_seconds=LEASE)
    assert ledger.leases.reap(worker.run_id) == 0


def test_a_released_chunk_is_claimed_again_and_knows_what_was_done(ledger: Ledger, worker: Worker) -> None:
    chunk = claimed(ledger, worker)
    ledger.checkpoints.flush(worker, [ChunkReport(chunk, completed(chunk, [0, 4]))], lease_seconds=LEASE)
    ledger.leases.release(worker, [chunk])
    again = claimed(ledger, worker)
    assert (again.chunk_no, again.token) == (chunk.chunk_no, 2)
    assert ledger.checkpoints.recorded(again) == {0, 4}


def test_a_chunk_released_for_later_is_not_claimed_before(ledger: Ledger, worker: Worker, sql: Sql) -> None:
    chunk = claimed(ledger, worker)
    ledger.checkpoints.flush(worker, [ChunkReport(chunk, completed(chunk, [0]))], lease_seconds=LEASE)
    ledger.leases.release(worker, [chunk], after_seconds=3600)
    waits = ledger.reports.progress(worker.run_id)
    assert waits.restoring == chunk.hi - chunk.lo - 1
    assert waits.next_look is not None
    assert (waits.next_look - waits.now).total_seconds() == pytest.approx(3600, abs=60)
    assert claimed(ledger, worker).chunk_no != chunk.chunk_no
    assert ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=LEASE) is None
    sql("UPDATE ledger.chunk SET not_before = now()")
    assert claimed(ledger, worker).chunk_no == chunk.chunk_no
    assert (ledger.reports.progress(worker.run_id).restoring, ledger.reports.progress(worker.run_id).next_look) == (
        0,
        None,
    )


def test_a_flush_sent_again_after_a_lost_answer_changes_nothing(ledger: Ledger, worker: Worker) -> None:
    chunk = claimed(ledger, worker)
    part = ChunkReport(chunk, completed(chunk, [0, 1]), [failed(chunk, 2), failed(chunk, 3, terminal=False)])
    rest = ChunkReport(chunk, completed(chunk, [3, 4]), (), True)
    for reports in ([part], [part], [part, rest], [part, rest], [rest]):
        assert ledger.checkpoints.flush(worker, reports, lease_seconds=LEASE) == frozenset()
    progress = ledger.reports.progress(worker.run_id)
    assert (progress.done, progress.failed, progress.parked) == (4, 1, 1)
    assert len(ledger.reports.explain(worker.run_id, 0, 2)["failures"]) == 1
    assert ledger.checks.contradictions(worker.run_id) == []


def test_verdicts_sent_again_change_nothing(ledger: Ledger) -> None:
    plan = ledger_plan([("canary", 3)], (Stage("canary", (), Gate.VERIFIED),))
    worker = ledger.workers.join(
        ledger.runs.accept(plan, chunk_specs(plan), who="ann", tool_version="0"), "h", 1, tool_version="0"
    )
    ledger.checkpoints.flush(worker, [report(claimed(ledger, worker))], lease_seconds=LEASE)
    chunk = claimed(ledger, worker)
    assert chunk.kind is ChunkKind.VERIFY
    part = ChunkReport(
        chunk, verifications=[Verification(0, ok=True), Verification(1, ok=False, detail="size 3, not 4")]
    )
    for _ in range(2):
        assert ledger.checkpoints.flush(worker, [part], lease_seconds=LEASE) == frozenset()
    progress = ledger.reports.progress(worker.run_id)
    assert (progress.verified, progress.verify_failed) == (1, 1)
    assert ledger.checkpoints.recorded(chunk) == {0}
    assert ledger.reports.failures(worker.run_id)[0].message == "size 3, not 4"


def test_a_chunk_finished_with_objects_unaccounted_for_is_a_bug_and_writes_nothing(
    ledger: Ledger, worker: Worker
) -> None:
    chunk = claimed(ledger, worker)
    with pytest.raises(ValueError, match="finished with 4 done and 0 failed of 5"):
        ledger.checkpoints.flush(
            worker, [ChunkReport(chunk, completed(chunk, range(4)), (), True)], lease_seconds=LEASE
        )
    assert ledger.checkpoints.recorded(chunk) == frozenset()
    assert ledger.checkpoints.flush(worker, [report(chunk)], lease_seconds=LEASE) == frozenset()


def test_failures_of_a_claim_that_died_do_not_count_against_the_next_one(ledger: Ledger, worker: Worker) -> None:
    chunk = claimed(ledger, worker, lease_seconds=EXPIRED)
    ledger.checkpoints.flush(
        worker, [ChunkReport(chunk, completed(chunk, [0]), [failed(chunk, 1)])], lease_seconds=EXPIRED
    )
    ledger.leases.reap(worker.run_id)
    again = claimed(ledger, worker)
    assert ledger.reports.progress(worker.run_id).failed == 0
    rest = ChunkReport(again, completed(again, [1, 2, 3, 4]), (), True)
    assert ledger.checkpoints.flush(worker, [rest], lease_seconds=LEASE) == frozenset()
    assert ledger.reports.progress(worker.run_id).parked == 0
    assert ledger.reports.failures(worker.run_id) == []


def test_an_empty_flush_asks_nothing(ledger: Ledger, worker: Worker) -> None:
    ledger.close()
    assert ledger.checkpoints.flush(worker, [], lease_seconds=LEASE) == frozenset()


def test_explain_tells_everything_of_one_object(ledger: Ledger, worker: Worker) -> None:
    chunk = claimed(ledger, worker)
    ledger.checkpoints.record_intent(chunk, 3, "delete 'a\0b' with ETag x")
    ledger.checkpoints.flush(worker, [report(chunk, failures=[failed(chunk, 3, terminal=False)])], lease_seconds=LEASE)
    told = ledger.reports.explain(worker.run_id, 0, 3)
    assert [c["chunk_no"] for c in told["chunks"]] == [chunk.chunk_no]
    assert told["completion"]["checksum"] == "0000000000000003"
    assert [f["error_code"] for f in told["failures"]] == ["AccessRefused"]
    assert [i["what"] for i in told["intents"]] == ["delete 'a\\0b' with ETag x"]
    assert told["upload"] is None
    assert ledger.reports.explain(worker.run_id, 0, 99) == {
        "chunks": [],
        "completion": None,
        "failures": [],
        "verifications": [],
        "intents": [],
        "upload": None,
    }


def test_completions_can_be_left_half_read(ledger: Ledger, worker: Worker) -> None:
    ledger.checkpoints.flush(worker, [report(claimed(ledger, worker))], lease_seconds=LEASE)
    for _ in range(20):
        rows: Iterator[Completion] = ledger.reports.completions(worker.run_id, 0)
        next(rows)
        rows.close()  # type: ignore[attr-defined]
    assert dataclasses.asdict(ledger.reports.progress(worker.run_id))["done"] == 5
