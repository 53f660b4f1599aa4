"""When a source object is not what the plan saw: has it changed, or was it never what its listing said?

Some servers list a size or an ETag that their HEAD does not confirm. Planning such an object again finds the same
listing again, so it must not be called a change.
"""

from __future__ import annotations

from collections.abc import Callable
from email.utils import parsedate_to_datetime

from schema.errors import ObjectChanged, ObjectRefused, StoreError
from schema.objects import ObjectHead
from schema.plan import Entry

CODE = "ListingAndHeadDisagree"


def disagreement(entry: Entry, changed: ObjectChanged, head: Callable[[], ObjectHead]) -> ObjectRefused | None:
    """The error that ends *entry*, when two HEADs agree with each other on an object no younger than it was listed.

    None: the object has changed since the plan, or what is true cannot be found out.
    """
    try:
        first, second = head(), head()
    except StoreError:
        return None
    same = (first.etag, first.size) == (second.etag, second.size)
    as_planned = (first.etag, first.size) == (entry.etag, entry.size)
    modified = _seconds(first)
    if not same or as_planned or modified is None or modified > entry.modified_ms // 1000:
        return None
    return ObjectRefused(
        f"listing and head disagree: the source lists it with {entry.size} bytes and ETag {entry.etag}, but two HEADs "
        f"say {first.size} bytes and ETag {first.etag} of an object that has not changed since. Plan again with "
        "--believe head, which asks each object",
        operation="HeadObject",
        key=entry.key,
        status=changed.status,
        code=CODE,
    )


def _seconds(head: ObjectHead) -> int | None:
    """Last-Modified in whole seconds since the epoch; None when it is not told."""
    if head.last_modified is None:
        return None
    try:
        return int(parsedate_to_datetime(head.last_modified).timestamp())
    except (ValueError, IndexError):
        return None
