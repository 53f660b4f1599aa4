"""The declaration a person edits (migration.yaml), as values. The loader is declaration_file.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

from schema.limits import Limits
from schema.timeouts import Timeouts


class Addressing(StrEnum):
    """How the bucket is named in a URL."""

    AUTO = "auto"
    PATH = "path"
    VIRTUAL = "virtual"


class Comparison(StrEnum):
    """What must be equal for a key to need no copy."""

    SIZE = "size"
    ETAG = "etag"
    CHECKSUM = "checksum"
    MODIFIED = "modified"


class OnDifferent(StrEnum):
    """What to do with a key that exists on both sides and differs."""

    OVERWRITE = "overwrite"
    SKIP = "skip"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Side:
    """One end of a migration. Holds references to credentials, never a secret."""

    bucket: str
    prefix: str = ""
    endpoint_url: str | None = None
    """None: AWS."""
    region: str = "us-east-1"
    addressing: Addressing = Addressing.AUTO
    credentials: Mapping[str, Any] = field(default_factory=dict)
    """One of {profile: NAME}, {env: PREFIX}, {role_arn:, external_id:, source: {...}}, {anonymous: true}, {}."""
    ca_bundle: str | None = None
    """Path of a PEM file that replaces the system's certificate authorities."""
    requester_pays: bool = False
    sse_customer_key_env: str | None = None
    """Name of the environment variable that holds the base64 SSE-C key of this side."""
    signed_payload: bool = False
    """Bodies are signed by their SHA-256 from the start: for endpoints known to refuse UNSIGNED-PAYLOAD."""
    acl: str | None = None
    """Of a destination: the canned ACL, such as bucket-owner-full-control, that every write carries. None: no ACL."""
    etags: str | None = None
    """opaque: this side's ETags are not MD5s, whatever they look like, and prove nothing. None: as probed."""
    endpoint_candidates: tuple[str, ...] = ()
    """Every URL when several were declared; endpoint_url is then the first."""

    @property
    def etags_opaque(self) -> bool:
        """The declaration says that this side's ETags prove nothing."""
        return self.etags == "opaque"


class KeyListFormat(StrEnum):
    """How a list of keys is written."""

    PLAIN = "plain"
    """One key a line."""
    CSV = "csv"
    JSONL = "jsonl"
    """A JSON object, or a string that is the key, on each line."""


class MissingValues(StrEnum):
    """What to do about an inventory that lacks size, ETag or time of its objects."""

    HEAD = "head"
    """A HEAD of each such object while planning."""
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class DeclaredInventory:
    """What planning reads a side's objects from instead of listing its bucket. Exactly one of report and keys."""

    report: str | None = None
    """The manifest.json of an S3 Inventory report, or the folder over its dates: a path or s3://bucket/key."""
    keys: str | None = None
    """A list of keys: a path or s3://bucket/key."""
    format: KeyListFormat | None = None
    """Of the key list; None: by its file extension."""
    columns: tuple[str, ...] = ()
    """Of a CSV key list without a header."""
    url_encoded: bool = False
    """The key list's keys are written as forms write them: '+' for a space, %2B for a plus."""
    missing_values: MissingValues | None = None
    """None: head for key lists, refuse for reports."""
    max_age: int | None = None
    """Seconds; an older inventory is refused. None: any age is accepted."""
    top_up: tuple[str, ...] = ()
    """Prefixes after the side's own that are listed now instead of read from the inventory."""

    @property
    def place(self) -> str:
        """Where it lies."""
        return self.report or self.keys or ""


@dataclass(frozen=True, slots=True)
class Pair:
    """One source and one destination."""

    id: str
    source: Side
    destination: Side
    source_inventory: DeclaredInventory | None = None
    """None: the bucket is listed. How planning reads a side is not part of the side, nor of the plan's section."""
    destination_inventory: DeclaredInventory | None = None


@dataclass(frozen=True, slots=True)
class Filters:
    """Which listed keys take part. Globs match the key after the source prefix."""

    include: tuple[str, ...] = ("**",)
    exclude: tuple[str, ...] = ()
    min_size: int | None = None
    max_size: int | None = None
    modified_after_ms: int | None = None
    modified_before_ms: int | None = None
    storage_classes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class MappingRule:
    """A regular expression over the key after the source prefix, and its replacement."""

    pattern: str
    replace: str


@dataclass(frozen=True, slots=True)
class Policy:
    """How differences are judged."""

    compare: tuple[Comparison, ...] = (Comparison.SIZE, Comparison.ETAG)
    on_different: OnDifferent = OnDifferent.OVERWRITE
    on_destination_newer: OnDifferent = OnDifferent.CONFLICT
    if_source_changes: str = "skip"
    """skip | fail"""
    versions: str = "latest"
    """latest | all"""
    delete_extraneous: str = "never"
    """never | after-verify"""
    on_archived: str = "report"
    """report | restore"""
    restore_days: int = 7
    restore_tier: str = "Standard"
    transfer: str = "auto"
    """auto | stream | server-copy"""
    markers: tuple[str, ...] = ("**/_SUCCESS", "_SUCCESS", "**/_delta_log/**", "**/metadata/version-hint.text")
    """Globs of keys written after all others, so that readers never see a marker before its data."""


@dataclass(frozen=True, slots=True)
class Preserve:
    """What is carried besides the bytes."""

    system_headers: bool = True
    user_metadata: bool = True
    tags: bool = True
    website_redirect: bool = True
    storage_class: str = "keep"
    """keep | map | a class name"""
    storage_class_map: Mapping[str, str] = field(default_factory=dict)
    encryption: Mapping[str, Any] = field(default_factory=dict)
    """{} destination's default; {mode: keep|sse-s3|sse-kms, key: ARN, key_map: {source ARN: destination ARN}}"""
    acl: bool = False
    acl_grantees: Mapping[str, str] = field(default_factory=dict)
    object_lock: str = "none"
    """none | governance | compliance (the explicit word that allows COMPLIANCE retention)"""
    legal_hold: bool = False
    part_layout: bool = False
    checksums: bool = True
    last_modified: str | None = None
    """Name of a user metadata key that receives the source's Last-Modified, or None."""


@dataclass(frozen=True, slots=True)
class Guards:
    """The most a plan may do. None: no bound."""

    max_objects: int | None = None
    max_bytes: int | None = None
    max_overwrites: int | None = None
    max_deletes: int = 0


class ExpectedRange(NamedTuple):
    """From the least to the most that is expected, both included."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Expect:
    """What the author of the declaration expects; a plan of anything else is refused. None: no expectation.

    Objects and bytes are those of the source that take part, copied or there already, so that planning again after a
    run finds the same.
    """

    objects: ExpectedRange | None = None
    bytes: ExpectedRange | None = None
    max_cost_usd: Decimal | None = None
    """Of the estimate; an unknown cost counts as exceeding it."""
    max_duration: int | None = None
    """Seconds; of the estimate's expected duration."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """A whole migration.yaml."""

    name: str
    pairs: tuple[Pair, ...]
    filters: Filters = Filters()
    mapping: tuple[MappingRule, ...] = ()
    policy: Policy = Policy()
    preserve: Preserve = Preserve()
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    guards: Guards = Guards()
    expect: Expect = Expect()
    accept_loss: tuple[str, ...] = ()
    manifests: str = "manifests"
    """A folder beside the plan, or s3://bucket/prefix."""
    sha256: str = ""
    """Of the file's bytes; '' for a declaration not read from a file."""
