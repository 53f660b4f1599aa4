"""The processes of a run: who they are, what they see, which left, and which died.

A worker that was killed cannot report it, so other processes on the same machine look for it. A pid means something
only within one boot and one pid namespace (a container), and a pid may be used again; so a process is identified by its
place, its pid and its start time. All three come from Linux's /proc; without it no process is ever considered dead and
leases simply expire.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from executor.ledger import audit
from executor.ledger.audit import Event
from executor.ledger.database import Database
from executor.ledger.sql import RUN_UNFINISHED, UNLEASED
from executor.ledger.values import ChunkState, ProcessPlace, Run, Scaling, Worker, WorkerSeen
from schema.errors import StalePlan
from schema.process_view import ProcessView

PROC = Path("/proc")
_STARTED = 19
"""Of the fields after the program's name in /proc/PID/stat, counted from 0: field 22, clock ticks since boot."""


class Workers:
    """The processes of every run."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def join(self, run: Run, host: str, pid: int, *, tool_version: str, process: ProcessPlace | None = None) -> Worker:
        """Enroll this process as a worker of *run*; with *process* others on the machine notice its death.

        Raises StalePlan when the run has ended, was superseded or unlocked since.
        """
        place = process or ProcessPlace("", pid, 0)
        with self._database.transaction() as transaction:
            worker_id = transaction.value(
                f"""
                INSERT INTO ledger.worker (run_id, epoch, host, pid, tool_version, place, pid_started)
                SELECT r.run_id, r.epoch, :host, :pid, :tool_version, :place, :pid_started FROM ledger.run r
                 WHERE r.run_id = :run_id AND r.epoch = :epoch AND {RUN_UNFINISHED} RETURNING worker_id""",
                host=host,
                pid=pid,
                tool_version=tool_version,
                place=place.place,
                pid_started=place.started,
                run_id=run.run_id,
                epoch=run.epoch,
            )
            if worker_id is None:
                raise StalePlan(f"run {run.run_id} has ended, was superseded or unlocked; apply the plan again")
            joined = Event("worker-joined", {"worker": worker_id, "host": host, "pid": pid})
            audit.append(transaction, run.run_id, joined, who=host)
            return Worker(worker_id, run.run_id, run.epoch)

    def leave(self, worker: Worker, exit_code: int) -> None:
        """Record that the process ended with *exit_code*. Its leases are not touched: release them before."""
        with self._database.transaction() as transaction:
            host = transaction.value(
                "UPDATE ledger.worker SET stopped_at = now(), last_seen = now(), exit_code = :code"
                " WHERE worker_id = :id AND stopped_at IS NULL RETURNING host",
                code=exit_code,
                id=worker.worker_id,
            )
            if host is not None:
                left = Event("worker-left", {"worker": worker.worker_id, "exit_code": exit_code})
                audit.append(transaction, worker.run_id, left, who=host)

    def present(self, run_id: int) -> list[WorkerSeen]:
        """The run's processes that have not left, oldest first; a dead one is among them until it is buried."""
        with self._database.transaction() as transaction:
            rows = transaction.rows(
                """
                SELECT w.worker_id, w.host, w.place, w.pid, w.pid_started, w.started_at, w.seen,
                       extract(epoch FROM now() - w.last_seen)::float AS silent
                  FROM ledger.worker w JOIN ledger.run r ON r.run_id = w.run_id AND r.epoch = w.epoch
                 WHERE w.run_id = :run_id AND w.stopped_at IS NULL ORDER BY w.worker_id""",
                run_id=run_id,
            )
        return [
            WorkerSeen(
                row.worker_id,
                row.host,
                ProcessPlace(row.place, row.pid, row.pid_started),
                row.started_at,
                row.silent,
                ProcessView.from_json(row.seen) if row.seen else None,
            )
            for row in rows
        ]

    def scaling(self, run_id: int) -> Scaling | None:
        """How many processes the run can use now; None: it has ended, or there is no such run."""
        with self._database.transaction() as transaction:
            row = transaction.row(
                f"SELECT {', '.join(Scaling._fields)} FROM ledger.scaling WHERE run_id = :run_id", run_id=run_id
            )
        return None if row is None else Scaling(*row)

    def show(self, worker: Worker, seen: ProcessView) -> None:
        """Store the process's view for `status`, and record that it is alive."""
        with self._database.transaction() as transaction:
            transaction.run(
                "UPDATE ledger.worker SET seen = CAST(:seen AS json), last_seen = now() WHERE worker_id = :id",
                seen=json.dumps(seen.to_json()),  # rates are floats, which have no canonical form
                id=worker.worker_id,
            )

    def bury(self, run_id: int, dead: Collection[int], *, who: str) -> int:
        """Record the workers *dead* as dead; the chunks they had leased become ready again.

        Returns the number of chunks. Should one of them live after all, its lease is lost and the fence refuses
        what it writes.
        """
        if not dead:
            return 0
        with self._database.transaction() as transaction:
            # Chunks before workers, as a renewal locks them: so this and a worker that lives after all never deadlock.
            given_back = transaction.run(
                f"""
                WITH held AS (
                    SELECT k.run_id, k.chunk_no FROM ledger.chunk k
                     WHERE k.run_id = :run_id AND k.state = {ChunkState.LEASED:d} AND k.worker_id = ANY(:dead)
                     ORDER BY k.chunk_no FOR NO KEY UPDATE OF k)
                UPDATE ledger.chunk k SET {UNLEASED}
                  FROM held WHERE k.run_id = held.run_id AND k.chunk_no = held.chunk_no""",
                run_id=run_id,
                dead=list(dead),
            )
            buried = transaction.column(
                "UPDATE ledger.worker SET stopped_at = now()"
                " WHERE run_id = :run_id AND worker_id = ANY(:dead) AND stopped_at IS NULL RETURNING worker_id",
                run_id=run_id,
                dead=list(dead),
            )
            for worker_id in buried:
                audit.append(transaction, run_id, Event("worker-died", {"worker": worker_id}), who=who)
            return given_back


def this_process(pid: int, proc: Path = PROC) -> ProcessPlace:
    """The place of this process, whose pid is *pid*."""
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        namespace = (proc / str(pid) / "ns/pid").readlink()
    except OSError:
        return ProcessPlace("", pid, 0)
    return ProcessPlace(f"{boot} {namespace}", pid, started(pid, proc) or 0)


def started(pid: int, proc: Path = PROC) -> int | None:
    """When process *pid* of this place was started, in clock ticks since boot; None when it has ended.

    A zombie has ended: it only has not been waited for yet.
    """
    try:
        # The program's name is in parentheses and may contain spaces and parentheses itself.
        fields = (proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[_STARTED])


def is_dead(other: ProcessPlace, here: ProcessPlace, proc: Path = PROC) -> bool:
    """Whether *other* is known to have ended: it ran in the same place as *here* and no longer exists."""
    if not here.place or other.place != here.place or not other.started:
        return False
    return started(other.pid, proc) != other.started
