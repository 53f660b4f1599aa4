"""One object in one PUT though it is too big to be held: sent through a window, proven by the source's own MD5.

Where that is not the way, for whatever reason, the object goes in parts, and what is wrong with it is told there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from executor.carry import carriage, integrity
from executor.carry.carriage import Source
from executor.carry.window import ReadWindow
from executor.copy.guarded import GuardedWrite
from executor.copy.job import Ended, Job
from executor.copy.parted import Next, open_parted
from executor.copy.reconcile import reconcile
from executor.copy.server import read_planned, read_to_compare
from executor.copy.upload import recorded_upload
from executor.copy.whole import conclude
from executor.route import SinglePuts
from schema.errors import (
    DescriptorsExhausted,
    DestinationChanged,
    DigestMismatch,
    EndpointUnreachable,
    LeaseLost,
    MigrationError,
    ResponseUnreadable,
    Scope,
    Stopped,
    StoreError,
    Throttled,
    UnsignedPayloadRefused,
    WhichSide,
)
from schema.plan import Action
from schema.tiers import single_put_window
from storage.port import ByteRange

MOST_BROKEN: Final = 2
"""PUTs of one object that broke, or met a fault of an endpoint: what limits bodies on the way often just closes, and
where much breaks less is lost with a part."""
SLOW_SECONDS: Final = 120.0
"""A PUT that broke after so long is not begun again: its parts have all the time that an object has."""
PATIENT_SECONDS: Final = 20.0
"""Many servers close a connection on which nothing has come for so long: then it was the source that was slow."""
_TOO_BIG: Final = frozenset(("EntityTooLarge", "MaxMessageLengthExceeded"))
_NOT_AT_ALL: Final = frozenset((405, 411, 501))
_SAY_NOTHING: Final = (Throttled, EndpointUnreachable, DescriptorsExhausted)
"""Errors that say nothing about how the object was sent."""


def open_large(job: Job) -> Next:
    """The first step of an object too big to be held: all of it in one PUT, or what begins its parts.

    Raises run-wide errors.
    """
    try:
        if not job.route.in_single_put(job.entry) or recorded_upload(job) is not None:
            return open_parted(job)
        ended = _in_single_put(job)
    except (Stopped, LeaseLost):
        return ()
    except MigrationError as error:
        return () if job.work.lost else job.failed(error)
    if ended is not None:
        return ended
    return [partial(open_parted, replace(job, route=job.route.in_parts()))]


def copy_large(job: Job) -> Ended | None:
    """The object's end, all its steps in this thread, one after the other; None: a stop or a lost lease came first."""
    steps: deque[Callable[[], Next]] = deque([partial(open_large, job)])
    while steps and not (job.work.lost or job.tools.stop.draining):
        following = steps.popleft()()
        if isinstance(following, Ended):
            return following
        steps.extend(following)
    return None


def _in_single_put(job: Job) -> Ended | None:
    """The object's end, or None: it goes in parts. Raises its last StoreError, Stopped, LeaseLost."""
    buffers = job.tools.buffers
    total = buffers.budget.total
    view = job.tools.take(min(single_put_window(total), total))
    job.scratch = view
    try:
        return job.attempt(_SinglePut(job, view).once)
    finally:
        job.scratch = None
        buffers.give(view)


class _SinglePut:
    """The attempts at one object."""

    def __init__(self, job: Job, view: memoryview) -> None:
        self._job = job
        self._seen = job.route.single_puts
        self._view = view
        # What others find out meanwhile does not change how this object is written.
        self._mine = replace(job, route=replace(job.route, single_puts=SinglePuts()))
        self._write = GuardedWrite(self._mine)
        self._broken = 0
        self._doubted = False
        """A digest did not match: what is read from now on is hashed."""
        self._read: int | None = None
        """CRC64NVME of what was read when a digest did not match."""
        self._replaces = False
        """Our own damaged write is there."""

    def once(self) -> Ended | None:
        """One attempt: the object's end, or None: it goes in parts. Raises StoreErrors, Stopped."""
        job, route, entry, write = self._mine, self._mine.route, self._mine.entry, self._write
        source = read_planned(route, entry)
        stated = integrity.source_md5(source.head, route.source_facts)
        if stated is None:
            return None  # encrypted, which only its head shows
        if not write.undisturbed():
            return write.judged(source, None)
        if (found := self._found(source)) is not None:
            return found
        carried = carriage.write_headers(route, entry, source)
        proof = integrity.source_proof(stated)
        window = ReadWindow(route, entry, ByteRange(0, entry.size), view=self._view, hashed=self._doubted)
        body = _Body(job, window, source=source, stated=stated)
        sent = [*carried.headers, *proof.headers]
        began = job.tools.retrier.clock()
        try:
            answer = route.destination.put_from(entry.target, body.read, sent, length=entry.size, guard=write.guard)
            body.require_sent()
        except DestinationChanged as error:
            return write.refused(source, None, error)
        except StoreError as error:
            slow = job.tools.retrier.clock() - began >= SLOW_SECONDS
            if isinstance(error, DigestMismatch):
                return self._mismatched(error, window, stated, slow=slow)
            if self._replaces:
                raise
            return self._refused(error, body, slow=slow)
        proof = proof._replace(crc64nvme=window.crc)
        try:
            return conclude(job, write, answer, carried=carried, proof=proof)
        except DigestMismatch:
            # Said again of the same bytes, it may be the ETag that is no MD5, as some servers give it to what is large.
            if not self._replaces or not read_to_compare(job, job.version_of(answer)):
                self._replaces = True
                raise
        self._seen.failed()
        return conclude(job, write, answer, carried=carried, proof=proof._replace(md5=None))

    def _found(self, source: Source) -> Ended | None:
        """How the object ends by what lies at a destination that enforces no precondition; None: nothing does."""
        route, entry = self._mine.route, self._mine.entry
        if entry.action is not Action.COPY or self._replaces:
            return None
        if route.guarded(entry.action) or route.plan.policy.versions == "all":
            return None
        return reconcile(self._mine, source)

    def _mismatched(self, error: DigestMismatch, window: ReadWindow, stated: bytes, *, slow: bool) -> Ended | None:
        """The destination, or a look at what was read, found other bytes than the source *stated*.

        Read twice alike, they are what the source holds: its ETag is not their MD5, or the destination finds fault with
        what is right. That they arrive unharmed is then for the parts to prove, and so it is after a *slow* attempt,
        which leaves no time for another. Anything else was damaged on the way, and raises *error*.
        """
        before, self._read = self._read, window.crc if window.all_read else None
        self._doubted = True
        if self._replaces:
            raise error
        if slow:
            return self._in_parts(error)
        if window.md5 is None or self._read is None or self._read != before:
            raise error
        if window.md5 == stated:
            self._seen.failed()
            return self._in_parts(error)
        self._job.read_as = window.md5
        self._seen.failed()
        return self._in_parts(error)

    def _refused(self, error: StoreError, body: _Body, *, slow: bool) -> Ended | None:
        """The object goes in parts; or raises *error*, after which one PUT may still be the way, or nothing is."""
        by_source = body.source_failed
        if isinstance(error, _SAY_NOTHING):
            raise error
        if error.retryable and error.scope is Scope.OBJECT:
            self._broken += not self._job.tools.retrier.blameless()
            if self._broken < MOST_BROKEN and not slow and body.longest_wait < PATIENT_SECONDS:
                raise error
        elif by_source:
            raise error
        if not by_source and body.longest_wait < PATIENT_SECONDS:
            learn(self._seen, error, self._job.entry.size)
        return self._in_parts(error)

    def _in_parts(self, error: StoreError) -> Ended | None:
        """None; or the end, where one of the PUTs made the version after all."""
        job = self._job
        text = f"it is copied in parts instead: {error}"
        job.report("SinglePutRefused", text, status=error.status, attempt=job.attempts, final=False)
        landed = job.landed
        return None if landed is None else job.repeat(lambda: landed(job))


def learn(puts: SinglePuts, error: StoreError, size: int) -> None:
    """What the refusal of one PUT of *size* bytes means for the objects that follow."""
    if error.scope is Scope.RUN:
        return  # about something else
    if isinstance(error, UnsignedPayloadRefused) or error.status in _NOT_AT_ALL:
        puts.close()
    else:
        if error.status == 413 or error.code in _TOO_BIG:
            puts.bound(size - 1)
        puts.failed()


class _Body:
    """What a single PUT sends: the last of it only when nothing speaks against what was read."""

    def __init__(self, job: Job, window: ReadWindow, *, source: Source, stated: bytes) -> None:
        self._job = job
        self._window = window
        self._source = source
        self._stated = stated
        self.longest_wait = 0.0
        """Seconds that the destination was kept waiting for the source."""

    @property
    def source_failed(self) -> bool:
        """The source could not be read."""
        return self._window.failed is not None

    def read(self, most: int) -> memoryview:
        """As storage.port.Reader. Raises StoreErrors of the source, DigestMismatch, Stopped."""
        window = self._window
        if window.empty and not window.all_read:
            if self._job.tools.stop.draining or self._job.work.lost:
                raise Stopped("stopped before all of an object was sent")
            clock = self._job.tools.retrier.clock
            began = clock()
            ended = window.fill()
            self.longest_wait = max(self.longest_wait, clock() - began)
            if ended:
                self._prove()
        return window.read(most)

    def require_sent(self) -> None:
        """Raises ResponseUnreadable where the write was acknowledged before the destination can have had all of it."""
        if not (self._window.all_read and self._window.empty):
            raise ResponseUnreadable(
                f"{self._job.entry.target!r}: the destination acknowledged it before all of it was sent",
                operation="PutObject",
                key=self._job.entry.target,
                side=WhichSide.DESTINATION,
            )

    def _prove(self) -> None:
        window, key = self._window, self._job.entry.key
        integrity.check_combined(window.crc, self._source.head, key=key)
        if window.md5 is not None:
            integrity.check_read(window.md5, self._stated, key=key)
