"""The checks of CopyObject and UploadPartCopy by a destination probe, made only where the plan would copy so."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Final

from schema.errors import ObjectMissing, ResponseUnreadable, StoreError
from schema.facts import Fact, Facts, Finding
from schema.objects import WriteResult
from storage.port import ByteRange, CopySource, Guard, Pin, UploadPart
from storage.probe.canary import Canary
from storage.probe.findings import (
    BODY,
    CREATE_ONLY,
    ENFORCED,
    IGNORED,
    NO_ETAG,
    REJECTED,
    UNKNOWN,
    honoured,
    precondition,
    refusal,
)

_ANEW: Final = (
    ("x-amz-metadata-directive", "REPLACE"),
    ("content-type", "text/x-s3migrate"),
    ("x-amz-meta-probe", "anew"),
)


def check_copies(canary: Canary) -> Facts:
    """CopyObject within the bucket: its conditions, and whether a copy keeps what is sent with it.

    The canary "base" was written in parts, "headers" in one PUT. copy_metadata is 'ignored' where the copy's metadata
    is not exactly what the copy was told (rclone adds to it).
    """
    anew = canary.copy("base", "copy", _ANEW)
    facts: Facts = {Fact.COPY_METADATA: _kept(canary, canary.key("copy"), anew)}
    of_source, of_target = canary.each([partial(_source_condition, canary), partial(_target_conditions, canary)])
    return facts | of_source | of_target


def _source_condition(canary: Canary) -> Facts:
    finding = precondition(canary.copy("base", "copy", source_pin=Pin(etag=NO_ETAG)))
    for name in ("base", "headers"):
        if finding == ENFORCED:
            finding = _honoured_pin(canary, name)
    return {Fact.COPY_SOURCE_IF_MATCH: finding}


def _honoured_pin(canary: Canary, name: str) -> Finding:
    head = canary.ask(lambda: canary.store.head(canary.key(name)))
    if isinstance(head, StoreError):
        return ENFORCED if isinstance(head, ObjectMissing) else UNKNOWN  # no such canary: the other one decides
    return honoured(canary.copy(name, "copy", source_pin=Pin(etag=head.etag)))


def _target_conditions(canary: Canary) -> Facts:
    """On a canary that is there, and on one that is not."""
    key = canary.key("target")
    there = canary.copy("base", "target")
    if isinstance(there, StoreError):
        found = refusal(there)
        return {Fact.COPY_IF_NONE_MATCH: found, Fact.COPY_IF_MATCH: found}
    created = precondition(canary.copy("base", "target", guard=CREATE_ONLY))
    replaced = precondition(canary.copy("base", "target", guard=Guard(if_match=NO_ETAG)))
    if created == ENFORCED:
        created = honoured(canary.copy("base", "created", guard=CREATE_ONLY))
    if replaced == ENFORCED:
        head = canary.ask(lambda: canary.store.head(key))
        replaced = UNKNOWN
        if not isinstance(head, StoreError):
            replaced = honoured(canary.copy("base", "target", guard=Guard(if_match=head.etag)))
    return {Fact.COPY_IF_NONE_MATCH: created, Fact.COPY_IF_MATCH: replaced}


def check_part_copies(canary: Canary) -> Facts:
    """UploadPartCopy into the upload of check_part_numbers: the source's precondition, and what arrives.

    part_copy is 'ignored' where the part does not hold what it was asked for. A range of so small a source is refused
    by AWS (5 MiB at least), so a refused range is followed by the whole.
    """
    upload = canary.open_upload("parts")
    if upload is None:
        return {Fact.PART_COPY: UNKNOWN, Fact.PART_COPY_SOURCE_IF_MATCH: UNKNOWN}
    base = canary.key("base")
    source = CopySource(canary.store.bucket, base)
    first, second = (UploadPart(canary.key("parts"), upload, number) for number in (1, 2))
    copy = canary.store.copy_part
    pinned = precondition(canary.ask(lambda: copy(source._replace(pin=Pin(etag=NO_ETAG)), first)))
    if pinned == ENFORCED:
        head = canary.ask(lambda: canary.store.head(base))
        pinned = UNKNOWN
        if not isinstance(head, StoreError):
            right = Pin(etag=head.etag)
            pinned = honoured(canary.ask(lambda: copy(source._replace(pin=right), first)))
    facts: Facts = {Fact.PART_COPY_SOURCE_IF_MATCH: pinned}
    expected = BODY[1:-1]
    copied = canary.ask(lambda: copy(source, second, span=ByteRange(1, len(expected))))
    if isinstance(copied, StoreError) and refusal(copied) == REJECTED:
        expected = BODY
        copied = canary.ask(lambda: copy(source, second))
    if isinstance(copied, ResponseUnreadable):
        return facts | {Fact.PART_COPY: IGNORED}  # taken for an UploadPart, say
    if isinstance(copied, StoreError):
        return facts | {Fact.PART_COPY: refusal(copied)}
    if copied.etag == hashlib.md5(expected, usedforsecurity=False).hexdigest():
        return facts | {Fact.PART_COPY: ENFORCED}
    return facts | {Fact.PART_COPY: _arrived(canary, upload, len(expected))}


def _arrived(canary: Canary, upload: str, size: int) -> Finding:
    """By ListParts, where the part's ETag does not prove its content."""
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
