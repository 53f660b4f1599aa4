"""What cannot arrive, and what a reviewer should know of the ends: judged from the probes and a sample. Pure.

A loss is something the declaration asks to keep and the destination cannot hold (or the source does not tell):
`apply` refuses until `accept_loss` names it. A fact that no probe looked at gives no loss.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from schema.declaration import Preserve, Side
from schema.metadata_text import decode_text
from schema.objects import ObjectHead, etag_is_opaque
from schema.plan import Capabilities, Loss, Section
from schema.storage_classes import STANDARD, class_fact, target_storage_class
from storage.probe.probe import SampledObject

_EXAMPLES: Final = 5
_NOT_KEPT: Final = ("ignored", "rejected", "unknown")
"""Values of a fact that was probed and not found good."""
_SSE: Final = "x-amz-server-side-encryption"


class Counted(NamedTuple):
    """How many listed objects are of a kind, and some of their keys."""

    objects: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ends:
    """Everything losses are judged from."""

    preserve: Preserve
    source_facts: Capabilities
    destination_facts: Capabilities
    sample: Sequence[SampledObject] = ()
    """From storage.probe.survey_source."""
    storage_classes: Mapping[str, Counted] = field(default_factory=dict)
    """By class, as listed; empty: the sample speaks."""
    key_kinds: Mapping[str, Counted] = field(default_factory=dict)
    """By kind of `key_kinds`, as listed; empty: the sample speaks."""
    all_versions: bool = False
    """policy.versions is 'all'."""

    def probed_bad(self, name: str) -> bool:
        """The destination was probed for *name* and does not have it."""
        return self.destination_facts.facts.get(name) in _NOT_KEPT


class _Found(NamedTuple):
    """A loss before the declaration is asked whether it accepts it."""

    id: str
    text: str
    objects: int | None
    examples: Sequence[str]


def find_losses(ends: Ends, accepted: Collection[str] = ()) -> tuple[Loss, ...]:
    """The losses of one section in a fixed order; `accepted` is set where its id is in *accepted* (accept_loss)."""
    found: list[_Found] = []
    for rule in _RULES:
        found.extend(rule(ends))
    merged: dict[str, Loss] = {}
    for loss in found:
        examples = tuple(loss.examples[:_EXAMPLES])
        before = merged.get(loss.id)
        if before is not None:
            counts = (before.objects, loss.objects)
            objects = None if None in counts else sum(count or 0 for count in counts)
            merged[loss.id] = Loss(
                loss.id,
                f"{before.text}; {loss.text}",
                objects,
                tuple(dict.fromkeys((*before.examples, *examples)))[:_EXAMPLES],
                before.accepted,
            )
        else:
            merged[loss.id] = Loss(loss.id, loss.text, loss.objects, examples, loss.id in accepted)
    return tuple(merged.values())


def _keys(ends: Ends, has: Callable[[ObjectHead], object]) -> list[str]:
    return [found.key for found in ends.sample if has(found.head)]


def _system_headers(ends: Ends) -> Iterator[_Found]:
    if not ends.preserve.system_headers or ends.destination_facts.facts.get("system_headers") not in _NOT_KEPT:
        return
    lost = [n for n in ends.destination_facts.facts.get("system_headers_lost", "").split(", ") if n]
    examples = _keys(ends, lambda head: any(head.headers.get(name) for name in lost))
    if examples:
        yield _Found("system-headers", f"the destination does not keep {', '.join(lost)}", None, examples)


def _user_metadata(ends: Ends) -> Iterator[_Found]:
    if not ends.preserve.user_metadata:
        return
    if ends.probed_bad("user_metadata"):
        examples = _keys(ends, ObjectHead.user_metadata)
        if examples:
            yield _Found("user-metadata", "the destination does not keep user metadata", None, examples)
    if ends.probed_bad("user_metadata_utf8") and ends.probed_bad("user_metadata_rfc2047"):
        examples = _keys(ends, _has_text)
        if examples:
            text = "the destination keeps non-ASCII metadata neither as UTF-8 nor as RFC 2047 words"
            yield _Found("user-metadata-text", text, None, examples)
    missing = _keys(ends, lambda head: head.headers.get("x-amz-missing-meta", "0") != "0")
    if missing:
        yield _Found("user-metadata-text", "the source holds metadata entries that no header can show", None, missing)


def _has_text(head: ObjectHead) -> bool:
    return any(not decode_text(value).isascii() for value in head.user_metadata().values())


def _tags(ends: Ends) -> Iterator[_Found]:
    if not ends.preserve.tags:
        return
    if ends.source_facts.facts.get("tags_readable") == "rejected":
        yield _Found("tags", "tags may not be read at the source (s3:GetObjectTagging), so none is copied", None, ())
    if ends.probed_bad("tagging") and ends.probed_bad("tagging_header"):
        examples = [found.key for found in ends.sample if found.tags or found.head.tag_count]
        if examples:
            yield _Found("tags", "the destination does not keep object tags", None, examples)


def _acl(ends: Ends) -> Iterator[_Found]:
    if not ends.preserve.acl:
        return
    if ends.source_facts.facts.get("acl_readable") == "rejected":
        yield _Found("acl", "ACLs may not be read at the source (s3:GetObjectAcl), so none is copied", None, ())
    granted = [found.key for found in ends.sample if found.grants]
    if ends.probed_bad("acl") and granted:
        owner = ends.destination_facts.facts.get("bucket_ownership") == "BucketOwnerEnforced"
        reason = " (its Object Ownership is BucketOwnerEnforced)" if owner else ""
        yield _Found("acl", f"the destination takes no ACL{reason}", None, granted)
        return
    unmapped = [
        f"{found.key}: {grantee} ({permission})"
        for found in ends.sample
        for grantee, permission in found.grants or ()
        if grantee not in ends.preserve.acl_grantees and not grantee.startswith(("http://", "https://"))
    ]
    if unmapped:
        text = "grantees of the source have no counterpart in preserve.acl_grantees; their grants are left out"
        yield _Found("acl", text, None, unmapped)


def _storage_class(ends: Ends) -> Iterator[_Found]:
    counted = ends.storage_classes or _counted((found.head.storage_class, found.key) for found in ends.sample)
    exact = bool(ends.storage_classes)
    for name, objects in sorted(counted.items()):
        wanted = target_storage_class(name, ends.preserve)
        if wanted != STANDARD and ends.destination_facts.facts.get(class_fact(wanted)) in ("ignored", "rejected"):
            text = f"the destination does not keep storage class {wanted}; objects land in its default class"
            yield _Found("storage-class", text, objects.objects if exact else None, objects.examples)


def _counted(pairs: Iterator[tuple[str, str]]) -> dict[str, Counted]:
    keys: dict[str, list[str]] = {}
    for kind, key in pairs:
        keys.setdefault(kind, []).append(key)
    return {kind: Counted(len(found), tuple(found[:_EXAMPLES])) for kind, found in keys.items()}


def _object_lock(ends: Ends) -> Iterator[_Found]:
    preserve = ends.preserve
    locked = _keys(ends, lambda head: "x-amz-object-lock-mode" in head.headers)
    held = _keys(ends, lambda head: head.headers.get("x-amz-object-lock-legal-hold") == "ON")
    if preserve.object_lock != "none" and locked:
        if ends.probed_bad("object_lock"):
            yield _Found("object-lock", "the destination bucket has no object lock; retention is lost", None, locked)
        elif preserve.object_lock == "governance":
            strict = _keys(ends, lambda head: head.headers.get("x-amz-object-lock-mode") == "COMPLIANCE")
            if strict:
                text = "COMPLIANCE retention becomes GOVERNANCE (object_lock: compliance would keep it)"
                yield _Found("object-lock", text, None, strict)
    if preserve.legal_hold and held and ends.probed_bad("object_lock"):
        yield _Found("legal-hold", "the destination bucket has no object lock; legal holds are lost", None, held)


def _encryption(ends: Ends) -> Iterator[_Found]:
    wanted = ends.preserve.encryption
    if wanted.get("mode") == "keep" and not wanted.get("key"):
        mapped = wanted.get("key_map") or {}
        unmapped = [
            f"{found.key}: {found.head.headers.get(_SSE + '-aws-kms-key-id', '')}"
            for found in ends.sample
            if found.head.headers.get(_SSE, "").startswith("aws:kms")
            and not mapped.get(found.head.headers.get(_SSE + "-aws-kms-key-id", ""))
        ]
        if unmapped:
            text = "KMS keys of the source have no counterpart in preserve.encryption.key_map; such objects will fail"
            yield _Found("encryption", text, None, unmapped)


def _website_redirect(ends: Ends) -> Iterator[_Found]:
    if ends.preserve.website_redirect and ends.probed_bad("website_redirect"):
        examples = _keys(ends, lambda head: "x-amz-website-redirect-location" in head.headers)
        if examples:
            yield _Found("website-redirect", "the destination keeps no website redirect", None, examples)


def _part_layout(ends: Ends) -> Iterator[_Found]:
    if ends.preserve.part_layout and ends.probed_bad("multipart_etag"):
        examples = _keys(ends, lambda head: "-" in head.etag)
        if examples:
            text = "the destination's multipart ETags do not follow from the parts; they will differ from the source's"
            yield _Found("part-layout", text, None, examples)
    elif ends.preserve.part_layout:
        examples = _keys(ends, lambda head: "-" in head.etag and etag_is_opaque(head.headers))
        if examples:
            text = "multipart ETags of objects under KMS or SSE-C do not follow from their parts; they will differ"
            yield _Found("part-layout", text, None, examples)


def _annotations(ends: Ends) -> Iterator[_Found]:
    examples = [found.key for found in ends.sample if found.annotations]
    if examples:
        yield _Found("annotations", "object annotations are not copied by this tool", None, examples)


def _versions(ends: Ends) -> Iterator[_Found]:
    if ends.all_versions and ends.destination_facts.facts.get("versioning") in ("ignored", "rejected"):
        text = "the destination bucket keeps no versions (enable versioning); only the latest of each key remains"
        yield _Found("versions", text, None, ())


KEY_FACTS: Final[Mapping[str, tuple[str, str]]] = {
    "double-slash": ("key_double_slash", "with //"),
    "dot-segments": ("key_dot_segments", "with . or .. as a segment"),
    "leading-slash": ("key_leading_slash", "that begin with /"),
    "folder-marker": ("key_folder_marker", "that end with /"),
    "control": ("key_control", "with control characters"),
}
"""Kind of key -> the destination's fact about it, and its name in words."""


def key_kinds(key: str) -> frozenset[str]:
    """The kinds of odd key that *key* (as it will be at the destination) is; empty for nearly all."""
    if key.isprintable() and "/" not in key:
        return frozenset(("dot-segments",)) if key in (".", "..") else frozenset()
    kinds = set()
    if "//" in key:
        kinds.add("double-slash")
    if key.startswith("/"):
        kinds.add("leading-slash")
    if key.endswith("/"):
        kinds.add("folder-marker")
    if not {".", ".."}.isdisjoint(key.split("/")):
        kinds.add("dot-segments")
    if any(c < " " or c == "\x7f" for c in key):
        kinds.add("control")
    return frozenset(kinds)


def _odd_keys(ends: Ends) -> Iterator[_Found]:
    exact = bool(ends.key_kinds)
    counted = ends.key_kinds or _counted((kind, f.key) for f in ends.sample for kind in sorted(key_kinds(f.key)))
    for kind, (fact, words) in KEY_FACTS.items():
        state = ends.destination_facts.facts.get(fact)
        if kind in counted and state in ("ignored", "rejected"):
            verb = "refuses" if state == "rejected" else "renames or folds together"
            objects = counted[kind].objects if exact else None
            yield _Found("odd-keys", f"the destination {verb} keys {words}", objects, counted[kind].examples)


_RULES: Final[Sequence[Callable[[Ends], Iterator[_Found]]]] = (
    _tags,
    _acl,
    _system_headers,
    _user_metadata,
    _storage_class,
    _object_lock,
    _encryption,
    _website_redirect,
    _part_layout,
    _versions,
    _annotations,
    _odd_keys,
)


def risks_of_probes(section: Section, preserve: Preserve) -> Iterator[tuple[str, str, str]]:
    """(id, level, text) of what the probes found that loses nothing asked for, but that a reviewer should know."""
    there, here = section.destination_capabilities.facts, section.source_capabilities.facts
    carries = here.get("sample_carries", "").split(", ")
    if "probe" in there:
        yield "not-probed", "medium", f"the destination's abilities are unknown ({there['probe']})"
    if there.get("complete_if_none_match") in _NOT_KEPT:
        text = (
            "the destination does not enforce If-None-Match when a multipart upload completes: large objects are "
            "guarded by a HEAD before, which another writer can slip past"
        )
        yield "atomic-create", "medium", text
    yield from _digest_risks(there, here, preserve)
    if there.get("bucket_default_retention", "none") not in ("none", "unknown"):
        text = (
            f"the destination locks every new object ({there['bucket_default_retention']}): mistakes cannot be undone"
        )
        yield "default-retention", "high", text
    yield from _lifecycle_risks(there.get("bucket_lifecycle", ""))
    asked = {"object-lock": preserve.object_lock != "none", "legal-hold": preserve.legal_hold, "grants": preserve.acl}
    asked["kms"] = bool(preserve.encryption)
    for kind, option in (("object-lock", "object_lock"), ("legal-hold", "legal_hold"), ("kms", "encryption")):
        if kind in carries and not asked[kind]:
            yield (
                f"{kind}-not-asked",
                "medium",
                f"source objects carry {kind}; preserve.{option} does not ask to keep it",
            )
    if here.get("bucket_payer") == "Requester" and not section.source.requester_pays:
        yield "requester-pays", "medium", "the source's requester pays; set requester_pays: true on the source"
    yield from _directory_buckets("source", section.source)
    yield from _directory_buckets("destination", section.destination)


def _digest_risks(
    there: Mapping[str, str], here: Mapping[str, str], preserve: Preserve
) -> Iterator[tuple[str, str, str]]:
    """Not losses: preserve.checksums asks for the source's kind only where the destination takes it."""
    kinds = ("crc64nvme", "crc32c", "crc32")
    if all(there.get(kind) in _NOT_KEPT for kind in (*kinds, "content_md5")):
        seen = (
            "its answer's ETag is compared" if there.get("etag_is_md5") == "enforced" else "only lengths are compared"
        )
        text = f"the destination checks no digest of what it is sent; {seen}. Verify with --level content"
        yield "unproven-writes", "medium", text
    if preserve.checksums and here.get("checksums_returned") == "enforced":
        refused = [kind.upper() for kind in kinds if there.get(kind) in ("ignored", "rejected")]
        if len(refused) == len(kinds):
            yield (
                "checksums",
                "low",
                "the destination keeps no additional checksum; those of the source are left behind",
            )


def _lifecycle_risks(rules: str) -> Iterator[tuple[str, str, str]]:
    if "expires objects" in rules:
        yield "lifecycle-expiry", "high", f"a lifecycle rule of the destination may remove copies ({rules})"
    elif "aborts uploads" in rules:
        yield "lifecycle-uploads", "low", f"a lifecycle rule of the destination may abort paused uploads ({rules})"


def _directory_buckets(name: str, side: Side) -> Iterator[tuple[str, str, str]]:
    if side.bucket.endswith("--x-s3"):
        text = f"the {name} is a directory bucket: no tags, ACLs or versions, ETags are no MD5, listings are not sorted"
        yield f"directory-bucket-{name}", "medium", text
