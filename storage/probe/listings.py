"""Whether a listing shows the size and the ETag that HEAD answers. Plans pin by them, and verify compares them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from schema.facts import Finding
from schema.objects import ListedObject, ObjectHead
from storage.probe.canary import Canary


def agrees(canary: Canary, entry: ListedObject, head: ObjectHead) -> bool | None:
    """Whether *entry* shows what *head* says, after a second look where not. None: the object may have changed."""
    if _same(entry, head):
        return True
    again = canary.ask(lambda: canary.store.head(entry.key, version_id=entry.version_id))
    if not isinstance(again, ObjectHead) or (again.etag, again.size) != (head.etag, head.size):
        return None
    modified = again.modified_seconds
    return False if modified is not None and modified <= entry.modified_ms // 1000 else None


def judge_listing(canary: Canary, listed: Mapping[str, ListedObject] | None) -> Finding:
    """LISTED_ETAG, by what the writes of the canaries *listed* answered; None: they could not be listed.

    A HEAD decides where that differs: another canary may have been folded into this one.
    """
    found = Finding.UNKNOWN
    for entry in (listed or {}).values():
        written = canary.etags.get(entry.key)
        if written == entry.etag:
            found = Finding.ENFORCED
        elif written is not None:
            head = canary.ask(partial(canary.store.head, entry.key))
            if isinstance(head, ObjectHead) and agrees(canary, entry, head) is False:
                return Finding.IGNORED
    return found


def _same(entry: ListedObject, head: ObjectHead) -> bool:
    return (entry.etag, entry.size) == (head.etag, head.size)
