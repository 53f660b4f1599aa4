"""Proving one object: heads compared field by field, bytes compared where asked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from functools import partial
from typing import NamedTuple

from executor.carry import carriage, readback
from executor.carry.attributes import SIZE
from executor.carry.carriage import AskTags, Source
from executor.carry.readback import Crcs
from executor.copy.job import Tools
from executor.copy.reconcile import proven_equal
from executor.ledger.values import Completion
from executor.route import Route
from schema import checksums
from schema.errors import ObjectChanged, ObjectMissing, Scope, Stopped, StoreError
from schema.objects import ObjectHead
from schema.plan import Action, Entry
from schema.storage_classes import readable
from schema.tiers import WINDOW
from storage.port import HeaderList, ObjectStore, Pin


class Depth(StrEnum):
    """How deep a proof goes."""

    LISTING = "listing"
    """LIST of both sides against plan and ledger: keys, sizes, ETags."""
    HEAD = "head"
    """HEAD of both sides: checksums, headers, metadata, tags, storage class."""
    CONTENT = "content"
    """Both sides read and hashed, and all of HEAD."""


class Differs(Enum):
    """What of an object differs."""

    OBJECT = auto()
    """Another object, or none, is in its place."""
    BYTES = auto()
    """Other bytes than at the source, or than the ledger recorded."""
    ATTRIBUTE = auto()


class ObjectFinding(NamedTuple):
    """One difference."""

    what: Differs
    text: str


class _Seen(NamedTuple):
    """An object as one request showed it."""

    head: ObjectHead
    crc: int | None
    """CRC64NVME of its bytes, where they came with the head."""


class _Pair(NamedTuple):
    """Both sides of an object."""

    found: list[ObjectFinding]
    """The differences between their heads."""
    source: Source | None = None
    there: ObjectHead | None = None
    """Both None: these are not the objects to be compared."""
    crcs: Crcs = (None, None)
    """Found with the heads, if they were."""


class _Whole(NamedTuple):
    """An object to look at."""

    key: str
    size: int
    version: str | None
    extra: HeaderList


class _Known(NamedTuple):
    """CRC64NVMEs known before anything is read for them."""

    recorded: int | None
    """The ledger's."""
    first: Crcs


class Proof(NamedTuple):
    """What was found of one object."""

    differences: tuple[ObjectFinding, ...]
    unread: str = ""
    """Depth content, an object in an archive: what was not read, and what stands in for it. '' when all was read."""
    there: ObjectHead | None = None
    """The destination's head, where one was seen."""
    crc: int | None = None
    """Depth content: CRC64NVME of the bytes that both sides were read to hold."""

    @property
    def bytes_differ(self) -> bool:
        """Whether other bytes are there than at the source, or than the ledger recorded."""
        return any(found.what is Differs.BYTES for found in self.differences)

    @property
    def text(self) -> str:
        """The differences as one line; '' when there are none."""
        return "; ".join(found.text for found in self.differences)


@dataclass(frozen=True, slots=True)
class ObjectProver:
    """Proves objects that travelled by *route*, each at the same *level*."""

    route: Route
    level: Depth
    tools: Tools

    def prove(self, entry: Entry, row: Completion | None) -> Proof:
        """What is wrong with *entry* at the destination, and what could not be read. *row*: the ledger's, if any.

        Transient errors are retried, throttling without limit. Raises StoreErrors other than 404 and 412, and Stopped.
        """
        again = self.tools.again
        if entry.action is Action.DELETE_MARKER:
            return Proof(again(partial(_marked, self.route, entry, row)))
        if entry.action is Action.DELETE:
            return Proof(again(partial(_absent, self.route, entry)))
        pair = again(partial(self._look_at_both, entry, row))
        found, bytes_ = pair.found, Proof(())
        if pair.source is not None and pair.there is not None and pair.source.head.size == pair.there.size:
            recorded = row.checksum if row is not None else b""
            crc = int.from_bytes(recorded, "big") if recorded else None
            bytes_ = self._bytes(entry, pair.source.head, pair.there, known=_Known(crc, pair.crcs))
            found += bytes_.differences
        return bytes_._replace(differences=tuple(dict.fromkeys(found)), there=pair.there)

    def _look_at_both(self, entry: Entry, row: Completion | None) -> _Pair:
        route = self.route
        try:
            here = self._look(route.source, _Whole(entry.key, entry.size, entry.version_id, route.read_extra))
        except ObjectMissing:
            return _Pair([_other("gone from the source since it was copied")])
        if entry.etag and here.head.etag is not None and here.head.etag != entry.etag:
            changed = f"changed at the source since the plan (ETag {here.head.etag}, planned {entry.etag})"
            return _Pair([_other(changed)])
        version = row.destination_version if row is not None else None
        copy = _Whole(entry.target, entry.size, version, route.destination_read_extra)
        try:
            there, crc = self.tools.shown(partial(self._look, route.destination, copy))
        except ObjectMissing:
            return _Pair([_other("missing at the destination")])
        ask = AskTags.UNLESS_RULED_OUT if self.level is Depth.CONTENT else AskTags.WHERE_SHOWN
        source = carriage.read_source(route, entry, here.head, ask=ask)
        found = [
            ObjectFinding(
                Differs.BYTES if d.field == SIZE else Differs.ATTRIBUTE,
                f"{d.field}: source {d.source!r}, destination {d.destination!r}",
            )
            for d in carriage.attribute_differences(route, entry, source, there=there)
        ]
        recorded = row.destination_etag if row is not None else ""
        if recorded and there.etag is not None and there.etag != recorded:
            text = f"etag: {there.etag} at the destination, {recorded} when it was copied"
            found.append(ObjectFinding(Differs.BYTES, text))
        return _Pair(found, source, there, (here.crc, crc))

    def _look(self, store: ObjectStore, whole: _Whole) -> _Seen:
        """The object's head; at level content a small object is read instead, which saves a request."""
        buffers = self.tools.buffers
        if self.level is Depth.CONTENT and whole.size <= min(WINDOW, buffers.budget.total):
            view = buffers.take(whole.size or 1, self.tools.gave_up)
            if view is None:
                raise Stopped("stopped while reading back")
            try:
                body = view[: whole.size]
                head = store.get(whole.key, body, pin=Pin(version_id=whole.version), extra=whole.extra)
                return _Seen(head, checksums.crc64nvme(body))
            except StoreError as error:
                if isinstance(error, ObjectMissing) or error.retryable or error.scope is Scope.RUN:
                    raise
                # In an archive, or of another size: its head tells which.
            finally:
                buffers.give(view)
        return _Seen(store.head(whole.key, version_id=whole.version, extra=whole.extra), None)

    def _bytes(self, entry: Entry, source: ObjectHead, there: ObjectHead, *, known: _Known) -> Proof:
        route, crc = self.route, known.recorded
        differ = proven_equal(route, source, there, crc=crc) is False
        if differ and not (readable(source) and readable(there)):
            return _other_bytes("the heads name different bytes")
        if self.level is not Depth.CONTENT and not differ:
            return Proof(())
        # Heads that name different bytes are not believed without a read: some ETags look like MD5s but are not.
        version = route.version(there.version_id)
        ours, theirs = readback.crcs_of_both(
            readback.at_source(route, entry) if readable(source) else None,
            readback.at_destination(route, entry, there, version_id=version) if readable(there) else None,
            self.tools.read_back,
            first=known.first,
            recorded=crc,
        )
        if ours is not None and theirs is not None and ours != theirs:
            return _other_bytes(f"CRC64NVME source {_text(ours)}, destination {_text(theirs)}")
        for side, seen in (("source", ours), ("destination", theirs)):
            if crc is not None and seen is not None and crc != seen:
                return _other_bytes(f"the ledger recorded CRC64NVME {_text(crc)}, the {side} has {_text(seen)}")
        if ours is not None and theirs is not None:
            return Proof((), crc=theirs)
        of_source = crc if ours is None else ours
        if of_source is not None and proven_equal(route, source, there, crc=of_source) is False:
            return _other_bytes("the destination's head names other bytes than the source holds")
        if theirs is not None and of_source is not None:
            return Proof((), _unread(source, there, "the destination's content is what was read when it was copied"))
        if proven_equal(route, source, there, crc=of_source):
            return Proof((), _unread(source, there, "proven by checksum"))
        proof = "proven by head only: size, attributes, and the ETag that the write was answered with"
        return Proof((), _unread(source, there, proof))


def _unread(source: ObjectHead, there: ObjectHead, proof: str) -> str:
    """What lies in an archive, and how far the object is proven without reading it."""
    sealed = [(side, head) for side, head in (("source", source), ("destination", there)) if not readable(head)]
    where = " and ".join(f"{side} ({head.storage_class})" for side, head in sealed)
    return f"content not readable in the archive: {where}; {proof}"


def _text(crc: int) -> str:
    return checksums.crc_text(crc)


def _other(text: str) -> ObjectFinding:
    return ObjectFinding(Differs.OBJECT, text)


def _other_bytes(text: str) -> Proof:
    return Proof((ObjectFinding(Differs.BYTES, f"content: {text}"),))


def _marked(route: Route, entry: Entry, row: Completion | None) -> tuple[ObjectFinding, ...]:
    """A delete marker answers neither GET nor HEAD; its place in the history is proven by the listing."""
    version = row.destination_version if row is not None else None
    if version is None:
        return ()
    try:
        route.destination.head(entry.target, version_id=version)
    except (ObjectMissing, ObjectChanged):
        return ()
    return (_other("an object where a delete marker was laid"),)


def _absent(route: Route, entry: Entry) -> tuple[ObjectFinding, ...]:
    try:
        route.destination.head(entry.target)
    except (ObjectMissing, ObjectChanged):
        return ()
    return (_other("still at the destination after its delete"),)
