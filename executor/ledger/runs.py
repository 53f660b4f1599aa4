"""Accepting a plan: one run per plan, one open run per lineage, one writer per destination scope."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Row, insert, select, text

from executor.ledger.database import Database, audit, raw
from executor.ledger.scopes import ACCEPT_LOCK, drop_scope, hold_scope, reap_in
from executor.ledger.stages import GATE_STATE, StageState, StageStatus, advanced
from executor.ledger.values import BatchState, ChunkKind, ChunkSpec, ChunkState, Run, RunState
from schema.errors import StalePlan
from schema.plain import plain
from schema.plan import Gate, Plan
from schema.tables import batch as batch_table
from schema.tables import run as run_table
from schema.tables import stage as stage_table
from schema.tables import stage_dependency as dependency_table

UNFINISHED = (RunState.OPEN, RunState.PAUSED, RunState.DRAINING)
RUN_COLUMNS = [column for column in run_table.c if column.name != "plan"]
"""The plan itself may be megabytes; who asks for a run seldom wants it."""
COPY_ROWS = 10_000
"""Chunk rows sent in one piece, so that a plan of a million chunks needs no great memory."""


def accept(database: Database, plan: Plan, chunks: Iterable[ChunkSpec], *, who: str, tool_version: str) -> Run:
    """Enroll *plan*, or find it enrolled already; whole or not at all.

    Raises StalePlan when its lineage has accepted a newer serial or another plan of the same one, LockHeld
    when another unfinished run holds an overlapping destination, ValueError when *chunks* do not cover the
    plan's batches exactly.
    """
    with database.transaction() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ACCEPT_LOCK})
        known = connection.execute(select(*RUN_COLUMNS).where(run_table.c.plan_id == plan.plan_id)).one_or_none()
        if known is not None:
            return _resume(connection, run_of(known, resumed=True), plan, who, tool_version)
        _supersede_older(connection, plan, who)
        run_id = _enroll(connection, plan, chunks, who, tool_version)
        row = connection.execute(select(*RUN_COLUMNS).where(run_table.c.run_id == run_id)).one()
        return run_of(row)


def run_of(row: Row[Any], *, resumed: bool = False) -> Run:
    """A row of the run table as a value."""
    return Run(
        run_id=row.run_id,
        epoch=row.epoch,
        plan_id=row.plan_id,
        state=RunState(row.state),
        resumed=resumed,
        name=row.name,
        lineage=row.lineage,
        serial=row.serial,
        objects=row.objects,
        bytes=row.bytes,
        created_at=row.created_at,
        created_by=row.created_by,
        finished_at=row.finished_at,
    )


def refuse_stale(connection: Connection, lineage: str, serial: int, plan_id: str) -> None:
    """Raise StalePlan when the lineage has moved on from (*serial*, *plan_id*)."""
    newest = connection.execute(
        select(*RUN_COLUMNS).where(run_table.c.lineage == lineage).order_by(run_table.c.serial.desc()).limit(1)
    ).one_or_none()
    if newest is None or newest.plan_id == plan_id or newest.serial < serial:
        return
    raise StalePlan(
        f"plan {newest.name!r} serial {serial} is stale: serial {newest.serial} was accepted as run {newest.run_id} "
        f"by {newest.created_by} at {newest.created_at:%Y-%m-%d %H:%M:%SZ}; apply that plan, or plan again"
    )


def _resume(connection: Connection, run: Run, plan: Plan, who: str, tool_version: str) -> Run:
    refuse_stale(connection, run.lineage, run.serial, run.plan_id)
    if run.state in UNFINISHED:
        hold_scope(connection, run.run_id, plan, who=who, tool_version=tool_version)
    return run


def _supersede_older(connection: Connection, plan: Plan, who: str) -> None:
    refuse_stale(connection, plan.lineage, plan.serial, plan.plan_id)
    older = connection.execute(
        text(
            "UPDATE ledger.run SET state = :superseded, epoch = epoch + 1, finished_at = now()"
            " WHERE lineage = :lineage AND state = ANY(:unfinished) RETURNING run_id"
        ),
        {"superseded": RunState.SUPERSEDED, "lineage": plan.lineage, "unfinished": list(map(int, UNFINISHED))},
    ).scalars()
    for run_id in list(older):
        drop_scope(connection, run_id)
        reap_in(connection, run_id)
        audit(connection, run_id, who, "superseded", canonical({"by": plan.plan_id, "serial": plan.serial}))


def _enroll(connection: Connection, plan: Plan, chunks: Iterable[ChunkSpec], who: str, tool_version: str) -> int:
    total = plan.transfer
    run_id: int = connection.execute(
        insert(run_table).returning(run_table.c.run_id),
        {
            "plan_id": plan.plan_id,
            "lineage": plan.lineage,
            "serial": plan.serial,
            "name": plan.name,
            "plan": plain(plan),
            "objects": total.objects,
            "bytes": total.bytes,
            "chunks_left": 0,
            "created_by": who,
            "tool_version": tool_version,
        },
    ).scalar_one()
    hold_scope(connection, run_id, plan, who=who, tool_version=tool_version)
    connection.execute(text("SELECT ledger.open_partitions(:run_id)"), {"run_id": run_id})
    open_stages = _insert_stages(connection, run_id, plan)
    ready = frozenset(n for n, batch in enumerate(plan.batches) if batch.stage in open_stages)
    counts = _copy_chunks(connection, run_id, plan, chunks, ready)
    _insert_batches(connection, run_id, plan, counts, ready)
    chunks_left = sum(counts.values())
    body = {"plan_id": plan.plan_id, "serial": plan.serial, "objects": total.objects, "bytes": total.bytes}
    audit(connection, run_id, who, "plan-accepted", canonical({**body, "chunks": chunks_left, "tool": tool_version}))
    connection.execute(
        text("UPDATE ledger.run SET chunks_left = :left WHERE run_id = :run_id"),
        {"left": chunks_left, "run_id": run_id},
    )
    if not chunks_left:
        complete(connection, run_id)
    return run_id


def _insert_stages(connection: Connection, run_id: int, plan: Plan) -> set[str]:
    """Enroll the DAG; the ids of the stages that may start at once."""
    number = {stage.id: position for position, stage in enumerate(plan.stages)}
    waiting = Counter(batch.stage for batch in plan.batches if batch.objects)
    needs = {number[stage.id]: frozenset(number[name] for name in stage.depends_on) for stage in plan.stages}
    state = dict.fromkeys(needs, StageState.BLOCKED) | advanced(
        StageStatus(number[stage.id], StageState.BLOCKED, waiting[stage.id], needs[number[stage.id]])
        for stage in plan.stages
    )
    rows = [
        {
            "run_id": run_id,
            "stage_no": number[stage.id],
            "stage_id": stage.id,
            "gate": GATE_STATE[stage.gate],
            "state": state[number[stage.id]],
            "batches_left": waiting[stage.id],
        }
        for stage in plan.stages
    ]
    edges = [
        {"run_id": run_id, "stage_no": n, "needs_no": need} for n, all_needs in needs.items() for need in all_needs
    ]
    if rows:
        connection.execute(insert(stage_table), rows)
    if edges:
        connection.execute(insert(dependency_table), edges)
    return {stage.id for stage in plan.stages if state[number[stage.id]] is not StageState.BLOCKED}


def _insert_batches(
    connection: Connection,
    run_id: int,
    plan: Plan,
    counts: Mapping[tuple[int, ChunkKind], int],
    ready: frozenset[int],
) -> None:
    number = {stage.id: position for position, stage in enumerate(plan.stages)}
    rows = []
    for batch_no, batch in enumerate(plan.batches):
        state = BatchState.READY if batch_no in ready else BatchState.BLOCKED
        rows.append(
            {
                "run_id": run_id,
                "batch_no": batch_no,
                "batch_id": batch.id,
                "section": batch.section,
                "stage_no": number[batch.stage],
                "manifest": batch.manifest,
                "objects": batch.objects,
                "bytes": batch.bytes,
                "state": state if batch.objects else BatchState.VERIFIED,
                "copy_left": counts.get((batch_no, ChunkKind.OBJECTS), 0),
                "verify_left": counts.get((batch_no, ChunkKind.VERIFY), 0),
            }
        )
    if rows:
        connection.execute(insert(batch_table), rows)


def _copy_chunks(
    connection: Connection, run_id: int, plan: Plan, chunks: Iterable[ChunkSpec], ready: frozenset[int]
) -> dict[tuple[int, ChunkKind], int]:
    """Write the chunks and answer how many each batch has of each kind."""
    counts: Counter[tuple[int, ChunkKind]] = Counter()
    reached: Counter[tuple[int, ChunkKind]] = Counter()

    def lines() -> Iterator[str]:
        for spec in chunks:
            part = (spec.batch_no, spec.kind)
            if spec.lo != reached[part]:
                raise ValueError(f"chunk {spec.chunk_no} begins at {spec.lo}, not at {reached[part]}: {spec}")
            reached[part] = spec.hi
            counts[part] += 1
            starts = spec.kind is ChunkKind.OBJECTS and spec.batch_no in ready
            state = ChunkState.READY if starts else ChunkState.BLOCKED
            yield "%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n" % (run_id, *spec, state)  # noqa: UP031 (the fastest form)

    columns = "run_id, chunk_no, batch_no, kind, lane, lo, hi, priority, state"
    pending = lines()
    with raw(connection).cursor() as cursor:
        while piece := "".join(islice(pending, COPY_ROWS)):
            cursor.copy_expert(f"COPY ledger.chunk ({columns}) FROM STDIN", io.StringIO(piece))
    verified = {stage.id for stage in plan.stages if stage.gate is Gate.VERIFIED}
    for batch_no, batch in enumerate(plan.batches):
        for kind in ChunkKind:
            required = kind is ChunkKind.OBJECTS or batch.stage in verified
            if (required or reached[batch_no, kind]) and reached[batch_no, kind] != batch.objects:
                raise ValueError(
                    f"the {kind.name} chunks of batch {batch.id} cover {reached[batch_no, kind]} "
                    f"of its {batch.objects} objects"
                )
    return counts


def complete(connection: Connection, run_id: int) -> None:
    """Mark the run complete and let go of its destination."""
    connection.execute(
        text("UPDATE ledger.run SET state = :state, finished_at = now() WHERE run_id = :run_id"),
        {"state": RunState.COMPLETE, "run_id": run_id},
    )
    drop_scope(connection, run_id)
    audit(connection, run_id, "ledger", "run-complete", "{}")


def canonical(body: Any) -> str:
    """JSON with one spelling: sorted names, no spaces, ASCII only."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), default=str)
