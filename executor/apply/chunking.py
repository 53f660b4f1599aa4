"""From a plan's batches to the chunks that workers claim. Pure: the same plan gives the same chunks."""

from __future__ import annotations

from collections.abc import Iterator

from executor.ledger.values import ChunkKind, ChunkSpec, Lane
from schema.plan import Gate, Plan
from schema.tiers import TIERS

OBJECTS_PER_CHUNK = {"tiny": 1000, "small": 200, "medium": 16, "large": 4, "huge": 1}
"""Seconds to a minute of work each, so that processes share evenly and a lost lease costs little."""
OTHER_TIERS = 500
PARTED_TIERS = frozenset(t.name for t in TIERS if t.part)


def chunks_of(plan: Plan) -> Iterator[ChunkSpec]:
    """All chunks of *plan*, numbered from 0, objects first, then the verify chunks of gated stages.

    Batch numbers are positions in plan.batches. With `versions: all` a batch is one chunk, so that
    no key's versions can be in two hands at once.
    """
    verified = {stage.id for stage in plan.stages if stage.gate is Gate.VERIFIED}
    stage_order = {stage.id: position for position, stage in enumerate(plan.stages)}
    number = 0
    for kind in (ChunkKind.OBJECTS, ChunkKind.VERIFY):
        for batch_no, batch in enumerate(plan.batches):
            if kind is ChunkKind.VERIFY and batch.stage not in verified:
                continue
            lane = Lane.PARTS if batch.tier in PARTED_TIERS else Lane.WHOLE
            step = OBJECTS_PER_CHUNK.get(batch.tier, OTHER_TIERS)
            if plan.policy.versions == "all" and kind is ChunkKind.OBJECTS:
                step = batch.objects
            for lo in range(0, batch.objects, step):
                hi = min(lo + step, batch.objects)
                priority = stage_order[batch.stage] * 10
                yield ChunkSpec(number, batch_no, kind, lane, lo, hi, priority)
                number += 1
