"""What will be lost, and what a reviewer should know about the ends: judged from the probes and a sample. Pure.

A loss is something the declaration asks to keep and the destination cannot hold (or the source does not tell):
`apply` refuses until `accept_loss` names it. A fact that no probe examined gives no loss.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final
from unicodedata import is_normalized

from schema.attributes.every import ATTRIBUTES, ODD_KEYS, VERSIONS
from schema.attributes.evidence import EXAMPLES, Counted, Evidence, FoundLoss, counted
from schema.attributes.layout import PartLayout
from schema.checksums import PROBED
from schema.declaration import Preserve, Side
from schema.facts import Capabilities, Fact, Setting
from schema.plan import Level, Loss, Risk, Section


def find_losses(evidence: Evidence, accepted: Collection[str] = ()) -> tuple[Loss, ...]:
    """The losses of one section in a fixed order; `accepted` is set where its id is in *accepted* (accept_loss)."""
    merged: dict[str, Loss] = {}
    for found in _all(evidence):
        loss = Loss(found.id, found.text, found.objects, tuple(found.examples[:EXAMPLES]), found.id in accepted)
        before = merged.get(loss.id)
        merged[loss.id] = loss if before is None else _joined(before, loss)
    for name in accepted:
        # A sample does not show all objects: a loss accepted by name covers those it has missed, too.
        merged.setdefault(name, Loss(name, "no object of the sample shows it", None, (), True))
    return tuple(merged.values())


def with_uncut(
    losses: Sequence[Loss], uncut: Counted, most_parts: int, *, accepted: Collection[str]
) -> tuple[Loss, ...]:
    """*losses*, and that of part layouts which the listing shows the destination cannot take."""
    if not uncut.objects:
        return tuple(losses)
    text = f"as listed, in more than the {most_parts:,} parts the destination takes or in parts below 5 MiB: cut anew"
    found = Loss(PartLayout.loss, text, uncut.objects, uncut.examples, PartLayout.loss in accepted)
    if all(loss.id != found.id for loss in losses):
        return (*losses, found)
    return tuple(
        replace(_joined(loss, found), objects=found.objects) if loss.id == found.id else loss for loss in losses
    )


def _all(evidence: Evidence) -> Iterator[FoundLoss]:
    for attribute in ATTRIBUTES:
        if attribute.asked(evidence.preserve):
            yield from attribute.find_losses(evidence)
    kept_here = evidence.all_versions and not evidence.source_facts.never_versioned
    if kept_here and evidence.destination_facts.denies(Fact.VERSIONING):
        text = "the destination bucket keeps no versions (enable versioning); only the latest of each key remains"
        yield FoundLoss(VERSIONS, text)
    yield from _odd_keys(evidence)


def _joined(one: Loss, two: Loss) -> Loss:
    objects = None if one.objects is None or two.objects is None else one.objects + two.objects
    examples = tuple(dict.fromkeys((*one.examples, *two.examples)))[:EXAMPLES]
    return Loss(one.id, f"{one.text}; {two.text}", objects, examples, one.accepted)


KEY_FACTS: Final[Mapping[str, tuple[Fact, str]]] = {
    "double-slash": (Fact.KEY_DOUBLE_SLASH, "with //"),
    "dot-segments": (Fact.KEY_DOT_SEGMENTS, "with . or .. as a segment"),
    "leading-slash": (Fact.KEY_LEADING_SLASH, "that begin with /"),
    "folder-marker": (Fact.KEY_FOLDER_MARKER, "that end with /"),
    "folder-content": (Fact.KEY_FOLDER_CONTENT, "that end with / and have content"),
    "control": (Fact.KEY_CONTROL, "with control characters"),
    "backslash": (Fact.KEY_BACKSLASH, "with a backslash"),
    "blanks": (Fact.KEY_BLANKS, "whose segments begin or end with a blank, or end with a dot"),
    "characters": (Fact.KEY_CHARACTERS, "with blanks, + or %"),
    "normal-form": (Fact.KEY_NORMAL_FORM, "with accents (in one Unicode normal form or the other)"),
    "wide": (Fact.KEY_WIDE, "with characters beyond U+FFFF"),
    "long-segment": (Fact.KEY_LONG_SEGMENT, "with more than 255 bytes between two slashes"),
}
"""Kind of key -> the destination's fact about it, and its name in words."""


def key_kinds(key: str, size: int = 0) -> frozenset[str]:
    """The kinds of odd key that *key* (as it will be at the destination), of *size* bytes, is; none for nearly all."""
    # A few simple tests cost less than one pattern for all of them.
    plain = _PLAIN.fullmatch(key) and not ("//" in key or "/." in key or "./" in key)
    if plain and key[0] not in "/." and key[-1] not in "/.":
        return _NO_KINDS
    segments = key.split("/")
    kinds = {kind for kind, pattern in _PATTERNS.items() if pattern.search(key)}
    if "//" in key:
        kinds.add("double-slash")
    if key.startswith("/"):
        kinds.add("leading-slash")
    if key.endswith("/"):
        kinds.add("folder-marker")
        if size:
            kinds.add("folder-content")
    if not {".", ".."}.isdisjoint(segments):
        kinds.add("dot-segments")
    if not key.isascii():
        kinds |= _unicode_kinds(key)
    if len(key.encode("utf-8", "surrogatepass")) >= _LONG_SEGMENT and any(map(_is_long, segments)):
        kinds.add("long-segment")
    return frozenset(kinds)


_NO_KINDS: Final[frozenset[str]] = frozenset()
_LONG_SEGMENT: Final = 256
_PLAIN: Final = re.compile(r"[!-$&-*,-\[\]-~]{1,255}")
"""Nearly all keys: no blank, '%', '+', backslash, nothing beyond ASCII, and too short for a long segment."""
_PATTERNS: Final = {
    "control": re.compile(r"[\x00-\x1f\x7f]"),
    "backslash": re.compile(r"\\"),
    "blanks": re.compile(r"(?:^|/)[ ]|[ ](?:/|$)|[^./]\.+(?:/|$)"),
    "characters": re.compile(r"[ +%]"),
}


def _unicode_kinds(key: str) -> set[str]:
    kinds = set()
    if any(character > "\uffff" for character in key):
        kinds.add("wide")
    if not (is_normalized("NFC", key) and is_normalized("NFD", key)):
        kinds.add("normal-form")
    return kinds


def _is_long(segment: str) -> bool:
    return len(segment.encode("utf-8", "surrogatepass")) >= _LONG_SEGMENT


def _odd_keys(evidence: Evidence) -> Iterator[FoundLoss]:
    exact, facts = bool(evidence.key_kinds), evidence.destination_facts
    sampled = counted(
        (kind, found.key) for found in evidence.sample for kind in sorted(key_kinds(found.key, found.head.size))
    )
    kinds = evidence.key_kinds or sampled
    for kind, (fact, words) in KEY_FACTS.items():
        if kind in kinds and facts.denies(fact):
            verb = "refuses" if facts.rejects(fact) else "renames or folds together"
            objects = kinds[kind].objects if exact else None
            yield FoundLoss(ODD_KEYS, f"the destination {verb} keys {words}", kinds[kind].examples, objects)


def risks_of_probes(section: Section, preserve: Preserve) -> Iterator[Risk]:
    """Findings of the probes that cause no loss, but that a reviewer should know."""
    there, here = section.destination_capabilities, section.source_capabilities
    untold = there.setting(Setting.PROBE)
    if untold:
        yield Risk("not-probed", Level.MEDIUM, f"the destination's abilities are unknown ({untold})")
    if there.lacks(Fact.COMPLETE_IF_NONE_MATCH):
        text = (
            "the destination does not enforce If-None-Match when a multipart upload completes: large objects are "
            "guarded by a HEAD before, which another writer can slip past"
        )
        yield Risk("atomic-create", Level.MEDIUM, text)
    yield from _digest_risks(there, here, preserve)
    if there.default_retention:
        text = f"the destination locks every new object ({there.default_retention}): mistakes cannot be undone"
        yield Risk("default-retention", Level.HIGH, text)
    yield from _lifecycle_risks(there.setting(Setting.BUCKET_LIFECYCLE))
    yield from _unasked(here.setting(Setting.SAMPLE_CARRIES).split(", "), preserve)
    if here.setting(Setting.BUCKET_PAYER) == "Requester" and not section.source.requester_pays:
        text = "the source's requester pays; set requester_pays: true on the source"
        yield Risk("requester-pays", Level.MEDIUM, text)
    yield from _directory_buckets("source", section.source)
    yield from _directory_buckets("destination", section.destination)


def _unasked(carried: Sequence[str], preserve: Preserve) -> Iterator[Risk]:
    for attribute in ATTRIBUTES:
        if attribute.unasked and attribute.unasked.word in carried and not attribute.asked(preserve):
            word, option = attribute.unasked
            text = f"source objects carry {word}; preserve.{option} does not ask to keep it"
            yield Risk(f"{word}-not-asked", Level.MEDIUM, text)


def _digest_risks(there: Capabilities, here: Capabilities, preserve: Preserve) -> Iterator[Risk]:
    """Not losses: preserve.checksums asks for the source's kind only where the destination takes it."""
    if all(there.lacks(fact) for fact in (*(algorithm.fact for algorithm in PROBED), Fact.CONTENT_MD5)):
        seen = "its answer's ETag is compared" if there.enforces(Fact.ETAG_IS_MD5) else "only lengths are compared"
        text = f"the destination checks no digest of what it is sent; {seen}. Verify with --level content"
        yield Risk("unproven-writes", Level.MEDIUM, text)
    none_taken = all(there.denies(algorithm.fact) for algorithm in PROBED)
    if preserve.checksums and here.enforces(Fact.CHECKSUMS_RETURNED) and none_taken:
        text = "the destination keeps no additional checksum; those of the source are left behind"
        yield Risk("checksums", Level.LOW, text)


def _lifecycle_risks(rules: str) -> Iterator[Risk]:
    if "expires objects" in rules:
        yield Risk("lifecycle-expiry", Level.HIGH, f"a lifecycle rule of the destination may remove copies ({rules})")
    elif "aborts uploads" in rules:
        text = f"a lifecycle rule of the destination may abort paused uploads ({rules})"
        yield Risk("lifecycle-uploads", Level.LOW, text)


def _directory_buckets(name: str, side: Side) -> Iterator[Risk]:
    if side.bucket.endswith("--x-s3"):
        text = f"the {name} is a directory bucket: no tags, ACLs or versions, ETags are no MD5, listings are not sorted"
        yield Risk(f"directory-bucket-{name}", Level.MEDIUM, text)
