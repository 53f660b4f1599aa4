"""A plan becomes rows: its run, stages, batches and chunks, whole or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice

from executor.ledger import audit
from executor.ledger.advance import GATE_STATE, StageStatus, advanced, complete
from executor.ledger.audit import Event
from executor.ledger.database import Transaction
from executor.ledger.locks import hold_scopes
from executor.ledger.values import BatchState, ChunkKind, ChunkSpec, ChunkState, StageState
from schema.formats.canonical import canonical_json
from schema.formats.plain import plain
from schema.limits import Limits
from schema.plan import Gate, Plan

CHUNK_COLUMNS = "run_id, chunk_no, batch_no, kind, lane, lo, hi, priority, state"
CLOSURES_AHEAD = timedelta(weeks=5)
"""Resuming the run writes those that come after."""
COPY_ROWS = 10_000
"""Chunk rows sent at a time, so that a plan of a million chunks needs little memory."""


def enroll(transaction: Transaction, plan: Plan, chunks: Iterable[ChunkSpec], *, who: str, tool_version: str) -> int:
    """Write everything and lock the plan's destinations. Returns the run's id. Call under ACCEPT_LOCK.

    Raises LockHeld, and ValueError when *chunks* do not cover the plan's batches exactly.
    """
    total = plan.transfer
    run_id: int = transaction.value(
        """
        INSERT INTO ledger.run
               (plan_id, lineage, serial, name, plan, objects, bytes, chunks_left, created_by, tool_version)
        VALUES (:plan_id, :lineage, :serial, :name, CAST(:plan AS json), :objects, :bytes, 0, :who, :tool_version)
        RETURNING run_id""",
        plan_id=plan.plan_id,
        lineage=plan.lineage,
        serial=plan.serial,
        name=plan.name,
        plan=canonical_json(plain(plan)).decode(),
        objects=total.objects,
        bytes=total.bytes,
        who=who,
        tool_version=tool_version,
    )
    hold_scopes(transaction, run_id, plan, who=who, tool_version=tool_version)
    transaction.run("SELECT ledger.open_partitions(:run_id)", run_id=run_id)
    chunks_left = _Rows(transaction, run_id, plan).write(chunks)
    body = {"plan_id": plan.plan_id, "serial": plan.serial, "objects": total.objects, "bytes": total.bytes}
    body |= {"chunks": chunks_left, "tool": tool_version}
    audit.append(transaction, run_id, Event("plan-accepted", body), who=who)
    transaction.run("UPDATE ledger.run SET chunks_left = :left WHERE run_id = :run_id", left=chunks_left, run_id=run_id)
    if not chunks_left:
        complete(transaction, run_id)
    return run_id


def write_closed_hours(transaction: Transaction, run_id: int, limits: Limits) -> None:
    """Write the coming hours in which the run's calendar is closed, in place of those written before."""
    transaction.run("DELETE FROM ledger.closed_hours WHERE run_id = :run_id", run_id=run_id)
    now = transaction.value("SELECT now()")
    closures = limits.closures(now, now + CLOSURES_AHEAD)
    transaction.insert("closed_hours", [{"run_id": run_id, "begins": c.begins, "ends": c.ends} for c in closures])


class _Rows:
    """The rows below the run's."""

    def __init__(self, transaction: Transaction, run_id: int, plan: Plan) -> None:
        self._transaction = transaction
        self._run_id = run_id
        self._plan = plan
        self._stage_no = {stage.id: position for position, stage in enumerate(plan.stages)}
        self._ready: frozenset[int] = frozenset()
        """Numbers of the batches whose stage may start at once."""
        self._counts: Counter[tuple[int, ChunkKind]] = Counter()
        """The chunks of each batch, by kind."""

    def write(self, chunks: Iterable[ChunkSpec]) -> int:
        """Write it all; returns the number of chunks."""
        open_stages = self._stages()
        self._ready = frozenset(n for n, batch in enumerate(self._plan.batches) if batch.stage in open_stages)
        self._chunks(chunks)
        self._batches()
        return self._counts.total()

    def _stages(self) -> set[str]:
        """Write the DAG; the ids of the stages that may start at once."""
        stages, number = self._plan.stages, self._stage_no
        waiting = Counter(batch.stage for batch in self._plan.batches if batch.objects)
        needs = {number[stage.id]: frozenset(number[name] for name in stage.depends_on) for stage in stages}
        state = dict.fromkeys(needs, StageState.BLOCKED) | advanced(
            StageStatus(number[stage.id], StageState.BLOCKED, waiting[stage.id], needs[number[stage.id]])
            for stage in stages
        )
        rows = [
            {
                "run_id": self._run_id,
                "stage_no": number[stage.id],
                "stage_id": stage.id,
                "gate": GATE_STATE[stage.gate],
                "state": state[number[stage.id]],
                "batches_left": waiting[stage.id],
            }
            for stage in stages
        ]
        edges = [
            {"run_id": self._run_id, "stage_no": stage_no, "needs_no": need}
            for stage_no, all_needs in needs.items()
            for need in all_needs
        ]
        self._transaction.insert("stage", rows)
        self._transaction.insert("stage_dependency", edges)
        return {stage.id for stage in stages if state[number[stage.id]] is not StageState.BLOCKED}

    def _chunks(self, chunks: Iterable[ChunkSpec]) -> None:
        reached: Counter[tuple[int, ChunkKind]] = Counter()
        pending = self._chunk_lines(chunks, reached)
        while piece := "".join(islice(pending, COPY_ROWS)):
            self._transaction.copy("chunk", CHUNK_COLUMNS, piece)
        verified = {stage.id for stage in self._plan.stages if stage.gate is Gate.VERIFIED}
        for batch_no, batch in enumerate(self._plan.batches):
            for kind in ChunkKind:
                required = kind is ChunkKind.OBJECTS or batch.stage in verified
                if (required or reached[batch_no, kind]) and reached[batch_no, kind] != batch.objects:
                    raise ValueError(
                        f"the {kind.name} chunks of batch {batch.id} cover {reached[batch_no, kind]} "
                        f"of its {batch.objects} objects"
                    )

    def _chunk_lines(self, chunks: Iterable[ChunkSpec], reached: Counter[tuple[int, ChunkKind]]) -> Iterator[str]:
        """COPY's lines; *reached* is moved on to where the chunks of each batch and kind end."""
        for spec in chunks:
            part = (spec.batch_no, spec.kind)
            if spec.lo != reached[part]:
                raise ValueError(f"chunk {spec.chunk_no} begins at {spec.lo}, not at {reached[part]}: {spec}")
            reached[part] = spec.hi
            self._counts[part] += 1
            starts = spec.kind is ChunkKind.OBJECTS and spec.batch_no in self._ready
            state = ChunkState.READY if starts else ChunkState.BLOCKED
            yield "%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n" % (self._run_id, *spec, state)  # noqa: UP031 (the fastest form)

    def _batches(self) -> None:
        rows = []
        for batch_no, batch in enumerate(self._plan.batches):
            state = BatchState.READY if batch_no in self._ready else BatchState.BLOCKED
            rows.append(
                {
                    "run_id": self._run_id,
                    "batch_no": batch_no,
                    "batch_id": batch.id,
                    "section": batch.section,
                    "stage_no": self._stage_no[batch.stage],
                    "manifest": batch.manifest,
                    "objects": batch.objects,
                    "bytes": batch.bytes,
                    "state": state if batch.objects else BatchState.VERIFIED,
                    "copy_left": self._counts[batch_no, ChunkKind.OBJECTS],
                    "verify_left": self._counts[batch_no, ChunkKind.VERIFY],
                }
            )
        self._transaction.insert("batch", rows)
