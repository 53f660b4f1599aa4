"""Which stages may start: a pure decision over the DAG's state."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from executor.ledger.values import BatchState
from schema.plan import Gate

GATE_STATE = {Gate.COPIED: BatchState.COPIED, Gate.VERIFIED: BatchState.VERIFIED}
"""The state every batch of a stage must reach before the stage's dependants start."""


class StageState(IntEnum):
    """Where a stage stands."""

    BLOCKED = 0
    OPEN = 1
    PASSED = 2
    """Every batch has reached the gate, and so have the stages it needs."""


class StageStatus(NamedTuple):
    """One stage, as much as the decision needs."""

    stage_no: int
    state: StageState
    batches_left: int
    """Batches that have not reached the gate."""
    needs: frozenset[int]


def advanced(stages: Iterable[StageStatus]) -> dict[int, StageState]:
    """The stages whose state changes now, with their new state. A stage opens only when all it needs has passed."""
    by_number = {stage.stage_no: stage for stage in stages}
    state = {number: stage.state for number, stage in by_number.items()}
    moving = True
    while moving:
        moving = False
        for number, stage in by_number.items():
            if state[number] is StageState.BLOCKED and all(state[n] is StageState.PASSED for n in stage.needs):
                state[number], moving = StageState.OPEN, True
            if state[number] is StageState.OPEN and stage.batches_left == 0:
                state[number], moving = StageState.PASSED, True
    return {number: new for number, new in state.items() if new is not by_number[number].state}
