"""One whole object: pinned GET into memory, proof, guarded PUT with everything it carries, receipt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from executor.attempts import AttemptCounter, Retrier
from executor.carry import carriage, integrity
from executor.carry.carriage import Source
from executor.copy.reconcile import reconcile
from executor.ledger.values import Completion, Failure, Outcome
from executor.machine.buffers import BufferPool
from executor.route import SectionRuntime, pin
from executor.stop import Stop
from schema.errors import (
    DestinationChanged,
    DigestMismatch,
    ObjectChanged,
    ObjectMissing,
    Scope,
    Stopped,
    StoreError,
)
from schema.objects import WriteResult
from schema.plan import Action, Entry
from storage.port import Guard

Landed = Callable[[], Completion | None]
OnRetry = Callable[[StoreError, int], None]
"""Told of each retry: the error, and the attempts used so far."""
WRITES = frozenset({"PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "PutObjectTagging"})
"""Operations at the destination: their 404s and 412s do not speak of the source."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What every copy of this process shares."""

    buffers: BufferPool
    retrier: Retrier
    stop: Stop

    def gave_up(self) -> bool:
        """True once work in flight may be dropped."""
        return self.stop.abandoning

    def again(self, step: Callable[[], object]) -> object:
        """*step*, repeated after passing errors."""
        return self.retrier.run(step, AttemptCounter(), lambda _error, _attempt: None)


class WholeCopy:
    """Copies one object that fits into memory. One instance per object; `run` is called once."""

    def __init__(
        self, section: SectionRuntime, entry: Entry, batch_no: int, ord: int, tools: Tools, landed: Landed | None = None
    ) -> None:
        """*landed* (versions: all) tells, before a repeated write, whether the version is there already."""
        self._section = section
        self._entry = entry
        self._batch_no = batch_no
        self._ord = ord
        self._tools = tools
        self._counter = AttemptCounter()
        self._landed = landed
        self._guard = section.guard(entry)
        self.why = ""
        """What differs, after a CONFLICT."""

    @property
    def attempts(self) -> int:
        """Attempts used so far."""
        return self._counter.used

    def run(self, on_retry: OnRetry) -> Completion:
        """The object's completion. Raises its last StoreError, or Stopped."""
        view = self._tools.buffers.take(self._entry.size or 1, self._tools.gave_up)
        if view is None:
            raise Stopped("stopped while waiting for memory")
        try:
            body = view[: self._entry.size]
            return self._tools.retrier.run(lambda: self._arrived() or self._once(body), self._counter, on_retry)
        finally:
            self._tools.buffers.give(view)

    def _arrived(self) -> Completion | None:
        """After a failed attempt: the version when it is there nevertheless. Nothing is asked at the first."""
        repeated = self._counter.used or self._counter.throttled
        return self._landed() if self._landed is not None and repeated else None

    def _once(self, body: memoryview) -> Completion:
        section, entry = self._section, self._entry
        head = section.source.get(entry.key, body, pin=pin(entry), extra=section.read_extra)
        source = carriage.read_source(section, entry, head)
        proof = integrity.prove_whole(
            body,
            head,
            section.source_facts,
            section.destination_facts,
            key=entry.key,
            keep_checksum=section.plan.preserve.checksums,
        )
        carried = carriage.write_headers(section, entry, source)
        if entry.action is Action.OVERWRITE and self._landed is None and not section.guarded(entry.action):
            found = self._look_first(source, lambda: integrity.proven_crc(body, proof))
            if found is not None:
                return found
        sent = [*carried.headers, *proof.headers]
        sent += integrity.lock_headers(body, proof, carried.headers, section.destination_facts)
        try:
            answer = section.destination.put(entry.target, body, sent, guard=self._guard)
        except DestinationChanged as error:
            return self._reconciled(source, integrity.proven_crc(body, proof), error)
        self._check(answer, proof)
        if carried.tags_after is not None:
            section.destination.put_tags(
                entry.target, carried.tags_after, version_id=section.version(answer.version_id)
            )
        return Completion(
            self._batch_no,
            self._ord,
            Outcome.COPIED,
            self._counter.used + 1,
            entry.size,
            answer.etag,
            integrity.crc_bytes(proof.crc64nvme),
            section.version(answer.version_id),
        )

    def _check(self, answer: WriteResult, proof: integrity.WriteProof) -> None:
        try:
            integrity.check_written(answer, proof, self._section.destination_facts, key=self._entry.target)
        except DigestMismatch:
            # What stands there now is our own damaged write: the next attempt replaces exactly that.
            if self._guard != Guard():
                self._guard = Guard(if_match=answer.etag)
            raise

    def _look_first(self, source: Source, crc: Callable[[], int | None]) -> Completion | None:
        """The destination ignores If-Match: look right before the write. None: it is what the plan saw."""
        try:
            head = self._section.destination.head(self._entry.target)
        except ObjectMissing:
            return self._gone()
        if head.etag == (self._guard.if_match or self._entry.destination_etag):
            return None
        completion, self.why = self._judge(source, crc())
        return completion or self._gone()

    def _gone(self) -> Completion:
        self.why = "the object to overwrite is gone"
        return Completion(self._batch_no, self._ord, Outcome.CONFLICT, 1, self._entry.size, "", b"")

    def _judge(self, source: Source, crc: int | None) -> tuple[Completion | None, str]:
        return reconcile(
            self._section,
            self._entry,
            source,
            crc,
            self._batch_no,
            self._ord,
            self._tools.buffers,
            self._tools.gave_up,
        )

    def _reconciled(self, source: Source, crc: int | None, error: DestinationChanged) -> Completion:
        completion, self.why = self._judge(source, crc)
        if completion is not None:
            return completion
        if self._entry.action is Action.OVERWRITE:
            return self._gone()
        raise error


def ended(
    error: Exception, entry: Entry, batch_no: int, ord: int, attempts: int, if_source_changes: str
) -> Completion | Failure:
    """What an object's last error means for the ledger. Raises run-wide errors and Stopped again."""
    if not isinstance(error, StoreError) or error.scope is Scope.RUN:
        raise error
    if if_source_changes == "skip" and error.operation not in WRITES:
        if isinstance(error, ObjectChanged):
            return Completion(batch_no, ord, Outcome.SOURCE_CHANGED, max(1, attempts), entry.size, "", b"")
        if isinstance(error, ObjectMissing):
            return Completion(batch_no, ord, Outcome.SOURCE_GONE, max(1, attempts), entry.size, "", b"")
    code = error.code or type(error).__name__
    return Failure(batch_no, ord, max(1, attempts), True, error.status, code, str(error), error.request_id)
