"""One section opened for copying: the stores of both sides, and what the plan's probe found of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from schema.attributes.attribute import Kept, WriteRequest
from schema.attributes.every import kept
from schema.ends import endpoint_of
from schema.facts import Capabilities, Fact
from schema.plan import (
    Action,
    Batch,
    Entry,
    Method,
    Plan,
    Section,
    is_one_copy,
    is_single_put,
    keeps_layout,
    takes_single_puts,
)
from schema.tiers import SINGLE_PUT_MAX, WHOLE_MAX, copied_part_size, part_size
from storage.port import Guard, HeaderList, ObjectStore, Pin

# Looked up once per object, where a member of an enum class is too slow to reach.
_CHECKSUMS_RETURNED: Final = Fact.CHECKSUMS_RETURNED
_COPY_IF_NONE_MATCH: Final = Fact.COPY_IF_NONE_MATCH
_COPY_IF_MATCH: Final = Fact.COPY_IF_MATCH
_COPY_SOURCE_IF_MATCH: Final = Fact.COPY_SOURCE_IF_MATCH
_PART_COPY_SOURCE_IF_MATCH: Final = Fact.PART_COPY_SOURCE_IF_MATCH
_GET_IF_MATCH: Final = Fact.GET_IF_MATCH
_IF_NONE_MATCH: Final = Fact.IF_NONE_MATCH
_IF_MATCH: Final = Fact.IF_MATCH
_COMPLETE_IF_NONE_MATCH: Final = Fact.COMPLETE_IF_NONE_MATCH
_COMPLETE_IF_MATCH: Final = Fact.COMPLETE_IF_MATCH
_VERSIONING: Final = Fact.VERSIONING

MOST_FAILURES: Final = 3
"""After so many objects that one PUT was not the way for, all go in parts."""
CHECKSUM_MODE: HeaderList = (("x-amz-checksum-mode", "ENABLED"),)


class SinglePuts:
    """Up to which size a destination takes what is too big to be held in one PUT, as far as this process has seen.

    Used by many threads: at worst an object more is refused, and goes in parts.
    """

    def __init__(self, most: int = SINGLE_PUT_MAX) -> None:
        self.most = most
        self._failures = 0

    def bound(self, most: int) -> None:
        """More than *most* bytes are refused."""
        self.most = min(self.most, most)

    def close(self) -> None:
        """No such PUT is taken."""
        self.most = 0

    def failed(self) -> None:
        """One object had to go in parts, for a reason that may be its own: unless others follow it."""
        self._failures += 1
        if self._failures >= MOST_FAILURES:
            self.close()


@dataclass(frozen=True, slots=True)
class Route:
    """What a copy needs to know besides the entry itself."""

    plan: Plan
    section: Section
    source: ObjectStore
    destination: ObjectStore
    budget: int
    """Bytes of object buffers of this process."""
    server_copy: bool = False
    """The plan chose to copy the objects at hand inside the endpoint (see for_batch)."""
    single_puts: SinglePuts = field(default_factory=SinglePuts, compare=False)
    """What was learned in this run, shared by all routes to one destination."""
    kept: Kept = field(init=False)
    """What travels besides the bytes."""

    def __post_init__(self) -> None:
        customer_key = self.section.destination.sse_customer_key_env is not None
        section = self.section
        facts, source = section.destination_capabilities, section.source_capabilities
        made = kept(self.plan.preserve, facts, source=source, customer_key=customer_key)
        object.__setattr__(self, "kept", made)

    def for_batch(self, batch: Batch) -> Route:
        """The same for the objects of *batch*, which travel by its method."""
        return replace(self, server_copy=batch.method is Method.SERVER_COPY)

    def source_key_of(self, target: str) -> str | None:
        """The source's key for the destination's key *target*; None where more than prefixes are rewritten."""
        source, destination = self.section.source.prefix, self.section.destination.prefix
        rewritten = [(destination + key[len(source) :], target) for key, target in self.section.mapping_examples]
        if not target.startswith(destination) or any(plain != mapped for plain, mapped in rewritten):
            return None
        return source + target[len(destination) :]

    @property
    def source_facts(self) -> Capabilities:
        """What the source was seen to do."""
        return self.section.source_capabilities

    @property
    def destination_facts(self) -> Capabilities:
        """What the destination was seen to enforce."""
        return self.section.destination_capabilities

    @property
    def read_extra(self) -> HeaderList:
        """Headers of a HEAD or a whole GET at the source."""
        return CHECKSUM_MODE if self.source_facts.enforces(_CHECKSUMS_RETURNED) else ()

    @property
    def destination_read_extra(self) -> HeaderList:
        """Headers of a HEAD at the destination."""
        return CHECKSUM_MODE if self.destination_facts.enforces(_CHECKSUMS_RETURNED) else ()

    def is_whole(self, entry: Entry) -> bool:
        """True: the object is held while it crosses in one GET and one PUT (or it does so in one CopyObject)."""
        if self.server_copy:
            return is_one_copy(entry, self.plan.preserve)
        return entry.size <= min(WHOLE_MAX, self.budget // 2) and not self.keeps_layout(entry)

    def in_single_put(self, entry: Entry) -> bool:
        """True: the object crosses in one PUT, too, though it is not held; what is neither crosses in parts."""
        if self.server_copy or entry.size > self.single_puts.most:
            return False
        if not is_single_put(entry.size, entry.etag):
            return False
        return takes_single_puts(self.section, self.source_facts, self.destination_facts)

    def in_parts(self) -> Route:
        """The same for an object that is copied in parts whatever it is."""
        return replace(self, single_puts=SinglePuts(0))

    def write_request(self, entry: Entry) -> WriteRequest:
        """The request that carries what *entry* has besides its bytes."""
        if not self.is_whole(entry):
            return WriteRequest.PUT if self.in_single_put(entry) else WriteRequest.UPLOAD
        return WriteRequest.COPY if self.server_copy else WriteRequest.PUT

    def keeps_layout(self, entry: Entry) -> bool:
        """True: the object was written in parts, and the plan asks for the same cuts at the destination."""
        return keeps_layout(entry, self.plan.preserve)

    def part_size(self, size: int) -> int:
        """The cut that the plan fixed; the same in every process and after every resume."""
        most = self.destination_facts.most_parts
        return copied_part_size(size, most) if self.server_copy else part_size(size, self.plan.memory_budget, most)

    def guarded(self, action: Action) -> bool:
        """True when the destination itself refuses a PUT (or CopyObject) that the plan did not foresee."""
        return self.destination_facts.enforces(self._condition(action))

    def completion_guarded(self, entry: Entry) -> bool:
        """The same of CompleteMultipartUpload; nothing to guard where history is laid on top."""
        if self.plan.policy.versions == "all":
            return True
        return self.destination_facts.enforces(_completion(entry.action))

    def _condition(self, action: Action) -> Fact:
        if self.server_copy:
            return _COPY_IF_MATCH if action is Action.OVERWRITE else _COPY_IF_NONE_MATCH
        return _IF_MATCH if action is Action.OVERWRITE else _IF_NONE_MATCH

    @property
    def keeps_history(self) -> bool:
        """True: every version is laid on top of the one before; writes carry no precondition."""
        return self.plan.policy.versions == "all" and self.destination_facts.enforces(_VERSIONING)

    def version(self, answered: str | None) -> str | None:
        """The version id of a write, where the destination keeps versions; others answer 'null' or nonsense."""
        return answered if self.destination_facts.enforces(_VERSIONING) else None

    def guard(self, entry: Entry) -> Guard:
        """The precondition of the PUT or CopyObject by which the plan may write *entry*: only one that the destination
        was seen to honour for this operation, and none for versions: all (each version is written on top of the last).
        """
        return self._guard(entry, self._condition(entry.action))

    def completion_guard(self, entry: Entry) -> Guard:
        """The same of CompleteMultipartUpload."""
        return self._guard(entry, _completion(entry.action))

    def _guard(self, entry: Entry, condition: Fact) -> Guard:
        if self.plan.policy.versions == "all" or not self.destination_facts.takes(condition):
            return _NONE
        if entry.action is not Action.OVERWRITE:
            return _CREATE
        return Guard(if_match=entry.destination_etag)

    def replacing(self, etag: str) -> Guard:
        """The precondition of a PUT or CopyObject that replaces what is there as *etag*, our own damaged write."""
        taken = self.destination_facts.takes(self._condition(Action.OVERWRITE))
        return Guard(if_match=etag) if taken else _NONE

    def pin(self, entry: Entry) -> Pin:
        """The source object as planned, for a GET."""
        return Pin(entry.etag or None, entry.version_id, sent=self.source_facts.takes(_GET_IF_MATCH))

    def copied_pin(self, entry: Entry, *, part: bool = False) -> Pin:
        """The same for a CopyObject or, *part*, an UploadPartCopy: without an ETag that would not be honoured."""
        condition = _PART_COPY_SOURCE_IF_MATCH if part else _COPY_SOURCE_IF_MATCH
        heeded = self.destination_facts.takes(condition)
        return Pin(entry.etag or None if heeded else None, entry.version_id)

    def destination_pin(self, etag: str | None, version_id: str | None = None) -> Pin:
        """What the destination was seen to hold, for a GET."""
        return Pin(etag, version_id, sent=self.destination_facts.takes(_GET_IF_MATCH))


_NONE: Final = Guard()
_CREATE: Final = Guard(if_none_match=True)


def _completion(action: Action) -> Fact:
    return _COMPLETE_IF_MATCH if action is Action.OVERWRITE else _COMPLETE_IF_NONE_MATCH


def routes_of(plan: Plan, stores: Mapping[str, tuple[ObjectStore, ObjectStore]], budget: int) -> dict[str, Route]:
    """The route of every section of *plan*, by the section's id. *stores*: (source, destination) by the same id."""
    seen: dict[str, SinglePuts] = defaultdict(SinglePuts)
    return {
        s.id: Route(plan, s, *stores[s.id], budget, single_puts=seen[endpoint_of(s.destination)]) for s in plan.sections
    }
