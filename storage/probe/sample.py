"""Which listed objects of a source a survey may choose from: pages from several ranges of keys, not only the first."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from typing import Final

from schema.errors import StoreError
from schema.objects import ListedObject, supported
from storage.port import ObjectStore

FIRST: Final = 1000
"""Objects of the first range: a page."""
LATER: Final = 200
"""Of each later one."""
RANGES: Final = 7
PATIENCE_SECONDS: Final = 10.0
"""Seconds after which no further range is begun: a listing that is slow, or sorted on disk, is not read again and
again.
"""
LISTED_FOR_OLDER: Final = 1000
"""Versions listed at most to find older ones: a page."""
_LAST: Final = "\U0010fffd"


def sample_of(
    store: ObjectStore, prefix: str, all_versions: bool, *, clock: Callable[[], float] = time.monotonic
) -> tuple[ListedObject, ...]:
    """Objects from up to seven ranges of the keys under *prefix*, in listed order, and where all versions travel some
    older ones too: what these carry (a retention, tags, a class) may be lost as well.

    Raises StoreErrors; an endpoint that lists no versions shows none.
    """
    current = _from_ranges(store, prefix, clock)
    if not all_versions:
        return current
    try:
        listed = list(islice(supported(store.list_versions(prefix)), LISTED_FOR_OLDER))
    except StoreError:
        return current  # the plan's own listing tells what it means
    older = (version for version in listed if not version.is_latest and not version.delete_marker)
    return (*current, *islice(older, LATER))


def _from_ranges(store: ObjectStore, prefix: str, clock: Callable[[], float]) -> tuple[ListedObject, ...]:
    """Each later range begins behind all keys that share their first characters with the last one seen.

    The prefix gets shorter each time, so that the steps grow from neighbours to folders and first letters; a step
    beyond the last key of all is undone, and shorter ones follow.
    """
    until = clock() + PATIENCE_SECONDS
    found = list(islice(supported(store.list_objects(prefix)), FIRST))
    if len(found) < FIRST:
        return tuple(found)
    floor, shared = len(prefix), _shared(found[0].key, found[-1].key)
    step = -(-(shared - floor) // (RANGES - 3)) or 1
    for _ in range(RANGES - 1):
        last = found[-1].key
        behind = last[: min(shared, len(last) - 1) + 1]
        if clock() >= until or not behind.isprintable():
            break  # XML has no control characters, with which some servers would answer
        page = list(islice(supported(store.list_objects(prefix, start_after=behind + _LAST)), LATER))
        found += page
        if not page:
            floor = shared + 1
        shared = max(floor, shared - step) if page else floor
    return tuple(found)


def _shared(one: str, other: str) -> int:
    """The number of characters with which both begin."""
    return next((index for index, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(one))
