"""From a claimed chunk's jobs to the tasks of the pool: one object, one end, one line in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from executor.apply.pool import Task
from executor.apply.writer import LedgerWriter, Postponed
from executor.copy.deletion import delete_extraneous, lay_marker
from executor.copy.history import KeyHistory
from executor.copy.job import CopyTools, Ended, Job, OpenChunk
from executor.copy.parted import Next
from executor.copy.reconcile import look_and_reconcile
from executor.copy.restore import ARCHIVED_STAGE, unreadable
from executor.copy.server import Refused, copy_by_server
from executor.copy.single import copy_large, open_large
from executor.copy.whole import copy_whole
from executor.early_stop import EarlyStop
from executor.ledger.values import Completion, Failure, Lane, Outcome
from schema.errors import LeaseLost, Stopped, StoreError
from schema.formats.quantities import counted_text
from schema.plan import DELETES, Action

Step = Callable[[Job], Ended | Refused | None]
"""Takes a job to its end, or finds that the endpoint does not copy it. None: a stop or a lost lease came first.

Raises StoreErrors, LeaseLost, Stopped.
"""


@dataclass(frozen=True, slots=True)
class ObjectTasks:
    """Makes tasks and ends them. `spawn` queues tasks in a lane of the pool."""

    tools: CopyTools
    writer: LedgerWriter
    early_stop: EarlyStop
    spawn: Callable[[Lane, list[Task]], None]
    restore_poll_seconds: float = 900.0

    def of(
        self, jobs: Sequence[Job], *, present: Collection[str], recorded: Collection[str] = ()
    ) -> dict[Lane, list[Task]]:
        """The tasks of one chunk's *jobs*, for each lane.

        *present*: targets seen at the destination. *recorded* (versions: all): ids of versions at the destination
        that the ledger has a row for.
        """
        tasks: dict[Lane, list[Task]] = {Lane.WHOLE: [], Lane.PARTS: []}
        if not jobs:
            return tasks
        route, work = jobs[0].route, jobs[0].work
        if route.plan.policy.versions == "all":
            chains = [list(chain) for _, chain in groupby(jobs, key=lambda job: job.entry.target)]
            tasks[Lane.WHOLE] = [self._when_readable(chain, partial(self._chain, chain, recorded)) for chain in chains]
        elif work.batch.stage == DELETES and (drifted := self._drifted(work)):
            tasks[Lane.WHOLE] = [partial(self._spare, job, drifted) for job in jobs]
        else:
            for job in jobs:
                lane, task = self._task_of(job, present)
                tasks[lane].append(self._when_readable([job], task))
        return tasks

    def _task_of(self, job: Job, present: Collection[str]) -> tuple[Lane, Task]:
        entry = job.entry
        if entry.action is not Action.DELETE and not job.route.is_whole(entry):
            return Lane.PARTS, partial(self._parted, job, partial(open_large, job))
        adopt = entry.action is Action.COPY and entry.target in present
        return Lane.WHOLE, partial(self._end, job, _adopt if adopt else step_of(job))

    def _drifted(self, work: OpenChunk) -> int:
        return self.tools.ask_ledger(lambda ledger: ledger.reports.drifted(work.chunk.run_id))

    def _when_readable(self, jobs: Sequence[Job], task: Task) -> Task:
        if jobs[0].work.batch.stage != ARCHIVED_STAGE:
            return task
        return partial(self._once_readable, jobs, task)

    def _once_readable(self, jobs: Sequence[Job], task: Task) -> None:
        """*task* when none of *jobs* lies in an archive any more; else a restore is requested, and they come back
        later.
        """
        if self._skip(jobs[0].work):
            return
        try:
            waiting = unreadable(jobs, look_again_seconds=self.restore_poll_seconds)
        except Stopped:
            return
        except StoreError as error:
            self._heed(jobs[0], error)
            for job in jobs:
                self._record(job, job.failed(error))
            return
        if not waiting:
            task()
            return
        for job in jobs:
            self.writer.put(job.work, Postponed(self.restore_poll_seconds))

    def _spare(self, job: Job, drifted: int) -> None:
        """No delete while any object has not arrived: an extraneous key may be the only copy left of it, under another
        name.
        """
        if not self._skip(job.work):
            why = f"not deleted: {counted_text(drifted, 'object')} did not arrive as planned; plan again"
            self._record(job, job.conflict(why))

    def _skip(self, work: OpenChunk) -> bool:
        return work.lost or self.tools.stop.draining

    def _end(self, job: Job, step: Step) -> Ended | None:
        """Carry *job* to its end and record it; None when a stop or a lost lease came first."""
        if self._skip(job.work):
            return None
        try:
            ended = step(job)
        except Stopped:
            return None
        except LeaseLost:
            job.work.lost = True
            return None
        except StoreError as error:
            ended = job.failed(error)
        if isinstance(ended, Refused):
            self.writer.put(job.work, job.refusal(ended.error))
            streamed = job.streaming(ended.error)
            return self._end(streamed, step_of(streamed))
        if ended is not None:
            self._conclude(job, ended)
        return ended

    def _parted(self, job: Job, step: Callable[[], Next]) -> None:
        """One step of an object in parts; its follow-up steps are queued."""
        if self._skip(job.work):
            return
        following = step()
        if isinstance(following, Ended):
            self._conclude(job, following)
        else:
            self.spawn(Lane.PARTS, [partial(self._parted, job, each) for each in following])

    def _conclude(self, job: Job, ended: Ended) -> None:
        if ended.error is not None:
            self._heed(job, ended.error)
        self._record(job, ended)

    def _chain(self, chain: Sequence[Job], recorded: Collection[str]) -> None:
        """All versions of one key, oldest first, one after the other; a failure ends the chain there."""
        first = chain[0]
        if self._skip(first.work):
            return
        history: KeyHistory | None = None
        found: list[Ended] = []
        if first.route.keeps_history and first.entry.action is not Action.DELETE:
            history = KeyHistory(first.route, first.entry.target, self.tools, recorded=recorded)
            try:
                found = history.begin(chain, repeated=first.work.chunk.token > 1)
            except Stopped:
                return
            except StoreError as error:
                self._heed(first, error)
                self._record(first, first.failed(error))
                self._hold_back(chain[1:])
                return
        for job, ended in zip(chain, found, strict=False):
            self._record(job, ended)
        for position, job in enumerate(chain[len(found) :], len(found) + 1):
            if not self._version(job, history):
                self._hold_back(chain[position:])
                return

    def _version(self, job: Job, history: KeyHistory | None) -> bool:
        """One version of a chain. True: it is at the destination."""
        if history is not None and job.entry.action is not Action.DELETE:
            job.landed = history.ending
        ended = self._end(job, step_of(job))
        if ended is None:
            return False
        if history is not None and isinstance(ended.row, Completion):
            history.wrote(ended.row.destination_version)
        return ended.arrived

    def _hold_back(self, later: Sequence[Job]) -> None:
        """Versions behind one that did not arrive; none may be written before it."""
        if later and not self._skip(later[0].work):
            for job in later:
                self._record(job, job.held_back())

    def _heed(self, job: Job, error: StoreError) -> None:
        """Raises the error that ends the run early when *error* is not one object's fault."""
        ending = self.early_stop.ending(error, job.route)
        if ending is not None:
            raise ending

    def _record(self, job: Job, ended: Ended) -> None:
        if job.work.lost:
            return
        row = ended.row
        if isinstance(row, Failure):
            self.writer.put(job.work, row)
            job.report(row.error_code, row.message, status=row.http_status, attempt=row.attempt, final=True)
        elif ended.arrived:
            self.writer.put(job.work, row)
            self.early_stop.succeeded()
        else:
            why = ended.why or _OUTCOME_TEXT[row.outcome]
            self.writer.put(job.work, job.left_alone(row.outcome, why))
            self.writer.put(job.work, row)
            job.report(row.outcome.name.lower(), why, attempt=row.attempts, final=True)


_OUTCOME_TEXT = {
    Outcome.SOURCE_CHANGED: "changed at the source since the plan; not copied, plan again",
    Outcome.SOURCE_GONE: "gone from the source since the plan; not copied",
    Outcome.CONFLICT: "the destination changed since the plan; left alone, plan again",
}


def step_of(job: Job) -> Step:
    """What takes *job* to its end in one thread."""
    if job.entry.action is Action.DELETE:
        return delete_extraneous
    if job.entry.action is Action.DELETE_MARKER:
        return lay_marker
    if not job.route.is_whole(job.entry):
        return copy_large
    return copy_by_server if job.route.server_copy else copy_whole


def _adopt(job: Job) -> Ended | Refused | None:
    """The target exists and the destination enforces no precondition: compare before anything is written."""
    found = job.repeat(partial(look_and_reconcile, job))
    return found or step_of(job)(job)
