"""The plan document as values.

The plan is all that passes from planner to executor: whatever the executor needs to know
(endpoints, credential references, policy, part sizes, digests of manifests) is in here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

from schema.declaration import Filters, Guards, Pair, Policy, Preserve, Side
from schema.ends import endpoint_of
from schema.facts import Capabilities, Fact
from schema.limits import Limits
from schema.objects import etag_may_be_md5
from schema.tiers import MAX_PART, SINGLE_PUT_MAX, WHOLE_MAX
from schema.timeouts import Timeouts

API_VERSION = "s3migrate/v1"
PLAN_KIND = "MigrationPlan"


class Action(StrEnum):
    """What should happen to one key."""

    COPY = "copy"
    """Absent at the destination; written under If-None-Match: *."""
    OVERWRITE = "overwrite"
    """Present and different; written under If-Match on the ETag the plan saw."""
    DELETE_MARKER = "delete-marker"
    """versions: all; a delete marker is laid in its place."""
    DELETE = "delete"
    """Extraneous at the destination; pinned to the ETag the plan saw."""
    SKIP = "skip"
    CONFLICT = "conflict"
    UNSUPPORTED = "unsupported"
    EXCLUDED = "excluded"
    EXTRANEOUS = "extraneous"
    """At the destination only, and kept."""


class Method(StrEnum):
    """How the objects of a batch travel."""

    STREAM = "stream"
    """Read from the source and written to the destination by this machine."""
    SERVER_COPY = "server-copy"
    """CopyObject and UploadPartCopy: the endpoint copies, no byte passes through this machine."""


WRITE_ACTIONS = frozenset({Action.COPY, Action.OVERWRITE})
"""The object's bytes are written to the destination."""
TRANSFER_ACTIONS = WRITE_ACTIONS | {Action.DELETE_MARKER, Action.DELETE}
"""What batches hold; their tallies sum to `transfer`."""
SOURCE_ACTIONS = WRITE_ACTIONS | {
    Action.DELETE_MARKER,
    Action.SKIP,
    Action.CONFLICT,
    Action.UNSUPPORTED,
    Action.EXCLUDED,
}
"""Actions on a listed source key; their tallies sum to `listed`."""


HELD_VERSION = "the destination's history holds this version in its place"
HELD_MARKER = "a delete marker on both sides"
"""Reasons of skipped versions: the planner writes them into the manifest of skipped keys, verify reads them."""
SAME_SIZE = "same size"
SAME_ETAG = "same size and same ETag"
NOT_OLDER = "same size, and the destination is not older than the source"
COPIED_EARLIER = "copied earlier by this lineage, and unchanged at the destination since"
EQUAL_REASONS = frozenset({SAME_SIZE, SAME_ETAG, NOT_OLDER, COPIED_EARLIER, HELD_VERSION, HELD_MARKER})
"""Reasons of keys that were skipped because the destination holds the object already; any other reason of a skipped
key is a policy that leaves what differs alone."""


class Entry(NamedTuple):
    """One manifest line. A named tuple: made by the million. Line number (zero-based) = `ord`."""

    key: str
    """The source's full key; for DELETE and EXTRANEOUS the destination's."""
    size: int
    etag: str
    """The source's, without quotes."""
    action: Action
    modified_ms: int = 0
    destination_key: str | None = None
    """Full key at the destination; None: the same as `key`."""
    destination_etag: str | None = None
    version_id: str | None = None
    """Pins the source version (versions: all, or a versioned source)."""
    storage_class: str = "STANDARD"
    reason: str = ""
    """Side manifests only: why the key is not transferred."""

    @property
    def target(self) -> str:
        """The full key at the destination."""
        return self.key if self.destination_key is None else self.destination_key


new_entry: Callable[[tuple[object, ...]], Entry] = partial(tuple.__new__, Entry)
"""Entry(*fields) without its Python-level constructor, which takes three times as long."""


def keeps_layout(entry: Entry, preserve: Preserve) -> bool:
    """True: the object was written in parts, and the plan asks for the same cuts at the destination."""
    return preserve.part_layout and entry.size > 0 and "-" in entry.etag


def is_one_copy(entry: Entry, preserve: Preserve) -> bool:
    """True: one CopyObject is enough; False: only UploadPartCopy could copy it within an endpoint."""
    return entry.size <= MAX_PART and not keeps_layout(entry, preserve)


def is_single_put(size: int, etag: str) -> bool:
    """True: a streamed object, though too big to be held, crosses in one PUT, which the source's own MD5 proves.

    Of a pair that `takes_single_puts`; the plan and its execution ask the same.
    """
    return WHOLE_MAX < size <= SINGLE_PUT_MAX and etag_may_be_md5(etag)


def takes_single_puts(pair: Pair | Section, source_can: Capabilities, destination_can: Capabilities) -> bool:
    """Whether objects cross so: where the destination checks that MD5 and would have us hash every part with it.

    A CRC of parts costs next to nothing, and parts are sent side by side. What is to be signed must be held as a whole.
    Within one endpoint such an object would be two requests at once, of which limits promise one for each worker.
    """
    return (
        not source_can.denies(Fact.ETAG_IS_MD5)
        and destination_can.enforces(Fact.CONTENT_MD5)
        and not destination_can.enforces(Fact.MULTIPART_CRC64NVME)
        and endpoint_of(pair.source) != endpoint_of(pair.destination)
        and not pair.destination.signed_payload
    )


class Tally(NamedTuple):
    """Objects and bytes."""

    objects: int = 0
    bytes: int = 0

    def plus(self, size: int) -> Tally:
        """One more object of *size* bytes."""
        return Tally(self.objects + 1, self.bytes + size)


class Gate(StrEnum):
    """What a stage must reach before its dependants start."""

    COPIED = "copied"
    VERIFIED = "verified"


class ListingKind(StrEnum):
    """What a listing holds."""

    OBJECTS = "list-objects-v2"
    VERSIONS = "list-object-versions"


@dataclass(frozen=True, slots=True)
class Inventory:
    """The listing of one side from which this plan was made."""

    kind: ListingKind
    objects: int
    bytes: int
    sha256: str
    """'sha256:...' over canonical lines of the listing."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Something the destination cannot hold."""

    id: str
    text: str
    objects: int | None
    """None: not countable from a listing."""
    examples: tuple[str, ...]
    accepted: bool


class Level(StrEnum):
    """How much a risk matters, worst first."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Risk:
    """Something a reviewer should look at before approving the plan."""

    id: str
    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """One pair of buckets in the plan."""

    id: str
    source: Side
    destination: Side
    source_inventory: Inventory
    destination_inventory: Inventory
    source_capabilities: Capabilities
    destination_capabilities: Capabilities
    methods: Mapping[str, str]
    """Method -> why; those by which batches of this section travel."""
    summary: Mapping[str, Tally]
    """listed, copy, overwrite, delete-marker, skip, conflict, unsupported, excluded (source keys;
    listed = the sum of the others), delete, extraneous (destination keys), transfer (what moves)."""
    side_manifests: Mapping[str, str]
    """skip, conflict, unsupported, excluded, extraneous -> 'sha256:...'; absent when empty."""
    losses: tuple[Loss, ...] = ()
    mapping_examples: tuple[tuple[str, str], ...] = ()


VERSION_ORDER = "version-order"
"""The risk that versions arrive in another order than the source's, which its listing does not show."""
MARKERS, DELETES = "markers", "deletes"
"""The stage whose batches only delete."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A node of the DAG."""

    id: str
    depends_on: tuple[str, ...]
    gate: Gate
    note: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """The unit of review: one manifest."""

    id: str
    section: str
    tier: str
    stage: str
    method: Method | None
    """Of every object in it; its section says why. None: nothing is copied, the batch only deletes."""
    objects: int
    bytes: int
    keys: tuple[str, str]
    """First and last source key."""
    manifest: str
    """'sha256:...' of the uncompressed lines."""


class Share(NamedTuple):
    """A part of what a plan writes: a size tier, the objects of one year, of one storage class."""

    name: str
    objects: int
    bytes: int


class Place(NamedTuple):
    """What happens below one prefix of a destination."""

    section: str
    prefix: str
    """After the destination's prefix; '' is all of it."""
    direct: bool
    """True: only the keys that lie in it directly; what lies deeper has rows of its own."""
    copy: int
    overwrite: int
    delete: int
    """Delete markers among them."""
    bytes: int
    """Written."""

    @property
    def objects(self) -> int:
        """All that is moved or deleted."""
        return self.copy + self.overwrite + self.delete


class SizedKey(NamedTuple):
    """One object: where it will be, and its size."""

    key: str
    size: int


@dataclass(frozen=True, slots=True)
class Overview:
    """A plan in a few dozen rows, counted while it was made, so that a review need not read manifests."""

    places: tuple[Place, ...]
    """At most PLACES, as deep as they allow, what destroys most first; with `places_left` they are all that moves."""
    places_left: Place | None
    """The sum of the prefixes that have no row; None: all have."""
    sizes: tuple[Share, ...]
    """Of the objects written, by tier, small before big."""
    years: tuple[Share, ...]
    """Of the objects written, by the year (UTC) in which the source says they were modified, ascending."""
    storage_classes: tuple[Share, ...]
    """Of the objects written, by the source's class, most bytes first."""
    largest: tuple[SizedKey, ...]
    """Of the objects written, descending."""
    examples: Mapping[str, tuple[str, ...]]
    """overwrite, delete, delete-marker -> the first keys of each at the destination; conflict, unsupported -> at the
    source."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole plan document. `plan_id` is over everything but itself and `provenance`."""

    plan_id: str
    """'sha256:...'"""
    name: str
    lineage: str
    """UUID shared by all plans of one declaration's name and ends."""
    serial: int
    declaration_sha256: str
    filters: Filters
    policy: Policy
    preserve: Preserve
    limits: Limits
    guards: Guards
    memory_budget: int
    """Bytes of object buffers that part sizes were cut for."""
    sections: tuple[Section, ...]
    tiers: tuple[Mapping[str, Any], ...]
    risks: tuple[Risk, ...]
    estimate: Mapping[str, Any]
    stages: tuple[Stage, ...]
    batches: tuple[Batch, ...]
    manifest_store: str
    """A folder relative to the plan file, or s3://bucket/prefix."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    overview: Overview | None = None
    """None: made before plans had one."""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def section(self, section_id: str) -> Section:
        """The section named *section_id*; KeyError when there is none."""
        for section in self.sections:
            if section.id == section_id:
                return section
        raise KeyError(section_id)

    def manifest_digests(self) -> tuple[str, ...]:
        """The digest of every manifest that the plan names, each once, in plan order: batches first, then side
        manifests.
        """
        beside = (digest for section in self.sections for digest in section.side_manifests.values())
        return tuple(dict.fromkeys((*(batch.manifest for batch in self.batches), *beside)))

    @property
    def transfer(self) -> Tally:
        """What the batches move, all sections together."""
        return Tally(sum(b.objects for b in self.batches), sum(b.bytes for b in self.batches))
