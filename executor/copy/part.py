"""One part of an object: a pinned ranged GET and an UploadPart, through a buffer or, when too big, a window.

Where the endpoint copies on its own, an UploadPartCopy instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from executor.attempts import AttemptCounter
from executor.carry import integrity
from executor.copy import server
from executor.copy.job import Job
from executor.copy.layout import PartRange
from executor.ledger.values import PartRecord
from schema import checksums
from schema.errors import DigestMismatch, Stopped, StoreError
from schema.facts import Fact
from schema.objects import etag_is_opaque
from schema.tiers import WINDOW


class SentPart(NamedTuple):
    """A part that the destination has acknowledged."""

    record: PartRecord
    attempts: int


def send_part(job: Job, part: PartRange, upload_id: str) -> SentPart:
    """Copy *part* into the upload, retried after transient errors. Raises its last StoreError, or Stopped.

    A part of more than half the budget is read through a window while it is being sent, and checked against the
    server's answer; any other is held whole and proven before it is sent.
    """
    buffers, spent = job.tools.buffers, AttemptCounter()
    if job.route.server_copy:
        copied = partial(server.copy_part, job, part, upload_id, refusals=server.Refusals())
        record = job.tools.retrier.run(copied, spent, job.retried)
        if isinstance(record, PartRecord):
            return SentPart(record, spent.used)
        job.tell_refused(record.error)
        spent = AttemptCounter(used=1)
    total = buffers.budget.total
    held = part.length <= total // 2
    view = buffers.take(part.length if held else min(WINDOW, total), job.tools.gave_up)
    if view is None:
        raise Stopped("stopped while waiting for memory")
    step = partial(_buffered if held else _windowed, job, part, upload_id, view=view)
    try:
        return SentPart(job.tools.retrier.run(step, spent, job.retried), spent.used)
    finally:
        buffers.give(view)


def _buffered(job: Job, part: PartRange, upload_id: str, *, view: memoryview) -> PartRecord:
    route, entry = job.route, job.entry
    route.source.get(entry.key, view, pin=route.pin(entry), start=part.start)
    # An upload that was created for copies has no checksums of parts.
    facts = route.destination_facts
    proof = integrity.prove_part(view, facts.without(checksums.PARTS_FACT) if route.server_copy else facts)
    answer = route.destination.upload_part(part.of(entry.target, upload_id), view, proof.headers)
    integrity.check_part(answer, proof, route.destination_facts, key=entry.target)
    return PartRecord(part.number, answer.etag, checksums.crc_bytes(proof.crc64nvme), part.length)


def _windowed(job: Job, part: PartRange, upload_id: str, *, view: memoryview) -> PartRecord:
    window = PartWindow(job, part, view)
    store, target = job.route.destination, job.entry.target
    answer = store.upload_part_from(part.of(target, upload_id), window.read, length=part.length)
    window.check(answer.etag, answer.headers)
    return PartRecord(part.number, answer.etag, checksums.crc_bytes(window.crc), part.length)


class PartWindow:
    """Delivers a part's bytes in order through one buffer, by pinned ranged GETs; fingerprints what it delivers."""

    def __init__(self, job: Job, part: PartRange, view: memoryview) -> None:
        route, entry = job.route, job.entry
        self._get = partial(route.source.get, entry.key, pin=route.pin(entry))
        self._facts = route.destination_facts
        self._key = entry.target
        self._view = view
        self._next = part.start
        self._end = part.start + part.length
        self._held = view[:0]
        self.crc = 0
        # Hashing costs most: no MD5 where the answer proves the bytes by a CRC.
        by_etag = self._facts.enforces(Fact.ETAG_IS_MD5) and not self._facts.enforces(Fact.MULTIPART_CRC64NVME)
        self._md5 = hashlib.md5(usedforsecurity=False) if by_etag else None
        self.failed: StoreError | None = None

    def read(self, most: int) -> bytes:
        """The next bytes, at most *most*; b'' at the end of the part. Raises StoreErrors of the source."""
        if not self._held:
            length = min(len(self._view), self._end - self._next)
            if length == 0:
                return b""
            window = self._view[:length]
            self._get(into=window, start=self._next)
            self.crc = checksums.crc64nvme(window, self.crc)
            if self._md5 is not None:
                self._md5.update(window)
            self._next += length
            self._held = window
        piece, self._held = bytes(self._held[:most]), self._held[most:]
        return piece

    def check(self, etag: str, headers: Mapping[str, str]) -> None:
        """Raises DigestMismatch when the server's answer names other bytes than were delivered."""
        stated = headers.get(checksums.FINGERPRINT_HEADER)
        if stated and "-" not in stated and stated != checksums.crc_text(self.crc):
            raise self._mismatch(f"{checksums.FINGERPRINT_WORDS} {stated}, sent {checksums.crc_text(self.crc)}")
        if self._md5 is not None and not etag_is_opaque(headers) and etag != self._md5.hexdigest():
            raise self._mismatch(f"ETag {etag}, sent MD5 {self._md5.hexdigest()}")

    def _mismatch(self, what: str) -> DigestMismatch:
        return DigestMismatch(
            f"{self._key!r}: the destination answered {what}; the part is sent again",
            operation="UploadPart",
            key=self._key,
        )
