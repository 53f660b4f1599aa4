"""What to make of an object that is at the destination although the plan did not expect it.

It may be our own write whose answer was lost, the write of a process that was killed before its flush, or
somebody else's. Only proof of equal bytes and attributes makes it ours; anything else is left untouched.
"""

from __future__ import annotations

from collections.abc import Callable

from executor.carry import carriage, integrity, readback
from executor.carry.carriage import Source
from executor.ledger.values import Completion, Outcome
from executor.machine.buffers import BufferPool
from executor.route import SectionRuntime, pin
from schema.errors import ObjectMissing
from schema.objects import ObjectHead
from schema.plan import Entry
from schema.storage_classes import readable
from storage.port import Pin


def reconcile(
    section: SectionRuntime,
    entry: Entry,
    source: Source,
    crc: int | None,
    batch_no: int,
    ord: int,
    buffers: BufferPool,
    stop: Callable[[], bool],
) -> tuple[Completion | None, str]:
    """ALREADY_THERE when the destination's object is proven to be *entry*'s, CONFLICT when it is not.

    (None, '') when the destination holds nothing: the write may be tried again. The text names what differs.
    *crc* is the source's CRC64NVME where it was read already. Raises StoreErrors.
    """
    try:
        head = section.destination.head(entry.target, extra=section.destination_read_extra)
    except ObjectMissing:
        return None, ""
    difference, crc = _different_bytes(section, entry, source, head, crc, buffers, stop)
    if not difference:
        found = carriage.attribute_differences(section, entry, source, head)
        due = carriage.write_headers(section, entry, source).tags_after if found else None
        if due is not None and all(d.field.startswith("tag:") for d in found):
            # PutObjectTagging follows the PUT where tags do not fit its header: a kill may have come between.
            section.destination.put_tags(entry.target, due)
            found = []
        difference = ", ".join(d.field for d in found)
    outcome = Outcome.CONFLICT if difference else Outcome.ALREADY_THERE
    checksum = integrity.crc_bytes(crc) if crc is not None else b""
    completion = Completion(
        batch_no, ord, outcome, 1, entry.size, head.etag, checksum, section.version(head.version_id)
    )
    return completion, difference


def _different_bytes(
    section: SectionRuntime,
    entry: Entry,
    source: Source,
    head: ObjectHead,
    crc: int | None,
    buffers: BufferPool,
    stop: Callable[[], bool],
) -> tuple[str, int | None]:
    """What differs, '' when nothing does by the cheapest proof there is; and the bytes' CRC64NVME where it is known."""
    if head.size != entry.size:
        return f"size {head.size}", crc
    proof = proven_equal(section, source.head, head, crc)
    if proof is None:
        if crc is None:
            crc = readback.crc_of(section.source, entry.key, entry.size, pin(entry), buffers, stop)
        if not readable(head):
            proof = proven_equal(section, source.head, head, crc)
            why = "content, which cannot be read in the archive" if proof is None else "content"
            return "" if proof else why, crc
        given = [crc]

        def mine() -> int:
            """What the transfer read, once; then what is read now."""
            if given:
                return given.pop()
            return readback.crc_of(section.source, entry.key, entry.size, pin(entry), buffers, stop)

        def theirs() -> int:
            return readback.crc_of(section.destination, entry.target, head.size, Pin(head.etag, None), buffers, stop)

        crc, there = readback.settled(lambda: (mine(), theirs()), lambda pair: pair[0] == pair[1])
        proof = crc == there
    return "" if proof else "content", crc


def proven_equal(section: SectionRuntime, source: ObjectHead, destination: ObjectHead, crc: int | None) -> bool | None:
    """Whether two heads prove equal or different bytes; None: they prove nothing."""
    ours = integrity.source_md5(source, section.source_facts)
    facts = section.destination_facts
    theirs = integrity.source_md5(destination, facts) if facts.enforces("etag_is_md5") else None
    if ours is not None and theirs is not None:
        return ours == theirs
    by_parts = section.destination_facts.enforces("multipart_etag")
    if by_parts and "-" in source.etag and source.etag == destination.etag:
        return True  # an MD5 over the MD5s of parts: the same bytes, cut alike
    stated = integrity.full_object_checksum(destination.headers)
    if stated is not None:
        if stated[0] is integrity.Algorithm.CRC64NVME and crc is not None:
            return stated[1] == integrity.crc_text(crc)
        mine = source.headers.get(stated[0].header)
        if mine and "-" not in mine:
            return mine == stated[1]
    return None
