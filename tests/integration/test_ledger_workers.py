"""A worker that was killed is buried by its neighbours; what it sees is kept for status."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.ledger_plan import chunk_specs, ledger_plan, report

from executor.ledger.ledger import Ledger
from executor.ledger.values import Lane, ProcessPlace, Run
from executor.ledger.workers import is_dead, started, this_process
from schema.limits import RunLimits
from schema.process_view import EndpointView, ProcessView


def accepted(ledger: Ledger) -> Run:
    plan = ledger_plan()
    return ledger.runs.accept(plan, chunk_specs(plan), who="ann", tool_version="0")


def test_a_buried_worker_gives_back_its_leases_and_is_fenced(ledger: Ledger) -> None:
    run = accepted(ledger)
    dead = ledger.workers.join(run, "h", 1, tool_version="0", process=ProcessPlace("boot ns", 1, 7))
    other = ledger.workers.join(run, "h", 2, tool_version="0")
    held = ledger.leases.claim(dead, Lane.WHOLE, lease_seconds=60)
    kept = ledger.leases.claim(other, Lane.WHOLE, lease_seconds=60)
    assert held is not None and kept is not None
    assert ledger.workers.bury(run.run_id, [dead.worker_id], who="ann") == 1
    assert ledger.workers.bury(run.run_id, [dead.worker_id], who="ann") == 0
    assert [worker.worker_id for worker in ledger.workers.present(run.run_id)] == [other.worker_id]
    assert ledger.reports.progress(run.run_id).workers == 1
    assert ledger.checkpoints.flush(dead, [report(held)], lease_seconds=60) == {held.chunk_no}
    again = ledger.leases.claim(other, Lane.WHOLE, lease_seconds=60)
    assert again is not None and again.chunk_no == held.chunk_no
    assert ledger.checkpoints.flush(other, [report(kept), report(again)], lease_seconds=60) == frozenset()
    ledger.workers.leave(other, 0)
    ledger.runs.finish(run.run_id)
    assert ledger.checks.contradictions(run.run_id) == []


def test_what_a_worker_sees_is_kept(ledger: Ledger) -> None:
    run = accepted(ledger)
    worker = ledger.workers.join(run, "here", 4711, tool_version="0", process=ProcessPlace("boot ns", 4711, 7))
    assert ledger.workers.present(run.run_id)[0].seen is None
    view = ProcessView(12, "growing", {"h:443": EndpointView(rtt_ms=1.5)}, limits=RunLimits({"bandwidth": 5.0}))
    ledger.workers.show(worker, view)
    found = ledger.workers.present(run.run_id)[0]
    assert (found.host, found.process, found.seen) == (
        "here",
        ProcessPlace("boot ns", 4711, 7),
        view,
    )
    assert found.silent_seconds < 30


def test_only_a_process_of_this_place_can_be_known_to_be_dead() -> None:
    here = this_process(os.getpid())
    assert here.place and here.started
    assert not is_dead(here, here)
    assert is_dead(here._replace(started=here.started - 1), here), "the pid was used again"
    assert not is_dead(here._replace(place="another boot", started=1), here)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        its = this_process(child.pid)
        assert not is_dead(its, here)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_dead(its, here), "a zombie writes no more"
    assert is_dead(its, here)


def test_without_proc_nobody_is_dead(tmp_path: Path) -> None:
    here = this_process(1, tmp_path)
    assert here == ProcessPlace("", 1, 0)
    assert not is_dead(ProcessPlace("", 99, 0), here, tmp_path)


def test_a_program_name_may_hold_parentheses(tmp_path: Path) -> None:
    (tmp_path / "5").mkdir()
    fields = ["S", *map(str, range(1, 40))]
    (tmp_path / "5" / "stat").write_text(f"5 (a) b) {' '.join(fields)}")
    assert started(5, tmp_path) == 19
