"""Objects that the endpoint copies on its own: CopyObject up to 5 GiB, UploadPartCopy of each part beyond.

Neither keeps everything: CopyObject drops ACL, storage class, encryption, redirect and lock, UploadPartCopy all of it.
So every attribute is read from the source and sent again, with the directive REPLACE, as a PUT would send it. No byte
passes through this process, so the ledger gets no checksum of ours; ETags prove what they can, `verify` the rest.
"""

from __future__ import annotations

from functools import partial
from typing import Final, NamedTuple

from executor.carry import carriage, integrity
from executor.carry.carriage import Source
from executor.copy.guarded import GuardedWrite
from executor.copy.job import Ended, Job, Stored
from executor.copy.layout import PartRange
from executor.copy.reconcile import read_both
from executor.ledger.values import PartRecord
from executor.route import Route
from schema import checksums
from schema.errors import (
    DestinationChanged,
    DigestMismatch,
    FeatureUnsupported,
    ObjectChanged,
    ServerFault,
    StoreError,
    Throttled,
    WhichSide,
)
from schema.facts import Fact, Setting
from schema.objects import ObjectHead
from schema.plan import Entry
from schema.storage_classes import readable
from storage.port import ByteRange, CopySource

REPLACE = (("x-amz-metadata-directive", "REPLACE"), ("x-amz-tagging-directive", "REPLACE"))
COPY_REFUSALS: Final = 3
"""An object whose copy failed this often inside the endpoint, each time right after its head was read, is streamed."""
_FAULTS: Final = (ServerFault, Throttled)
CHANGED_MEANWHILE = "the source changed while the endpoint copied it: what was written is not what was planned"


class Refused(NamedTuple):
    """The endpoint does not copy the object, or the part, though it answers other requests."""

    error: StoreError
    """The last refusal."""


class Refusals:
    """Counts how often the endpoint refused one copy. Used by one thread at a time."""

    def __init__(self) -> None:
        self._seen = 0

    def judged(self, error: StoreError) -> Refused:
        """Returns that the copy is refused for good, at once where the endpoint says so; until then raises *error*."""
        self._seen += 1
        if isinstance(error, FeatureUnsupported) or (isinstance(error, _FAULTS) and self._seen >= COPY_REFUSALS):
            return Refused(error)
        raise error


def copy_by_server(job: Job) -> Ended | Refused:
    """Copy one object by CopyObject. Raises its last StoreError, or Stopped."""
    write, refusals = GuardedWrite(job), Refusals()
    return job.attempt(lambda: _once(job, write, refusals))


def _once(job: Job, write: GuardedWrite, refusals: Refusals) -> Ended | Refused:
    route, entry = job.route, job.entry
    source = read_planned(route, entry)
    if not write.undisturbed():
        return write.judged(source, None)
    carried = carriage.write_headers(route, entry, source)
    try:
        answer = route.destination.copy(
            CopySource(route.source.bucket, entry.key, route.copied_pin(entry)),
            entry.target,
            [*carried.headers, *REPLACE],
            guard=write.guard,
        )
    except DestinationChanged as error:
        return write.refused(source, None, error)
    except StoreError as error:
        told = carriage.with_burden(error, entry, carried.headers) if isinstance(error, ServerFault) else error
        return refusals.judged(told)
    try:
        require_unchanged(route, entry, source.head)
    except ObjectChanged as error:
        return job.failed(error, CHANGED_MEANWHILE)
    version = job.version_of(answer)
    try:
        _check_copied(route, entry, source.head, etag=answer.etag)
        checksum = b""
    except DigestMismatch:
        checksum = read_to_compare(job, version)
        if not checksum:
            write.replace(job.etag_of(answer))
            raise
    tags = carried.tags_after
    if tags is not None:
        job.tools.shown(lambda: route.destination.put_tags(entry.target, tags, version_id=version))
    return job.copied(Stored(job.etag_of(answer), version, checksum))


def read_to_compare(job: Job, version: str | None) -> bytes:
    """The checksum of both sides' bytes if a read shows them equal: then an ETag was not an MD5. b'': they differ."""
    there = job.tools.shown(partial(job.route.destination.head, job.entry.target, version_id=version))
    if there.size != job.entry.size or not readable(there):
        return b""
    ours, theirs = read_both(job, there)
    return checksums.crc_bytes(ours) if ours is not None and ours == theirs else b""


def read_planned(route: Route, entry: Entry) -> Source:
    """The source object as it is now. Raises ObjectChanged when it is not the one that was planned, StoreErrors."""
    head = route.source.head(entry.key, version_id=entry.version_id, extra=route.read_extra)
    require_planned(entry, head)
    return carriage.read_source(route, entry, head)


def _check_copied(route: Route, entry: Entry, before: ObjectHead, *, etag: str) -> None:
    """Raises DigestMismatch when the answer's *etag* is not the source's MD5, where both should be."""
    expected = integrity.source_md5(before, route.source_facts)
    facts = route.destination_facts
    opaque = route.section.destination.sse_customer_key_env is not None or _encrypted_by_kms(route, before)
    if expected is not None and facts.enforces(Fact.ETAG_IS_MD5) and not opaque and etag != expected.hex():
        raise DigestMismatch(
            f"{entry.target!r}: the copy has ETag {etag}, the source {before.etag}; the copy is made again",
            operation="CopyObject",
            key=entry.target,
        )


def copy_part(job: Job, part: PartRange, upload_id: str, *, refusals: Refusals) -> PartRecord | Refused:
    """One part by UploadPartCopy; its checksum is not known here. Raises StoreErrors."""
    route, entry = job.route, job.entry
    source = CopySource(route.source.bucket, entry.key, route.copied_pin(entry, part=True))
    try:
        answer = route.destination.copy_part(
            source, part.of(entry.target, upload_id), span=ByteRange(part.start, part.length)
        )
    except StoreError as error:
        return refusals.judged(error)
    return PartRecord(part.number, answer.etag, b"", part.length)


def require_planned(entry: Entry, head: ObjectHead) -> None:
    """Raises ObjectChanged when *head* is not the source object that was planned."""
    other = entry.etag and head.etag is not None and head.etag != entry.etag
    if other or head.size != entry.size:
        raise ObjectChanged(
            f"{entry.key!r} changed at the source since the plan: ETag {head.etag}, {head.size} bytes",
            operation="HeadObject",
            key=entry.key,
            side=WhichSide.SOURCE,
        )


def require_unchanged(route: Route, entry: Entry, before: ObjectHead) -> None:
    """Raises ObjectChanged when the source is no longer what *before* says.

    Checked only where no request was pinned to the source; a version never changes. Raises StoreErrors.
    """
    pinned = Fact.COPY_SOURCE_IF_MATCH if route.is_whole(entry) else Fact.PART_COPY_SOURCE_IF_MATCH
    if entry.version_id or route.destination_facts.enforces(pinned):
        return
    now = route.source.head(entry.key)
    if (now.etag, now.size, now.last_modified) != (before.etag, before.size, before.last_modified):
        raise ObjectChanged(
            f"{entry.key!r} changed at the source while the endpoint copied it",
            operation="HeadObject",
            key=entry.key,
            side=WhichSide.SOURCE,
        )


def _encrypted_by_kms(route: Route, source: ObjectHead) -> bool:
    """The destination's ETag is not an MD5: the copy is KMS-encrypted, by the plan or by the bucket's default."""
    wanted = route.plan.preserve.encryption
    by_default = "kms" in route.destination_facts.setting(Setting.BUCKET_ENCRYPTION)
    kept = wanted.get("mode", "keep") == "keep" and source.headers.get("x-amz-server-side-encryption", "")
    return by_default or wanted.get("mode") == "sse-kms" or str(kept).startswith("aws:")
