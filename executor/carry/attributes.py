"""What an object carries beside its bytes, on its way from one head to the other. Pure.

`headers_for` says what a PUT or CreateMultipartUpload must send; `differences` says afterwards, field by field,
what did not arrive. Both follow the plan's `preserve`; what the destination was seen to refuse is left out and named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple
from urllib.parse import quote

from schema.declaration import Preserve
from schema.errors import ObjectRefused
from schema.metadata_text import decode_text, encode_for, same_text
from schema.objects import ObjectHead
from schema.plan import Capabilities
from schema.storage_classes import STANDARD, class_fact, target_storage_class

Tags = Sequence[tuple[str, str]]
HeaderPairs = list[tuple[str, str]]
_Compare = Callable[[str, str, str, str], None]
"""(field, expected, actual, loss id that excuses an absent value)"""

SYSTEM_HEADERS: Final = (
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
)
"""The six headers S3 stores with an object. Expires is passed as raw text: S3 keeps what is no date, too."""
MAX_TAG_HEADER: Final = 2048
"""Tags longer than this (URL-encoded bytes) follow in a PutObjectTagging: all headers of a PUT share 8 KB."""

_META: Final = "x-amz-meta-"
_SSE: Final = "x-amz-server-side-encryption"
_SSE_KEY: Final = "x-amz-server-side-encryption-aws-kms-key-id"
_SSE_BUCKET_KEY: Final = "x-amz-server-side-encryption-bucket-key-enabled"
_REDIRECT: Final = "x-amz-website-redirect-location"
_LOCK_MODE: Final = "x-amz-object-lock-mode"
_LOCK_UNTIL: Final = "x-amz-object-lock-retain-until-date"
_LEGAL_HOLD: Final = "x-amz-object-lock-legal-hold"
_SYSTEM: Final = frozenset(SYSTEM_HEADERS)
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_KMS: Final = frozenset({"aws:kms", "aws:kms:dsse"})


class WriteHeaders(NamedTuple):
    """What a write must carry."""

    headers: HeaderPairs
    tags_after: tuple[tuple[str, str], ...] | None
    """Tags for a PutObjectTagging after the write; None: none are due."""
    dropped: tuple[tuple[str, str], ...]
    """(loss id, words) of what this object has and the destination does not get; empty for nearly all. The id is ''
    where nothing can be lost by it: a retention that has expired, tags of the reserved kind."""


def headers_for(
    head: ObjectHead,
    preserve: Preserve,
    facts: Capabilities,
    tags: Tags = (),
    *,
    key: str = "",
    acl: Tags = (),
    now_ms: int = 0,
    customer_key: bool = False,
) -> WriteHeaders:
    """What a PUT or CreateMultipartUpload sends so that the destination holds what *head* and *tags* say.

    *facts* are the destination's. *acl* are headers from `acl_grants`. *now_ms* (milliseconds since the epoch)
    decides whether a retention has expired; 0: none has. *customer_key*: the destination side has an SSE-C key, which
    the store sends itself. Raises ObjectRefused, naming *key* and the field, for what no header can carry and for
    a KMS key without a counterpart.
    """
    headers: HeaderPairs = []
    dropped: list[tuple[str, str]] = []
    source = head.headers
    _carry_text(source, preserve, facts, headers, dropped, key)
    wanted = target_storage_class(source.get("x-amz-storage-class", STANDARD), preserve)
    if wanted != STANDARD:
        if facts.facts.get(class_fact(wanted)) == "rejected":
            dropped.append(("storage-class", f"storage class {wanted}"))
        else:
            headers.append(("x-amz-storage-class", wanted))
    if preserve.encryption and not customer_key:
        headers += encryption_headers(source, preserve, key=key)
    if preserve.last_modified and "last-modified" in source:
        _carry_modified(head, preserve.last_modified, headers)
    if _LOCK_MODE in source or _LEGAL_HOLD in source:
        _carry_lock(source, preserve, facts, now_ms, headers, dropped)
    if acl:
        headers += acl
    tags_after = _carry_tags(tags, facts, headers, dropped) if tags and preserve.tags else None
    return WriteHeaders(headers, tags_after, tuple(dropped))


def _carry_text(
    source: Mapping[str, str],
    preserve: Preserve,
    facts: Capabilities,
    headers: HeaderPairs,
    dropped: list[tuple[str, str]],
    key: str,
) -> None:
    """System headers, user metadata, redirect."""
    for name, value in source.items():
        if name in _SYSTEM:
            if not preserve.system_headers:
                continue
            if name == "content-encoding":
                value = stored_encoding(value)  # noqa: PLW2901
                if not value:
                    continue
            if not (value.isascii() and value.isprintable()):
                _refuse_control(name, value, key)
            headers.append((name, value))
        elif name.startswith(_META):
            if not preserve.user_metadata:
                continue
            if not (value.isascii() and value.isprintable()):
                _refuse_control(name, value, key)
                value = encode_for(value, facts.enforces("user_metadata_utf8"))  # noqa: PLW2901
            if not _TOKEN.fullmatch(name):
                raise ObjectRefused(f"{key!r}: metadata name {name[11:]!r} cannot be sent as a header", key=key)
            headers.append((name, value))
        elif name == _REDIRECT:
            if not preserve.website_redirect:
                continue
            if facts.facts.get("website_redirect") == "rejected":
                dropped.append(("website-redirect", "website redirect"))
                continue
            _refuse_control(name, value, key)
            headers.append((name, value))
        elif name == "x-amz-missing-meta" and preserve.user_metadata and value.strip() not in ("", "0"):
            dropped.append(("user-metadata-text", f"{value} metadata entries that the source cannot show"))


def _refuse_control(name: str, value: str, key: str) -> None:
    if _CONTROL.search(value):
        raise ObjectRefused(f"{key!r}: the value of {name} holds control characters: {value!r}", key=key)


def stored_encoding(value: str) -> str:
    """Content-Encoding without the token aws-chunked, which belongs to an upload and some servers store."""
    if "aws-chunked" not in value.lower():
        return value
    return ",".join(t.strip() for t in value.split(",") if t.strip().lower() not in ("", "aws-chunked"))


def _carry_modified(head: ObjectHead, name: str, headers: HeaderPairs) -> None:
    """The source's Last-Modified; an entry of that name that the source already has is older, and stays."""
    field = _META + name.lower()
    if field not in head.headers:
        headers.append((field, head.last_modified))


def encryption_headers(source: Mapping[str, str], preserve: Preserve, *, key: str = "") -> HeaderPairs:
    """The SSE headers of a write. A source's KMS key is never sent on; its counterpart from key_map is.

    key_map values: a key of the destination, 'default' (the destination's own KMS key) or 'same'.
    Raises ObjectRefused for a key without a counterpart when the declaration names no `key` for all.
    """
    wanted = preserve.encryption
    mode = wanted.get("mode", "keep" if wanted else "")
    if mode == "sse-s3":
        return [(_SSE, "AES256")]
    if mode == "sse-kms":
        named = str(wanted.get("key") or "")
        return [(_SSE, "aws:kms"), (_SSE_KEY, named)] if named else [(_SSE, "aws:kms")]
    kind = source.get(_SSE, "")
    if mode != "keep" or not kind:
        return []
    if kind not in _KMS:
        return [(_SSE, "AES256")] if kind == "AES256" else []
    source_key = source.get(_SSE_KEY, "")
    target = str((wanted.get("key_map") or {}).get(source_key) or wanted.get("key") or "")
    if not target:
        raise ObjectRefused(
            f"{key!r}: encrypted with {source_key or 'a KMS key'}, for which preserve.encryption names no key at the "
            "destination; add it to key_map or set key, and plan again.",
            key=key,
        )
    headers = [(_SSE, kind)]
    if target != "default":
        headers.append((_SSE_KEY, source_key if target == "same" else target))
    if source.get(_SSE_BUCKET_KEY) == "true" and kind == "aws:kms":
        headers.append((_SSE_BUCKET_KEY, "true"))
    return headers


def target_retention(source: Mapping[str, str], preserve: Preserve, now_ms: int) -> tuple[str, str] | None:
    """(mode, retain-until as the source wrote it) that the destination gets; None: no retention.

    Without the word 'compliance' a COMPLIANCE retention becomes GOVERNANCE until the same date.
    """
    mode, until = source.get(_LOCK_MODE, ""), source.get(_LOCK_UNTIL, "")
    if preserve.object_lock == "none" or not mode or not until or _milliseconds(until) <= now_ms:
        return None
    return (mode if preserve.object_lock == "compliance" else "GOVERNANCE"), until


def _milliseconds(moment: str) -> int:
    """Of an ISO 8601 moment; a text that is none lies in the future, so that nothing is dropped by mistake."""
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError:
        return 1 << 62
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)


def _carry_lock(
    source: Mapping[str, str],
    preserve: Preserve,
    facts: Capabilities,
    now_ms: int,
    headers: HeaderPairs,
    dropped: list[tuple[str, str]],
) -> None:
    refused = facts.facts.get("object_lock") == "rejected"
    retention = target_retention(source, preserve, now_ms)
    if retention and refused:
        dropped.append(("object-lock", f"{source[_LOCK_MODE]} retention until {retention[1]}"))
    elif retention:
        headers += [(_LOCK_MODE, retention[0]), (_LOCK_UNTIL, retention[1])]
        if retention[0] != source[_LOCK_MODE]:
            dropped.append(("object-lock", f"{source[_LOCK_MODE]} retention, written as {retention[0]}"))
    elif preserve.object_lock != "none" and source.get(_LOCK_UNTIL):
        dropped.append(("", f"retention that expired {source[_LOCK_UNTIL]}"))
    if preserve.legal_hold and source.get(_LEGAL_HOLD) == "ON":
        if refused:
            dropped.append(("legal-hold", "legal hold"))
        else:
            headers.append((_LEGAL_HOLD, "ON"))


def _carry_tags(
    tags: Tags, facts: Capabilities, headers: HeaderPairs, dropped: list[tuple[str, str]]
) -> tuple[tuple[str, str], ...] | None:
    writable = tuple((k, v) for k, v in tags if not k.startswith("aws:"))
    if len(writable) < len(tags):
        dropped.append(("", "tags of the reserved kind aws:*"))
    if not writable:
        return None
    if facts.facts.get("tagging_header") not in ("rejected", "ignored"):
        encoded = tagging_header(writable)
        if len(encoded) <= MAX_TAG_HEADER:
            headers.append(("x-amz-tagging", encoded))
            return None
    if not facts.enforces("tagging"):  # a server that does not know ?tagging may take the XML for the object
        dropped.append(("tags", f"{len(writable)} tags"))
        return None
    return writable


def tagging_header(tags: Tags) -> str:
    """Tags as the value of x-amz-tagging."""
    return "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in tags)


class Difference(NamedTuple):
    """One field that is not at the destination as the plan wants it. Raw values; '' means absent."""

    field: str
    source: str
    """What was expected, after mapping."""
    destination: str


def differences(
    source: ObjectHead,
    destination: ObjectHead,
    source_tags: Tags | None,
    destination_tags: Tags | None,
    preserve: Preserve,
    *,
    accepted_losses: Collection[str] = (),
    now_ms: int = 0,
) -> list[Difference]:
    """Every field that differs, in a fixed order; empty when the destination holds all that *preserve* asks for.

    Tags None: not read, not compared. A field under an accepted loss is left out only where the destination has
    nothing there: another value than the source's is a difference still. ETags are not compared here.
    """
    have, want = destination.headers, source.headers
    found: list[Difference] = []

    def compare(field: str, expected: str, actual: str, loss: str = "") -> None:
        if not same_text(expected, actual) and not (loss in accepted_losses and not actual):
            found.append(Difference(field, expected, actual))

    if source.size != destination.size:
        found.append(Difference("size", str(source.size), str(destination.size)))
    _compare_checksums(want, have, found)
    if preserve.system_headers:
        for name in SYSTEM_HEADERS:
            expected, actual = want.get(name, ""), have.get(name, "")
            if name == "content-encoding":
                expected, actual = stored_encoding(expected), stored_encoding(actual)
            compare(name, expected, actual, "system-headers")
    if preserve.user_metadata:
        _compare_metadata(source, destination, preserve, accepted_losses, found)
    elif preserve.last_modified and source.last_modified:
        name = _META + preserve.last_modified.lower()
        compare(name, source.last_modified, have.get(name, ""))
    if preserve.website_redirect:
        compare("website-redirect", want.get(_REDIRECT, ""), have.get(_REDIRECT, ""), "website-redirect")
    wanted_class = target_storage_class(source.storage_class, preserve)
    if destination.storage_class != wanted_class:
        given_up = "storage-class" in accepted_losses and destination.storage_class == STANDARD
        if not given_up:
            found.append(Difference("storage-class", wanted_class, destination.storage_class))
    _compare_protection(want, have, preserve, now_ms, compare)
    if preserve.tags and source_tags is not None and destination_tags is not None:
        _compare_tags(source_tags, destination_tags, accepted_losses, found)
    return found


def _compare_checksums(want: Mapping[str, str], have: Mapping[str, str], found: list[Difference]) -> None:
    """Values of one algorithm over the same extent: all bytes on both sides, or the same part layout on both."""
    if want.get("x-amz-checksum-type", "FULL_OBJECT") != have.get("x-amz-checksum-type", "FULL_OBJECT"):
        return
    for name, expected in want.items():
        if not name.startswith("x-amz-checksum-") or name == "x-amz-checksum-type":
            continue
        actual = have.get(name)
        if actual and actual != expected and "-" not in expected and "-" not in actual:
            found.append(Difference(name[len("x-amz-") :], expected, actual))


def _compare_metadata(
    source: ObjectHead,
    destination: ObjectHead,
    preserve: Preserve,
    accepted_losses: Collection[str],
    found: list[Difference],
) -> None:
    expected, actual = source.user_metadata(), destination.user_metadata()
    if preserve.last_modified and source.last_modified:
        expected.setdefault(preserve.last_modified.lower(), source.last_modified)
    text_given_up, all_given_up = "user-metadata-text" in accepted_losses, "user-metadata" in accepted_losses
    for name in sorted(expected.keys() | actual.keys()):
        want, have = expected.get(name), actual.get(name)
        if want is not None and have is not None and same_text(want, have):
            continue
        if text_given_up and want is not None and not decode_text(want).isascii():
            continue
        if all_given_up and have is None:
            continue
        # Absent and empty are not the same, so a name that is missing is shown by the other side's value.
        found.append(Difference(_META + name, want if want is not None else "", have if have is not None else ""))


def _compare_protection(
    want: Mapping[str, str], have: Mapping[str, str], preserve: Preserve, now_ms: int, compare: _Compare
) -> None:
    """Encryption, retention, legal hold."""
    if preserve.encryption and "x-amz-server-side-encryption-customer-algorithm" not in have:
        expected = dict(encryption_headers(want, preserve))
        for name, value in expected.items():
            compare(name[len("x-amz-") :], value, have.get(name, ""), "encryption")
    retention = target_retention(want, preserve, now_ms)
    if retention:
        compare("object-lock-mode", retention[0], have.get(_LOCK_MODE, ""), "object-lock")
        until, actual = retention[1], have.get(_LOCK_UNTIL, "")
        if not actual or _milliseconds(until) != _milliseconds(actual):
            compare("object-lock-retain-until", until, actual, "object-lock")
    if preserve.legal_hold and want.get(_LEGAL_HOLD) == "ON":
        compare("object-lock-legal-hold", "ON", have.get(_LEGAL_HOLD, ""), "legal-hold")


def _compare_tags(source: Tags, destination: Tags, accepted_losses: Collection[str], found: list[Difference]) -> None:
    expected = {k: v for k, v in source if not k.startswith("aws:")}
    actual = {k: v for k, v in destination if not k.startswith("aws:")}
    if not actual and "tags" in accepted_losses:
        return
    found.extend(
        Difference(f"tag:{name}", expected.get(name, ""), actual.get(name, ""))
        for name in sorted(expected.keys() | actual.keys())
        if expected.get(name) != actual.get(name)
    )
