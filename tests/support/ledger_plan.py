"""Small plans and their chunks for tests of the ledger: what matters is named, the rest has defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from executor.ledger.values import (
    Chunk,
    ChunkKind,
    ChunkReport,
    ChunkSpec,
    Completion,
    Failure,
    Lane,
    Outcome,
    RunState,
    Verification,
)
from schema.limits import Limits
from schema.plan import DELETES, Batch, Gate, Method, Plan, Section, Stage
from support.sample_plan import digest, sample_plan

SIZE = 100
"""Bytes of every object here."""


def ledger_plan(
    batches: Iterable[tuple[str, int]] = (("bulk", 10),),
    stages: tuple[Stage, ...] = (Stage("bulk", (), Gate.COPIED),),
    *,
    serial: int = 1,
    lineage: str = "11111111-1111-4111-8111-111111111111",
    sections: tuple[Section, ...] | None = None,
) -> Plan:
    """A plan of (stage, objects) batches, without limits."""
    if sections is None:
        sections = sample_plan().sections[:1]
    return sample_plan(
        serial=serial,
        lineage=lineage,
        limits=Limits(),
        sections=sections,
        stages=stages,
        batches=tuple(
            Batch(
                f"b{n}",
                sections[0].id,
                "tiny",
                stage,
                None if stage == DELETES else Method.STREAM,
                objects,
                objects * SIZE,
                ("a", "z"),
                digest(f"{n % 10}"),
            )
            for n, (stage, objects) in enumerate(batches)
        ),
    )


def chunk_specs(plan: Plan, step: int = 5, lane: Lane = Lane.WHOLE) -> list[ChunkSpec]:
    """Chunks of *step* objects; VERIFY chunks where the stage's gate asks for them."""
    gates = {stage.id: stage.gate for stage in plan.stages}
    specs: list[ChunkSpec] = []
    for kind in ChunkKind:
        for batch_no, batch in enumerate(plan.batches):
            if kind is ChunkKind.VERIFY and gates[batch.stage] is not Gate.VERIFIED:
                continue
            for lo in range(0, batch.objects, step):
                specs.append(ChunkSpec(len(specs), batch_no, kind, lane, lo, min(lo + step, batch.objects), 0))
    return specs


def change_state(sql: Callable[..., list[tuple[object, ...]]], run_id: int, state: RunState) -> RunState:
    """Set an unfinished run OPEN or PAUSED, by nobody; the state it is in now."""
    sql("UPDATE ledger.run SET state = %s WHERE run_id = %s AND state IN (1, 2, 3)", state, run_id)
    return RunState(sql("SELECT state FROM ledger.run WHERE run_id = %s", run_id)[0][0])


def completed(chunk: Chunk, ords: Iterable[int] | None = None, outcome: Outcome = Outcome.COPIED) -> list[Completion]:
    """Completions for *ords* of *chunk*, or for all of it."""
    wanted = range(chunk.lo, chunk.hi) if ords is None else ords
    return [Completion(chunk.batch_no, n, outcome, 1, SIZE, f"{n:032x}", n.to_bytes(8, "big"), f"v{n}") for n in wanted]


def failed(chunk: Chunk, ord_: int, attempt: int = 1, *, terminal: bool = True) -> Failure:
    """One failure."""
    return Failure(chunk.batch_no, ord_, attempt, terminal, 403, "AccessRefused", "403 AccessDenied", "req-1")


def report(chunk: Chunk, *, finished: bool = True, failures: Iterable[Failure] = (), ok: bool = True) -> ChunkReport:
    """Everything of *chunk* in good order but *failures*; with *ok* False every verdict is a mismatch."""
    bad = list(failures)
    ords = [n for n in range(chunk.lo, chunk.hi) if n not in {f.ord for f in bad if f.terminal}]
    if chunk.kind is ChunkKind.VERIFY:
        verdicts = [Verification(n, ok, "" if ok else "size differs") for n in ords]
        return ChunkReport(chunk, (), bad, finished, verdicts)
    return ChunkReport(chunk, completed(chunk, ords), bad, finished)
