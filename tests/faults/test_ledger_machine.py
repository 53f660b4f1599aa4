"""Any interleaving of claim, flush, crash, pause, reap, retry, unlock and late flush, against the real database.

The model knows, for every chunk, whose claim counts. Safety in every step: what the ledger takes is what the model
takes. Liveness at the end: faults stop, one honest worker finishes, every object is recorded exactly once.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.ledger_plan import change_state, chunk_specs, completed, failed, ledger_plan
from support.sample_plan import sample_plan

from executor.ledger.ledger import Ledger
from executor.ledger.values import Chunk, ChunkKind, ChunkReport, ChunkState, Lane, Run, RunState, Verification, Worker
from schema.errors import LockHeld
from schema.plan import Gate, Plan, Section, Stage

STAGES = (Stage("canary", (), Gate.VERIFIED), Stage("bulk", ("canary",), Gate.COPIED))
LEASE = 3600.0
OBJECTS = 10
numbers = itertools.count()
picks = st.integers(0, 1_000_000)


def machine_plan() -> Plan:
    """Two batches, one behind the other's verification, in a lineage and a destination nobody else has."""
    name = f"machine-{next(numbers)}/"
    section: Section = sample_plan().sections[0]
    section = dataclasses.replace(section, destination=dataclasses.replace(section.destination, prefix=name))
    return ledger_plan([("canary", 3), ("bulk", OBJECTS - 3)], STAGES, lineage=name, sections=(section,))


@dataclasses.dataclass
class Claim:
    """A claim somebody made once; it may be stale by now."""

    worker: Worker
    chunk: Chunk
    last: ChunkReport | None = None


@dataclasses.dataclass
class ModelChunk:
    """What the model knows of one chunk."""

    state: ChunkState
    token: int = 0
    epoch: int = 0
    expired: bool = False
    good: set[int] = dataclasses.field(default_factory=set)
    bad: set[int] = dataclasses.field(default_factory=set)


class LedgerMachine(RuleBasedStateMachine):
    """See the module's words."""

    ledger: Ledger
    sql: Callable[..., list[tuple[object, ...]]]

    @initialize()
    def accept(self) -> None:
        self.plan = machine_plan()
        self.specs = chunk_specs(self.plan, 2)
        self.run = self._accept()
        self.state = RunState.OPEN
        self.workers = [self._join(), self._join()]
        self.claims: list[Claim] = []
        self.chunks = {
            spec.chunk_no: ModelChunk(ChunkState.READY if spec.batch_no == 0 and not spec.kind else ChunkState.BLOCKED)
            for spec in self.specs
        }

    def _accept(self) -> Run:
        return self.ledger.runs.accept(self.plan, self.specs, who="machine", tool_version="0")

    def _join(self) -> Worker:
        return self.ledger.workers.join(self.run, "h", 1, tool_version="0")

    @rule(pick=picks)
    def claim(self, pick: int) -> None:
        worker = self.workers[pick % len(self.workers)]
        chunk = self.ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=LEASE)
        allowed = self.state is RunState.OPEN and worker.epoch == self.run.epoch
        ready = [number for number, known in self.chunks.items() if known.state is ChunkState.READY]
        if chunk is None:
            assert not (allowed and ready)
            return
        assert allowed
        assert chunk.chunk_no == ready[0]
        known = self.chunks[chunk.chunk_no]
        assert chunk.token == known.token + 1
        assert self.ledger.checkpoints.recorded(chunk) == known.good
        known.state, known.token, known.epoch, known.expired = ChunkState.LEASED, chunk.token, worker.epoch, False
        known.bad.clear()
        self.claims.append(Claim(worker, chunk))

    @rule(pick=picks, bad=st.booleans())
    def claim_and_flush_some(self, pick: int, bad: bool) -> None:
        before = len(self.claims)
        self.claim(pick)
        for claim in self.claims[before:]:
            self._flush(claim, self._todo(claim.chunk)[:1], bad=bad, finished=False)

    @precondition(lambda self: self.claims)
    @rule(pick=picks, bad=st.booleans())
    def flush_some(self, pick: int, bad: bool) -> None:
        claim = self._claim(pick)
        self._flush(claim, self._todo(claim.chunk)[:1], bad=bad, finished=False)

    @precondition(lambda self: self.claims)
    @rule(pick=picks, bad=st.sampled_from([False, False, True]))
    def flush_all(self, pick: int, bad: bool) -> None:
        claim = self._claim(pick)
        self._flush(claim, self._todo(claim.chunk), bad=bad, finished=True)

    @precondition(lambda self: any(claim.last for claim in self.claims))
    @rule(pick=picks)
    def flush_again(self, pick: int) -> None:
        """The answer was lost: the same report is sent once more."""
        reported = [claim for claim in self.claims if claim.last]
        held = [claim for claim in reported if self._holds(claim.chunk)] or reported
        claim = held[pick % len(held)]
        assert claim.last is not None
        self.ledger.checkpoints.flush(claim.worker, [claim.last], lease_seconds=LEASE)
        if self._holds(claim.chunk):
            self.chunks[claim.chunk.chunk_no].expired = False

    @precondition(lambda self: self.claims)
    @rule(pick=picks)
    def crash(self, pick: int) -> None:
        """The worker dies or sleeps: its lease runs out. It may wake up and flush late."""
        claim = self._claim(pick)
        lost = self.ledger.leases.renew(claim.worker, [claim.chunk], lease_seconds=-1)
        assert bool(lost) is not self._holds(claim.chunk)
        if not lost:
            self.chunks[claim.chunk.chunk_no].expired = True

    @precondition(lambda self: self.claims)
    @rule(pick=picks)
    def release(self, pick: int) -> None:
        claim = self._claim(pick)
        self.ledger.leases.release(claim.worker, [claim.chunk])
        if self._holds(claim.chunk):
            self.chunks[claim.chunk.chunk_no].state = ChunkState.READY

    @rule()
    def reap(self) -> None:
        late = [
            known
            for known in self.chunks.values()
            if known.state is ChunkState.LEASED and (known.expired or known.epoch != self.run.epoch)
        ]
        assert self.ledger.leases.reap(self.run.run_id) == len(late)
        for known in late:
            known.state = ChunkState.READY

    @rule(state=st.sampled_from([RunState.OPEN] * 6 + [RunState.PAUSED] * 2))
    def change_state(self, state: RunState) -> None:
        if self.state in (RunState.OPEN, RunState.PAUSED):
            self.state = state
        assert change_state(type(self).sql, self.run.run_id, state) is self.state

    @rule(luck=st.integers(0, 3))
    def unlock(self, luck: int) -> None:
        """Somebody breaks the lock; the plan is applied again, by a new worker."""
        if luck or self.state not in (RunState.OPEN, RunState.PAUSED):
            return
        rival = ledger_plan(lineage=f"rival-{next(numbers)}", sections=self.plan.sections)
        with pytest.raises(LockHeld) as caught:
            self.ledger.runs.accept(rival, chunk_specs(rival), who="rival", tool_version="0")
        self.ledger.locks.unlock(str(caught.value).split()[-1], who="operator")
        for known in self.chunks.values():
            if known.state is ChunkState.LEASED:
                known.state = ChunkState.READY
        self.run = self._accept()
        self.workers[-1:] = [self._join()]

    @rule()
    def retry(self) -> None:
        parked = [known for known in self.chunks.values() if known.state is ChunkState.PARKED]
        assert self.ledger.runs.retry(self.run.run_id, who="operator", tool_version="") == len(parked)
        for known in parked:
            known.state = ChunkState.READY
            known.bad.clear()
        if parked and self.state is RunState.FAILED:
            self.state = RunState.OPEN

    @rule()
    def finish(self) -> None:
        going_on = any(known.state in (ChunkState.READY, ChunkState.LEASED) for known in self.chunks.values())
        if not going_on and self.state is not RunState.COMPLETE:
            self.state = RunState.FAILED
        assert self.ledger.runs.finish(self.run.run_id) is self.state

    @invariant()
    def counts_agree(self) -> None:
        progress = self.ledger.reports.progress(self.run.run_id)
        kinds = {spec.chunk_no: spec.kind for spec in self.specs}
        objects = [known for number, known in self.chunks.items() if kinds[number] is ChunkKind.OBJECTS]
        verify = [known for number, known in self.chunks.items() if kinds[number] is ChunkKind.VERIFY]
        assert progress.state is self.state
        assert (progress.done, progress.failed) == (sum(len(k.good) for k in objects), sum(len(k.bad) for k in objects))
        assert progress.verified == sum(len(known.good) for known in verify)
        for name in ("ready", "leased", "blocked", "parked"):
            wanted = ChunkState[name.upper()]
            assert getattr(progress, name) == sum(known.state is wanted for known in self.chunks.values()), name

    def teardown(self) -> None:
        """Faults stop; an honest worker must bring the run to its end."""
        if not hasattr(self, "chunks"):
            return
        self.ledger.runs.retry(self.run.run_id, who="operator", tool_version="")
        change_state(type(self).sql, self.run.run_id, RunState.OPEN)
        for claim in self.claims:
            self.ledger.leases.renew(claim.worker, [claim.chunk], lease_seconds=-1)
        self.ledger.leases.reap(self.run.run_id)
        run = self.ledger.runs.find(self.plan.plan_id)
        assert run is not None
        if run.state is not RunState.COMPLETE:
            worker = self.ledger.workers.join(run, "honest", 1, tool_version="0")
            while chunk := self.ledger.leases.claim(worker, Lane.WHOLE, lease_seconds=LEASE):
                todo = sorted(set(range(chunk.lo, chunk.hi)) - self.ledger.checkpoints.recorded(chunk))
                assert (
                    self.ledger.checkpoints.flush(worker, [told(chunk, todo, [], finished=True)], lease_seconds=LEASE)
                    == frozenset()
                )
        assert self.ledger.runs.finish(run.run_id) is RunState.COMPLETE
        ords = [row.ord for batch in (0, 1) for row in self.ledger.reports.completions(run.run_id, batch)]
        assert ords == [*range(3), *range(OBJECTS - 3)]
        assert self.ledger.checks.contradictions(run.run_id) == []

    def _claim(self, pick: int) -> Claim:
        """One of the claims made so far: every other time one of the last two, which are seldom stale."""
        recent = self.claims[-2:] if pick % 2 else self.claims
        return recent[pick // 2 % len(recent)]

    def _holds(self, chunk: Chunk) -> bool:
        known = self.chunks[chunk.chunk_no]
        return known.state is ChunkState.LEASED and known.token == chunk.token and known.epoch == self.run.epoch

    def _todo(self, chunk: Chunk) -> list[int]:
        known = self.chunks[chunk.chunk_no]
        return [n for n in range(chunk.lo, chunk.hi) if n not in known.good | known.bad]

    def _flush(self, claim: Claim, ords: list[int], *, bad: bool, finished: bool) -> None:
        chunk = claim.chunk
        bad_ords = ords[:1] if bad else []
        report = told(chunk, ords[len(bad_ords) :], bad_ords, finished=finished)
        known = self.chunks[chunk.chunk_no]
        held = self._holds(chunk)
        ended_so = known.state in (ChunkState.DONE, ChunkState.PARKED) and known.token == chunk.token
        lost = self.ledger.checkpoints.flush(claim.worker, [report], lease_seconds=LEASE)
        if not held:
            # A claim that finished its chunk is answered as having done so, not as having lost it.
            assert lost == (frozenset() if ended_so else {chunk.chunk_no})
            return
        assert lost == frozenset()
        claim.last = report
        known.expired = False
        known.good.update(ords[len(bad_ords) :])
        known.bad.update(bad_ords)
        if finished:
            known.state = ChunkState.PARKED if known.bad else ChunkState.DONE
            self._follow()

    def _follow(self) -> None:
        """What opens when chunks are done, by the plan's rules."""

        def all_done(batch: int, kind: ChunkKind) -> bool:
            wanted = [spec.chunk_no for spec in self.specs if (spec.batch_no, spec.kind) == (batch, kind)]
            return all(self.chunks[number].state is ChunkState.DONE for number in wanted)

        opened = [
            spec.chunk_no
            for spec in self.specs
            if (spec.kind is ChunkKind.VERIFY and all_done(0, ChunkKind.OBJECTS))
            or (spec.batch_no == 1 and all_done(0, ChunkKind.VERIFY))
        ]
        for number in opened:
            if self.chunks[number].state is ChunkState.BLOCKED:
                self.chunks[number].state = ChunkState.READY
        if all(known.state is ChunkState.DONE for known in self.chunks.values()):
            self.state = RunState.COMPLETE


def told(chunk: Chunk, good: list[int], bad: list[int], *, finished: bool) -> ChunkReport:
    """A report of *good* and *bad* ords, in the form its kind asks for."""
    if chunk.kind is ChunkKind.VERIFY:
        verdicts = [Verification(n, ok=True) for n in good] + [Verification(n, ok=False, detail="differs") for n in bad]
        return ChunkReport(chunk, finished=finished, verifications=verdicts)
    return ChunkReport(chunk, completed(chunk, good), [failed(chunk, n) for n in bad], finished)


@pytest.mark.parametrize("trials", [10, pytest.param(200, marks=pytest.mark.soak)])
def test_every_interleaving_keeps_the_ledger_whole(
    ledger: Ledger, sql: Callable[..., list[tuple[object, ...]]], trials: int
) -> None:
    machine: Callable[[], RuleBasedStateMachine] = type(
        "Machine", (LedgerMachine,), {"ledger": ledger, "sql": staticmethod(sql)}
    )
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=trials,
            stateful_step_count=40,
            suppress_health_check=list(HealthCheck),
        ),
    )
