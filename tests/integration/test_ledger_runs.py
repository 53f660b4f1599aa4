"""Accepting plans: one run per plan, one open run per lineage, one writer per destination."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine
from support.ledger_plan import change_state, chunk_specs, completed, failed, ledger_plan, report
from support.sample_plan import sample_plan

from executor.ledger.ledger import Ledger
from executor.ledger.values import (
    BatchState,
    Blamed,
    Chunk,
    ChunkKind,
    ChunkReport,
    Lane,
    Run,
    RunState,
    Verification,
    Worker,
)
from schema.errors import LockHeld, StalePlan, UsageError
from schema.plan import Gate, Plan, Section, Stage

Sql = Callable[..., list[tuple[object, ...]]]
OTHER = "22222222-2222-4222-8222-222222222222"


def accept(ledger: Ledger, plan: Plan) -> Run:
    return ledger.runs.accept(plan, chunk_specs(plan), who="ann@host", tool_version="0.1.0")


def work(ledger: Ledger, worker: Worker, *, ok: bool = True) -> list[tuple[ChunkKind, int]]:
    """Do everything that can be claimed; (kind, batch) in order of claim."""
    seen = []
    while chunk := ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60):
        assert ledger.checkpoints.flush(worker, [report(chunk, ok=ok)], lease_seconds=60) == frozenset()
        seen.append((chunk.kind, chunk.batch_no))
    return seen


def test_the_same_plan_again_resumes(ledger: Ledger) -> None:
    plan = ledger_plan()
    first = accept(ledger, plan)
    again = accept(ledger, plan)
    assert (first.resumed, again.resumed) == (False, True)
    assert again.run_id == first.run_id
    assert ledger.runs.find(plan.plan_id) == first
    assert ledger.runs.latest() == first
    assert ledger.runs.all() == [first]
    assert ledger.runs.find("sha256:other") is None


def test_accepting_in_eight_threads_at_once_gives_one_run(ledger: Ledger) -> None:
    plan = ledger_plan()
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: accept(ledger, plan), range(8)))
    assert len({run.run_id for run in runs}) == 1
    assert [run.resumed for run in runs].count(False) == 1
    assert ledger.reports.progress(runs[0].run_id).ready == 2


def test_a_newer_serial_supersedes_and_fences_the_older_run(ledger: Ledger) -> None:
    old = accept(ledger, ledger_plan(serial=1))
    worker = ledger.workers.join(old, "h", 1, tool_version="0.1.0")
    chunk = ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60)
    assert chunk is not None
    new = accept(ledger, ledger_plan(serial=2))
    assert ledger.reports.progress(old.run_id).state is RunState.SUPERSEDED
    assert new.state is RunState.OPEN
    assert ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60) is None
    assert ledger.leases.renew(worker, [chunk], lease_seconds=60) == {chunk.chunk_no}
    assert ledger.checkpoints.flush(worker, [report(chunk)], lease_seconds=60) == {chunk.chunk_no}
    assert ledger.reports.progress(old.run_id).done == 0
    with pytest.raises(StalePlan):
        ledger.workers.join(old, "h", 2, tool_version="0.1.0")


def test_an_older_serial_and_another_plan_of_the_same_serial_are_stale(ledger: Ledger) -> None:
    accept(ledger, ledger_plan(serial=2))
    with pytest.raises(StalePlan, match="serial 2 was accepted as run 1"):
        accept(ledger, ledger_plan(serial=1))
    with pytest.raises(StalePlan):
        accept(ledger, ledger_plan([("bulk", 11)], serial=2))


def test_a_superseded_plan_cannot_come_back(ledger: Ledger) -> None:
    old = ledger_plan(serial=1)
    run = accept(ledger, old)
    accept(ledger, ledger_plan(serial=2))
    with pytest.raises(StalePlan):
        accept(ledger, old)
    with pytest.raises(StalePlan):
        ledger.runs.retry(run.run_id, who="operator", tool_version="")


def test_an_overlapping_destination_is_locked_until_the_run_ends(ledger: Ledger) -> None:
    run = accept(ledger, ledger_plan())
    inside = dataclasses.replace(
        sample_plan().sections[0],
        destination=dataclasses.replace(sample_plan().sections[0].destination, prefix="new/deep/"),
    )
    other = ledger_plan(lineage=OTHER, sections=(inside,))
    with pytest.raises(LockHeld) as caught:
        accept(ledger, other)
    for word in ("ann@host", "apply", "s3://first/new/", "at 10.0.0.7:9000", "s3migrate unlock"):
        assert word in str(caught.value)
    assert ledger.runs.find(other.plan_id) is None
    work(ledger, ledger.workers.join(run, "h", 1, tool_version="0.1.0"))
    assert accept(ledger, other).state is RunState.OPEN


def test_the_second_section_is_locked_too(ledger: Ledger) -> None:
    both: tuple[Section, ...] = sample_plan().sections
    accept(ledger, ledger_plan(sections=both))
    with pytest.raises(LockHeld):
        accept(ledger, ledger_plan(lineage=OTHER, sections=both[1:]))


def test_unlock_fences_the_old_owner_and_frees_the_destination(ledger: Ledger) -> None:
    plan = ledger_plan()
    run = accept(ledger, plan)
    worker = ledger.workers.join(run, "h", 1, tool_version="0.1.0")
    chunk = ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60)
    assert chunk is not None
    other = ledger_plan(lineage=OTHER)
    with pytest.raises(LockHeld) as caught:
        accept(ledger, other)
    lock_id = str(caught.value).split()[-1]
    assert ledger.locks.unlock(lock_id, who="bob") == run.run_id
    assert ledger.checkpoints.flush(worker, [report(chunk)], lease_seconds=60) == {chunk.chunk_no}
    assert ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60) is None
    assert ledger.reports.progress(run.run_id).leased == 0
    accept(ledger, other)
    with pytest.raises(LockHeld):
        accept(ledger, plan)
    for unknown in (lock_id, "no-uuid"):
        with pytest.raises(UsageError):
            ledger.locks.unlock(unknown, who="operator")


def test_after_unlock_the_same_plan_goes_on_with_new_workers(ledger: Ledger) -> None:
    plan = ledger_plan()
    run = accept(ledger, plan)
    worker = ledger.workers.join(run, "h", 1, tool_version="0.1.0")
    assert ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60)
    with pytest.raises(LockHeld) as caught:
        accept(ledger, ledger_plan(lineage=OTHER))
    ledger.locks.unlock(str(caught.value).split()[-1], who="operator")
    again = accept(ledger, plan)
    assert (again.epoch, again.resumed) == (2, True)
    work(ledger, ledger.workers.join(again, "h", 2, tool_version="0.1.0"))
    assert ledger.runs.finish(run.run_id) is RunState.COMPLETE
    assert ledger.checks.contradictions(run.run_id) == []


def test_stages_open_only_when_their_gates_are_met(ledger: Ledger, sql: Sql) -> None:
    stages = (
        Stage("canary", (), Gate.VERIFIED),
        Stage("bulk", ("canary",), Gate.COPIED),
        Stage("huge", ("canary",), Gate.COPIED),
        Stage("markers", ("bulk", "huge"), Gate.COPIED),
    )
    plan = ledger_plan([("markers", 3), ("bulk", 7), ("huge", 2), ("canary", 6)], stages)
    run = accept(ledger, plan)
    worker = ledger.workers.join(run, "h", 1, tool_version="0.1.0")
    seen = work(ledger, worker)
    objects, verify = ChunkKind.OBJECTS, ChunkKind.VERIFY
    assert seen[:4] == [(objects, 3), (objects, 3), (verify, 3), (verify, 3)]
    assert sorted(seen[4:7]) == [(objects, 1), (objects, 1), (objects, 2)]
    assert seen[7:] == [(objects, 0)]
    assert ledger.runs.finish(run.run_id) is RunState.COMPLETE
    batches = sql("SELECT batch_id, batch_no, state FROM ledger.batch ORDER BY batch_no")
    assert [state for _, _, state in batches] == [BatchState.COPIED] * 3 + [BatchState.VERIFIED]
    assert {batch_id: number for batch_id, number, _ in batches} == {"b0": 0, "b1": 1, "b2": 2, "b3": 3}
    assert ledger.checks.contradictions(run.run_id) == []


def test_a_failed_verification_holds_the_dependants_back_until_it_is_retried(ledger: Ledger) -> None:
    stages = (Stage("canary", (), Gate.VERIFIED), Stage("bulk", ("canary",), Gate.COPIED))
    run = accept(ledger, ledger_plan([("canary", 4), ("bulk", 4)], stages))
    worker = ledger.workers.join(run, "h", 1, tool_version="0.1.0")
    assert [batch for _, batch in work(ledger, worker, ok=False)] == [0, 0]
    assert ledger.runs.finish(run.run_id) is RunState.FAILED
    assert {f.error_code for f in ledger.reports.failures(run.run_id)} == {"VerifyMismatch"}
    progress = ledger.reports.progress(run.run_id)
    assert (progress.verify_failed, progress.parked, progress.blocked) == (4, 1, 1)
    assert ledger.runs.retry(run.run_id, who="operator", tool_version="") == 1
    assert [batch for _, batch in work(ledger, worker)] == [0, 1]
    assert ledger.runs.finish(run.run_id) is RunState.COMPLETE
    assert ledger.reports.failures(run.run_id) == []
    assert ledger.checks.contradictions(run.run_id) == []


def test_a_parked_chunk_fails_the_run_and_retry_brings_back_only_what_failed(ledger: Ledger) -> None:
    run = accept(ledger, ledger_plan())
    worker = ledger.workers.join(run, "h", 1, tool_version="0.1.0")
    first = ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60)
    assert first is not None
    ledger.checkpoints.flush(worker, [report(first, failures=[failed(first, 2)])], lease_seconds=60)
    assert ledger.runs.finish(run.run_id) is RunState.OPEN
    work(ledger, worker)
    assert ledger.runs.finish(run.run_id) is RunState.FAILED
    assert [(f.ord, f.error_code, f.http_status) for f in ledger.reports.failures(run.run_id)] == [
        (2, "AccessRefused", 403)
    ]
    assert ledger.reports.failures(run.run_id, limit=0) == []
    assert accept(ledger, ledger_plan()).state is RunState.FAILED
    assert ledger.runs.retry(run.run_id, who="operator", tool_version="") == 1
    again = ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60)
    assert again is not None
    assert (again.chunk_no, again.token) == (first.chunk_no, 2)
    assert ledger.checkpoints.recorded(again) == {0, 1, 3, 4}
    missing = report(again)
    rows = [row for row in missing.completions if row.ord == 2]
    ledger.checkpoints.flush(worker, [dataclasses.replace(missing, completions=rows)], lease_seconds=60)
    assert ledger.reports.progress(run.run_id).state is RunState.COMPLETE
    assert ledger.reports.failures(run.run_id) == []
    assert ledger.checks.contradictions(run.run_id) == []


def test_retry_cannot_take_a_destination_that_another_run_has_now(ledger: Ledger) -> None:
    run = accept(ledger, ledger_plan([("bulk", 2)]))
    worker = ledger.workers.join(run, "h", 1, tool_version="0.1.0")
    chunk = ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60)
    assert chunk is not None
    ledger.checkpoints.flush(worker, [report(chunk, failures=[failed(chunk, 0)])], lease_seconds=60)
    assert ledger.runs.finish(run.run_id) is RunState.FAILED
    accept(ledger, ledger_plan(lineage=OTHER))
    with pytest.raises(LockHeld):
        ledger.runs.retry(run.run_id, who="operator", tool_version="")
    assert ledger.reports.progress(run.run_id).parked == 1


def test_a_plan_with_nothing_to_do_is_complete_at_once_and_holds_no_lock(ledger: Ledger) -> None:
    run = accept(ledger, ledger_plan([("bulk", 0)]))
    assert run.state is RunState.COMPLETE
    assert ledger.checks.contradictions(run.run_id) == []
    assert accept(ledger, ledger_plan(lineage=OTHER)).state is RunState.OPEN


@pytest.mark.parametrize("broken", ["gap", "short", "unverified"])
def test_chunks_that_do_not_cover_the_plan_are_refused_and_nothing_is_enrolled(ledger: Ledger, broken: str) -> None:
    plan = ledger_plan([("canary", 10)], (Stage("canary", (), Gate.VERIFIED),))
    specs = chunk_specs(plan)
    drop = {"gap": 0, "short": 1, "unverified": 3}[broken]
    with pytest.raises(ValueError, match="chunk"):
        ledger.runs.accept(plan, specs[:drop] + specs[drop + 1 :], who="ann", tool_version="0.1.0")
    assert ledger.runs.all() == []


def test_no_claim_while_a_run_is_paused_and_its_work_can_still_be_recorded(ledger: Ledger, sql: Sql) -> None:
    run = accept(ledger, ledger_plan())
    worker = ledger.workers.join(run, "h", 1, tool_version="0.1.0")
    chunk = ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60)
    assert chunk is not None
    assert change_state(sql, run.run_id, RunState.PAUSED) is RunState.PAUSED
    assert ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60) is None
    assert ledger.checkpoints.flush(worker, [report(chunk)], lease_seconds=60) == frozenset()
    assert change_state(sql, run.run_id, RunState.OPEN) is RunState.OPEN
    work(ledger, worker)
    assert change_state(sql, run.run_id, RunState.PAUSED) is RunState.COMPLETE


def test_limits_are_shared_through_the_ledger(ledger: Ledger) -> None:
    run = accept(ledger, ledger_plan())
    ledger.runs.set_limit(run.run_id, "bandwidth", 5e6)
    ledger.runs.set_limit(run.run_id, "bandwidth", 6e6)
    assert ledger.runs.limits(run.run_id) == {"bandwidth": 6e6}
    assert ledger.reports.progress(run.run_id).limits == {"bandwidth": 6e6}


def test_workers_are_counted_while_they_live(ledger: Ledger) -> None:
    run = accept(ledger, ledger_plan())
    workers = [ledger.workers.join(run, "h", pid, tool_version="0.1.0") for pid in (1, 2)]
    assert ledger.reports.progress(run.run_id).workers == 2
    ledger.workers.leave(workers[0], 75)
    ledger.workers.leave(workers[0], 75)
    assert ledger.reports.progress(run.run_id).workers == 1


def test_a_replan_finds_what_was_put_in_place_before(ledger: Ledger) -> None:
    run = accept(ledger, ledger_plan([("bulk", 3)]))
    work(ledger, ledger.workers.join(run, "h", 1, tool_version="0.1.0"))
    plan = ledger_plan([("bulk", 3)])
    section = plan.sections[0].id
    found = list(ledger.reports.completed_before(plan.lineage, section))
    assert [(row.manifest, row.ord, row.destination_etag) for row in found] == [
        (plan.batches[0].manifest, n, f"{n:032x}") for n in range(3)
    ]
    assert list(ledger.reports.completed_before(plan.lineage, section, run.run_id)) == []
    assert list(ledger.reports.completed_before(OTHER, section)) == []


def test_progress_of_an_unknown_run_is_a_key_error(ledger: Ledger) -> None:
    with pytest.raises(KeyError):
        ledger.reports.progress(7)


CANARY_VERIFIED = (Stage("canary", (), Gate.VERIFIED), Stage("bulk", ("canary",), Gate.COPIED))


def own_fault(ledger: Ledger, worker: Worker) -> Chunk:
    """A batch of five of which one object failed by its own fault, so that the others are verified; that claim."""
    first = ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60)
    assert first is not None
    own = failed(first, 2)._replace(own=True)
    ledger.checkpoints.flush(worker, [report(first, failures=[own])], lease_seconds=60)
    early = ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60)
    assert early is not None and early.kind is ChunkKind.VERIFY
    return early


@pytest.mark.parametrize("retried", [False, True])
def test_what_is_verified_while_its_batch_is_retried_is_verified_anew(ledger: Ledger, retried: bool) -> None:
    """False is the control."""
    run = accept(ledger, ledger_plan([("canary", 5), ("bulk", 5)], CANARY_VERIFIED))
    worker = ledger.workers.join(run, "h", 1, tool_version="0")
    early = own_fault(ledger, worker)
    if retried:
        assert ledger.runs.retry(run.run_id, who="operator", tool_version="") == 1
    missing = report(early, failures=[failed(early, 2)._replace(own=True)])
    lost = ledger.checkpoints.flush(worker, [missing], lease_seconds=60)
    assert lost == ({early.chunk_no} if retried else frozenset())
    if not retried:
        assert ledger.reports.progress(run.run_id).parked == 2
        return
    again = ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60)
    assert again is not None and again.kind is ChunkKind.OBJECTS
    rest = dataclasses.replace(report(again), completions=completed(again, [2]))
    ledger.checkpoints.flush(worker, [rest], lease_seconds=60)
    assert [batch for _, batch in work(ledger, worker)] == [0, 1]
    assert ledger.runs.finish(run.run_id) is RunState.COMPLETE
    assert ledger.checks.contradictions(run.run_id) == []


def test_an_arrived_object_whose_proof_failed_by_its_own_fault_is_not_proven(ledger: Ledger) -> None:
    """One that never arrived is failed already, and is not counted a second time."""
    run = accept(ledger, ledger_plan([("canary", 5), ("bulk", 5)], CANARY_VERIFIED))
    worker = ledger.workers.join(run, "h", 1, tool_version="0")
    early = own_fault(ledger, worker)
    found = [Verification(ord_, ord_ not in {2, 4}, "cannot be read", "key", own=True) for ord_ in range(5)]
    ledger.checkpoints.flush(worker, [ChunkReport(early, (), (), True, found)], lease_seconds=60)
    progress = ledger.reports.progress(run.run_id)
    assert (progress.failed, progress.verified, progress.verify_failed) == (1, 3, 1)
    assert ledger.reports.account(run.run_id).proofs.not_verified == 1
    assert [failure.ord for failure in ledger.reports.failures(run.run_id)] == [2, 4]


def test_retry_waits_for_no_flush_that_waits_for_the_run(ledger: Ledger, ledger_url: str) -> None:
    """A flush that ends a batch holds its parked chunks and waits for the run, which retry holds."""
    run = accept(ledger, ledger_plan())
    worker = ledger.workers.join(run, "h", 1, tool_version="0")
    for _ in range(2):
        chunk = ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60)
        assert chunk is not None
        ledger.checkpoints.flush(worker, [report(chunk, failures=[failed(chunk, chunk.lo)])], lease_seconds=60)
    impatient, flushing = Ledger(f"{ledger_url}&options=-clock_timeout%3D500"), create_engine(ledger_url)
    with flushing.begin() as connection:
        connection.exec_driver_sql("SELECT FROM ledger.chunk WHERE chunk_no = 0 FOR NO KEY UPDATE")
        assert impatient.runs.retry(run.run_id, who="operator", tool_version="") == 1
    assert impatient.runs.retry(run.run_id, who="operator", tool_version="") == 1
    impatient.close()
    flushing.dispose()


@pytest.mark.parametrize("shared", [{7: 503}, {7: 503, 8: 403}, {}])
def test_whoever_would_not_be_alone_with_their_fault_are_blamed(ledger: Ledger, shared: dict[int, int]) -> None:
    """However many failed, only as many as asked for are read. {}: each is at fault by itself, and all are blamed."""
    run = accept(ledger, ledger_plan([("bulk", 10)]))
    worker = ledger.workers.join(run, "h", 1, tool_version="0")
    assert ledger.reports.blamed(run.run_id, 3) == Blamed()
    while chunk := ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60):
        failures = [
            failed(chunk, n)._replace(own=n not in shared, http_status=shared.get(n, 400))
            for n in range(chunk.lo, chunk.hi)
        ]
        ledger.checkpoints.flush(worker, [report(chunk, failures=failures)], lease_seconds=60)
    blamed = ledger.reports.blamed(run.run_id, 3)
    every = ledger.reports.failures(run.run_id)
    expected = [found for found in every if found.ord in (shared or range(10))]
    assert blamed == Blamed(expected[:3], len(expected), refused=403 in shared.values(), differs=False)
