"""Which storage class an object gets at the destination."""

from __future__ import annotations

from schema.declaration import Preserve
from schema.facts import ClassFact
from schema.objects import ObjectHead

STANDARD = "STANDARD"
CLASS_HEADER = "x-amz-storage-class"
ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Classes whose objects must be restored before they can be read."""


def readable(head: ObjectHead) -> bool:
    """What a HEAD says of an object's archive: none, or restored by now."""
    if 'ongoing-request="false"' in head.headers.get("x-amz-restore", ""):
        return True
    return head.storage_class not in ARCHIVED and not head.headers.get("x-amz-archive-status")


def target_storage_class(source: str, preserve: Preserve) -> str:
    """The class *preserve* gives an object of class *source*: kept, mapped (unmapped classes are kept) or fixed."""
    if preserve.storage_class == "keep":
        return source
    if preserve.storage_class == "map":
        return preserve.storage_class_map.get(source, source)
    return preserve.storage_class


def class_fact(storage_class: str) -> ClassFact:
    """The name of the capability that says whether an endpoint takes *storage_class*."""
    return ClassFact(f"storage_class_{storage_class.lower()}")
