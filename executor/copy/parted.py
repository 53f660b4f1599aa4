"""One object in parts: each part a pinned ranged GET and an UploadPart, each a checkpoint in the ledger.

Opening (head, create or resume), each part, and closing (combine, Complete) are separate tasks of the pool, so
that the parts of one object run side by side and a huge object holds no thread while it waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from executor.attempts import AttemptCounter
from executor.carry import carriage, integrity
from executor.carry.carriage import Source
from executor.copy.layout import cut_again, cut_parts
from executor.copy.part import send_part
from executor.copy.place import PartedPlace
from executor.copy.reconcile import reconcile
from executor.copy.server import require_planned, require_unchanged
from executor.copy.whole import Tools, ended
from executor.copy.window import PartRange
from executor.ledger.values import Completion, Failure, Outcome, PartRecord, UploadRecord
from executor.route import SectionRuntime
from schema.errors import (
    DestinationChanged,
    LeaseLost,
    MigrationError,
    ObjectChanged,
    ObjectMissing,
    PartRefused,
    Stopped,
    StoreError,
    UploadConflicted,
    UploadMissing,
)
from schema.plan import Action, Entry

T = TypeVar("T")
Judged = tuple[Completion, str]
"""An object's end, and what differs in a conflict."""


class PartedCopy:
    """Copies one object in parts. `open` is the first task; it spawns the others."""

    def __init__(self, section: SectionRuntime, entry: Entry, place: PartedPlace, tools: Tools) -> None:
        self._section = section
        self._entry = entry
        self._place = place
        self._tools = tools
        self._parts: list[PartRange] = []
        self._lock = threading.Lock()
        self._done: dict[int, PartRecord] = {}
        self._left = 0
        self._over = False
        self._source: Source | None = None
        self._upload_id = ""
        self._attempts = 1
        self._restarts = 0
        self._forgotten = False
        self._restarting = threading.Lock()

    def open(self) -> None:
        """Head the source, create the upload or find it again, spawn the missing parts."""
        if not self._stopped():
            self._guarded(self._open)

    def _open(self) -> None:
        entry, section = self._entry, self._section
        head = self._repeat(
            lambda: section.source.head(entry.key, version_id=entry.version_id, extra=section.read_extra)
        )
        require_planned(entry, head)
        source = self._repeat(lambda: carriage.read_source(section, entry, head))
        self._source = source
        judged = None if section.completion_guarded(entry) else self._already_there(source)
        if judged is None:
            self._parts = cut_parts(section, entry, self._repeat)
        if judged is None and not self._resumed():
            judged = self._already_there(source) if self._forgotten else None
            if judged is None:
                self._create(source)
        if judged is not None:
            self._let_go()
            self._end(*judged)
            return
        missing = [part for part in self._parts if part.number not in self._done]
        self._left = len(missing)
        if not missing:
            self._close()
        else:
            self._place.spawn([partial(self.send, part, self._upload_id) for part in missing])

    def _let_go(self) -> None:
        """Of an earlier process's upload, should the ledger still name one: the object needs none any more."""
        found = self._place.ledger.find_upload(self._place.chunk.run_id, self._place.chunk.batch_no, self._place.ord)
        if found is not None:
            self._abort(found[0].upload_id)

    def _already_there(self, source: Source) -> Judged | None:
        """Look at the destination where it does not guard writes; None: nothing there but what the plan saw."""
        try:
            head = self._repeat(lambda: self._section.destination.head(self._entry.target))
        except ObjectMissing:
            return None
        if self._entry.action is Action.OVERWRITE and head.etag == self._entry.destination_etag:
            return None
        return self._judged(source, None)

    def _judged(self, source: Source, crc: int | None) -> Judged | None:
        """What stands at the destination, and what differs; None: nothing."""
        if self._place.landed is not None:
            found = self._place.landed()
            return None if found is None else (found, "")
        completion, why = self._repeat(
            lambda: reconcile(
                self._section,
                self._entry,
                source,
                crc,
                self._place.chunk.batch_no,
                self._place.ord,
                self._tools.buffers,
                self._tools.gave_up,
            )
        )
        return None if completion is None else (completion, why)

    def _resumed(self) -> bool:
        """Find the upload of an earlier process; keep the parts that server and ledger agree on."""
        found = self._place.ledger.find_upload(self._place.chunk.run_id, self._place.chunk.batch_no, self._place.ord)
        if found is None:
            return False
        record, recorded = found
        entry = self._entry
        if (record.source_etag, record.source_size, record.part_size) != (
            entry.etag,
            entry.size,
            self._parts[0].length,
        ):
            self._abort(record.upload_id)
            return False
        try:
            held = self._repeat(
                lambda: {p.number: p for p in self._section.destination.list_parts(entry.target, record.upload_id)}
            )
        except UploadMissing:
            # Completed by a process that was killed before it said so, or aborted by somebody: only a look can tell.
            self._forgotten = True
            self._place.ledger.forget_upload(self._place.chunk, self._place.ord)
            return False
        self._upload_id = record.upload_id
        lengths = {part.number: part.length for part in self._parts}
        for part in recorded:
            there = held.get(part.part_no)
            if there is not None and there.etag == part.etag and there.size == part.size == lengths.get(part.part_no):
                self._done[part.part_no] = part
        return True

    def _create(self, source: Source) -> None:
        entry, section = self._entry, self._section
        headers = carriage.write_headers(section, entry, source).headers
        if not section.server_copy:
            headers += integrity.upload_headers(section.destination_facts)
        self._upload_id = self._repeat(lambda: section.destination.create_upload(entry.target, headers))
        record = UploadRecord(
            self._place.chunk.batch_no,
            self._place.ord,
            section.destination.bucket,
            entry.target,
            self._upload_id,
            entry.etag,
            entry.version_id,
            entry.size,
            self._parts[0].length,
            len(self._parts),
        )
        try:
            self._place.ledger.record_upload(self._place.chunk, record)
        except LeaseLost:
            # Nobody will ever know of this upload: it must not outlive us.
            self._repeat(lambda: section.destination.abort_upload(entry.target, record.upload_id))
            raise

    def send(self, part: PartRange, upload_id: str) -> None:
        """One part's task, of the upload it was spawned for."""
        if not self._stopped() and upload_id == self._upload_id:
            self._guarded(lambda: self._send(part, upload_id))

    def _send(self, part: PartRange, upload_id: str) -> None:
        counter = AttemptCounter()
        try:
            record = send_part(self._section, self._entry, part, upload_id, self._tools, counter, self._place.on_retry)
        except UploadMissing:
            self._lost_upload(upload_id)
            return
        with self._lock:
            if upload_id != self._upload_id:
                return  # the upload was begun anew meanwhile; this part belongs to the old one
        self._place.ledger.record_parts(self._place.chunk, self._place.ord, [record])
        with self._lock:
            self._attempts = max(self._attempts, counter.used)
            self._done[part.number] = record
            self._left -= 1
            last = self._left == 0 and not self._over
        if last:
            self._close()

    def _lost_upload(self, upload_id: str) -> None:
        """The server no longer knows the upload (some drop it after one refused part): once, begin anew."""
        with self._restarting:
            if upload_id == self._upload_id and self._source is not None and not self._over:
                self._restart(self._source)

    def _close(self) -> None:
        """All parts are there: combine their checksums, compare, Complete under the guard."""
        parts = sorted(self._done.values())
        source = self._source
        if source is None:
            raise AssertionError("an upload is closed only after it was opened")
        entry, section = self._entry, self._section
        anew = cut_again(section, entry, parts, self._parts, self._repeat) if section.keeps_layout(entry) else None
        if anew is not None:
            self._parts = anew
            self._restart(source)
            return
        crc = self._combined(parts, source)
        judged = None if section.completion_guarded(entry) else self._already_there(source)
        if judged is not None:
            self._abort_and_end(judged)
            return
        try:
            answer = self._repeat(
                lambda: section.destination.complete_upload(
                    entry.target,
                    self._upload_id,
                    [(p.part_no, p.etag) for p in parts],
                    () if crc is None else integrity.completion_headers(crc, section.destination_facts),
                    guard=section.guard(entry),
                )
            )
        except UploadMissing:
            # Complete's answer was lost, or somebody aborted the upload: only a look can tell.
            self._after_missing(source, crc)
            return
        except (UploadConflicted, PartRefused):
            # Spoiled: some servers drop an upload's parts after one of them was sent twice.
            self._restart(source)
            return
        except DestinationChanged:
            judged = self._judged(source, crc)
            if judged is None:
                raise
            self._abort_and_end(judged)
            return
        if crc is not None:
            integrity.check_completed(answer, crc, key=entry.target)
        self._finish(source, crc, section.version(answer.version_id))

    def _combined(self, parts: list[PartRecord], source: Source) -> int | None:
        """The whole's CRC64NVME, the source's own where it tells one; None: the endpoint copied by itself."""
        if self._section.server_copy:
            self._repeat(lambda: require_unchanged(self._section, self._entry, source.head))
            return None
        crc = integrity.combine_crc64nvme((int.from_bytes(p.checksum, "big"), p.size) for p in parts)
        integrity.check_combined(crc, source.head, key=self._entry.key)
        return crc

    def _finish(self, source: Source, crc: int | None, version_id: str | None) -> None:
        """Look at what was published: its ETag is the one that listings will show."""
        entry, section = self._entry, self._section
        head = self._repeat(
            lambda: section.destination.head(entry.target, version_id=version_id, extra=section.destination_read_extra)
        )
        if head.size != entry.size:
            raise ObjectChanged(
                f"{entry.target!r} has {head.size} bytes at the destination after Complete, {entry.size} were sent",
                operation="CompleteMultipartUpload",
                key=entry.target,
            )
        tags = carriage.write_headers(section, entry, source).tags_after
        if tags is not None:
            self._repeat(lambda: section.destination.put_tags(entry.target, tags, version_id=version_id))
        self._place.ledger.forget_upload(self._place.chunk, self._place.ord)
        self._end(
            Completion(
                self._place.chunk.batch_no,
                self._place.ord,
                Outcome.COPIED,
                self._attempts,
                entry.size,
                head.etag,
                b"" if crc is None else integrity.crc_bytes(crc),
                version_id,
            ),
            "",
        )

    def _after_missing(self, source: Source, crc: int | None) -> None:
        judged = self._judged(source, crc)
        if judged is None or self._as_planned(judged[0]):
            self._restart(source)
            return
        self._place.ledger.forget_upload(self._place.chunk, self._place.ord)
        self._end(*judged)

    def _as_planned(self, found: Completion) -> bool:
        """The object to overwrite stands there untouched: the upload was lost, not completed."""
        overwriting = self._entry.action is Action.OVERWRITE
        return overwriting and found.destination_etag == self._entry.destination_etag

    def _abort_and_end(self, judged: Judged) -> None:
        """In this order: the object's end may close its chunk, and then the ledger takes no word of its upload."""
        self._abort(self._upload_id)
        self._end(*judged)

    def _restart(self, source: Source) -> None:
        """The upload is gone or spoiled (409): begin a new one, all parts again."""
        self._restarts += 1
        if self._restarts > 2:
            raise UploadMissing(
                f"{self._entry.target!r}: the destination lost the multipart upload {self._restarts} times; "
                "does a lifecycle rule abort uploads too early?",
                operation="CompleteMultipartUpload",
                key=self._entry.target,
            )
        self._abort(self._upload_id)
        self._done.clear()
        self._create(source)
        if self._over:  # another part failed for good meanwhile, and aborted the upload it knew
            self._abort(self._upload_id)
            return
        self._left = len(self._parts)
        self._place.spawn([partial(self.send, part, self._upload_id) for part in self._parts])

    def _abort(self, upload_id: str) -> None:
        self._repeat(lambda: self._section.destination.abort_upload(self._entry.target, upload_id))
        self._place.ledger.forget_upload(self._place.chunk, self._place.ord)

    def _repeat(self, step: Callable[[], T]) -> T:
        return self._tools.retrier.run(step, AttemptCounter(), self._place.on_retry)

    def _stopped(self) -> bool:
        return self._over or self._tools.stop.draining or self._place.lost()

    def _end(self, result: Completion | Failure, why: str) -> None:
        if self._claim_end():
            self._place.finish(result, why)

    def _claim_end(self) -> bool:
        """True for the one that may end the object; from then on no other task of it begins anything."""
        with self._lock:
            first, self._over = not self._over, True
        return first

    def _guarded(self, step: Callable[[], None]) -> None:
        """Run one task; an object's last error ends the object once, and its upload is not left behind."""
        try:
            step()
        except (Stopped, LeaseLost):
            return
        except MigrationError as error:
            if self._place.lost():
                return
            result = ended(
                error,
                self._entry,
                self._place.chunk.batch_no,
                self._place.ord,
                self._attempts,
                self._section.plan.policy.if_source_changes,
            )
            # Claimed before the abort, so that no other part takes the abort for a lost upload and begins anew.
            if self._claim_end():
                self._abort_after_failure()
                self._place.failed(error)
                self._place.finish(result, "")

    def _abort_after_failure(self) -> None:
        """Best effort: `cleanup` sweeps what the ledger still names; the object's own error is the one to show."""
        if not self._upload_id:
            return
        try:
            self._abort(self._upload_id)
        except (StoreError, LeaseLost, Stopped):
            return
