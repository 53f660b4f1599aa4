"""One whole object: pinned GET into memory, proof, guarded PUT with everything it carries, receipt."""

from __future__ import annotations

from executor.carry import carriage, integrity
from executor.carry.integrity import Stated, WriteProof
from executor.copy.guarded import GuardedWrite
from executor.copy.job import Ended, Job, Stored
from schema import checksums
from schema.attributes.attribute import Outgoing
from schema.errors import DestinationChanged, DigestMismatch, ServerFault
from schema.objects import ObjectHead, WriteResult


def copy_whole(job: Job) -> Ended:
    """Copy one object that fits into memory. Raises its last StoreError, or Stopped."""
    view = job.tools.take(job.entry.size or 1)
    write = GuardedWrite(job)
    job.scratch = view
    try:
        body = view[: job.entry.size]
        return job.attempt(lambda: _once(job, write, body))
    finally:
        job.scratch = None
        job.tools.buffers.give(view)


def _once(job: Job, write: GuardedWrite, body: memoryview) -> Ended:
    route, entry = job.route, job.entry
    head = route.source.get(entry.key, body, pin=route.pin(entry), extra=route.read_extra)
    stated = integrity.stated(head, route.source_facts)
    if job.read_as is not None and job.read_as == checksums.md5(body):
        stated = stated._replace(md5=None)
    try:
        return _written(job, write, body, head=head, stated=stated)
    except DigestMismatch:
        if stated.md5 is not None and (read := checksums.md5(body)) != stated.md5:
            job.read_as = read
        raise


def _written(job: Job, write: GuardedWrite, body: memoryview, *, head: ObjectHead, stated: Stated) -> Ended:
    """Prove and write *body*, of which the source's *head* has *stated* so much."""
    route, entry = job.route, job.entry
    source = carriage.read_source(route, entry, head)
    proof = integrity.prove_whole(
        body, stated, route.destination_facts, key=entry.key, keep_checksum=route.plan.preserve.checksums
    )
    carried = carriage.write_headers(route, entry, source)
    if not write.undisturbed():
        return write.judged(source, integrity.proven_crc(body, proof))
    sent = [*carried.headers, *proof.headers]
    sent += integrity.lock_headers(body, proof, carried.headers, facts=route.destination_facts)
    try:
        answer = route.destination.put(entry.target, body, sent, guard=write.guard)
    except DestinationChanged as error:
        return write.refused(source, integrity.proven_crc(body, proof), error)
    except ServerFault as error:
        raise carriage.with_burden(error, entry, carried.headers) from None
    return conclude(job, write, answer, carried=carried, proof=proof)


def conclude(job: Job, write: GuardedWrite, answer: WriteResult, *, carried: Outgoing, proof: WriteProof) -> Ended:
    """What follows a PUT that was answered: the answer checked, tags that had to wait, the object's end.

    Raises StoreErrors; after a DigestMismatch the next attempt replaces what is there now.
    """
    route, entry = job.route, job.entry
    try:
        integrity.check_written(answer, proof, route.destination_facts, key=entry.target)
    except DigestMismatch:
        write.replace(job.etag_of(answer))
        raise
    version = job.version_of(answer)
    tags = carried.tags_after
    if tags is not None:
        job.tools.shown(lambda: route.destination.put_tags(entry.target, tags, version_id=version))
    return job.copied(Stored(job.etag_of(answer), version, checksums.crc_bytes(proof.crc64nvme)))
