"""Checks of multipart uploads, each of one small part. Canary -> facts."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Final

from schema.checksums import FINGERPRINT, PARTS_FACT
from schema.errors import DigestMismatch, StoreError, UploadMissing
from schema.facts import Fact, Facts, Finding
from schema.objects import WriteResult
from schema.tiers import MAX_PARTS
from storage.port import UNGUARDED, Guard, HeaderList, UploadPart
from storage.probe.attributes import TAGGING, TAGS, tags_read_back
from storage.probe.canary import Canary
from storage.probe.findings import (
    BODY,
    CREATE_ONLY,
    ENFORCED,
    IGNORED,
    NO_ETAG,
    REJECTED,
    UNKNOWN,
    WRONG,
    honoured,
    precondition,
    refusal,
)

_ANSWERED: Final = (
    Fact.MULTIPART,
    PARTS_FACT,
    Fact.MULTIPART_ETAG,
    Fact.COMPLETE_IF_NONE_MATCH,
    Fact.COMPLETE_IF_MATCH,
)


def check_multipart(canary: Canary, *, tagged: bool = False) -> Facts:
    """An upload of one part over the key "base": CRC64NVME of parts, preconditions of Complete, the ETag's formula.

    *tagged*: the uploads carry tags, which are read back from what was completed.
    """
    facts: Facts = dict.fromkeys(_ANSWERED, UNKNOWN)
    asked: HeaderList = [("x-amz-checksum-algorithm", FINGERPRINT.words), ("x-amz-checksum-type", "FULL_OBJECT")]
    tags: HeaderList = [TAGGING] if tagged else []
    upload = canary.create_upload("base", [*asked, *tags])
    if isinstance(upload, StoreError) and tagged:
        facts[Fact.TAGGING_UPLOAD] = refusal(upload)
        tags = []
        upload = canary.create_upload("base", asked)
    if isinstance(upload, StoreError):
        facts[PARTS_FACT] = refusal(upload)
        asked = []
        upload = canary.create_upload("base", tags)
    else:
        facts[PARTS_FACT] = _part_digest(canary, upload)
        if facts[PARTS_FACT] != ENFORCED:
            asked = []
    if isinstance(upload, StoreError):
        return facts | {Fact.MULTIPART: refusal(upload)}
    completed = _complete(canary, upload, asked, tags=tags)
    if asked and completed.get(Fact.MULTIPART) == REJECTED:
        # Parts are accepted with a checksum, but not the whole object: do without.
        again = canary.create_upload("base", tags)
        if isinstance(again, str):
            completed = _complete(canary, again, [], tags=tags) | {PARTS_FACT: REJECTED}
            asked = []
    if tags and completed.get(Fact.MULTIPART) == ENFORCED:
        completed[Fact.TAGGING_UPLOAD] = tags_read_back(canary, TAGS, "base")
    facts |= completed
    return facts | _honoured_conditions(canary, facts, asked)


def _honoured_conditions(canary: Canary, facts: Facts, asked: HeaderList) -> Facts:
    """The conditions of Complete that were seen to refuse, where they hold: these must pass."""

    def created() -> Finding:
        return honoured(_written_in_a_part(canary, "fresh", asked, guard=CREATE_ONLY))

    def replaced() -> Finding:
        head = canary.ask(lambda: canary.store.head(canary.key("base")))
        if isinstance(head, StoreError):
            return UNKNOWN
        return honoured(_written_in_a_part(canary, "base", asked, guard=Guard(if_match=head.etag)))

    checks = {Fact.COMPLETE_IF_NONE_MATCH: created, Fact.COMPLETE_IF_MATCH: replaced}
    asked_again = [fact for fact in checks if facts[fact] == ENFORCED]
    return dict(zip(asked_again, canary.each([checks[fact] for fact in asked_again]), strict=True))


def _written_in_a_part(
    canary: Canary, name: str, headers: HeaderList, *, guard: Guard = UNGUARDED
) -> WriteResult | StoreError:
    """Canary *name* by an upload of one part, begun with *headers*."""
    key, digest = canary.key(name), (FINGERPRINT.header, FINGERPRINT.encoded(BODY))
    summed = any(header == "x-amz-checksum-algorithm" for header, _ in headers)
    upload = canary.create_upload(name, headers)
    if isinstance(upload, StoreError):
        return upload
    part = canary.ask(partial(canary.store.upload_part, UploadPart(key, upload, 1), BODY, [digest] if summed else ()))
    if isinstance(part, StoreError):
        return part
    proof = [digest, ("x-amz-checksum-type", "FULL_OBJECT")] if summed else []
    complete = partial(canary.store.complete_upload, key, upload, [(1, part.etag)], headers=proof)
    answer = canary.ask(partial(complete, guard=guard) if guard != UNGUARDED else complete)
    if not isinstance(answer, StoreError):
        canary.completed(name, upload, answer)
    return answer


def check_part_numbers(canary: Canary) -> Facts:
    """Whether part number 10,000 is taken, in an upload that is aborted: some servers complete no upload without it."""
    upload = canary.create_upload("parts")
    if isinstance(upload, StoreError):
        return {Fact.PART_NUMBERS: UNKNOWN}
    last = canary.ask(partial(canary.store.upload_part, UploadPart(canary.key("parts"), upload, MAX_PARTS), BODY))
    return {Fact.PART_NUMBERS: refusal(last) if isinstance(last, StoreError) else ENFORCED}


def _part_digest(canary: Canary, upload: str) -> Finding:
    key = canary.key("base")
    header = (FINGERPRINT.header, FINGERPRINT.encoded(WRONG))
    answer = canary.ask(lambda: canary.store.upload_part(UploadPart(key, upload, 1), BODY, [header]))
    if isinstance(answer, DigestMismatch):
        return ENFORCED
    return refusal(answer) if isinstance(answer, StoreError) else IGNORED


def _complete(canary: Canary, upload: str, asked: HeaderList, *, tags: HeaderList) -> Facts:
    """Violated preconditions first; where one is not enforced the upload is gone and the next check makes a new one."""
    key = canary.key("base")
    right = (FINGERPRINT.header, FINGERPRINT.encoded(BODY))
    proof = [right, ("x-amz-checksum-type", "FULL_OBJECT")] if asked else []
    facts: Facts = {}
    digest = [right] if asked else []
    part = canary.ask(partial(canary.store.upload_part, UploadPart(key, upload, 1), BODY, digest))
    tries = [
        (Fact.COMPLETE_IF_NONE_MATCH, CREATE_ONLY),
        (Fact.COMPLETE_IF_MATCH, Guard(if_match=NO_ETAG)),
        (Fact.MULTIPART, UNGUARDED),
    ]
    for fact, guard in tries:
        if isinstance(part, StoreError):
            facts[fact] = refusal(part)
            break
        complete = partial(canary.store.complete_upload, key, upload, [(1, part.etag)], headers=proof, guard=guard)
        answer = canary.ask(complete)
        if not isinstance(answer, StoreError):
            canary.completed("base", upload, answer)
            facts[Fact.MULTIPART_ETAG] = _etag_formula(answer.etag)
        if fact == Fact.MULTIPART:
            facts[fact] = refusal(answer) if isinstance(answer, StoreError) else ENFORCED
            break
        facts[fact] = precondition(answer)
        if isinstance(answer, UploadMissing) or not isinstance(answer, StoreError):
            renewed = canary.create_upload("base", [*asked, *tags])
            if isinstance(renewed, StoreError):
                break
            upload = renewed
            part = canary.ask(partial(canary.store.upload_part, UploadPart(key, upload, 1), BODY, digest))
    return facts


def _etag_formula(etag: str) -> Finding:
    digest = hashlib.md5(BODY, usedforsecurity=False).digest()
    return ENFORCED if etag == hashlib.md5(digest, usedforsecurity=False).hexdigest() + "-1" else IGNORED
