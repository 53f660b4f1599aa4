"""Leases on chunks: claim, keep alive, give back. The database's clock alone decides when a lease ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import uuid4

from executor.ledger.database import Database, Transaction
from executor.ledger.sql import FENCED, UNLEASED
from executor.ledger.values import Chunk, ChunkKind, ChunkState, Lane, Run, RunState, Worker
from schema.errors import LeaseLost


class Leases:
    """Who works on which chunk. A worker of an older epoch, or of a run that has ended, gets no lease and loses those
    it has.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(
        self, worker: Worker, lane: Lane, *, lease_seconds: float, batches: Sequence[int] | None = None
    ) -> Chunk | None:
        """Lease the first ready chunk of *lane*; None when there is none for this worker at present.

        *batches*: only chunks of these batch numbers. A repeated claim of a chunk begins with no failures counted:
        its new owner takes every object that has no completion row.
        """
        lease_id = uuid4()
        with self._database.transaction() as transaction:
            row = transaction.row(
                f"""
                WITH next AS (
                    SELECT k.run_id, k.chunk_no FROM ledger.chunk k JOIN ledger.run r ON r.run_id = k.run_id
                     WHERE k.run_id = :run_id AND k.lane = :lane AND k.state = {ChunkState.READY:d}
                       AND r.state = {RunState.OPEN:d} AND r.epoch = :epoch
                       AND (k.not_before IS NULL OR k.not_before <= now())
                       {"" if batches is None else "AND k.batch_no = ANY(:batches)"}
                     ORDER BY k.priority, k.chunk_no LIMIT 1 FOR NO KEY UPDATE OF k SKIP LOCKED)
                UPDATE ledger.chunk k
                   SET state = {ChunkState.LEASED:d}, token = k.token + 1, epoch = :epoch, lease_id = :lease_id,
                       worker_id = :worker_id, lease_until = now() + make_interval(secs => :seconds),
                       not_before = NULL, n_bad = 0, n_own = 0
                  FROM next WHERE k.run_id = next.run_id AND k.chunk_no = next.chunk_no
                RETURNING k.run_id, k.chunk_no, k.batch_no, k.kind, k.lane, k.lo, k.hi, k.token, k.lease_id""",
                run_id=worker.run_id,
                lane=lane,
                epoch=worker.epoch,
                worker_id=worker.worker_id,
                lease_id=lease_id,
                seconds=lease_seconds,
                batches=None if batches is None else list(batches),
            )
        return None if row is None else Chunk(*row)._replace(kind=ChunkKind(row.kind), lane=Lane(row.lane))

    def claimable(self, run: Run, batches: Sequence[int] | None = None) -> bool:
        """Whether a chunk of *run* (*batches*: of these batch numbers) could be claimed now. Changes nothing."""
        with self._database.transaction() as transaction:
            found = transaction.value(
                f"""
                SELECT EXISTS (
                    SELECT FROM ledger.chunk k JOIN ledger.run r ON r.run_id = k.run_id
                     WHERE k.run_id = :run_id AND r.state = {RunState.OPEN:d} AND r.epoch = :epoch
                       {"" if batches is None else "AND k.batch_no = ANY(:batches)"}
                       AND (k.state = {ChunkState.READY:d} AND (k.not_before IS NULL OR k.not_before <= now())
                            OR k.state = {ChunkState.LEASED:d} AND k.lease_until < now()))""",
                run_id=run.run_id,
                epoch=run.epoch,
                batches=None if batches is None else list(batches),
            )
        return bool(found)

    def renew(self, worker: Worker, chunks: Iterable[Chunk], *, lease_seconds: float) -> frozenset[int]:
        """The heartbeat: extend the leases of *chunks* and show that the process is alive.

        Returns the numbers of the chunks whose lease is lost.
        """
        held = {chunk.chunk_no: chunk for chunk in chunks}
        kept: list[int] = []
        with self._database.transaction() as transaction:
            if held:
                kept = transaction.column(
                    f"""
                    WITH held AS ({FENCED})
                    UPDATE ledger.chunk k SET lease_until = now() + make_interval(secs => :seconds)
                      FROM held WHERE k.run_id = :run_id AND k.chunk_no = held.chunk_no
                    RETURNING k.chunk_no""",
                    **fence(worker.run_id, held.values()),
                    seconds=lease_seconds,
                )
            transaction.run("UPDATE ledger.worker SET last_seen = now() WHERE worker_id = :id", id=worker.worker_id)
        return frozenset(held.keys() - set(kept))

    def release(self, worker: Worker, chunks: Iterable[Chunk], *, after_seconds: float = 0) -> None:
        """Release *chunks*, not to be claimed for *after_seconds*.

        What was flushed stays recorded. Leases already lost are left alone.
        """
        held = list(chunks)
        if not held:
            return
        with self._database.transaction() as transaction:
            transaction.run(
                f"""
                WITH held AS ({FENCED})
                UPDATE ledger.chunk k
                   SET {UNLEASED}, not_before = CASE WHEN :after > 0 THEN now() + make_interval(secs => :after) END
                  FROM held WHERE k.run_id = :run_id AND k.chunk_no = held.chunk_no""",
                **fence(worker.run_id, held),
                after=after_seconds,
            )

    def reap(self, run_id: int) -> int:
        """Make chunks ready again whose lease has expired. Returns the number of chunks."""
        with self._database.transaction() as transaction:
            return reap(transaction, run_id)


def reap(transaction: Transaction, run_id: int) -> int:
    """Make chunks ready whose lease has run out or belongs to an older epoch; returns the number of chunks.

    Rows that a flush is just writing to are left for the next time: it holds them and waits for the run's row,
    so a transaction that holds the run's row must not wait for them.
    """
    return transaction.run(
        f"""
        WITH late AS (
            SELECT k.run_id, k.chunk_no FROM ledger.chunk k JOIN ledger.run r ON r.run_id = k.run_id
             WHERE k.run_id = :run_id AND k.state = {ChunkState.LEASED:d}
               AND (k.lease_until < now() OR k.epoch <> r.epoch)
             ORDER BY k.chunk_no FOR NO KEY UPDATE OF k SKIP LOCKED)
        UPDATE ledger.chunk k SET {UNLEASED}
          FROM late WHERE k.run_id = late.run_id AND k.chunk_no = late.chunk_no""",
        run_id=run_id,
    )


def require_lease(transaction: Transaction, chunk: Chunk) -> None:
    """Lock the chunk's row for this transaction; raises LeaseLost when another worker holds the lease."""
    if transaction.row(FENCED, **fence(chunk.run_id, [chunk])) is None:
        raise LeaseLost(f"chunk {chunk.chunk_no} of run {chunk.run_id} is no longer leased to this worker")


def fence(run_id: int, chunks: Iterable[Chunk]) -> dict[str, Any]:
    """The values bound in `sql.FENCED`: the claims of *chunks*."""
    chunks = list(chunks)
    return {
        "run_id": run_id,
        "numbers": [chunk.chunk_no for chunk in chunks],
        "tokens": [chunk.token for chunk in chunks],
        "leases": [str(chunk.lease_id) for chunk in chunks],
    }
