"""What follows when chunks are finished: batches reach their gates, stages open, the run completes.

Runs inside the flush's transaction, so that none of it is ever seen half done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, text

from executor.ledger.database import Database, audit
from executor.ledger.runs import canonical, complete, refuse_stale
from executor.ledger.scopes import ACCEPT_LOCK, Scope, drop_scope, hold_scopes, scope_of_plan_row
from executor.ledger.stages import StageState, StageStatus, advanced
from executor.ledger.values import BatchState, Chunk, ChunkKind, ChunkState, RunState
from schema.errors import StalePlan

ACTOR = "ledger"
"""Who the audit events name that follow from a flush."""


class Event(NamedTuple):
    """An audit event to be written once the run's row may be locked: last."""

    kind: str
    body: dict[str, Any]


def finish_chunks(connection: Connection, run_id: int, chunks: Sequence[Chunk]) -> None:
    """Mark *chunks*, whose rows are locked and all of whose objects are recorded, done or parked.

    Raises ValueError when an object of one is neither completed nor failed: nothing may be lost.
    """
    events: list[Event] = []
    ended = _ended(connection, run_id, chunks)
    done_left: dict[int, Counter[ChunkKind]] = {}
    for row in ended:
        state = ChunkState.PARKED if row.n_bad else ChunkState.DONE
        body = {"chunk": row.chunk_no, "token": row.token, "done": row.n_done, "failed": row.n_bad}
        events.append(
            Event(f"chunk-{state.name.lower()}", {**body, "bytes": row.bytes_done, "digest": bytes(row.digest).hex()})
        )
        if state is ChunkState.DONE:
            done_left.setdefault(row.batch_no, Counter())[ChunkKind(row.kind)] += 1
    reached = [
        stage_no
        for batch_no in sorted(done_left)
        if (stage_no := _advance_batch(connection, run_id, batch_no, done_left[batch_no], events)) is not None
    ]
    if reached:
        _advance_stages(connection, run_id, Counter(reached), events)
    chunks_left = connection.execute(
        text("UPDATE ledger.run SET chunks_left = chunks_left - :n WHERE run_id = :run_id RETURNING chunks_left"),
        {"n": sum(counts.total() for counts in done_left.values()), "run_id": run_id},
    ).scalar_one()
    for event in events:
        audit(connection, run_id, ACTOR, event.kind, canonical(event.body))
    if chunks_left == 0:
        complete(connection, run_id)


def _ended(connection: Connection, run_id: int, chunks: Sequence[Chunk]) -> Sequence[Row[Any]]:
    """Set the chunks' last state and digest; their rows, by number."""
    rows = connection.execute(
        text(
            "UPDATE ledger.chunk SET state = CASE WHEN n_bad > 0 THEN 4 ELSE 3 END, lease_until = NULL,"
            " digest = CASE kind WHEN 0 THEN ledger.completion_digest(run_id, batch_no, lo, hi)"
            " ELSE ledger.verification_digest(run_id, batch_no, lo, hi) END"
            " WHERE run_id = :run_id AND chunk_no = ANY(:numbers)"
            " RETURNING chunk_no, batch_no, kind, token, n_done, n_bad, bytes_done, digest, lo, hi"
        ),
        {"run_id": run_id, "numbers": [chunk.chunk_no for chunk in chunks]},
    ).all()
    for row in rows:
        if row.n_done + row.n_bad != row.hi - row.lo:
            raise ValueError(
                f"chunk {row.chunk_no} of run {run_id} was reported finished with {row.n_done} done and {row.n_bad} "
                f"failed of {row.hi - row.lo} objects"
            )
    return sorted(rows, key=lambda row: int(row.chunk_no))


def _advance_batch(
    connection: Connection, run_id: int, batch_no: int, done: Counter[ChunkKind], events: list[Event]
) -> int | None:
    """Count finished chunks off; the batch's stage when it has just reached that stage's gate."""
    where = {"run_id": run_id, "batch_no": batch_no}
    row = connection.execute(
        text(
            "UPDATE ledger.batch b SET copy_left = copy_left - :copied, verify_left = verify_left - :verified"
            " FROM ledger.stage s WHERE b.run_id = :run_id AND b.batch_no = :batch_no"
            " AND s.run_id = b.run_id AND s.stage_no = b.stage_no"
            " RETURNING b.batch_id, b.stage_no, b.copy_left, b.verify_left, s.gate"
        ),
        {**where, "copied": done[ChunkKind.OBJECTS], "verified": done[ChunkKind.VERIFY]},
    ).one()
    reached = None
    if done[ChunkKind.OBJECTS] and row.copy_left == 0:
        reached, kind = BatchState.COPIED, ChunkKind.OBJECTS
        connection.execute(
            text(
                "UPDATE ledger.chunk SET state = 1"
                " WHERE run_id = :run_id AND batch_no = :batch_no AND kind = 2 AND state = 0"
            ),
            where,
        )
    elif done[ChunkKind.VERIFY] and row.verify_left == 0:
        reached, kind = BatchState.VERIFIED, ChunkKind.VERIFY
    if reached is None:
        return None
    digest = connection.execute(
        text(
            "UPDATE ledger.batch SET state = :state WHERE run_id = :run_id AND batch_no = :batch_no"
            " RETURNING (SELECT sha256(string_agg(k.digest, ''::bytea ORDER BY k.lo)) FROM ledger.chunk k"
            " WHERE k.run_id = :run_id AND k.batch_no = :batch_no AND k.kind = :kind)"
        ),
        {**where, "state": reached, "kind": kind},
    ).scalar_one()
    events.append(Event(f"batch-{reached.name.lower()}", {"batch": row.batch_id, "digest": bytes(digest).hex()}))
    return int(row.stage_no) if reached == row.gate else None


def _advance_stages(connection: Connection, run_id: int, reached: Counter[int], events: list[Event]) -> None:
    """Count batches off that reached their gate, and open what waited for them."""
    rows = connection.execute(
        text(
            "SELECT s.stage_no, s.stage_id, s.state, s.batches_left,"
            " ARRAY(SELECT d.needs_no FROM ledger.stage_dependency d"
            "        WHERE d.run_id = s.run_id AND d.stage_no = s.stage_no) AS needs"
            " FROM ledger.stage s WHERE s.run_id = :run_id ORDER BY s.stage_no FOR NO KEY UPDATE OF s"
        ),
        {"run_id": run_id},
    ).all()
    stages = [
        StageStatus(row.stage_no, StageState(row.state), row.batches_left - reached[row.stage_no], frozenset(row.needs))
        for row in rows
    ]
    changes = advanced(stages)
    for stage in stages:
        state = changes.get(stage.stage_no, stage.state)
        if reached[stage.stage_no] or state is not stage.state:
            connection.execute(
                text(
                    "UPDATE ledger.stage SET state = :state, batches_left = :left"
                    " WHERE run_id = :run_id AND stage_no = :stage_no"
                ),
                {"state": state, "left": stage.batches_left, "run_id": run_id, "stage_no": stage.stage_no},
            )
    names = {row.stage_no: row.stage_id for row in rows}
    opened = [stage.stage_no for stage in stages if stage.state is StageState.BLOCKED and stage.stage_no in changes]
    if opened:
        of_batches = (
            "UPDATE ledger.batch SET state = 1 WHERE run_id = :run_id AND stage_no = ANY(:opened) AND state = 0"
        )
        of_chunks = (
            "UPDATE ledger.chunk k SET state = 1 FROM ledger.batch b WHERE b.run_id = :run_id"
            " AND b.stage_no = ANY(:opened) AND k.run_id = b.run_id AND k.batch_no = b.batch_no"
            " AND k.kind = 0 AND k.state = 0"
        )
        for statement in (of_batches, of_chunks):
            connection.execute(text(statement), {"run_id": run_id, "opened": opened})
    events += [Event("stage-opened", {"stage": names[number]}) for number in opened]


def finish(database: Database, run_id: int) -> RunState:
    """The run's state, recomputed: FAILED when nothing can go on but what is parked. Lets go of the scope then."""
    with database.transaction() as connection:
        row = _locked_run(connection, run_id)
        state = RunState(row.state)
        if state not in (RunState.OPEN, RunState.PAUSED, RunState.DRAINING):
            return state
        going_on, unfinished = connection.execute(
            text(
                "SELECT count(*) FILTER (WHERE state IN (1, 2)), count(*) FILTER (WHERE state <> 3)"
                " FROM ledger.chunk WHERE run_id = :run_id"
            ),
            {"run_id": run_id},
        ).one()
        if not unfinished:
            complete(connection, run_id)
            return RunState.COMPLETE
        if going_on:
            return state
        connection.execute(
            text("UPDATE ledger.run SET state = :state, finished_at = now() WHERE run_id = :run_id"),
            {"state": RunState.FAILED, "run_id": run_id},
        )
        drop_scope(connection, run_id)
        audit(connection, run_id, ACTOR, "run-failed", canonical({"chunks_left": unfinished}))
        return RunState.FAILED


def retry(database: Database, run_id: int, who: str, tool_version: str) -> int:
    """Make the parked chunks ready again, and the run open if it had failed; how many chunks.

    Raises LockHeld when another run has taken the destination since, StalePlan when a newer plan was accepted.
    """
    with database.transaction() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ACCEPT_LOCK})
        row = _locked_run(connection, run_id)
        if row.state == RunState.SUPERSEDED:
            raise StalePlan(f"run {run_id} was superseded by a newer plan of its lineage; apply that one")
        refuse_stale(connection, row.lineage, row.serial, row.plan_id)
        parked = connection.execute(
            text(
                "UPDATE ledger.chunk SET state = 1, n_bad = 0, not_before = NULL, lease_id = NULL, worker_id = NULL"
                " WHERE run_id = :run_id AND state = 4"
            ),
            {"run_id": run_id},
        ).rowcount
        if parked:
            plan = connection.execute(
                text("SELECT plan FROM ledger.run WHERE run_id = :id"), {"id": run_id}
            ).scalar_one()
            scopes: set[Scope] = scope_of_plan_row(plan)
            hold_scopes(connection, run_id, scopes, who=who, tool_version=tool_version)
            if row.state == RunState.FAILED:
                connection.execute(
                    text("UPDATE ledger.run SET state = 1, finished_at = NULL WHERE run_id = :run_id"),
                    {"run_id": run_id},
                )
            audit(connection, run_id, who, "retried", canonical({"chunks": parked}))
        return parked


def change_state(database: Database, run_id: int, state: RunState, who: str) -> RunState:
    """Pause, drain or open an unfinished run; the state it is in afterwards (an ended run stays as it is)."""
    with database.transaction() as connection:
        now = RunState(_locked_run(connection, run_id).state)
        if now not in (RunState.OPEN, RunState.PAUSED, RunState.DRAINING) or now is state:
            return now
        connection.execute(
            text("UPDATE ledger.run SET state = :state WHERE run_id = :run_id"), {"state": state, "run_id": run_id}
        )
        audit(connection, run_id, who, f"run-{state.name.lower()}", "{}")
        return state


def _locked_run(connection: Connection, run_id: int) -> Row[Any]:
    return connection.execute(
        text("SELECT state, plan_id, lineage, serial FROM ledger.run WHERE run_id = :run_id FOR NO KEY UPDATE"),
        {"run_id": run_id},
    ).one()
