"""What protects an object: encryption, retention, legal hold, grants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from schema.attributes.attribute import Attribute, Difference, Kept, Outgoing, Sides, Unasked
from schema.attributes.evidence import Evidence, FoundLoss, SampledObject
from schema.declaration import Preserve
from schema.errors import ObjectRefused
from schema.facts import Fact, Setting
from schema.objects import ObjectHead

_SSE: Final = "x-amz-server-side-encryption"
_SSE_KEY: Final = "x-amz-server-side-encryption-aws-kms-key-id"
_SSE_BUCKET_KEY: Final = "x-amz-server-side-encryption-bucket-key-enabled"
_SSE_CUSTOMER: Final = "x-amz-server-side-encryption-customer-algorithm"
_KMS: Final = frozenset({"aws:kms", "aws:kms:dsse"})
_LOCK_MODE: Final = "x-amz-object-lock-mode"
_LOCK_UNTIL: Final = "x-amz-object-lock-retain-until-date"
_LEGAL_HOLD: Final = "x-amz-object-lock-legal-hold"


class Encryption(Attribute):
    """Server-side encryption by the service's or by KMS keys. A customer's key is sent by the store itself."""

    loss: Final = "encryption"
    losses = (loss,)
    unasked = Unasked("kms", "encryption")

    def asked(self, preserve: Preserve) -> bool:
        return bool(preserve.encryption)

    def shown_by(self, found: SampledObject) -> Iterator[str]:
        if found.head.headers.get(_SSE, "").startswith("aws:"):
            yield "kms"
        if _SSE_CUSTOMER in found.head.headers:
            yield "customer-key"

    def carry(self, write: Outgoing, kept: Kept) -> None:
        if not kept.customer_key:
            write.headers += encryption_headers(write.head.headers, kept.preserve, key=write.key)

    def compare(self, sides: Sides, preserve: Preserve) -> None:
        have = sides.destination.headers
        if _SSE_CUSTOMER not in have:
            expected = dict(encryption_headers(sides.source.headers, preserve))
            for name, value in expected.items():
                sides.compare(name[len("x-amz-") :], value, have.get(name, ""), loss=self.loss)

    def find_losses(self, evidence: Evidence) -> Iterator[FoundLoss]:
        wanted = evidence.preserve.encryption
        if wanted.get("mode") != "keep" or wanted.get("key"):
            return
        mapped = wanted.get("key_map") or {}
        unmapped = [
            f"{found.key}: {found.head.headers.get(_SSE_KEY, '')}"
            for found in evidence.sample
            if found.head.headers.get(_SSE, "").startswith("aws:kms")
            and not mapped.get(found.head.headers.get(_SSE_KEY, ""))
        ]
        if unmapped:
            text = "KMS keys of the source have no counterpart in preserve.encryption.key_map; such objects will fail"
            yield FoundLoss(self.loss, text, unmapped)


def encryption_headers(source: Mapping[str, str], preserve: Preserve, *, key: str = "") -> list[tuple[str, str]]:
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


def carried_by_all(preserve: Preserve, heads: Sequence[ObjectHead]) -> tuple[tuple[str, str], ...]:
    """The SSE headers that every write of the run will carry, as far as the *heads* of a sample show; else none."""
    if preserve.encryption.get("mode") in ("sse-s3", "sse-kms"):
        return tuple(encryption_headers({}, preserve))
    try:
        each = {tuple(encryption_headers(head.headers, preserve)) for head in heads}
    except ObjectRefused:
        return ()
    return each.pop() if len(each) == 1 else ()


class Retention(Attribute):
    """Object Lock: a mode and a date."""

    loss: Final = "object-lock"
    losses = (loss,)
    unasked = Unasked("object-lock", "object_lock")

    def asked(self, preserve: Preserve) -> bool:
        return preserve.object_lock != "none"

    def shown_by(self, found: SampledObject) -> Iterator[str]:
        if _LOCK_MODE in found.head.headers:
            yield "object-lock"

    def carry(self, write: Outgoing, kept: Kept) -> None:
        source = write.head.headers
        if _LOCK_UNTIL not in source:
            return
        retention = target_retention(source, kept.preserve, write.now_ms)
        if retention and kept.facts.rejects(Fact.OBJECT_LOCK):
            write.dropped.append((self.loss, f"{source[_LOCK_MODE]} retention until {retention[1]}"))
        elif retention:
            write.headers += [(_LOCK_MODE, retention[0]), (_LOCK_UNTIL, retention[1])]
            if retention[0] != source[_LOCK_MODE]:
                write.dropped.append((self.loss, f"{source[_LOCK_MODE]} retention, written as {retention[0]}"))
        elif source[_LOCK_UNTIL]:
            write.dropped.append(("", f"retention that expired {source[_LOCK_UNTIL]}"))

    def compare(self, sides: Sides, preserve: Preserve) -> None:
        retention = target_retention(sides.source.headers, preserve, sides.now_ms)
        if not retention:
            return
        have = sides.destination.headers
        sides.compare("object-lock-mode", retention[0], have.get(_LOCK_MODE, ""), loss=self.loss)
        until, actual = retention[1], have.get(_LOCK_UNTIL, "")
        if not actual or _milliseconds(until) != _milliseconds(actual):
            sides.compare("object-lock-retain-until", until, actual, loss=self.loss)

    def find_losses(self, evidence: Evidence) -> Iterator[FoundLoss]:
        locked = evidence.keys(lambda found: _LOCK_MODE in found.head.headers)
        if locked and evidence.destination_facts.lacks(Fact.OBJECT_LOCK):
            yield FoundLoss(self.loss, "the destination bucket has no object lock; retention is lost", locked)
        elif evidence.preserve.object_lock == "governance":
            strict = evidence.keys(lambda found: found.head.headers.get(_LOCK_MODE) == "COMPLIANCE")
            if strict:
                text = "COMPLIANCE retention becomes GOVERNANCE (object_lock: compliance would keep it)"
                yield FoundLoss(self.loss, text, strict)


def target_retention(source: Mapping[str, str], preserve: Preserve, now_ms: int) -> tuple[str, str] | None:
    """(mode, retain-until as the source wrote it) that the destination gets; None: no retention.

    Without the word 'compliance' a COMPLIANCE retention becomes GOVERNANCE until the same date.
    """
    mode, until = source.get(_LOCK_MODE, ""), source.get(_LOCK_UNTIL, "")
    if preserve.object_lock == "none" or not mode or not until or _milliseconds(until) <= now_ms:
        return None
    return (mode if preserve.object_lock == "compliance" else "GOVERNANCE"), until


def _milliseconds(moment: str) -> int:
    """Milliseconds since the epoch. Unparsable text counts as far in the future, so no retention is dropped by
    mistake."""
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError:
        return 1 << 62
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)


class LegalHold(Attribute):
    """A lock without a date."""

    loss: Final = "legal-hold"
    losses = (loss,)
    unasked = Unasked("legal-hold", "legal_hold")

    def asked(self, preserve: Preserve) -> bool:
        return preserve.legal_hold

    def shown_by(self, found: SampledObject) -> Iterator[str]:
        if found.head.headers.get(_LEGAL_HOLD) == "ON":
            yield "legal-hold"

    def carry(self, write: Outgoing, kept: Kept) -> None:
        if write.head.headers.get(_LEGAL_HOLD) != "ON":
            return
        if kept.facts.rejects(Fact.OBJECT_LOCK):
            write.dropped.append((self.loss, "legal hold"))
        else:
            write.headers.append((_LEGAL_HOLD, "ON"))

    def compare(self, sides: Sides, preserve: Preserve) -> None:
        if sides.source.headers.get(_LEGAL_HOLD) == "ON":
            actual = sides.destination.headers.get(_LEGAL_HOLD, "")
            sides.compare("object-lock-legal-hold", "ON", actual, loss=self.loss)

    def find_losses(self, evidence: Evidence) -> Iterator[FoundLoss]:
        held = evidence.keys(lambda found: found.head.headers.get(_LEGAL_HOLD) == "ON")
        if held and evidence.destination_facts.lacks(Fact.OBJECT_LOCK):
            yield FoundLoss(self.loss, "the destination bucket has no object lock; legal holds are lost", held)


class Acl(Attribute):
    """Grants besides the owner's. Reading them is an extra call for each object; they are sent with the write."""

    loss: Final = "acl"
    losses = (loss,)

    def asked(self, preserve: Preserve) -> bool:
        return preserve.acl

    def shown_by(self, found: SampledObject) -> Iterator[str]:
        if found.grants:
            yield "grants"

    def carry(self, write: Outgoing, kept: Kept) -> None:
        write.headers += write.acl

    def compare(self, sides: Sides, preserve: Preserve) -> None:
        if self.loss not in sides.accepted:
            sides.found += [Difference("acl", grant, "") for grant in sides.missing_grants]

    def find_losses(self, evidence: Evidence) -> Iterator[FoundLoss]:
        if evidence.source_facts.rejects(Fact.ACL_READABLE):
            yield FoundLoss(self.loss, "ACLs may not be read at the source (s3:GetObjectAcl), so none is copied")
        granted = evidence.keys(lambda found: found.grants)
        facts = evidence.destination_facts
        if granted and facts.lacks(Fact.ACL):
            owner = facts.setting(Setting.BUCKET_OWNERSHIP) == "BucketOwnerEnforced"
            reason = " (its Object Ownership is BucketOwnerEnforced)" if owner else ""
            yield FoundLoss(self.loss, f"the destination takes no ACL{reason}", granted)
            return
        unmapped = [
            f"{found.key}: {grantee} ({permission})"
            for found in evidence.sample
            for grantee, permission in found.grants or ()
            if grantee not in evidence.preserve.acl_grantees and not grantee.startswith(("http://", "https://"))
        ]
        if unmapped:
            text = "grantees of the source have no counterpart in preserve.acl_grantees; their grants are left out"
            yield FoundLoss(self.loss, text, unmapped)
