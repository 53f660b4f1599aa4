"""Proving one object: heads compared field by field, bytes compared where asked for."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import NamedTuple

from executor.attempts import AttemptCounter
from executor.carry import carriage, integrity, readback
from executor.carry.carriage import Source
from executor.copy.reconcile import proven_equal
from executor.copy.whole import Tools
from executor.ledger.values import Completion
from executor.route import SectionRuntime, pin
from schema.errors import ObjectChanged, ObjectMissing, Scope, Stopped, StoreError
from schema.objects import ObjectHead
from schema.plan import Action, Entry
from schema.storage_classes import readable
from schema.tiers import WINDOW
from storage.port import HeaderList, ObjectStore, Pin


class Level(StrEnum):
    """How deep a proof goes."""

    LISTING = "listing"
    """LIST of both sides against plan and ledger: keys, sizes, ETags."""
    HEAD = "head"
    """HEAD of both sides: checksums, headers, metadata, tags, storage class."""
    CONTENT = "content"
    """Both sides read and hashed, and all of HEAD."""


class _Seen(NamedTuple):
    """An object as one request showed it."""

    head: ObjectHead
    crc: int | None
    """CRC64NVME of its bytes, where they came with the head."""


class _Pair(NamedTuple):
    """Both sides of an object."""

    found: list[str]
    """What their heads alone say is wrong."""
    source: Source | None = None
    there: ObjectHead | None = None
    """None, both: not the objects that are to be compared."""
    crcs: tuple[int | None, int | None] = (None, None)


class Proof(NamedTuple):
    """What was found of one object."""

    differences: tuple[str, ...]
    """In words; empty: as it should be."""
    unread: str = ""
    """Level content, an object in an archive: what was not read, and what stands in for it. '' when all was read."""


def prove_object(
    section: SectionRuntime, entry: Entry, completion: Completion | None, level: Level, tools: Tools
) -> Proof:
    """What is wrong with *entry* at the destination, and what could not be read.

    Passing errors are waited out, throttling without end. Raises StoreErrors but 404 and 412, and Stopped.
    """

    def tell(_error: StoreError, _attempt: int) -> None:
        """Nobody is told: what counts is whether it can be proven in the end."""

    if entry.action is Action.DELETE_MARKER:
        return Proof(tools.retrier.run(lambda: _marked(section, entry, completion), AttemptCounter(), tell))
    if entry.action is Action.DELETE:
        return Proof(tools.retrier.run(lambda: _absent(section, entry), AttemptCounter(), tell))
    pair = tools.retrier.run(lambda: _look_at_both(section, entry, completion, level, tools), AttemptCounter(), tell)
    found, unread = pair.found, ""
    if pair.source is not None and pair.there is not None and not any(f.startswith("size:") for f in found):
        more, unread = _bytes(section, entry, pair.source.head, pair.there, pair.crcs, completion, level, tools)
        found += more
    return Proof(tuple(dict.fromkeys(found)), unread)


def _look(
    store: ObjectStore, key: str, size: int, version: str | None, extra: HeaderList, level: Level, tools: Tools
) -> _Seen:
    """The object's head; at level content a small one is read for it, which is one request instead of two."""
    if level is Level.CONTENT and size <= min(WINDOW, tools.buffers.budget.total):
        view = tools.buffers.take(size or 1, tools.gave_up)
        if view is None:
            raise Stopped("stopped while reading back")
        try:
            body = view[:size]
            head = store.get(key, body, pin=Pin(version_id=version), extra=extra)
            return _Seen(head, integrity.crc64nvme(body))
        except StoreError as error:
            if isinstance(error, ObjectMissing) or error.retryable or error.scope is Scope.RUN:
                raise
            # In an archive, or of another size: its head tells which.
        finally:
            tools.buffers.give(view)
    return _Seen(store.head(key, version_id=version, extra=extra), None)


def _look_at_both(
    section: SectionRuntime, entry: Entry, completion: Completion | None, level: Level, tools: Tools
) -> _Pair:
    try:
        here = _look(section.source, entry.key, entry.size, entry.version_id, section.read_extra, level, tools)
    except ObjectMissing:
        return _Pair(["gone from the source since it was copied"])
    if entry.etag and here.head.etag != entry.etag:
        return _Pair([f"changed at the source since the plan (ETag {here.head.etag}, planned {entry.etag})"])
    version = completion.destination_version if completion is not None else None
    extra = section.destination_read_extra
    try:
        there, crc = _look(section.destination, entry.target, entry.size, version, extra, level, tools)
    except ObjectMissing:
        return _Pair(["missing at the destination"])
    source = carriage.read_source(section, entry, here.head)
    found = [
        f"{d.field}: source {d.source!r}, destination {d.destination!r}"
        for d in carriage.attribute_differences(section, entry, source, there)
    ]
    if completion is not None and completion.destination_etag and there.etag != completion.destination_etag:
        found.append(f"etag: {there.etag} at the destination, {completion.destination_etag} when it was copied")
    return _Pair(found, source, there, (here.crc, crc))


def _bytes(
    section: SectionRuntime,
    entry: Entry,
    source: ObjectHead,
    there: ObjectHead,
    first: tuple[int | None, int | None],
    completion: Completion | None,
    level: Level,
    tools: Tools,
) -> Proof:
    """*first*: the CRCs found with the heads, if they were."""
    recorded = completion.checksum if completion is not None else b""
    crc = int.from_bytes(recorded, "big") if recorded else None
    if proven_equal(section, source, there, crc) is False:
        return Proof(("content: the heads name different bytes",))
    if level is not Level.CONTENT:
        return Proof(())
    read = partial(readback.crc_of, buffers=tools.buffers, stop=tools.gave_up, again=tools.again)

    readings = [] if None in first else [first]

    def both() -> tuple[int | None, int | None]:
        if readings:
            return readings.pop()
        mine = read(section.source, entry.key, entry.size, pin(entry)) if readable(source) else None
        if not readable(there):
            return mine, None
        return mine, read(section.destination, entry.target, there.size, Pin(there.etag, there.version_id))

    ours, theirs = readback.settled(both, lambda pair: len({seen for seen in (*pair, crc) if seen is not None}) <= 1)
    if ours is not None and theirs is not None and ours != theirs:
        return Proof((f"content: CRC64NVME source {_text(ours)}, destination {_text(theirs)}",))
    for side, seen in (("source", ours), ("destination", theirs)):
        if crc is not None and seen is not None and crc != seen:
            return Proof((f"content: the ledger recorded CRC64NVME {_text(crc)}, the {side} has {_text(seen)}",))
    if ours is not None and theirs is not None:
        return Proof(())
    known = crc if ours is None else ours
    if known is not None and proven_equal(section, source, there, known) is False:
        return Proof(("content: the destination's head names other bytes than the source holds",))
    return Proof((), _unread(section, source, there, known, theirs))


def _unread(
    section: SectionRuntime, source: ObjectHead, there: ObjectHead, known: int | None, theirs: int | None
) -> str:
    """What lies in an archive, and how far the object is proven without reading it."""
    sealed = [(side, head) for side, head in (("source", source), ("destination", there)) if not readable(head)]
    where = " and ".join(f"{side} ({head.storage_class})" for side, head in sealed)
    if theirs is not None and known is not None:
        proof = "the destination's content is what was read when it was copied"
    elif proven_equal(section, source, there, known):
        proof = "proven by checksum"
    else:
        proof = "proven by head only: size, attributes, and the ETag that the write was answered with"
    return f"content not readable in the archive: {where}; {proof}"


def _text(crc: int) -> str:
    return integrity.crc_text(crc)


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
