"""The check of CopyObject by a destination probe, made only where the plan would copy inside the endpoint."""

from __future__ import annotations

from typing import Final

from schema.errors import StoreError
from schema.objects import WriteResult
from storage.port import Pin
from storage.probe_canary import Canary
from storage.probe_checks import CREATE_ONLY, ENFORCED, IGNORED, NO_ETAG, UNKNOWN, Facts, precondition, refusal

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
        "copy_source_if_match": precondition(pinned),
        "copy_if_none_match": precondition(guarded),
        "copy_metadata": _kept(canary, target, anew),
    }


def _kept(canary: Canary, target: str, answer: WriteResult | StoreError) -> str:
    if isinstance(answer, StoreError):
        return refusal(answer)
    head = canary.ask(lambda: canary.store.head(target))
    if isinstance(head, StoreError):
        return UNKNOWN
    same = head.user_metadata() == {"probe": "anew"} and head.headers.get("content-type") == "text/x-s3migrate"
    return ENFORCED if same else IGNORED
