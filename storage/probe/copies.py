"""The checks of CopyObject and UploadPartCopy by a destination probe, made only where the plan would copy so."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Final

from schema.errors import ResponseUnreadable, StoreError
from schema.facts import Fact, Facts, Finding
from schema.objects import WriteResult
from storage.port import Pin
from storage.probe.canary import Canary
from storage.probe.findings import (
    BODY,
    CREATE_ONLY,
    ENFORCED,
    IGNORED,
    NO_ETAG,
    REJECTED,
    UNKNOWN,
    precondition,
    refusal,
)

_ANEW: Final = (
    ("x-amz-metadata-directive", "REPLACE"),
    ("content-type", "text/x-s3migrate"),
    ("x-amz-meta-probe", "anew"),
)


def check_copies(canary: Canary) -> Facts:
    """CopyObject within the bucket: the source's precondition, the destination's, and whether it keeps what is sent.

    copy_metadata is 'ignored' where the copy's metadata is not exactly what the copy was told (rclone adds to it).
    """
    bucket, base, target = canary.store.bucket, canary.key("base"), canary.key("copy")
    pinned = canary.ask(lambda: canary.store.copy(bucket, base, target, (), source_pin=Pin(etag=NO_ETAG)))
    guarded = canary.ask(lambda: canary.store.copy(bucket, base, canary.key("digest"), (), guard=CREATE_ONLY))
    anew = canary.ask(lambda: canary.store.copy(bucket, base, target, _ANEW))
    for key, answer in ((target, pinned), (canary.key("digest"), guarded), (target, anew)):
        if not isinstance(answer, StoreError):
            canary.remember(key, answer)
    return {
        Fact.COPY_SOURCE_IF_MATCH: precondition(pinned),
        Fact.COPY_IF_NONE_MATCH: precondition(guarded),
        Fact.COPY_METADATA: _kept(canary, target, anew),
    }


def check_part_copies(canary: Canary) -> Facts:
    """UploadPartCopy into the upload of check_part_numbers: the source's precondition, and what arrives.

    part_copy is 'ignored' where the part does not hold what it was asked for. A range of so small a source is refused
    by AWS (5 MiB at least), so a refused range is followed by the whole.
    """
    upload = canary.open_upload("parts")
    if upload is None:
        return {Fact.PART_COPY: UNKNOWN, Fact.PART_COPY_SOURCE_IF_MATCH: UNKNOWN}
    bucket, base, target = canary.store.bucket, canary.key("base"), canary.key("parts")
    copy = partial(canary.store.copy_part, bucket, base, target, upload)
    pinned = canary.ask(lambda: copy(1, 0, None, source_pin=Pin(etag=NO_ETAG)))
    facts: Facts = {Fact.PART_COPY_SOURCE_IF_MATCH: precondition(pinned)}
    expected = BODY[1:-1]
    copied = canary.ask(lambda: copy(2, 1, len(expected)))
    if isinstance(copied, StoreError) and refusal(copied) == REJECTED:
        expected = BODY
        copied = canary.ask(lambda: copy(2, 0, None))
    if isinstance(copied, ResponseUnreadable):
        return facts | {Fact.PART_COPY: IGNORED}  # taken for an UploadPart, say
    if isinstance(copied, StoreError):
        return facts | {Fact.PART_COPY: refusal(copied)}
    if copied.etag == hashlib.md5(expected, usedforsecurity=False).hexdigest():
        return facts | {Fact.PART_COPY: ENFORCED}
    return facts | {Fact.PART_COPY: _arrived(canary, upload, len(expected))}


def _arrived(canary: Canary, upload: str, size: int) -> Finding:
    """By the list of parts, where the part's ETag does not prove what is in it."""
    listed = canary.ask(lambda: list(canary.store.list_parts(canary.key("parts"), upload)))
    if isinstance(listed, StoreError):
        return UNKNOWN
    return ENFORCED if [part.size for part in listed if part.number == 2] == [size] else IGNORED


def _kept(canary: Canary, target: str, answer: WriteResult | StoreError) -> Finding:
    if isinstance(answer, StoreError):
        return refusal(answer)
    head = canary.ask(lambda: canary.store.head(target))
    if isinstance(head, StoreError):
        return UNKNOWN
    same = head.user_metadata() == {"probe": "anew"} and head.headers.get("content-type") == "text/x-s3migrate"
    return ENFORCED if same else IGNORED
