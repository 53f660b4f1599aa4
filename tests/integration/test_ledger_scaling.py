"""ledger.scaling: how many workers a run can use now, in every state it may be in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from support.ledger_plan import chunk_specs, ledger_plan, report

from executor.flow.limits import AS_PLANNED, LIFTED
from executor.ledger.ledger import Ledger
from executor.ledger.values import Lane, Run, Scaling
from schema.limits import Limits, parse_row
from schema.process_view import EndpointView, ProcessView

Sql = Callable[..., list[tuple[object, ...]]]


def accepted(ledger: Ledger, objects: int = 40_000, step: int = 500) -> Run:
    plan = ledger_plan([("bulk", objects)])
    return ledger.runs.accept(plan, chunk_specs(plan, step), who="ann", tool_version="0")


def asked(ledger: Ledger, run: Run) -> Scaling:
    found = ledger.workers.scaling(run.run_id)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("objects", "step", "desired"),
    [(10, 5, 1), (4_000, 500, 1), (40_000, 500, 8), (40_000, 20_000, 2)],
    ids=["ten", "not worth a second", "one for 5,000", "no more than chunks"],
)
def test_what_is_ready_asks_for_workers(ledger: Ledger, objects: int, step: int, desired: int) -> None:
    found = asked(ledger, accepted(ledger, objects, step))
    assert (found.desired_workers, found.objects_left, found.bytes_left) == (desired, objects, objects * 100)
    assert (found.reason, found.workers) == ("working", 0)


def test_gigabytes_count_as_objects_do(ledger: Ledger, sql: Sql) -> None:
    run = accepted(ledger, 40, 1)
    sql("UPDATE ledger.batch SET bytes = 3 * 8589934592 WHERE run_id = %s", run.run_id)
    assert asked(ledger, run).desired_workers == 3


def test_what_is_leased_keeps_its_workers(ledger: Ledger) -> None:
    run = accepted(ledger, 10_000, 5_000)
    worker = ledger.workers.join(run, "h", 1, tool_version="0")
    while ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60):
        pass
    found = asked(ledger, run)
    assert (found.ready_chunks, found.leased_chunks, found.workers, found.desired_workers) == (0, 2, 1, 2)


def test_a_paused_run_wants_nobody_and_says_who_paused_it(ledger: Ledger) -> None:
    run = accepted(ledger)
    assert ledger.runs.paused_by(run.run_id) is None
    assert (ledger.runs.pause(run.run_id, who="ann"), ledger.runs.pause(run.run_id, who="bob")) == (True, False)
    assert asked(ledger, run)[-2:] == ("paused", 0)
    pause = ledger.runs.paused_by(run.run_id)
    assert pause is not None
    assert (pause.who, pause.since.utcoffset()) == ("ann", timedelta(0))
    assert (ledger.runs.resume(run.run_id, who="bob"), ledger.runs.resume(run.run_id, who="bob")) == (True, False)
    assert asked(ledger, run).desired_workers > 0
    assert ledger.runs.paused_by(run.run_id) is None


def test_a_closed_calendar_wants_nobody_until_it_opens_or_somebody_opens_it(ledger: Ledger, sql: Sql) -> None:
    calendar = (parse_row("mon-sun 00:00-24:00 UTC: closed"),)  # no declaration may say that, but now is in it
    plan = replace(ledger_plan([("bulk", 40_000)]), limits=Limits(calendar=calendar))
    run = ledger.runs.accept(plan, chunk_specs(plan, 500), who="ann", tool_version="0")
    assert asked(ledger, run)[-2:] == ("closed", 0)
    (closure,) = ledger.runs.closures(run.run_id)
    assert (closure.ends - closure.begins) == timedelta(weeks=5)
    ledger.runs.set_limit(run.run_id, "closed", LIFTED)
    assert (asked(ledger, run).desired_workers, ledger.runs.closures(run.run_id)) == (8, [])
    ledger.runs.set_limit(run.run_id, "closed", AS_PLANNED)
    assert asked(ledger, run).desired_workers == 0
    sql("UPDATE ledger.closed_hours SET begins = now() - interval '2 h', ends = now() WHERE run_id = %s", run.run_id)
    assert (asked(ledger, run).desired_workers, ledger.runs.closures(run.run_id)) == (8, [])
    ledger.runs.accept(plan, [], who="ann", tool_version="0")
    assert asked(ledger, run).desired_workers == 0, "whoever resumes the run writes what comes next"


def test_while_every_worker_waits_for_an_endpoint_nobody_else_is_wanted(ledger: Ledger) -> None:
    run = accepted(ledger)
    workers = [ledger.workers.join(run, "h", pid, tool_version="0") for pid in (1, 2)]
    ledger.workers.show(workers[0], ProcessView(4, "", waiting="endpoint h:443 is away"))
    assert asked(ledger, run).desired_workers == 8, "the other one still works"
    ledger.workers.show(workers[1], ProcessView(4, "", waiting="endpoint h:443 is away"))
    assert asked(ledger, run)[-2:] == ("waiting", 0)


def test_a_throttling_endpoint_gets_no_further_workers(ledger: Ledger) -> None:
    run = accepted(ledger)
    for pid in (1, 2, 3):
        worker = ledger.workers.join(run, "h", pid, tool_version="0")
    ledger.workers.show(worker, ProcessView(4, "", {"a": EndpointView(), "b": EndpointView(throttled=0.2)}))
    assert asked(ledger, run)[-2:] == ("throttled", 3)


def test_what_waits_for_an_archive_wants_nobody_yet(ledger: Ledger) -> None:
    run = accepted(ledger, 10, 5)
    worker = ledger.workers.join(run, "h", 1, tool_version="0")
    for _ in range(2):
        chunk = ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60)
        assert chunk is not None
        ledger.leases.release(worker, [chunk], after_seconds=900)
    assert asked(ledger, run)[-2:] == ("restoring", 0)
    assert not ledger.leases.claimable(run)


def test_a_run_that_has_ended_is_not_there(ledger: Ledger) -> None:
    run = accepted(ledger, 5, 5)
    worker = ledger.workers.join(run, "h", 1, tool_version="0")
    chunk = ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60)
    assert chunk is not None
    ledger.checkpoints.flush(worker, [report(chunk)], lease_seconds=60)
    assert ledger.workers.scaling(run.run_id) is None


def test_a_chunk_can_be_claimed_when_it_is_ready_or_its_lease_is_over(ledger: Ledger) -> None:
    run = accepted(ledger, 5, 5)
    worker = ledger.workers.join(run, "h", 1, tool_version="0")
    assert ledger.leases.claimable(run) and not ledger.leases.claimable(run, [1])
    assert ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60)
    assert not ledger.leases.claimable(run)
    assert ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60) is None


def test_the_view_looks_at_what_is_left_by_its_indexes(ledger: Ledger, sql: Sql) -> None:
    """With 200,000 chunks done it touches no more than with none."""
    run = accepted(ledger, 10, 5)
    sql(
        "INSERT INTO ledger.chunk (run_id, chunk_no, batch_no, kind, lane, lo, hi, priority, state)"
        " SELECT %s, n + 100, 0, 0, 0, 0, 5, 0, 3 FROM generate_series(1, 200000) n",
        run.run_id,
    )
    sql("ANALYZE ledger.chunk")
    plan = "\n".join(str(row[0]) for row in sql("EXPLAIN SELECT desired_workers FROM ledger.scaling"))
    assert "Seq Scan on chunk" not in plan, plan
    assert "chunk_ready" in plan and "chunk_leased" in plan
