"""A plan's batches as chunks: every object in one of them."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from support.sample_plan import sample_plan

from executor.apply.chunking import OBJECTS_PER_CHUNK, chunks_of
from executor.ledger.values import ChunkKind
from schema.plan import Gate


@given(st.lists(st.tuples(st.sampled_from([*OBJECTS_PER_CHUNK, "markers"]), st.integers(1, 3000)), max_size=4))
def test_chunks_cover_every_batch_exactly(shapes: list[tuple[str, int]]) -> None:
    plan = sample_plan()
    batches = tuple(
        replace(plan.batches[0], id=f"b{n}", tier=tier, objects=objects, stage=("canary", "bulk")[n % 2])
        for n, (tier, objects) in enumerate(shapes)
    )
    made = list(chunks_of(replace(plan, batches=batches)))
    assert [chunk.chunk_no for chunk in made] == list(range(len(made)))
    gated = {stage.id for stage in plan.stages if stage.gate is Gate.VERIFIED}
    for number, batch in enumerate(batches):
        for kind in (ChunkKind.OBJECTS, ChunkKind.VERIFY):
            spans = [(c.lo, c.hi) for c in made if (c.batch_no, c.kind) == (number, kind)]
            if kind is ChunkKind.VERIFY and batch.stage not in gated:
                assert spans == []
                continue
            assert [lo for lo, _ in spans] == [0, *(hi for _, hi in spans[:-1])]
            assert spans[-1][1] == batch.objects
