"""A multipart upload at the destination and its record in the ledger: created, found again, aborted, swept up.

An upload is recorded in the ledger before its first part is sent, and removed only once it is completed or aborted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from executor.carry import carriage, integrity
from executor.carry.carriage import Source
from executor.copy.job import Job
from executor.copy.layout import PartRange
from executor.ledger.ledger import Ledger
from executor.ledger.values import PartRecord, UploadRecord
from schema.errors import LeaseLost, ServerFault
from schema.plan import Plan
from storage.port import ObjectStore


@dataclass(slots=True, eq=False)
class Upload:
    """A multipart upload in progress. The threads that send its parts share it."""

    id: str
    parts: list[PartRange]
    done: dict[int, PartRecord] = field(default_factory=dict)
    """Acknowledged by the destination and recorded in the ledger, by number."""

    @property
    def missing(self) -> list[PartRange]:
        """The parts still to be sent."""
        return [part for part in self.parts if part.number not in self.done]


def create_upload(job: Job, source: Source, parts: list[PartRange]) -> Upload:
    """Begin an upload that carries *source*'s attributes; the ledger does not know of it yet. Raises StoreErrors."""
    headers = carriage.write_headers(job.route, job.entry, source).headers
    if not job.route.server_copy:
        headers += integrity.upload_headers(job.route.destination_facts)
    try:
        upload_id = job.repeat(lambda: job.route.destination.create_upload(job.entry.target, headers))
    except ServerFault as error:
        raise carriage.with_burden(error, job.entry, headers) from None
    return Upload(upload_id, parts)


def record_upload(job: Job, upload: Upload) -> None:
    """Record *upload* in the ledger. Raises LeaseLost; then the upload has been aborted."""
    entry, chunk = job.entry, job.work.chunk
    record = UploadRecord(
        batch_no=chunk.batch_no,
        ord=job.ord,
        bucket=job.route.destination.bucket,
        key=entry.target,
        upload_id=upload.id,
        source_etag=entry.etag,
        source_version=entry.version_id,
        source_size=entry.size,
        part_size=upload.parts[0].length,
        parts=len(upload.parts),
    )
    try:
        job.tools.ask_ledger(lambda ledger: ledger.uploads.record(chunk, record))
    except LeaseLost:
        # Nothing will ever record this upload: it must not outlive us.
        job.repeat(lambda: job.route.destination.abort_upload(entry.target, upload.id))
        raise


def recorded_upload(job: Job) -> tuple[UploadRecord, list[PartRecord]] | None:
    """The object's upload as the ledger knows it, with the parts recorded of it."""
    chunk = job.work.chunk
    return job.tools.ask_ledger(lambda ledger: ledger.uploads.find(chunk.run_id, chunk.batch_no, job.ord))


def resume_upload(
    job: Job, record: UploadRecord, *, recorded: list[PartRecord], parts: list[PartRange]
) -> Upload | None:
    """The upload of an earlier process, with the parts that server and ledger agree on.

    None when it was made for another object or other cuts than *parts*: then it is aborted. Raises UploadMissing when
    the server does not know it, StoreErrors.
    """
    entry, destination = job.entry, job.route.destination
    if (record.source_etag, record.source_size, record.part_size) != (entry.etag, entry.size, parts[0].length):
        abort_upload(job, record.upload_id)
        return None
    held = job.repeat(lambda: {p.number: p for p in destination.list_parts(entry.target, record.upload_id)})
    upload = Upload(record.upload_id, parts)
    lengths = {part.number: part.length for part in parts}
    for part in recorded:
        there = held.get(part.part_no)
        if there is not None and there.etag == part.etag and there.size == part.size == lengths.get(part.part_no):
            upload.done[part.part_no] = part
    return upload


def record_part(job: Job, part: PartRecord) -> None:
    """Make *part* a checkpoint. Raises LeaseLost, also when the ledger no longer knows the upload."""
    job.tools.ask_ledger(lambda ledger: ledger.uploads.record_parts(job.work.chunk, job.ord, [part]))


def abort_upload(job: Job, upload_id: str) -> None:
    """At the destination, then in the ledger. Raises StoreErrors, LeaseLost."""
    job.repeat(lambda: job.route.destination.abort_upload(job.entry.target, upload_id))
    forget_upload(job)


def forget_upload(job: Job) -> None:
    """The object's upload is completed or aborted, or the server lost it. Raises LeaseLost."""
    job.tools.ask_ledger(lambda ledger: ledger.uploads.forget(job.work.chunk, job.ord))


def sweep_uploads(
    plan: Plan, ledger: Ledger, run_id: int, *, destinations: Mapping[str, ObjectStore]
) -> list[tuple[str, str]]:
    """Abort every upload that the ledger has open for this run, and no other; (key, upload id) of each.

    *destinations*: by section id. Raises StoreErrors.
    """
    swept = []
    for upload in list(ledger.uploads.unfinished(run_id)):
        section = plan.batches[upload.batch_no].section
        destinations[section].abort_upload(upload.key, upload.upload_id)
        ledger.uploads.close(run_id, upload.batch_no, upload.ord)
        swept.append((upload.key, upload.upload_id))
    return swept
