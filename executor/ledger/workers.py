"""The processes of a run as the ledger knows them: who they are, what they see, and who died without a word."""

from __future__ import annotations

import json
from collections.abc import Collection

from sqlalchemy import text

from executor.ledger.database import Database, audit
from executor.ledger.local_workers import ProcessPlace
from executor.ledger.runs import canonical
from executor.ledger.values import Worker, WorkerSeen
from schema.process_view import ProcessView


def workers(database: Database, run_id: int) -> list[WorkerSeen]:
    """The run's processes that have not said goodbye, oldest first."""
    with database.transaction() as connection:
        rows = connection.execute(
            text(
                "SELECT w.worker_id, w.host, w.place, w.pid, w.pid_started, w.started_at, w.seen,"
                " extract(epoch FROM now() - w.last_seen)::float AS silent FROM ledger.worker w"
                " JOIN ledger.run r ON r.run_id = w.run_id AND r.epoch = w.epoch"
                " WHERE w.run_id = :run_id AND w.stopped_at IS NULL ORDER BY w.worker_id"
            ),
            {"run_id": run_id},
        ).all()
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


def show(database: Database, worker: Worker, seen: ProcessView) -> None:
    """Note what *worker* sees, and that it lives."""
    with database.transaction() as connection:
        connection.execute(
            text("UPDATE ledger.worker SET seen = CAST(:seen AS json), last_seen = now() WHERE worker_id = :id"),
            {"seen": json.dumps(seen.to_json()), "id": worker.worker_id},
        )


def bury(database: Database, run_id: int, dead: Collection[int], who: str) -> int:
    """Note that the workers *dead* are no more, and make ready again what they had leased; how many chunks.

    Should one of them live after all, its lease is lost and the fence refuses what it writes.
    """
    if not dead:
        return 0
    with database.transaction() as connection:
        # Chunks before workers, as a heartbeat takes them: one that lives after all and this never wait in a ring.
        given_back = connection.execute(
            text("""
                WITH held AS (
                    SELECT k.run_id, k.chunk_no FROM ledger.chunk k
                     WHERE k.run_id = :run_id AND k.state = 2 AND k.worker_id = ANY(:dead)
                     ORDER BY k.chunk_no FOR NO KEY UPDATE OF k)
                UPDATE ledger.chunk k SET state = 1, lease_id = NULL, worker_id = NULL, lease_until = NULL
                  FROM held WHERE k.run_id = held.run_id AND k.chunk_no = held.chunk_no"""),
            {"run_id": run_id, "dead": list(dead)},
        ).rowcount
        buried = list(
            connection.execute(
                text(
                    "UPDATE ledger.worker SET stopped_at = now()"
                    " WHERE run_id = :run_id AND worker_id = ANY(:dead) AND stopped_at IS NULL RETURNING worker_id"
                ),
                {"run_id": run_id, "dead": list(dead)},
            ).scalars()
        )
        for worker_id in buried:
            audit(connection, run_id, who, "worker-died", canonical({"worker": worker_id}))
        return given_back
