"""The interface of all attributes, and the records its methods take.

An attribute is one thing S3 keeps with an object and not in its bytes. Its class holds everything about it: the switch
in `preserve`, how a head or a sample shows it, what a write carries for it, how two objects are compared, which loss it
is when the destination cannot hold it, and what the probe sends to find that out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, Final, NamedTuple

from schema.attributes.evidence import Evidence, FoundLoss, SampledObject
from schema.declaration import Preserve
from schema.errors import ObjectRefused
from schema.facts import Capabilities, Fact
from schema.formats.header_values import same_value
from schema.formats.metadata_text import same_text
from schema.objects import ObjectHead
from schema.server_headers import NOBODY, ServerHeaders

Pairs = Sequence[tuple[str, str]]
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class Feature(NamedTuple):
    """What a probe's PUT carries to see whether the destination keeps it."""

    fact: Fact
    headers: tuple[tuple[str, str], ...]

    def lost(self, head: ObjectHead) -> list[str]:
        """Names of the headers that a HEAD of the probe's object does not show as they were sent."""
        shown = [(name, value, head.headers.get(name, "")) for name, value in self.headers]
        return [name for name, sent, seen in shown if not (same_text(seen, sent) or same_value(name, seen, sent))]


class WriteRequest(Enum):
    """The request whose headers carry the attributes of a write."""

    PUT = "PutObject"
    UPLOAD = "CreateMultipartUpload"
    COPY = "CopyObject"


@dataclass(slots=True)
class Outgoing:
    """One write being put together: the source object, and what its attributes have added so far."""

    head: ObjectHead
    """The source's."""
    tags: Pairs = ()
    acl: Pairs = ()
    """Headers of executor.carry.acl.acl_grants."""
    key: str = ""
    """For messages."""
    now_ms: int = 0
    """Milliseconds since the epoch; 0: no retention has expired."""
    request: WriteRequest = WriteRequest.PUT
    headers: list[tuple[str, str]] = field(default_factory=list)
    tags_after: tuple[tuple[str, str], ...] | None = None
    """Tags for a PutObjectTagging after the write; None: none are due."""
    dropped: list[tuple[str, str]] = field(default_factory=list)
    """(loss id, words) of what this object has and the destination does not get; empty for nearly all. The id is ''
    where it is not a loss: an expired retention, tags of the reserved kind.
    """

    def refuse_control(self, name: str, value: str) -> None:
        """Raises ObjectRefused where *value* contains a line break or NUL."""
        if _CONTROL.search(value):
            raise ObjectRefused(f"{self.key!r}: the value of {name} holds control characters: {value!r}", key=self.key)


class Difference(NamedTuple):
    """One field that is not at the destination as the plan wants it. Raw values; '' means absent."""

    field: str
    source: str
    """What was expected, after mapping."""
    destination: str


@dataclass(slots=True)
class Sides:
    """A source object and what the destination holds for it, being compared."""

    source: ObjectHead
    destination: ObjectHead
    source_tags: Pairs | None = None
    """None: not read, not compared."""
    destination_tags: Pairs | None = None
    missing_grants: Sequence[str] = ()
    """In words; from executor.carry.acl.missing_grants."""
    accepted: Collection[str] = ()
    """Ids of losses. A field under one is excused only where the destination has nothing: a value other than the
    source's is still a difference.
    """
    now_ms: int = 0
    source_own: frozenset[str] = NOBODY
    """Headers of the source's head that are the server's, not the object's."""
    destination_own: frozenset[str] = NOBODY
    changed: frozenset[str] = NOBODY
    """System headers that the destination was seen not to keep: under the accepted loss that names them, they are not
    compared.
    """
    dropped_characters: frozenset[str] = NOBODY
    """Of names of metadata that were left out, where that loss is accepted."""
    found: list[Difference] = field(default_factory=list)

    def compare(self, field: str, expected: str, actual: str, *, loss: str = "") -> None:
        """Record a difference, unless the accepted *loss* excuses a missing value."""
        if not same_text(expected, actual) and not (loss in self.accepted and not actual):
            self.found.append(Difference(field, expected, actual))


class Unasked(NamedTuple):
    """The word for what objects carry, and the option of `preserve` that would keep it."""

    word: str
    option: str


class Attribute:
    """Stateless. The methods of this class are the defaults of attributes they do not concern."""

    losses: ClassVar[tuple[str, ...]] = ()
    """Ids of the losses it may be."""
    features: ClassVar[tuple[Feature, ...]] = ()
    """What the probe sends for it."""
    unasked: ClassVar[Unasked | None] = None
    """Set where a reviewer should know that objects have it although the declaration does not keep it."""

    def asked(self, preserve: Preserve) -> bool:
        """The declaration wants it kept."""
        raise NotImplementedError

    def shown_by(self, found: SampledObject) -> Iterator[str]:
        """What *found* has of it, as words of the setting sample_carries."""
        yield from ()

    def carry(self, write: Outgoing, kept: Kept) -> None:
        """Add to *write* what gives the destination this attribute; called only when asked for.

        Raises ObjectRefused for what no header can carry.
        """

    def compare(self, sides: Sides, preserve: Preserve) -> None:
        """Record what differs; called only when asked for."""

    def find_losses(self, evidence: Evidence) -> Iterator[FoundLoss]:
        """What the destination cannot hold; called only when asked for."""
        yield from ()


@dataclass(frozen=True, slots=True)
class Kept:
    """What one section keeps of its objects, and what its destination accepts. Built once, by every.kept."""

    preserve: Preserve
    facts: Capabilities
    """The destination's."""
    customer_key: bool
    """The destination side has an SSE-C key, which the store sends itself."""
    source_own: ServerHeaders
    """Headers that the source's server adds to every object."""
    destination_own: ServerHeaders
    carried: tuple[Attribute, ...]
    """Those that *preserve* asks for and that add something to a write."""
    compared: tuple[Attribute, ...]
    """Those that *preserve* asks for and that can be compared."""
    dropped_characters: frozenset[str] = frozenset()
    """See headers.dropped_characters."""
    metadata_limit: int | None = None
    """See headers.metadata_limit."""
    changed_headers: frozenset[str] = NOBODY
    """System headers that the destination was seen not to keep."""
    refused_headers: frozenset[str] = NOBODY
    """Of those: no write may carry them."""
