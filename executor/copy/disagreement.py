"""When a source object is not what the plan saw: has it changed, or was its listing wrong from the start?

Some servers list a size or an ETag that their HEAD does not confirm. Planning such an object again finds the same
listing again, so it must not be reported as a change.
"""

from __future__ import annotations

from schema.errors import ObjectChanged, ObjectRefused, StoreError
from schema.objects import ListedObject
from schema.plan import Entry
from storage.port import ObjectStore

CODE = "ListingAndHeadDisagree"


def disagreement(source: ObjectStore, entry: Entry, changed: ObjectChanged) -> ObjectRefused | None:
    """The error that ends *entry*, when *source* still lists it as planned while two HEADs say otherwise.

    None: the object has changed since the plan, or the truth cannot be determined.
    """
    try:
        first = source.head(entry.key, version_id=entry.version_id)
        listed = _listed(source, entry)
        second = source.head(entry.key, version_id=entry.version_id)
    except StoreError:
        return None
    planned = (entry.etag, entry.size)
    if listed is None or (listed.etag, listed.size) != planned or (first.etag, first.size) == planned:
        return None
    if (first.etag, first.size) != (second.etag, second.size):
        return None
    return ObjectRefused(
        f"listing and head disagree: the source lists it with {entry.size} bytes and ETag {entry.etag}, but two HEADs "
        f"say {first.size} bytes and ETag {first.etag}. Plan again with --believe head, which asks each object",
        operation="HeadObject",
        key=entry.key,
        status=changed.status,
        code=CODE,
    )


def _listed(source: ObjectStore, entry: Entry) -> ListedObject | None:
    """What the source lists of the entry's object, or version, now."""
    # Keys ascend, so the key itself comes before all that only begin with it.
    for found in source.list_objects(entry.key) if entry.version_id is None else source.list_versions(entry.key):
        if found.key != entry.key:
            return None
        if isinstance(found, ListedObject) and entry.version_id in (None, found.version_id):
            return found
    return None
