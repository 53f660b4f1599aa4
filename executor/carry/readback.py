"""Reading an object back to fingerprint it, whatever its size, through one buffer of bounded size."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

from executor.machine.buffers import BufferPool
from executor.route import Route
from schema.checksums import crc64nvme
from schema.errors import Stopped
from schema.objects import ListedObject, ObjectHead
from schema.plan import Entry
from schema.tiers import WINDOW
from storage.port import ObjectStore, Pin

T = TypeVar("T")
Crcs = tuple[int | None, int | None]
"""CRC64NVME of the source's bytes and of the destination's; None: not read."""
READINGS = 4
"""After this many readings that all differ, the last one counts."""


def settled(read: Callable[[], T], good: Callable[[T], bool]) -> T:
    """What *read* returns, once it is *good* or was returned before.

    A bit flipped in transit must not make two equal objects differ; bytes that really differ give the same answer
    twice.
    """
    seen: list[T] = []
    while True:
        found = read()
        if good(found) or found in seen or len(seen) + 1 >= READINGS:
            return found
        seen.append(found)


class Reading(NamedTuple):
    """An object to be read back."""

    store: ObjectStore
    key: str
    size: int
    """Bytes."""
    pin: Pin


def at_source(route: Route, entry: Entry) -> Reading:
    """The source object as planned."""
    return Reading(route.source, entry.key, entry.size, route.pin(entry))


def at_destination(
    route: Route, entry: Entry, there: ObjectHead | ListedObject, *, version_id: str | None = None
) -> Reading:
    """What was seen *there* for *entry*. *version_id*: None, unless the destination keeps versions: others state 'null'
    or nonsense. A GET of a version needs a right of its own (s3:GetObjectVersion).
    """
    return Reading(route.destination, entry.target, there.size, route.destination_pin(there.etag, version_id))


def crcs_of_both(
    source: Reading | None,
    there: Reading | None,
    read: Callable[[Reading], int],
    *,
    first: Crcs = (None, None),
    recorded: int | None = None,
) -> Crcs:
    """What *read* makes of both sides, each again until they agree with each other and with what is *recorded*.

    None for a side that is None. *first*: what was read before; it counts as the first reading.
    """
    given = [first]

    def look() -> Crcs:
        mine, theirs = given.pop() if given else (None, None)
        if mine is None and source is not None:
            mine = read(source)
        if theirs is None and there is not None:
            theirs = read(there)
        return mine, theirs

    return settled(look, lambda pair: len({*pair, recorded} - {None}) <= 1)


def _once(step: Callable[[], object]) -> object:
    return step()


def crc_of(
    what: Reading,
    buffers: BufferPool,
    stop: Callable[[], bool],
    *,
    again: Callable[[Callable[[], object]], object] = _once,
    within: memoryview | None = None,
) -> int:
    """The CRC64NVME of the bytes of *what*. Each window is read under the same pin.

    *again* repeats a window after a transient error. *within*: memory that the caller holds and does not need, used
    where it is long enough: who holds some must not wait for more. Raises StoreErrors, or Stopped.
    """
    store, key, size, pin = what
    needed = max(1, min(size, WINDOW, buffers.budget.total))
    held = within is not None and len(within) >= needed
    view = within if held else buffers.take(needed, stop)
    if view is None:
        raise Stopped("stopped while reading back")
    try:
        if size <= len(view):
            whole = view[:size]
            again(partial(store.get, key, whole, pin=pin))
            return crc64nvme(whole)
        crc, start = 0, 0
        while start < size:
            if stop():
                raise Stopped("stopped while reading back")
            window = view[: min(len(view), size - start)]
            again(partial(store.get, key, window, pin=pin, start=start))
            crc = crc64nvme(window, crc)
            start += len(window)
        return crc
    finally:
        if not held:
            buffers.give(view)
