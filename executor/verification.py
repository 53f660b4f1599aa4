"""Proving one object: heads compared field by field, bytes compared where asked for."""

from __future__ import annotations

from enum import StrEnum

from executor import carriage, content, integrity
from executor.carriage import Source
from executor.ledger_types import Completion
from executor.reconcile import proven_equal
from executor.retries import AttemptCounter
from executor.section import SectionRuntime, pin
from executor.transfer import Tools
from schema.errors import ObjectChanged, ObjectMissing, StoreError
from schema.objects import ObjectHead
from schema.plan import Action, Entry
from storage.port import Pin


class Level(StrEnum):
    """How deep a proof goes."""

    LISTING = "listing"
    """LIST of both sides against plan and ledger: keys, sizes, ETags."""
    HEAD = "head"
    """HEAD of both sides: checksums, headers, metadata, tags, storage class."""
    CONTENT = "content"
    """Both sides read and hashed, and all of HEAD."""


def object_differences(
    section: SectionRuntime, entry: Entry, completion: Completion | None, level: Level, tools: Tools
) -> tuple[str, ...]:
    """What is wrong with *entry* at the destination, in words; empty: proven.

    Passing errors are waited out, throttling without end. Raises StoreErrors but 404 and 412, and Stopped.
    """

    def tell(_error: StoreError, _attempt: int) -> None:
        """Nobody is told: what counts is whether it can be proven in the end."""

    if entry.action is Action.DELETE_MARKER:
        return tools.retrier.run(lambda: _marked(section, entry, completion), AttemptCounter(), tell)
    if entry.action is Action.DELETE:
        return tools.retrier.run(lambda: _absent(section, entry), AttemptCounter(), tell)
    found, source, there = tools.retrier.run(lambda: _heads(section, entry, completion), AttemptCounter(), tell)
    if source is not None and there is not None and not any(f.startswith("size:") for f in found):
        found += _bytes(section, entry, source, there, completion, level, tools)
    return tuple(dict.fromkeys(found))


def _heads(
    section: SectionRuntime, entry: Entry, completion: Completion | None
) -> tuple[list[str], Source | None, ObjectHead | None]:
    """What the heads alone say is wrong, and the heads where both are the planned objects'."""
    try:
        head = section.source.head(entry.key, version_id=entry.version_id, extra=section.read_extra)
    except ObjectMissing:
        return ["gone from the source since it was copied"], None, None
    if entry.etag and head.etag != entry.etag:
        return [f"changed at the source since the plan (ETag {head.etag}, planned {entry.etag})"], None, None
    version = completion.destination_version if completion is not None else None
    try:
        there = section.destination.head(entry.target, version_id=version, extra=section.destination_read_extra)
    except ObjectMissing:
        return ["missing at the destination"], None, None
    source = carriage.read_source(section, entry, head)
    found = [
        f"{d.field}: source {d.source!r}, destination {d.destination!r}"
        for d in carriage.attribute_differences(section, entry, source, there)
    ]
    if completion is not None and completion.destination_etag and there.etag != completion.destination_etag:
        found.append(f"etag: {there.etag} at the destination, {completion.destination_etag} when it was copied")
    return found, source, there


def _bytes(
    section: SectionRuntime,
    entry: Entry,
    source: Source,
    there: ObjectHead,
    completion: Completion | None,
    level: Level,
    tools: Tools,
) -> list[str]:
    recorded = completion.checksum if completion is not None else b""
    crc = int.from_bytes(recorded, "big") if recorded else None
    if proven_equal(section, source.head, there, crc) is False:
        return ["content: the heads name different bytes"]
    if level is not Level.CONTENT:
        return []
    ours = content.crc_of(
        section.source, entry.key, entry.size, pin(entry), tools.buffers, tools.gave_up, again=tools.again
    )
    theirs = content.crc_of(
        section.destination,
        entry.target,
        there.size,
        Pin(there.etag, there.version_id),
        tools.buffers,
        tools.gave_up,
        again=tools.again,
    )
    if ours != theirs:
        names = f"source {integrity.crc_text(ours)}, destination {integrity.crc_text(theirs)}"
        return [f"content: CRC64NVME {names}"]
    if crc is not None and crc != ours:
        return [f"content: the ledger recorded CRC64NVME {integrity.crc_text(crc)}, both sides have another"]
    return []


def _marked(section: SectionRuntime, entry: Entry, completion: Completion | None) -> tuple[str, ...]:
    """A delete marker answers neither GET nor HEAD; its place in the history is proven by the listing."""
    version = completion.destination_version if completion is not None else None
    if version is None:
        return ()
    try:
        section.destination.head(entry.target, version_id=version)
    except (ObjectMissing, ObjectChanged):
        return ()
    return ("an object where a delete marker was laid",)


def _absent(section: SectionRuntime, entry: Entry) -> tuple[str, ...]:
    try:
        section.destination.head(entry.target)
    except (ObjectMissing, ObjectChanged):
        return ()
    return ("still at the destination after its delete",)
