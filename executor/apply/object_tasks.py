"""From a claimed chunk's entries to the tasks of the pool: one object, one end, one line in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from executor.apply.pool import Task
from executor.apply.writer import LedgerWriter, OpenChunk, Postponed
from executor.attempts import AttemptCounter
from executor.carry import carriage
from executor.copy.deletion import delete_extraneous, lay_marker
from executor.copy.history import KeyHistory
from executor.copy.parted import PartedCopy
from executor.copy.patient_ledger import PatientLedger
from executor.copy.place import PartedPlace
from executor.copy.reconcile import reconcile
from executor.copy.restore import ARCHIVED_STAGE, unreadable
from executor.copy.server import ServerCopy
from executor.copy.whole import Landed, Tools, WholeCopy, ended
from executor.early_stop import EarlyStop
from executor.events import Events, ObjectTrouble
from executor.ledger.values import DRIFTED, Completion, Failure, Lane, Outcome
from executor.route import SectionRuntime
from schema.errors import LeaseLost, Stopped, StoreError
from schema.plan import DELETES, Action, Entry
from schema.quantities import counted_text

Item = tuple[int, Entry]
"""(ord, entry)"""


@dataclass(frozen=True, slots=True)
class ObjectTasks:
    """Makes tasks and ends them. `spawn` queues tasks in a lane of the pool."""

    tools: Tools
    ledger: PatientLedger
    writer: LedgerWriter
    events: Events
    early_stop: EarlyStop
    spawn: Callable[[Lane, list[Task]], None]
    restore_poll_seconds: float = 900.0

    def of(
        self,
        work: OpenChunk,
        section: SectionRuntime,
        items: Sequence[Item],
        present: Collection[str],
        recorded: Collection[str] = (),
    ) -> tuple[list[Task], list[Task]]:
        """Tasks for the whole-object lane and for the parts lane.

        *present*: targets seen at the destination. *recorded* (versions: all): ids of versions at the destination
        that the ledger has a row for.
        """
        restoring = work.batch.stage == ARCHIVED_STAGE
        if section.plan.policy.versions == "all":
            chains = [list(chain) for _, chain in groupby(items, key=lambda item: item[1].target)]
            laid = [partial(self._chain, work, section, chain, recorded) for chain in chains]
            if not restoring:
                return list(laid), []
            pairs = zip(chains, laid, strict=True)
            return [partial(self._once_readable, work, section, chain, task) for chain, task in pairs], []
        if work.batch.stage == DELETES and (drifted := self.ledger.drifted(work.chunk.run_id)):
            return [partial(self._spare, work, ord, entry, drifted) for ord, entry in items], []
        whole: list[Task] = []
        parted: list[Task] = []
        for ord, entry in items:
            lane, task = whole, partial(self._whole, work, section, ord, entry)
            if entry.action is not Action.DELETE and not section.is_whole(entry):
                lane, task = parted, partial(self._parted, work, section, ord, entry)
            elif entry.action is Action.COPY and entry.target in present:
                task = partial(self._adopt, work, section, ord, entry)
            if restoring:
                task = partial(self._once_readable, work, section, [(ord, entry)], task)
            lane.append(task)
        return whole, parted

    def _once_readable(self, work: OpenChunk, section: SectionRuntime, items: Sequence[Item], task: Task) -> None:
        """*task* when none of *items* lies in an archive any more; else they are asked back, and come again later."""
        if self._skip(work):
            return
        ords = {id(entry): ord for ord, entry in items}

        def told(entry: Entry) -> None:
            text = f"asked back from the archive; looked at again every {self.restore_poll_seconds:.0f} s"
            self._trouble(work, ords[id(entry)], entry, "RestoreRequested", text, 0, 1, False)

        try:
            waiting = unreadable(section, [entry for _, entry in items], self.tools, told)
        except Stopped:
            return
        except StoreError as error:
            self.early_stop.failed(error, section)
            policy = section.plan.policy.if_source_changes
            for ord, entry in items:
                self._record(work, ord, entry, ended(error, entry, work.chunk.batch_no, ord, 1, policy), "")
            return
        if not waiting:
            task()
            return
        for _ in items:
            self.writer.put(work, Postponed(self.restore_poll_seconds))

    def _spare(self, work: OpenChunk, ord: int, entry: Entry, drifted: int) -> None:
        """No delete while anything did not arrive: what is extraneous may be all that is left of it, renamed."""
        if not self._skip(work):
            kept = Completion(work.chunk.batch_no, ord, Outcome.CONFLICT, 1, 0, "", b"")
            why = f"not deleted: {counted_text(drifted, 'object')} did not arrive as planned; plan again"
            self._record(work, ord, entry, kept, why)

    def _skip(self, work: OpenChunk) -> bool:
        return work.lost or self.tools.stop.draining

    def _whole(self, work: OpenChunk, section: SectionRuntime, ord: int, entry: Entry) -> None:
        self._finished_whole(work, section, ord, entry)

    def _finished_whole(
        self,
        work: OpenChunk,
        section: SectionRuntime,
        ord: int,
        entry: Entry,
        history: KeyHistory | None = None,
    ) -> bool:
        """True: the object's version is at the destination."""
        if self._skip(work):
            return False
        landed = None if history is None else partial(history.completion, entry, work.chunk.batch_no, ord)
        copy = _whole_copy(section, entry, work.chunk.batch_no, ord, self.tools, landed)
        tell = partial(self._retried, work, ord, entry)

        def step() -> Completion:
            if entry.action is Action.DELETE:
                return delete_extraneous(section, entry, work.chunk, ord, self.ledger, self.tools, tell)
            if entry.action is Action.DELETE_MARKER:
                done = lay_marker(section, entry, work.chunk, ord, self.tools, tell, landed)
            else:
                done = copy.run(tell)
            if history is not None:
                history.wrote(done.destination_version)
            return done

        return self._end(work, section, ord, entry, step, lambda: copy.attempts, lambda: copy.why)

    def _adopt(self, work: OpenChunk, section: SectionRuntime, ord: int, entry: Entry) -> None:
        """The target is there already, and the destination guards nothing: compare before anything is written."""
        if self._skip(work):
            return
        why = ""

        def once() -> Completion | None:
            nonlocal why
            head = section.source.head(entry.key, version_id=entry.version_id, extra=section.read_extra)
            source = carriage.read_source(section, entry, head)
            found, why = reconcile(
                section, entry, source, None, work.chunk.batch_no, ord, self.tools.buffers, self.tools.gave_up
            )
            return found

        def step() -> Completion:
            found = self.tools.retrier.run(once, AttemptCounter(), partial(self._retried, work, ord, entry))
            return found or _whole_copy(section, entry, work.chunk.batch_no, ord, self.tools).run(
                partial(self._retried, work, ord, entry)
            )

        self._end(work, section, ord, entry, step, lambda: 1, lambda: why)

    def _parted(self, work: OpenChunk, section: SectionRuntime, ord: int, entry: Entry) -> None:
        if not self._skip(work):
            spawn = partial(self.spawn, Lane.PARTS)
            finish = partial(self._record, work, ord, entry)
            self._parted_copy(work, section, ord, entry, spawn, finish).open()

    def _parted_copy(
        self,
        work: OpenChunk,
        section: SectionRuntime,
        ord: int,
        entry: Entry,
        spawn: Callable[[list[Task]], None],
        finish: Callable[[Completion | Failure, str], None],
        landed: Landed | None = None,
    ) -> PartedCopy:
        tell = partial(self._retried, work, ord, entry)
        failed = partial(self.early_stop.failed, section=section)
        place = PartedPlace(work.chunk, ord, self.ledger, spawn, finish, lambda: work.lost, tell, failed, landed)
        return PartedCopy(section, entry, place, self.tools)

    def _chain(
        self, work: OpenChunk, section: SectionRuntime, chain: Sequence[Item], recorded: Collection[str]
    ) -> None:
        """All versions of one key, oldest first, one after the other; a failure ends the chain there."""
        if self._skip(work):
            return
        history: KeyHistory | None = None
        found: list[Completion] = []
        first, entry = chain[0]
        if section.keeps_history and entry.action is not Action.DELETE:
            history = KeyHistory(section, entry.target, recorded, self.tools)
            try:
                found = history.begin(chain, work.chunk.batch_no, repeated=work.chunk.token > 1)
            except Stopped:
                return
            except StoreError as error:
                self.early_stop.failed(error, section)
                policy = section.plan.policy.if_source_changes
                self._record(work, first, entry, ended(error, entry, work.chunk.batch_no, first, 1, policy), "")
                self._hold_back(work, chain[1:])
                return
        for (ord, entry), completion in zip(chain, found, strict=False):
            self._record(work, ord, entry, completion, "")
        for position, (ord, entry) in enumerate(chain[len(found) :], len(found) + 1):
            if entry.action in (Action.DELETE_MARKER, Action.DELETE) or section.is_whole(entry):
                arrived = self._finished_whole(work, section, ord, entry, history)
            else:
                arrived = self._finished_parted(work, section, ord, entry, history)
            if not arrived:
                self._hold_back(work, chain[position:])
                return

    def _hold_back(self, work: OpenChunk, later: Sequence[Item]) -> None:
        """Versions behind one that did not arrive; none may be written before it."""
        if self._skip(work):
            return
        for ord, entry in later:
            text = f"an older version of {entry.target!r} did not arrive"
            failure = Failure(work.chunk.batch_no, ord, 1, True, 0, "EarlierVersionFailed", text)
            self._record(work, ord, entry, failure, "")

    def _finished_parted(
        self, work: OpenChunk, section: SectionRuntime, ord: int, entry: Entry, history: KeyHistory | None
    ) -> bool:
        """All parts in this thread, one after the other. True: the version is at the destination."""
        arrived: list[bool] = []
        landed = None if history is None else partial(history.completion, entry, work.chunk.batch_no, ord)

        def finish(result: Completion | Failure, why: str) -> None:
            self._record(work, ord, entry, result, why)
            arrived.append(isinstance(result, Completion) and result.outcome not in DRIFTED)
            if history is not None and isinstance(result, Completion):
                history.wrote(result.destination_version)

        if not self._skip(work):
            self._parted_copy(work, section, ord, entry, _inline, finish, landed).open()
        return arrived == [True]

    def _end(
        self,
        work: OpenChunk,
        section: SectionRuntime,
        ord: int,
        entry: Entry,
        step: Callable[[], Completion],
        attempts: Callable[[], int],
        why: Callable[[], str],
    ) -> bool:
        try:
            result: Completion | Failure = step()
        except Stopped:
            return False
        except LeaseLost:
            work.lost = True
            return False
        except StoreError as error:
            self.early_stop.failed(error, section)
            result = ended(error, entry, work.chunk.batch_no, ord, attempts(), section.plan.policy.if_source_changes)
        self._record(work, ord, entry, result, why())
        return isinstance(result, Completion) and result.outcome not in DRIFTED

    def _record(self, work: OpenChunk, ord: int, entry: Entry, result: Completion | Failure, why: str) -> None:
        if work.lost:
            return
        self.writer.put(work, result)
        if isinstance(result, Failure):
            self._trouble(work, ord, entry, result.error_code, result.message, result.http_status, result.attempt, True)
        elif result.outcome in DRIFTED:
            name = result.outcome.name.lower()
            text = why or _OUTCOME_TEXT[result.outcome]
            self._trouble(work, ord, entry, name, text, 0, result.attempts, True)
        else:
            self.early_stop.succeeded()

    def _retried(self, work: OpenChunk, ord: int, entry: Entry, error: StoreError, attempt: int) -> None:
        code = error.code or type(error).__name__
        self._trouble(work, ord, entry, code, str(error), error.status, attempt, False)

    def _trouble(
        self,
        work: OpenChunk,
        ord: int,
        entry: Entry,
        reason: str,
        message: str,
        status: int,
        attempt: int,
        final: bool,
    ) -> None:
        batch = work.batch
        trouble = ObjectTrouble(batch.section, batch.id, ord, entry.key, reason, message, status, attempt, final)
        self.events.object_trouble(trouble)


_OUTCOME_TEXT = {
    Outcome.SOURCE_CHANGED: "changed at the source since the plan; not copied, plan again",
    Outcome.SOURCE_GONE: "gone from the source since the plan; not copied",
    Outcome.CONFLICT: "the destination changed since the plan; left alone, plan again",
}


def _whole_copy(
    section: SectionRuntime, entry: Entry, batch_no: int, ord: int, tools: Tools, landed: Landed | None = None
) -> WholeCopy:
    return (ServerCopy if section.server_copy else WholeCopy)(section, entry, batch_no, ord, tools, landed)


def _inline(tasks: list[Task]) -> None:
    for task in tasks:
        task()
