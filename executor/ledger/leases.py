"""Leases on chunks: claim, keep alive, give back. The database's clock alone decides when a lease ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, select, text

from executor.ledger.database import Database, audit
from executor.ledger.local_workers import ProcessPlace
from executor.ledger.runs import canonical
from executor.ledger.scopes import reap_in
from executor.ledger.values import Chunk, ChunkKind, Lane, Run, Worker
from schema.errors import LeaseLost, StalePlan
from schema.tables import completion, verification

HELD = "k.state = 2 AND r.epoch = k.epoch AND r.state IN (1, 2, 3)"
"""A lease that still counts: not reaped, of the run's present epoch, and the run neither ended nor superseded."""


def join(
    database: Database, run: Run, host: str, pid: int, tool_version: str, process: ProcessPlace | None = None
) -> Worker:
    """Enroll this process as a worker of *run*. Raises StalePlan when the run ended or was unlocked since."""
    place = process or ProcessPlace("", pid, 0)
    with database.transaction() as connection:
        worker_id = connection.execute(
            text(
                "INSERT INTO ledger.worker (run_id, epoch, host, pid, tool_version, place, pid_started)"
                " SELECT r.run_id, r.epoch, :host, :pid, :tool_version, :place, :pid_started FROM ledger.run r"
                " WHERE r.run_id = :run_id AND r.epoch = :epoch AND r.state IN (1, 2, 3) RETURNING worker_id"
            ),
            {
                "host": host,
                "pid": pid,
                "tool_version": tool_version,
                "place": place.place,
                "pid_started": place.started,
                "run_id": run.run_id,
                "epoch": run.epoch,
            },
        ).scalar_one_or_none()
        if worker_id is None:
            raise StalePlan(f"run {run.run_id} has ended, was superseded or unlocked; apply the plan again")
        body = canonical({"worker": worker_id, "host": host, "pid": pid})
        audit(connection, run.run_id, host, "worker-joined", body)
        return Worker(worker_id, run.run_id, run.epoch)


def leave(database: Database, worker: Worker, exit_code: int) -> None:
    """Note that the process ended with *exit_code*."""
    with database.transaction() as connection:
        host = connection.execute(
            text(
                "UPDATE ledger.worker SET stopped_at = now(), last_seen = now(), exit_code = :code"
                " WHERE worker_id = :id AND stopped_at IS NULL RETURNING host"
            ),
            {"code": exit_code, "id": worker.worker_id},
        ).scalar_one_or_none()
        if host is not None:
            body = canonical({"worker": worker.worker_id, "exit_code": exit_code})
            audit(connection, worker.run_id, host, "worker-left", body)


def claim(
    database: Database, worker: Worker, lane: Lane, *, lease_seconds: float, batches: Sequence[int] | None = None
) -> Chunk | None:
    """Lease the first ready chunk of *lane*; None when there is none for this worker now.

    *batches*: only chunks of these batch numbers. A repeated claim of a chunk begins with no failures counted:
    its new owner takes every object that has no completion row.
    """
    lease_id = uuid4()
    with database.transaction() as connection:
        row = connection.execute(
            text(f"""
                WITH next AS (
                    SELECT k.run_id, k.chunk_no FROM ledger.chunk k JOIN ledger.run r ON r.run_id = k.run_id
                     WHERE k.run_id = :run_id AND k.lane = :lane AND k.state = 1
                       AND r.state = 1 AND r.epoch = :epoch
                       AND (k.not_before IS NULL OR k.not_before <= now())
                       {"" if batches is None else "AND k.batch_no = ANY(:batches)"}
                     ORDER BY k.priority, k.chunk_no LIMIT 1 FOR NO KEY UPDATE OF k SKIP LOCKED)
                UPDATE ledger.chunk k
                   SET state = 2, token = k.token + 1, epoch = :epoch, lease_id = :lease_id, worker_id = :worker_id,
                       lease_until = now() + make_interval(secs => :seconds), not_before = NULL, n_bad = 0
                  FROM next WHERE k.run_id = next.run_id AND k.chunk_no = next.chunk_no
                RETURNING k.run_id, k.chunk_no, k.batch_no, k.kind, k.lane, k.lo, k.hi, k.token"""),  # noqa: S608
            {
                "run_id": worker.run_id,
                "lane": lane,
                "epoch": worker.epoch,
                "batches": None if batches is None else list(batches),
                "lease_id": lease_id,
                "worker_id": worker.worker_id,
                "seconds": lease_seconds,
            },
        ).one_or_none()
    if row is None:
        return None
    kind, lane_found = ChunkKind(row.kind), Lane(row.lane)
    return Chunk(row.run_id, row.chunk_no, row.batch_no, kind, lane_found, row.lo, row.hi, row.token, lease_id)


def recorded(database: Database, chunk: Chunk) -> frozenset[int]:
    """The ords of *chunk* that need nothing more: completed, or for a VERIFY chunk found to be in order."""
    table = verification if chunk.kind is ChunkKind.VERIFY else completion
    query = select(table.c.ord).where(
        table.c.run_id == chunk.run_id,
        table.c.batch_no == chunk.batch_no,
        table.c.ord >= chunk.lo,
        table.c.ord < chunk.hi,
    )
    if chunk.kind is ChunkKind.VERIFY:
        query = query.where(verification.c.ok)
    with database.transaction() as connection:
        return frozenset(connection.execute(query).scalars())


def heartbeat(database: Database, worker: Worker, chunks: Iterable[Chunk], *, lease_seconds: float) -> frozenset[int]:
    """Prolong the leases of *chunks* and show that the process lives; the chunk_nos whose lease is lost."""
    held = {chunk.chunk_no: chunk for chunk in chunks}
    kept: set[int] = set()
    with database.transaction() as connection:
        if held:
            kept = set(
                connection.execute(
                    text(f"""
                        WITH held AS ({_FENCED})
                        UPDATE ledger.chunk k SET lease_until = now() + make_interval(secs => :seconds)
                          FROM held WHERE k.run_id = :run_id AND k.chunk_no = held.chunk_no
                        RETURNING k.chunk_no"""),  # noqa: S608
                    {**_fence(worker.run_id, held.values()), "seconds": lease_seconds},
                ).scalars()
            )
        connection.execute(
            text("UPDATE ledger.worker SET last_seen = now() WHERE worker_id = :id"), {"id": worker.worker_id}
        )
    return frozenset(held.keys() - kept)


def release(database: Database, worker: Worker, chunks: Iterable[Chunk], *, after_seconds: float = 0) -> None:
    """Give *chunks* back for anybody to claim, not before *after_seconds* from now. Lost leases are left alone."""
    held = list(chunks)
    if not held:
        return
    with database.transaction() as connection:
        connection.execute(
            text(f"""
                WITH held AS ({_FENCED})
                UPDATE ledger.chunk k
                   SET state = 1, lease_id = NULL, worker_id = NULL, lease_until = NULL,
                       not_before = CASE WHEN :after > 0 THEN now() + make_interval(secs => :after) END
                  FROM held WHERE k.run_id = :run_id AND k.chunk_no = held.chunk_no"""),  # noqa: S608
            {**_fence(worker.run_id, held), "after": after_seconds},
        )


def reap(database: Database, run_id: int) -> int:
    """Make chunks ready again whose lease ran out; how many."""
    with database.transaction() as connection:
        return reap_in(connection, run_id)


def require_lease(connection: Connection, chunk: Chunk) -> None:
    """Lock the chunk's row for this transaction; raise LeaseLost when the lease is another's by now."""
    held = connection.execute(text(_FENCED), _fence(chunk.run_id, [chunk])).first()
    if held is None:
        raise LeaseLost(f"chunk {chunk.chunk_no} of run {chunk.run_id} is no longer leased to this worker")


_FENCED = f"""
    SELECT k.chunk_no FROM ledger.chunk k JOIN ledger.run r ON r.run_id = k.run_id
      JOIN unnest(CAST(:numbers AS int[]), CAST(:tokens AS int[]), CAST(:leases AS uuid[]))
           AS given (chunk_no, token, lease_id) ON k.chunk_no = given.chunk_no
     WHERE k.run_id = :run_id AND k.token = given.token AND k.lease_id = given.lease_id AND {HELD}
     ORDER BY k.chunk_no FOR NO KEY UPDATE OF k"""  # noqa: S608
# In one order, so that a flush and a heartbeat of one process never wait for each other in a ring.


def _fence(run_id: int, chunks: Iterable[Chunk]) -> dict[str, Any]:
    chunks = list(chunks)
    return {
        "run_id": run_id,
        "numbers": [chunk.chunk_no for chunk in chunks],
        "tokens": [chunk.token for chunk in chunks],
        "leases": [str(chunk.lease_id) for chunk in chunks],
    }
