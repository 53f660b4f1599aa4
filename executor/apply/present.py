"""Which keys of a chunk exist at the destination, for destinations that ignore If-None-Match.

One LIST page covers a thousand keys, so this costs a thousandth of a HEAD per object. Between look and write lies the
time of one chunk, which the plan states as a risk.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from schema.plan import Entry
from storage.port import ObjectStore

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ufffe\uffff]")
SPARE_KEYS = 2000
"""Keys scanned beyond three for each entry before the scan gives up: the chunk lies scattered in a full bucket."""


def present_targets(store: ObjectStore, prefix: str, entries: Sequence[Entry]) -> frozenset[str] | None:
    """Targets of *entries* that the destination holds now; None: scattered too widely, ask for each key.

    Raises StoreErrors of the listing.
    """
    if not entries:
        return frozenset()
    targets = {entry.target for entry in entries}
    first, last = min(targets), max(targets)
    found = set()
    most = 3 * len(targets) + SPARE_KEYS
    for scanned, listed in enumerate(store.list_objects(prefix, start_after=just_before(first))):
        if listed.key > last:
            break
        if scanned >= most:
            return None
        if listed.key in targets:
            found.add(listed.key)
    return frozenset(found)


def just_before(key: str) -> str:
    """A string that sorts before *key* and after nearly every other smaller key.

    It ends before the first control character: some servers answer with it as it is, and XML has none of them.
    """
    head, last = key[:-1], ord(key[-1])
    if last == 0:
        return _CONTROL.split(head, maxsplit=1)[0]
    before = last - 1
    if 0xD800 <= before <= 0xDFFF:  # surrogates are not characters
        before = 0xD7FF
    return _CONTROL.split(f"{head}{chr(before)}\U0010fffd", maxsplit=1)[0]
