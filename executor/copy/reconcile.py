"""How to judge an object at the destination that the plan did not expect.

It may be our own write whose answer was lost, the write of a process that was killed before its flush, or
somebody else's. Only proof of equal bytes and attributes makes it ours; anything else is left untouched.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from executor.carry import carriage, integrity, readback
from executor.carry.carriage import Source
from executor.copy.job import Ended, Job, Stored
from executor.route import Route
from schema import checksums
from schema.errors import ObjectMissing
from schema.facts import Fact
from schema.objects import ObjectHead
from schema.storage_classes import readable


class _Compared(NamedTuple):
    """The bytes of both sides."""

    difference: str
    """'' when the cheapest proof available finds none."""
    crc: int | None
    """The source's CRC64NVME, where it was read."""


def reconcile(job: Job, source: Source, crc: int | None = None) -> Ended | None:
    """Already there when the destination's object is proven to be the job's, a conflict when it is not.

    None when the destination holds nothing: the write may be tried again. *crc*: the source's CRC64NVME where it was
    read before. Raises StoreErrors.
    """
    route, entry = job.route, job.entry
    try:
        head = route.destination.head(entry.target, extra=route.destination_read_extra)
    except ObjectMissing:
        return None
    difference, crc = _compare_bytes(job, source.head, head, crc=crc)
    if not difference:
        found = carriage.attribute_differences(route, entry, source, there=head)
        due = carriage.write_headers(route, entry, source).tags_after if found else None
        if due is not None and all(d.field.startswith("tag:") for d in found):
            # PutObjectTagging follows the PUT where tags do not fit its header: the process may have been killed
            # between.
            route.destination.put_tags(entry.target, due)
            found = []
        difference = ", ".join(d.field for d in found)
    checksum = checksums.crc_bytes(crc) if crc is not None else b""
    stored = Stored(head.etag or "", route.version(head.version_id), checksum)
    return job.conflict(difference, stored) if difference else job.already_there(stored)


def look_and_reconcile(job: Job) -> Ended | None:
    """The same, after a HEAD of the source."""
    route, entry = job.route, job.entry
    head = route.source.head(entry.key, version_id=entry.version_id, extra=route.read_extra)
    return reconcile(job, carriage.read_source(route, entry, head))


def _compare_bytes(job: Job, source: ObjectHead, there: ObjectHead, *, crc: int | None) -> _Compared:
    """Reads no more than the proof needs."""
    route, entry = job.route, job.entry
    if there.size != entry.size:
        return _Compared(f"size {there.size}", crc)
    proof = proven_equal(route, source, there, crc=crc)
    if proof is not None and (proof or job.read_as is None):
        return _Compared("" if proof else "content", crc)

    if not readable(there):
        known = _read(job, readback.at_source(route, entry)) if crc is None else crc
        proof = proven_equal(route, source, there, crc=known)
        why = "content, which cannot be read in the archive" if proof is None else "content"
        return _Compared("" if proof else why, known)
    ours, other = read_both(job, there, crc=crc)
    return _Compared("" if ours == other else "content", ours)


def _read(job: Job, what: readback.Reading) -> int:
    return readback.crc_of(what, job.tools.buffers, job.tools.gave_up, within=job.scratch)


def read_both(job: Job, there: ObjectHead, *, crc: int | None = None) -> readback.Crcs:
    """The CRC64NVME of the source's bytes and of those *there* at the destination. Raises StoreErrors, or Stopped.

    *crc*: the source's where it was read before, which counts as its first reading.
    """
    ends = readback.at_source(job.route, job.entry), readback.at_destination(job.route, job.entry, there)
    return readback.crcs_of_both(*ends, partial(_read, job), first=(crc, None))


def proven_equal(route: Route, source: ObjectHead, destination: ObjectHead, *, crc: int | None) -> bool | None:
    """Whether two heads prove equal or different bytes; None: they prove nothing.

    *crc*: the source's CRC64NVME where its bytes were read.
    """
    ours = integrity.source_md5(source, route.source_facts)
    facts = route.destination_facts
    theirs = integrity.source_md5(destination, facts) if facts.enforces(Fact.ETAG_IS_MD5) else None
    if ours is not None and theirs is not None:
        return ours == theirs
    by_parts = route.destination_facts.enforces(Fact.MULTIPART_ETAG)
    if by_parts and source.in_parts and source.etag == destination.etag:
        return True  # an MD5 over the MD5s of parts: the same bytes, cut alike
    stated = integrity.full_object_checksum(destination.headers)
    if stated is not None:
        if stated[0] is checksums.FINGERPRINT and crc is not None:
            return stated[1] == checksums.crc_text(crc)
        mine = source.headers.get(stated[0].header)
        if mine and "-" not in mine:
            return mine == stated[1]
    return None
