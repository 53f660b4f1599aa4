"""One object in parts: each part a pinned ranged GET and an UploadPart, each a checkpoint in the ledger.

Opening (head, create or resume), each part, and closing (combine, Complete) are steps of their own, so that the parts
of one object run side by side and a huge object holds no thread while it waits. A step returns the steps that follow
it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

from executor.carry import carriage, integrity
from executor.carry.carriage import Source
from executor.copy.job import Ended, Job, Stored
from executor.copy.layout import PartRange, cut_again, cut_parts, holds, uneven
from executor.copy.part import send_part
from executor.copy.reconcile import reconcile
from executor.copy.server import read_planned, require_unchanged
from executor.copy.upload import (
    Upload,
    abort_upload,
    create_upload,
    forget_upload,
    record_part,
    record_upload,
    recorded_upload,
    resume_upload,
)
from executor.copy.written import published
from executor.ledger.values import Completion, PartRecord
from schema import checksums
from schema.errors import (
    DestinationChanged,
    DigestMismatch,
    LeaseLost,
    MigrationError,
    ObjectChanged,
    ObjectMissing,
    PartRefused,
    Stopped,
    StoreError,
    UploadConflicted,
    UploadMissing,
    WhichSide,
)
from schema.objects import WriteResult
from schema.plan import Action

MOST_RESTARTS = 2
"""An upload that the destination loses more often is given up."""

Next = Ended | Sequence[Callable[[], "Next"]]
"""The object's end, or the steps that may be taken now, side by side; none while others are still under way."""


def open_parted(job: Job) -> Next:
    """The first step: head the source, create the upload or find it again. Raises run-wide errors."""
    try:
        opened = _open(job)
    except (Stopped, LeaseLost):
        return ()
    except MigrationError as error:
        return () if job.work.lost else job.failed(error)
    return opened if isinstance(opened, Ended) else opened.begin()


def _open(job: Job) -> Ended | PartedCopy:
    route, entry = job.route, job.entry
    source = job.repeat(lambda: read_planned(route, entry))
    ended = None if route.completion_guarded(entry) else _already_there(job, source)
    parts = [] if ended is not None else cut_parts(job)
    found = recorded_upload(job)
    if ended is not None:
        if found is not None:  # left by an earlier process; the object no longer needs it
            abort_upload(job, found[0].upload_id)
        return ended
    if found is not None:
        record, recorded = found
        try:
            upload = resume_upload(job, record, recorded=recorded, parts=parts)
        except UploadMissing:
            # Completed by a process that was killed before it recorded it, or aborted by somebody: look at the
            # destination.
            forget_upload(job)
            ended = _already_there(job, source)
            if ended is not None:
                return ended
        else:
            if upload is not None:
                return PartedCopy(job, source, upload)
    upload = create_upload(job, source, parts)
    record_upload(job, upload)
    return PartedCopy(job, source, upload)


def _already_there(job: Job, source: Source) -> Ended | None:
    """Look at the destination where it does not enforce preconditions; None: nothing there but what the plan saw."""
    try:
        head = job.repeat(lambda: job.route.destination.head(job.entry.target))
    except ObjectMissing:
        return None
    if job.entry.action is Action.OVERWRITE and head.etag == job.entry.destination_etag:
        return None
    return _judged(job, source, None)


def _judged(job: Job, source: Source, crc: int | None) -> Ended | None:
    """How the object ends, judged by what is at the destination; None: nothing is there."""
    if job.landed is not None:
        return job.landed(job)
    return job.repeat(lambda: reconcile(job, source, crc))


class PartedCopy:
    """An object whose upload is open. Its parts may be sent by several threads at once."""

    def __init__(self, job: Job, source: Source, upload: Upload) -> None:
        self._job = job
        self._source = source
        self._upload = upload
        self._lock = threading.Lock()
        self._over = False
        self._restarts = 0
        self._restarting = threading.Lock()

    def begin(self) -> Next:
        """The steps after opening: the missing parts, or the end when none is missing."""
        return self._steps(self._upload) or self._guarded(partial(self._close, self._upload))

    def send(self, part: PartRange, upload: Upload) -> Next:
        """One part of *upload*; the last one to arrive closes it."""
        if self._stopped() or upload is not self._upload:
            return ()
        return self._guarded(lambda: self._send(part, upload))

    def _steps(self, upload: Upload) -> Sequence[Callable[[], Next]]:
        return [partial(self.send, part, upload) for part in upload.missing]

    def _send(self, part: PartRange, upload: Upload) -> Next:
        job = self._job
        try:
            sent = send_part(job, part, upload.id)
        except UploadMissing:
            return self._lost_upload(upload)
        with self._lock:
            if upload is not self._upload:
                return ()  # the upload was restarted meanwhile; this part belongs to the old one
        record_part(job, sent.record)
        with self._lock:
            job.spent.used = max(job.spent.used, sent.attempts)
            upload.done[part.number] = sent.record
            last = len(upload.done) == len(upload.parts) and not self._over
        return self._close(upload) if last else ()

    def _lost_upload(self, upload: Upload) -> Next:
        """The server no longer knows the upload (some drop it after one refused part): start over, once."""
        with self._restarting:
            if upload is self._upload and not self._over:
                return self._restart(upload.parts)
        return ()

    def _close(self, upload: Upload) -> Next:
        """All parts are there: combine their checksums, compare, Complete under the guard."""
        job, route, entry = self._job, self._job.route, self._job.entry
        parts = sorted(upload.done.values())
        anew = cut_again(job, parts, upload.parts) if route.keeps_layout(entry) else None
        if anew is not None:
            return self._restart(anew)
        try:
            crc = self._combined(parts)
        except DigestMismatch as damaged:
            return self._restart(upload.parts, damaged)  # a part changed on the way here: no answer tells which
        ended = None if route.completion_guarded(entry) else _already_there(job, self._source)
        if ended is not None:
            return self._abort_and_end(ended)
        try:
            answer = job.repeat(
                lambda: route.destination.complete_upload(
                    entry.target,
                    upload.id,
                    [(p.part_no, p.etag) for p in parts],
                    headers=() if crc is None else integrity.completion_headers(crc, route.destination_facts),
                    guard=route.completion_guard(entry),
                )
            )
        except UploadMissing:
            # Complete's answer was lost, or somebody aborted the upload: look at the destination.
            return self._after_missing(crc)
        except (UploadConflicted, PartRefused) as refused:
            if isinstance(refused, PartRefused) and (self._restarts or self._refuses_the_cuts(parts)):
                raise
            # Spoiled: some servers drop an upload's parts after one of them was sent twice.
            return self._restart(upload.parts, refused)
        except DestinationChanged:
            ended = _judged(job, self._source, crc)
            if ended is None:
                raise
            return self._abort_and_end(ended)
        if crc is not None:
            integrity.check_completed(answer, crc, key=entry.target)
        return self._finish(crc, answer)

    def _refuses_the_cuts(self, parts: list[PartRecord]) -> bool:
        """Whether all *parts* are there, uneven as the source's: then sending them again would change nothing."""
        ask = partial(self._job.route.destination.list_parts, self._job.entry.target, self._upload.id)
        return uneven(parts) and holds(self._job.repeat(lambda: list(ask())), parts)

    def _combined(self, parts: list[PartRecord]) -> int | None:
        """The CRC64NVME of the whole, the source's own where it states one; None: the endpoint made the copy."""
        job, head = self._job, self._source.head
        if job.route.server_copy:
            job.repeat(lambda: require_unchanged(job.route, job.entry, head))
            return None
        crc = checksums.combine_crc64nvme((int.from_bytes(p.checksum, "big"), p.size) for p in parts)
        integrity.check_combined(crc, head, key=job.entry.key)
        return crc

    def _finish(self, crc: int | None, answered: WriteResult) -> Next:
        """Look at what was published: its ETag is the one that listings will show."""
        job, route, entry = self._job, self._job.route, self._job.entry
        version, etag = job.version_of(answered), answered.etag
        head = job.repeat(lambda: job.tools.shown(lambda: published(route, entry, version=version, etag=etag)))
        if head.size != entry.size:
            raise ObjectChanged(
                f"{entry.target!r} has {head.size} bytes at the destination after Complete, {entry.size} were sent",
                operation="CompleteMultipartUpload",
                key=entry.target,
                side=WhichSide.DESTINATION,
            )
        tags = carriage.write_headers(route, entry, self._source).tags_after
        if tags is not None:
            job.repeat(lambda: route.destination.put_tags(entry.target, tags, version_id=version))
        forget_upload(job)
        checksum = b"" if crc is None else checksums.crc_bytes(crc)
        return self._end(job.copied(Stored(head.etag or answered.etag, version, checksum)))

    def _after_missing(self, crc: int | None) -> Next:
        ended = _judged(self._job, self._source, crc)
        if ended is None or self._as_planned(ended):
            return self._restart(self._upload.parts)
        forget_upload(self._job)
        return self._end(ended)

    def _as_planned(self, found: Ended) -> bool:
        """The object to overwrite stands there untouched: the upload was lost, not completed."""
        entry = self._job.entry
        if entry.action is not Action.OVERWRITE or not isinstance(found.row, Completion):
            return False
        return found.row.destination_etag == entry.destination_etag

    def _abort_and_end(self, ended: Ended) -> Next:
        """In this order: the object's end may close its chunk, and then the ledger accepts no more of its upload."""
        abort_upload(self._job, self._upload.id)
        return self._end(ended)

    def _restart(self, parts: list[PartRange], refused: StoreError | None = None) -> Next:
        """The upload is gone or spoiled (409): begin a new one, all parts again. *refused*: why."""
        job = self._job
        self._restarts += 1
        if self._restarts > MOST_RESTARTS:
            raise refused or UploadMissing(
                f"{job.entry.target!r}: the destination lost the multipart upload {self._restarts} times; "
                "does a lifecycle rule abort uploads too early?",
                operation="CompleteMultipartUpload",
                key=job.entry.target,
                side=WhichSide.DESTINATION,
            )
        abort_upload(job, self._upload.id)
        # Made current before the ledger knows of it: parts of the old upload still in flight no longer count.
        self._upload = upload = create_upload(job, self._source, parts)
        record_upload(job, upload)
        if self._over:  # another part failed for good meanwhile, and aborted the upload it knew
            abort_upload(job, upload.id)
            return ()
        return self._steps(upload)

    def _stopped(self) -> bool:
        return self._over or self._job.tools.stop.draining or self._job.work.lost

    def _end(self, ended: Ended) -> Next:
        return ended if self._claim_end() else ()

    def _claim_end(self) -> bool:
        """True for the one caller that may end the object; from then on none of its other steps starts anything."""
        with self._lock:
            first, self._over = not self._over, True
        return first

    def _guarded(self, step: Callable[[], Next]) -> Next:
        """*step*'s answer; an object's last error ends the object once, and its upload is not left behind."""
        try:
            return step()
        except (Stopped, LeaseLost):
            return ()
        except MigrationError as error:
            if self._job.work.lost:
                return ()
            ended = self._job.failed(error)
            # Claimed before the abort, so that no other part mistakes the abort for a lost upload and starts over.
            if not self._claim_end():
                return ()
            self._abort_after_failure()
            return ended

    def _abort_after_failure(self) -> None:
        """Best effort: `cleanup` sweeps what the ledger still names; the object's own error is the one to show."""
        try:
            abort_upload(self._job, self._upload.id)
        except (StoreError, LeaseLost, Stopped):
            return
