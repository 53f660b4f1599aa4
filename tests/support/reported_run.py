"""A run for reports: some of everything, so that no line of a report is empty. Hostile names where they may come."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from executor.ledger.ledger import Ledger
from executor.ledger.samples import NewSample
from executor.ledger.values import Chunk, ChunkReport, Completion, Failure, Lane, Outcome, Run, Worker
from schema.errors import WhichSide
from schema.flow.request_classes import RequestClass
from schema.flow.samples import Activity, FlowCounts, SideCounts
from schema.plan import DELETES, Gate, Plan, Section, Stage, Tally
from schema.process_view import ProcessView
from support.ledger_plan import SIZE, chunk_specs, ledger_plan
from support.sample_plan import sample_plan

HOSTILE = '<script>alert(1)</script> | `x` \x1b[2J \u202egpj \' onload="x"'
STEP = 10.0


def reported_plan(objects: int = 40) -> Plan:
    """A canary, a bulk stage and deletes; the section's summary adds up with its batches."""
    bulk, deletes = objects - 10, 6
    stages = (
        Stage("canary", (), Gate.COPIED),
        Stage("bulk", ("canary",), Gate.COPIED),
        Stage(DELETES, ("bulk",), Gate.COPIED),
    )
    first: Section = sample_plan().sections[0]
    loss = dataclasses.replace(first.losses[0], text=HOSTILE)
    summary = {
        "listed": Tally(objects + 9, 0), "copy": Tally(objects - 2), "overwrite": Tally(2), "skip": Tally(4),
        "excluded": Tally(3), "unsupported": Tally(2), "delete": Tally(deletes), "transfer": Tally(objects + deletes),
    }  # fmt: skip
    section = dataclasses.replace(first, summary=summary, losses=(loss,), side_manifests={})
    batches = [("canary", 10), ("bulk", bulk), (DELETES, deletes)]
    return ledger_plan(batches, stages, sections=(section,))


def ended(chunk: Chunk, ord_: int) -> Outcome | None:
    """Every way an object may end; None: it fails."""
    if chunk.batch_no == 2:
        return Outcome.CONFLICT if ord_ == 0 else Outcome.DELETED
    if chunk.batch_no == 0:
        return Outcome.ALREADY_THERE if ord_ == 0 else Outcome.COPIED
    return {0: Outcome.SOURCE_CHANGED, 1: Outcome.SOURCE_GONE, 2: Outcome.CONFLICT, 3: None, 4: None}.get(
        ord_, Outcome.COPIED
    )


def reported_run(
    ledger: Ledger, plan: Plan, *, step: int = 5, until: int | None = None, sampled: int = 30,
    outcome: Callable[[Chunk, int], Outcome | None] = ended,
) -> tuple[Run, Worker]:  # fmt: skip
    """*plan* accepted and worked on until *until* chunks are done (None: as far as it goes), with *sampled* samples."""
    run = ledger.runs.accept(plan, chunk_specs(plan, step), who=HOSTILE, tool_version="0.1.0")
    worker = ledger.workers.join(run, HOSTILE, 4711, tool_version="0.1.0")
    done = 0
    while until is None or done < until:
        chunk = ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=60.0)
        if chunk is None:
            break
        ledger.checkpoints.flush(worker, [_report(chunk, outcome)], lease_seconds=60.0)
        done += 1
    ledger.samples.append(worker, [_sample(number, sampled) for number in range(1, sampled + 1)])
    return run, worker


def _report(chunk: Chunk, outcome: Callable[[Chunk, int], Outcome | None]) -> ChunkReport:
    completions, failures = [], []
    for ord_ in range(chunk.lo, chunk.hi):
        how = outcome(chunk, ord_)
        if how is None:
            failures.append(Failure(chunk.batch_no, ord_, 1, True, 403, "AccessRefused", HOSTILE, "req-1"))
        else:
            completions.append(Completion(chunk.batch_no, ord_, how, 1, SIZE, f"{ord_:032x}", b"12345678"))
    return ChunkReport(chunk, completions, failures, finished=True)


def _sample(number: int, of: int) -> NewSample:
    """A run that gathers speed, is throttled in its middle, and ends."""
    share = number / of
    speed = 900 * math.sin(math.pi * min(share * 1.2, 1)) ** 0.5 * (0.35 if 0.45 < share < 0.6 else 1) + 20
    objects = int(speed * STEP)
    throttled = objects // 4 if 0.45 < share < 0.6 else 0
    threads: dict[Activity, float] = {
        Activity.DESTINATION: 6 * STEP * (2 + speed / 100), Activity.SOURCE: 2 * STEP * (2 + speed / 100),
        Activity.WORKING: STEP * 3, Activity.THROTTLING: throttled / 30, Activity.LIMIT: 14.0,
    }  # fmt: skip
    sides: dict[WhichSide, Any] = {
        WhichSide.SOURCE: SideCounts({RequestClass.GET: objects}, 0, 0, objects * 60_000, objects * 0.02),
        WhichSide.DESTINATION: SideCounts(
            {RequestClass.PUT: objects + throttled, RequestClass.LIST: 1},
            throttled,
            0,
            objects * 60_000,
            objects * 0.06,
        ),
    }
    counts = FlowCounts(
        seconds=STEP, objects=objects, bytes=objects * 60_000, processor_seconds=STEP * 0.6, threads=threads,
        limit_seconds={"bandwidth": 14.0}, sides=sides,
    )  # fmt: skip
    return NewSample(number, STEP * (of - number), counts, ProcessView(8, "probing"), 64 << 20, 512 << 20)
