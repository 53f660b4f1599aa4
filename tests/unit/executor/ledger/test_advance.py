"""Which stages may start: never before everything they need has passed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from executor.ledger.advance import StageStatus, advanced
from executor.ledger.values import StageState

BLOCKED, OPEN, PASSED = StageState.BLOCKED, StageState.OPEN, StageState.PASSED


def test_a_stage_without_needs_opens_at_once() -> None:
    assert advanced([StageStatus(0, BLOCKED, 2, frozenset()), StageStatus(1, BLOCKED, 1, frozenset({0}))]) == {0: OPEN}


def test_the_last_batch_passes_a_stage_and_opens_the_next() -> None:
    assert advanced([StageStatus(0, OPEN, 0, frozenset()), StageStatus(1, BLOCKED, 1, frozenset({0}))]) == {
        0: PASSED,
        1: OPEN,
    }


def test_an_empty_stage_is_no_way_around_what_it_needs() -> None:
    chain = [
        StageStatus(0, OPEN, 1, frozenset()),
        StageStatus(1, BLOCKED, 0, frozenset({0})),
        StageStatus(2, BLOCKED, 1, frozenset({1})),
    ]
    assert advanced(chain) == {}
    chain[0] = StageStatus(0, OPEN, 0, frozenset())
    assert advanced(chain) == {0: PASSED, 1: PASSED, 2: OPEN}


def test_a_stage_waits_for_all_it_needs() -> None:
    both = frozenset({0, 1})
    stages = [
        StageStatus(0, OPEN, 0, frozenset()),
        StageStatus(1, OPEN, 1, frozenset()),
        StageStatus(2, BLOCKED, 1, both),
    ]
    assert advanced(stages) == {0: PASSED}


@given(st.lists(st.tuples(st.integers(0, 2), st.sets(st.integers(0, 7))), max_size=8))
def test_in_any_dag_nothing_opens_before_its_needs_have_passed(nodes: list[tuple[int, set[int]]]) -> None:
    stages = [
        StageStatus(n, BLOCKED, left, frozenset(x for x in needs if x < n)) for n, (left, needs) in enumerate(nodes)
    ]
    changed = advanced(stages)
    state = {stage.stage_no: changed.get(stage.stage_no, stage.state) for stage in stages}
    for stage in stages:
        ready = all(state[need] is PASSED for need in stage.needs)
        assert (state[stage.stage_no] is not BLOCKED) == ready
        assert (state[stage.stage_no] is PASSED) == (ready and stage.batches_left == 0)
