"""The proof of a VERIFY chunk's objects, and what follows when our own write turns out to hold other bytes.

Where neither source nor destination states a digest, a bit that changed on the way is seen only here, when both sides
are read. Such an object is written again in place of that write and of nothing else; its completion is replaced.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from executor.apply.object_tasks import step_of
from executor.apply.writer import LedgerWriter
from executor.attempts import AttemptCounter
from executor.copy.blame import is_own
from executor.copy.job import Ended, Job
from executor.copy.server import Refused
from executor.ledger.values import DRIFTED, Completion, Verification
from executor.verify.objects import Depth, ObjectProver
from schema.errors import LeaseLost, Scope, Stopped, StoreError
from schema.plan import WRITE_ACTIONS, Action

MOST_REWRITES = 2
"""An object whose bytes differ after that many is not proven."""


class _Found(NamedTuple):
    """The result for one object."""

    difference: str
    """'' when it is proven."""
    rewritten: Completion | None = None
    own: bool = False


@dataclass(frozen=True, slots=True)
class ProofOnTheWay:
    """Proves the objects of VERIFY chunks, and hands the results to the writer."""

    writer: LedgerWriter

    def prove(self, job: Job, completion: Completion | None) -> None:
        """One object. *completion*: the ledger's, None where it was not copied. Raises run-wide errors."""
        if job.work.lost or job.tools.stop.draining:
            return
        key = job.entry.key
        if completion is None:
            # Its copy failed by its own fault, or its stage would not be verified yet; `retry` brings both back.
            self.writer.put(job.work, Verification(job.ord, False, "not there to be verified", key, own=True))
            return
        if completion.outcome in DRIFTED:
            # Left alone on purpose and reported as drift: we wrote nothing that could be proven, so it blocks no gate.
            self.writer.put(job.work, Verification(job.ord, True, f"left alone: {completion.outcome.name.lower()}"))
            return
        try:
            found = self._settled(job, completion)
        except Stopped:
            return
        except LeaseLost:
            job.work.lost = True
            return
        wrong = found.difference
        named = key if wrong else ""
        self.writer.put(job.work, Verification(job.ord, not wrong, wrong, named, found.own, found.rewritten))

    def _settled(self, job: Job, row: Completion) -> _Found:
        """What differs after our own damaged writes are repaired. Raises Stopped, LeaseLost, run-wide errors."""
        prover = ObjectProver(job.route, Depth.CONTENT if job.entry.action in WRITE_ACTIONS else Depth.HEAD, job.tools)
        rewritten: Completion | None = None
        rewrites = 0
        while True:
            try:
                proof = prover.prove(job.entry, rewritten or row)
            except StoreError as error:
                if error.scope is Scope.RUN:
                    raise
                return _Found(str(error), rewritten, is_own(error))
            # A key that ends in / is a folder to many servers, which keep neither content nor tags of it.
            own = job.entry.key.endswith("/")
            if not (proof.bytes_differ and _may_be_replaced(job)):
                return _Found(proof.text, rewritten, own)
            why = proof.text
            if rewrites == MOST_REWRITES:
                return _Found(f"written {rewrites + 1} times, with other bytes each time: {why}", rewritten, own)
            rewrites += 1
            self.writer.put(job.work, job.written_again(why, rewrites))
            ended = _write_again(job, rewritten or row)
            if ended is None:
                raise Stopped("stopped while writing again")
            if not ended.arrived or not isinstance(ended.row, Completion):
                return _Found(f"{why}; not written again: {ended.why or ended.error}", rewritten, own)
            rewritten = ended.row


def _may_be_replaced(job: Job) -> bool:
    """Not a version of a history: another would come on top of it."""
    return job.entry.action in WRITE_ACTIONS and job.route.plan.policy.versions != "all"


def _write_again(job: Job, damaged: Completion) -> Ended | None:
    """Copy the object in place of what *damaged* says was written; anything else there is left alone.

    None: a stop or a lost lease came first. Raises Stopped, LeaseLost, run-wide errors.
    """
    entry = job.entry._replace(action=Action.OVERWRITE, destination_etag=damaged.destination_etag)
    anew = replace(job, entry=entry, spent=AttemptCounter(), read_as=None)
    try:
        while isinstance(ended := step_of(anew)(anew), Refused):
            anew = anew.streaming(ended.error)
        return ended
    except StoreError as error:
        return anew.failed(error)
