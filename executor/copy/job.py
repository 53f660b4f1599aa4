"""One object being copied: what the plan says about it, where it travels, what it has cost, and how it ended.

Every completion and failure that a copy reports to the ledger is made here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, TypeVar

from executor.activity import waiting
from executor.attempts import AttemptCounter, Retrier
from executor.carry import readback
from executor.copy.blame import is_own
from executor.copy.disagreement import disagreement
from executor.copy.written import LATENESS, Lateness, newest_version, shown
from executor.events import Events, ObjectTrouble
from executor.ledger.ledger import Ledger
from executor.ledger.values import DRIFTED, Chunk, Completion, Failure, Outcome
from executor.machine.buffers import BufferPool
from executor.patience import LedgerPatience
from executor.route import Route
from executor.stop import Stop
from schema.errors import ObjectChanged, ObjectMissing, Scope, Stopped, StoreError, WhichSide
from schema.facts import Fact
from schema.flow.samples import Activity
from schema.objects import WriteResult
from schema.plan import Action, Batch, Entry

T = TypeVar("T")
_WRITTEN_ETAG: Final = Fact.WRITTEN_ETAG


@dataclass(frozen=True, slots=True)
class Tools:
    """What reading objects takes; shared by all of a process."""

    buffers: BufferPool
    retrier: Retrier
    stop: Stop

    def gave_up(self) -> bool:
        """True once work in flight may be dropped."""
        return self.stop.abandoning

    def take(self, size: int) -> memoryview:
        """A buffer of *size* bytes, to be given back to `buffers`. Raises Stopped."""
        view = self.buffers.take(size, self.gave_up)
        if view is None:
            raise Stopped("stopped while waiting for memory")
        return view

    def again(self, step: Callable[[], T]) -> T:
        """*step*'s answer, repeated after transient errors."""
        return self.retrier.run(step)

    def shown(self, look: Callable[[], T]) -> T:
        """*look*'s answer at the destination, to which nothing was written just now."""
        return look()

    def read_back(self, what: readback.Reading) -> int:
        """The CRC64NVME of the bytes of *what*. Raises StoreErrors that are not transient, and Stopped."""
        return readback.crc_of(what, self.buffers, self.gave_up, again=self.again)


@dataclass(frozen=True, slots=True)
class CopyTools(Tools):
    """What copying objects needs in addition: the ledger, and the receiver of events."""

    ledger: Ledger
    events: Events
    late: Lateness = LATENESS

    def shown(self, look: Callable[[], T]) -> T:
        """*look*'s answer at the destination, which may take its time to show what it took (see written.shown)."""
        return shown(look, self.stop, self.late)

    def ask_ledger(self, call: Callable[[Ledger], T]) -> T:
        """*call*'s answer, waiting while the ledger is unavailable. Raises LeaseLost, and Stopped at a second stop."""
        with waiting(Activity.LEDGER):
            return LedgerPatience(self.stop, self.events).answer(lambda: call(self.ledger))


@dataclass(slots=True)
class OpenChunk:
    """A claimed chunk in this process. `remaining` belongs to the writer's thread alone."""

    chunk: Chunk
    batch: Batch
    remaining: int
    """Objects that have not ended yet."""
    lost: bool = False
    """Set once the lease is lost: whatever was done locally must be dropped."""
    postponed: float = 0.0
    """Seconds until the rest of it may be claimed; 0: nothing was postponed."""


class Stored(NamedTuple):
    """An object as the destination holds it."""

    etag: str
    """Without quotes; '' where there is none."""
    version: str | None = None
    """Its version id, where the destination keeps versions."""
    checksum: bytes = b""
    """CRC64NVME of the whole object, 8 bytes big-endian, or b'' where none was computed."""


NOTHING_STORED = Stored("")


class Ended(NamedTuple):
    """How an object ended."""

    row: Completion | Failure
    why: str = ""
    """What differs, after a conflict; '' where the outcome says everything."""
    error: StoreError | None = None
    """The error that ended it, if one did."""

    @property
    def arrived(self) -> bool:
        """The object (its delete, its marker) is at the destination as planned."""
        return isinstance(self.row, Completion) and self.row.outcome not in DRIFTED


Landed = Callable[["Job"], Ended | None]
"""versions: all: how a job ended whose version is at the destination already, although no answer said so; or None."""


@dataclass(slots=True)
class Job:
    """One object being copied. Belongs to one thread at a time, except while its parts are sent."""

    route: Route
    entry: Entry
    work: OpenChunk
    ord: int
    """The object's line in its batch's manifest."""
    tools: CopyTools
    spent: AttemptCounter = field(default_factory=AttemptCounter)
    copy_refused: StoreError | None = None
    """Why the endpoint does not make the copy, so that the bytes are streamed."""
    read_as: bytes | None = None
    """The MD5 of its bytes, if its ETag looks like another. Read twice, it shows that the ETag is none."""
    scratch: memoryview | None = None
    """The buffer that its attempt holds. Whatever is read back meanwhile is read into it."""
    landed: Landed | None = None
    """Called before a write without a precondition is repeated."""

    @property
    def attempts(self) -> int:
        """Attempts begun, at least one."""
        return max(1, self.spent.begun)

    # How its steps are tried

    def attempt(self, step: Callable[[], T]) -> T | Ended:
        """*step*'s answer or the ending, retried after transient errors. Raises its last StoreError, or Stopped."""
        if self.landed is None:
            return self.tools.retrier.run(step, self.spent, self.retried)
        return self.tools.retrier.run(lambda: self._landed_before() or step(), self.spent, self.retried)

    def _landed_before(self) -> Ended | None:
        """After a failed attempt: the ending, when the version was written after all."""
        return self.landed(self) if self.landed is not None and self.spent.failed_before else None

    def streaming(self, refused: StoreError) -> Job:
        """The same object, now streamed, after the endpoint has *refused* to copy it. Reports it."""
        self.tell_refused(refused)
        route = replace(self.route, server_copy=False)
        return replace(self, route=route, spent=AttemptCounter(used=1), copy_refused=refused)

    def tell_refused(self, refused: StoreError) -> None:
        """Report that the endpoint does not copy the object, or a part of it, and that it is streamed instead."""
        self.copy_refused = refused
        text = f"the endpoint does not copy it on its own, so it is streamed: {refused}"
        self.report("CopyRefused", text, status=refused.status, final=False)

    def refusal(self, refused: StoreError) -> Failure:
        """The same as a row for the ledger: an attempt that failed and was not the last."""
        return self._failure(refused, f"copied by streaming instead: {refused}", attempt=1, terminal=False)

    def repeat(self, step: Callable[[], T]) -> T:
        """One request's answer, retried after transient errors, which are not charged to the object."""
        return self.tools.retrier.run(step, AttemptCounter(), self.retried)

    def retried(self, error: StoreError, attempt: int) -> None:
        """Report that an attempt is repeated."""
        code = error.code or type(error).__name__
        self.report(code, str(error), status=error.status, attempt=attempt, final=False)

    def report(self, reason: str, message: str, *, status: int = 0, attempt: int = 1, final: bool) -> None:
        """Report that the object has failed, for now or for good."""
        batch = self.work.batch
        trouble = ObjectTrouble(
            section=batch.section,
            batch=batch.id,
            ord=self.ord,
            key=self.entry.key,
            reason=reason,
            message=message,
            status=status,
            attempt=attempt,
            final=final,
        )
        self.tools.events.object_trouble(trouble)

    def version_of(self, answer: WriteResult, *, marker: bool = False) -> str | None:
        """The version that a write (or a delete: *marker*) made, where the destination keeps versions.

        A history needs it even where the *answer* does not state it: then the key's versions are listed, and the newest
        is ours if it is what was written. Raises StoreErrors.
        """
        told = self.route.version(answer.version_id)
        if told is not None or not self.route.keeps_history:
            return told
        newest = self.repeat(lambda: newest_version(self.route.destination, self.entry.target))
        if newest is None or newest.delete_marker is not marker:
            return None
        other = not marker and newest.etag != answer.etag and not self.route.destination_facts.denies(_WRITTEN_ETAG)
        return None if other else newest.version_id

    def etag_of(self, answer: WriteResult) -> str:
        """The ETag that HEAD and listings show of what a write made: asked for where answers state another one."""
        if not self.route.destination_facts.denies(_WRITTEN_ETAG):
            return answer.etag
        version = self.route.version(answer.version_id)
        head = self.tools.shown(lambda: self.route.destination.head(self.entry.target, version_id=version))
        return head.etag or answer.etag

    # How it ends

    def copied(self, stored: Stored) -> Ended:
        """The destination holds the object now."""
        return self._ended(Outcome.COPIED, size=self.entry.size, attempts=self.attempts, stored=stored)

    def already_there(self, stored: Stored) -> Ended:
        """The destination held the object before anything was written."""
        return self._ended(Outcome.ALREADY_THERE, size=self.entry.size, stored=stored)

    def conflict(self, why: str = "", stored: Stored = NOTHING_STORED) -> Ended:
        """The destination is no longer what the plan saw, and was left alone. *stored*: what is there now."""
        size = 0 if self.entry.action is Action.DELETE else self.entry.size
        return self._ended(Outcome.CONFLICT, why, size=size, stored=stored)

    def deleted(self) -> Ended:
        """The extraneous object is gone."""
        return self._ended(Outcome.DELETED, attempts=self.attempts)

    def marker_laid(self, version: str | None) -> Ended:
        """A delete marker lies on top of the key's history."""
        return self._ended(Outcome.MARKER_LAID, attempts=self.attempts, stored=Stored("", version))

    def marker_already_laid(self, version: str | None) -> Ended:
        """The marker was found there."""
        return self._ended(Outcome.MARKER_LAID, stored=Stored("", version))

    def failed(self, error: Exception, why: str = "") -> Ended:
        """What the object's last error means for the ledger.

        Raises run-wide errors, and whatever is not a StoreError, again. *why* replaces the outcome's usual text where
        the plan skips a source that has changed.
        """
        if not isinstance(error, StoreError) or error.scope is Scope.RUN:
            raise error
        if isinstance(error, ObjectChanged) and error.side is WhichSide.SOURCE:
            error = disagreement(self.route.source, self.entry, error) or error
        if self.route.plan.policy.if_source_changes == "skip" and error.side is WhichSide.SOURCE:
            for leaf, outcome in ((ObjectChanged, Outcome.SOURCE_CHANGED), (ObjectMissing, Outcome.SOURCE_GONE)):
                if isinstance(error, leaf):
                    return self._ended(outcome, why, size=self.entry.size, attempts=self.attempts)._replace(error=error)
        message = str(error)
        if self.copy_refused is not None and error is not self.copy_refused:
            message += f"; it is streamed because the endpoint does not copy it: {self.copy_refused}"
        return Ended(self._failure(error, message, attempt=self.attempts, terminal=True), why, error)

    def _failure(self, error: StoreError, message: str, *, attempt: int, terminal: bool) -> Failure:
        return Failure(
            batch_no=self.work.chunk.batch_no,
            ord=self.ord,
            attempt=attempt,
            terminal=terminal,
            http_status=error.status,
            error_code=error.code or type(error).__name__,
            message=message,
            request_id=error.request_id,
            key=self.entry.key,
            own=is_own(error),
        )

    def left_alone(self, outcome: Outcome, why: str) -> Failure:
        """For the ledger, beside the completion that says so: which object was left alone, and why."""
        return self._finding(outcome.name.lower(), why, attempt=self.attempts + 1, terminal=False)

    def written_again(self, why: str, attempt: int) -> Failure:
        """For the ledger: a proof found *why* what was written is wrong, for the *attempt*-th time. Reports it."""
        message = f"written again: {why}"
        self.report("WrittenAgain", message, attempt=attempt, final=False)
        return self._finding("WrittenAgain", message, attempt=attempt, terminal=False)

    def held_back(self) -> Ended:
        """An older version of the key did not arrive, so this one may not be written."""
        message = f"an older version of {self.entry.target!r} did not arrive"
        return Ended(self._finding("EarlierVersionFailed", message, attempt=1, terminal=True))

    def _finding(self, code: str, message: str, *, attempt: int, terminal: bool) -> Failure:
        """What no request said, and what concerns this object alone."""
        return Failure(
            batch_no=self.work.chunk.batch_no,
            ord=self.ord,
            attempt=attempt,
            terminal=terminal,
            http_status=0,
            error_code=code,
            message=message,
            key=self.entry.key,
            own=True,
        )

    def _ended(
        self, outcome: Outcome, why: str = "", *, size: int = 0, attempts: int = 1, stored: Stored = NOTHING_STORED
    ) -> Ended:
        row = Completion(
            batch_no=self.work.chunk.batch_no,
            ord=self.ord,
            outcome=outcome,
            attempts=attempts,
            size=size,
            destination_etag=stored.etag,
            checksum=stored.checksum,
            destination_version=stored.version,
        )
        return Ended(row, why)
