"""What follows when chunks are finished: batches reach their gates, stages open, the run completes.

Runs inside the flush's transaction, so that it is never seen half done.

An object that fails by its own fault parks its chunk, as any failure does, but it holds nothing back that does not
have to come last: a stage is let through when nothing else keeps it from its gate, and no more objects of a batch
failed than arrived. Markers and deletes wait for every object.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import or_
from typing import NamedTuple

from executor.ledger import audit
from executor.ledger.audit import Event
from executor.ledger.database import Row, Transaction
from executor.ledger.locks import drop_scopes
from executor.ledger.sql import UNLEASED
from executor.ledger.values import BatchState, Chunk, ChunkKind, ChunkState, Outcome, RunState, StageState
from schema.plan import DELETES, MARKERS, Gate

GATE_STATE = {Gate.COPIED: BatchState.COPIED, Gate.VERIFIED: BatchState.VERIFIED}
"""The state every batch of a stage must reach before the stage's dependants start."""
LAST = frozenset((MARKERS, DELETES))
"""Stages that wait for every object."""
OWN_FAULTS = f"k.state = {ChunkState.PARKED:d} AND k.n_own = k.n_bad"
"""Objects of the chunk failed, each by its own fault."""
OVER = f"(k.state = {ChunkState.DONE:d} OR {OWN_FAULTS})"
"""Nothing but single objects' faults keeps the chunk from being done."""


class StageStatus(NamedTuple):
    """One stage, as much as the decision needs."""

    stage_no: int
    state: StageState
    batches_left: int
    """Batches that have not reached the gate."""
    needs: frozenset[int]
    let_through: bool = False
    """Nothing but faults of single objects keeps it from its gate."""
    last: bool = False
    """It waits for every object, whatever has failed."""


@dataclass(slots=True)
class Done:
    """Chunks of one batch that are done now, and what they did."""

    chunks: Counter[ChunkKind] = field(default_factory=Counter)
    objects: Counter[ChunkKind] = field(default_factory=Counter)
    bytes: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)

    def add(self, row: Row) -> None:
        """One more, as its row says."""
        kind = ChunkKind(row.kind)
        self.chunks[kind] += 1
        self.objects[kind] += row.n_done
        self.bytes += row.bytes_done
        self.outcomes.update({outcome: row.outcomes[outcome - 1] for outcome in Outcome})


def advanced(stages: Iterable[StageStatus]) -> dict[int, StageState]:
    """The stages whose state changes now, with their new state.

    A stage opens only when all it needs has passed or, unless it comes last, was let through.
    """
    by_number = {stage.stage_no: stage for stage in stages}
    state = {number: stage.state for number, stage in by_number.items()}
    moving = True
    while moving:
        moving = False
        for number, stage in by_number.items():
            through = [by_number[n].let_through and not stage.last for n in stage.needs]
            passed = [state[n] is StageState.PASSED for n in stage.needs]
            if state[number] is StageState.BLOCKED and all(map(or_, passed, through)):
                state[number], moving = StageState.OPEN, True
            if state[number] is StageState.OPEN and stage.batches_left == 0:
                state[number], moving = StageState.PASSED, True
    return {number: new for number, new in state.items() if new is not by_number[number].state}


def complete(transaction: Transaction, run_id: int) -> None:
    """Mark the run complete and release its destination."""
    end_run(transaction, run_id, RunState.COMPLETE, event=Event("run-complete", {}))


def end_run(transaction: Transaction, run_id: int, state: RunState, *, event: Event) -> None:
    """Leave the run in *state*, its destination free."""
    transaction.run(
        "UPDATE ledger.run SET state = :state, finished_at = now() WHERE run_id = :run_id", state=state, run_id=run_id
    )
    drop_scopes(transaction, run_id)
    audit.append(transaction, run_id, event)


class Advance:
    """One flush's finished chunks. Events are kept back until the run's row may be locked: last."""

    def __init__(self, transaction: Transaction, run_id: int, events: Iterable[Event] = ()) -> None:
        self._transaction = transaction
        self._run_id = run_id
        self._events = list(events)

    def finish(self, chunks: Iterable[Chunk]) -> None:
        """Mark *chunks*, whose rows are locked and all of whose objects are recorded, done or parked.

        Raises ValueError when an object of one is neither completed nor failed: nothing may be lost.
        """
        done: dict[int, Done] = {}
        ended = self._ended(chunks)
        for row in ended:
            state = ChunkState(row.state)
            body = {"chunk": row.chunk_no, "token": row.token, "done": row.n_done, "failed": row.n_bad}
            body |= {"bytes": row.bytes_done, "digest": bytes(row.digest).hex()}
            self._events.append(Event(f"chunk-{state.name.lower()}", body))
            if state is ChunkState.DONE:
                done.setdefault(row.batch_no, Done()).add(row)
        holding = self._holding()
        reached: list[int] = []
        looked_past = False
        for batch_no in sorted({int(row.batch_no) for row in ended}):
            if batch_no in done:
                reached += self._advance_batch(batch_no, done[batch_no])
            if holding and self._look_past_own_faults(batch_no, holding):
                looked_past = True
        if reached or looked_past:
            self._advance_stages(Counter(reached), holding)
        chunks_left = self._transaction.value(
            "UPDATE ledger.run SET chunks_left = chunks_left - :n WHERE run_id = :run_id RETURNING chunks_left",
            n=sum(batch.chunks.total() for batch in done.values()),
            run_id=self._run_id,
        )
        for event in self._events:
            audit.append(self._transaction, self._run_id, event)
        if chunks_left == 0:
            complete(self._transaction, self._run_id)

    def _ended(self, chunks: Iterable[Chunk]) -> Sequence[Row]:
        """Set the chunks' last state and digest; returns their rows, by number."""
        rows = self._transaction.rows(
            f"""
            UPDATE ledger.chunk
               SET state = CASE WHEN n_bad > 0 THEN {ChunkState.PARKED:d} ELSE {ChunkState.DONE:d} END,
                   lease_until = NULL,
                   digest = CASE kind WHEN {ChunkKind.OBJECTS:d}
                       THEN ledger.completion_digest(run_id, batch_no, lo, hi)
                       ELSE ledger.verification_digest(run_id, batch_no, lo, hi) END
             WHERE run_id = :run_id AND chunk_no = ANY(:numbers)
            RETURNING chunk_no, batch_no, kind, state, token, n_done, n_bad, bytes_done, outcomes, digest, lo, hi""",
            run_id=self._run_id,
            numbers=[chunk.chunk_no for chunk in chunks],
        )
        for row in rows:
            if row.n_done + row.n_bad != row.hi - row.lo:
                raise ValueError(
                    f"chunk {row.chunk_no} of run {self._run_id} was reported finished with {row.n_done} done and "
                    f"{row.n_bad} failed of {row.hi - row.lo} objects"
                )
        return sorted(rows, key=lambda row: int(row.chunk_no))

    def _advance_batch(self, batch_no: int, done: Done) -> list[int]:
        """Count finished chunks off and in; the batch's stage, when it has just reached that stage's gate."""
        row = self._transaction.one(
            f"""
            UPDATE ledger.batch b SET copy_left = copy_left - :copied, verify_left = verify_left - :verified,
                   n_done = n_done + :n_done, n_verified = n_verified + :n_verified,
                   bytes_done = bytes_done + :bytes_done,
                   outcomes = ARRAY[{", ".join(f"outcomes[{o:d}] + :o{o:d}" for o in Outcome)}]
              FROM ledger.stage s WHERE b.run_id = :run_id AND b.batch_no = :batch_no
               AND s.run_id = b.run_id AND s.stage_no = b.stage_no
            RETURNING b.batch_id, b.stage_no, b.copy_left, b.verify_left, s.gate""",
            run_id=self._run_id,
            batch_no=batch_no,
            copied=done.chunks[ChunkKind.OBJECTS],
            verified=done.chunks[ChunkKind.VERIFY],
            n_done=done.objects[ChunkKind.OBJECTS],
            n_verified=done.objects[ChunkKind.VERIFY],
            bytes_done=done.bytes,
            **{f"o{outcome:d}": done.outcomes[outcome] for outcome in Outcome},
        )
        if done.chunks[ChunkKind.OBJECTS] and row.copy_left == 0:
            reached, kind = BatchState.COPIED, ChunkKind.OBJECTS
            self._open_verification(batch_no)
        elif done.chunks[ChunkKind.VERIFY] and row.verify_left == 0:
            reached, kind = BatchState.VERIFIED, ChunkKind.VERIFY
        else:
            return []
        digest = self._transaction.value(
            """
            UPDATE ledger.batch SET state = :state WHERE run_id = :run_id AND batch_no = :batch_no
            RETURNING (SELECT sha256(string_agg(k.digest, ''::bytea ORDER BY k.lo)) FROM ledger.chunk k
                        WHERE k.run_id = :run_id AND k.batch_no = :batch_no AND k.kind = :kind)""",
            run_id=self._run_id,
            batch_no=batch_no,
            state=reached,
            kind=kind,
        )
        body = {"batch": row.batch_id, "digest": bytes(digest).hex()}
        self._events.append(Event(f"batch-{reached.name.lower()}", body))
        return [int(row.stage_no)] if reached == row.gate else []

    def _open_verification(self, batch_no: int) -> None:
        """Everything is copied: verify it, and anew what was looked at before all of it was there."""
        self._transaction.run(
            f"""
            UPDATE ledger.chunk k SET {UNLEASED}, n_bad = 0, n_own = 0
             WHERE k.run_id = :run_id AND k.batch_no = :batch_no AND k.kind = {ChunkKind.VERIFY:d}
               AND (k.state = {ChunkState.BLOCKED:d} OR {OWN_FAULTS})""",
            run_id=self._run_id,
            batch_no=batch_no,
        )

    def _holding(self) -> list[int]:
        """Stages that others, which need not come last, wait for."""
        return self._transaction.column(
            f"""
            SELECT DISTINCT s.stage_no FROM ledger.stage s
              JOIN ledger.stage_dependency d ON d.run_id = s.run_id AND d.needs_no = s.stage_no
              JOIN ledger.stage t ON t.run_id = d.run_id AND t.stage_no = d.stage_no
             WHERE s.run_id = :run_id AND s.state = {StageState.OPEN:d} AND t.state = {StageState.BLOCKED:d}
               AND t.stage_id <> ALL (:last)""",
            run_id=self._run_id,
            last=sorted(LAST),
        )

    def _look_past_own_faults(self, batch_no: int, holding: list[int]) -> bool:
        """Whether the batch has failed objects and belongs to one of the *holding* stages; it is verified without them.

        Its row is locked: of two flushes that end its last two chunks, the second sees both.
        """
        mine = self._transaction.row(
            "SELECT batch_no FROM ledger.batch WHERE run_id = :run_id AND batch_no = :batch_no"
            " AND stage_no = ANY(:holding) AND copy_left + verify_left > 0 FOR NO KEY UPDATE",
            run_id=self._run_id,
            batch_no=batch_no,
            holding=holding,
        )
        if mine is None:
            return False
        self._transaction.run(
            f"""
            UPDATE ledger.chunk v SET state = {ChunkState.READY:d}
             WHERE v.run_id = :run_id AND v.batch_no = :batch_no
               AND v.kind = {ChunkKind.VERIFY:d} AND v.state = {ChunkState.BLOCKED:d}
               AND (SELECT bool_and({OVER}) AND sum(k.n_bad) <= sum(k.n_done) FROM ledger.chunk k
                     WHERE k.run_id = :run_id AND k.batch_no = :batch_no AND k.kind = {ChunkKind.OBJECTS:d})""",
            run_id=self._run_id,
            batch_no=batch_no,
        )
        return True

    def _let_through(self, holding: list[int]) -> frozenset[int]:
        """Those of the *holding* stages that nothing but faults of single objects keeps from their gates."""
        return frozenset(
            self._transaction.column(
                f"""
                SELECT b.stage_no FROM ledger.batch b
                  JOIN ledger.chunk k ON k.run_id = b.run_id AND k.batch_no = b.batch_no
                 WHERE b.run_id = :run_id AND b.stage_no = ANY(:holding)
                 GROUP BY b.stage_no HAVING bool_and({OVER})""",
                run_id=self._run_id,
                holding=holding,
            )
        )

    def _advance_stages(self, reached: Counter[int], holding: list[int]) -> None:
        """Count batches off that reached their gate, and open what waited for them."""
        rows = self._transaction.rows(
            """
            SELECT s.stage_no, s.stage_id, s.state, s.batches_left,
                   ARRAY(SELECT d.needs_no FROM ledger.stage_dependency d
                          WHERE d.run_id = s.run_id AND d.stage_no = s.stage_no) AS needs
              FROM ledger.stage s WHERE s.run_id = :run_id ORDER BY s.stage_no FOR NO KEY UPDATE OF s""",
            run_id=self._run_id,
        )
        let_through = self._let_through(holding) if holding else frozenset()
        stages = [
            StageStatus(
                row.stage_no,
                StageState(row.state),
                row.batches_left - reached[row.stage_no],
                frozenset(row.needs),
                let_through=row.stage_no in let_through,
                last=row.stage_id in LAST,
            )
            for row in rows
        ]
        changes = advanced(stages)
        for stage in stages:
            state = changes.get(stage.stage_no, stage.state)
            if reached[stage.stage_no] or state is not stage.state:
                self._transaction.run(
                    "UPDATE ledger.stage SET state = :state, batches_left = :left"
                    " WHERE run_id = :run_id AND stage_no = :stage_no",
                    state=state,
                    left=stage.batches_left,
                    run_id=self._run_id,
                    stage_no=stage.stage_no,
                )
        names = {row.stage_no: row.stage_id for row in rows}
        opened = [s.stage_no for s in stages if s.state is StageState.BLOCKED and s.stage_no in changes]
        if opened:
            self._open_stages(opened)
        self._events += [Event("stage-opened", {"stage": names[number]}) for number in opened]

    def _open_stages(self, opened: list[int]) -> None:
        """Make ready the batches of these stages, and the chunks that move their objects."""
        self._transaction.run(
            f"""
            UPDATE ledger.batch SET state = {BatchState.READY:d}
             WHERE run_id = :run_id AND stage_no = ANY(:opened) AND state = {BatchState.BLOCKED:d}""",
            run_id=self._run_id,
            opened=opened,
        )
        self._transaction.run(
            f"""
            UPDATE ledger.chunk k SET state = {ChunkState.READY:d} FROM ledger.batch b
             WHERE b.run_id = :run_id AND b.stage_no = ANY(:opened) AND k.run_id = b.run_id AND k.batch_no = b.batch_no
               AND k.kind = {ChunkKind.OBJECTS:d} AND k.state = {ChunkState.BLOCKED:d}""",
            run_id=self._run_id,
            opened=opened,
        )
