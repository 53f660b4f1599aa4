"""What a write made, asked of the destination; one that answers 404 for what it has just taken is asked again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from executor.route import Route
from executor.stop import Stop
from schema.errors import ObjectMissing, Stopped, WhichSide
from schema.objects import ListedObject, ObjectHead, supported
from schema.plan import Action, Entry
from storage.port import ObjectStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Lateness:
    """How long a destination may take to show what it has acknowledged. Seconds."""

    pauses: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
    """Between two attempts; their sum is the longest wait."""


LATENESS = Lateness()


def shown(look: Callable[[], T], stop: Stop, late: Lateness = LATENESS) -> T:
    """*look*'s answer, asked again while it raises ObjectMissing.

    Raises the last ObjectMissing, which then names the destination and the time waited; Stopped when a stop came in;
    everything else *look* raises at once.
    """
    for pause in late.pauses:
        try:
            return look()
        except ObjectMissing:
            if stop.wait(pause) or stop.draining:
                raise Stopped("stopped while the destination did not show what was written") from None
    try:
        return look()
    except ObjectMissing as missing:
        waited = sum(late.pauses)
        told = missing.retold(
            f"the destination took the write and does not show it {waited:.0f} s later: {missing}; `retry` copies it "
            "again"
        )
        told.side = WhichSide.DESTINATION
        raise told from None


def published(route: Route, entry: Entry, *, version: str | None, etag: str) -> ObjectHead:
    """The head of what Complete made, and answered *etag* for.

    Raises ObjectMissing while there is none, or still the object that was overwritten; other StoreErrors of the HEAD.
    """
    head = route.destination.head(entry.target, version_id=version, extra=route.destination_read_extra)
    if entry.action is Action.OVERWRITE and head.etag == entry.destination_etag != etag:
        raise ObjectMissing(
            f"{entry.target!r} is still the object that was to be overwritten (ETag {head.etag})",
            operation="HeadObject",
            key=entry.target,
            side=WhichSide.DESTINATION,
        )
    return head


def newest_version(store: ObjectStore, key: str) -> ListedObject | None:
    """The current version or delete marker of *key*, as listed; None: there is none. Raises StoreErrors."""
    newest: ListedObject | None = None
    # Oldest first; keys ascend, so the key itself comes before all that only begin with it.
    for version in supported(store.list_versions(key)):
        if version.key != key:
            break
        newest = version
    return newest
