"""One part of an object: a pinned ranged GET and an UploadPart, through a buffer or, when too big, a window.

Where the endpoint copies on its own, an UploadPartCopy instead.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from executor.attempts import AttemptCounter
from executor.carry import integrity
from executor.carry.window import ReadWindow
from executor.copy import server
from executor.copy.job import Job
from executor.copy.layout import PartRange
from executor.ledger.values import PartRecord
from schema import checksums
from schema.errors import DigestMismatch
from schema.facts import Fact
from schema.objects import PartResult, etag_is_opaque
from schema.tiers import WINDOW
from storage.port import ByteRange


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
    view = job.tools.take(part.length if held else min(WINDOW, total))
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
    route, entry = job.route, job.entry
    facts = route.destination_facts
    # Hashing costs most: no MD5 where the answer proves the bytes by a CRC.
    by_etag = facts.enforces(Fact.ETAG_IS_MD5) and not facts.enforces(Fact.MULTIPART_CRC64NVME)
    window = ReadWindow(route, entry, ByteRange(part.start, part.length), view=view, hashed=by_etag)
    answer = route.destination.upload_part_from(part.of(entry.target, upload_id), window.read, length=part.length)
    check_windowed(window, answer, key=entry.target)
    return PartRecord(part.number, answer.etag, checksums.crc_bytes(window.crc), part.length)


def check_windowed(window: ReadWindow, answer: PartResult, *, key: str) -> None:
    """Raises DigestMismatch when the server's *answer* names other bytes than *window* delivered."""
    stated = answer.headers.get(checksums.FINGERPRINT_HEADER)
    if stated and "-" not in stated and stated != checksums.crc_text(window.crc):
        raise _mismatch(f"{checksums.FINGERPRINT_WORDS} {stated}, sent {checksums.crc_text(window.crc)}", key)
    md5 = window.md5
    if md5 is not None and not etag_is_opaque(answer.headers) and answer.etag != md5.hex():
        raise _mismatch(f"ETag {answer.etag}, sent MD5 {md5.hex()}", key)


def _mismatch(what: str, key: str) -> DigestMismatch:
    return DigestMismatch(
        f"{key!r}: the destination answered {what}; the part is sent again", operation="UploadPart", key=key
    )
