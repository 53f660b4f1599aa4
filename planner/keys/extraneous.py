"""Which keys of the destination may be deleted where it does not keep every key as it is written.

Such a destination lists a copied '/a' as 'a', 'a//b' as 'a/b' or 'A' as 'a': what is "at the destination only" may be a
copy under another name. A key may be deleted when no key of the source can have turned into it. That is known once both
listings have ended, so candidates are held until then, on disk.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from planner.review.losses import KEY_FACTS, key_kinds
from schema.attributes.evidence import EXAMPLES, Counted
from schema.facts import Capabilities, Fact
from schema.formats.quantities import counted_text
from schema.objects import ListedEntry
from schema.plan import Entry, Level, Risk
from storage.disk_sort import DiskSort

_SLASHES = re.compile("//+")
_FORESEEN = frozenset(
    ("double-slash", "dot-segments", "leading-slash", "folder-marker", "folder-content", "normal-form")
)
"""Kinds of key of which `bare` tells what a destination may have made of them."""


def bare(key: str) -> str:
    """*key* under all known foldings: keys that some destination treats as one are equal here.

    No case, no empty or dotted segments, no slashes at either end, one Unicode form.
    """
    segments = [part for part in _SLASHES.sub("/", key).split("/") if part not in ("", ".", "..")]
    return unicodedata.normalize("NFKC", "/".join(segments).casefold())


class Found(NamedTuple):
    """An object that only the destination has."""

    entry: Entry
    """What happens to it unless it may be a copy under another name."""
    listed: ListedEntry
    deletable: bool
    """Whether that is a delete."""


class HeldBack:
    """Takes the keys of both sides as they go by; gives those of the destination back at the end, ascending."""

    def __init__(self, refused_kinds: frozenset[str], can: Capabilities, *, staging: Path) -> None:
        """*refused_kinds*: kinds of odd key that the destination does not keep as they are; *can*: its capabilities."""
        self._refused = refused_kinds
        renamed = {kind for kind in refused_kinds if not can.rejects(KEY_FACTS[kind][0])}
        self._unforeseen = renamed - _FORESEEN
        self._caseless = can.enforces(Fact.CASE_INSENSITIVE)
        self._staging = staging
        self._odd: DiskSort[tuple[str]] = DiskSort(itemgetter(0), folder=staging)
        self._found: DiskSort[tuple[str, Found]] = DiskSort(itemgetter(0), folder=staging)
        self._nobody_knows = False
        self._withheld = Counted(0, ())
        """Keys that would have been deleted, and may be copies; known once all were given back."""

    def source(self, target: str) -> None:
        """A key of the source, as the mapping names it at the destination, whether it is copied or not."""
        kinds = key_kinds(target)
        odd = not kinds.isdisjoint(self._refused) or "//" in target or target.startswith("/")
        if odd or self._caseless or not target.isascii():
            self._odd.add((bare(target),))
        if not kinds.isdisjoint(self._unforeseen):
            self._nobody_knows = True

    def destination(self, found: Found) -> None:
        """An object that only the destination has."""
        self._found.add((bare(found.entry.key), found))

    def given_back(self) -> Iterator[tuple[Found, bool]]:
        """What was found, ascending by key, and whether it may be deleted as far as foldings go."""
        with DiskSort[tuple[str, Found, bool]](itemgetter(0), folder=self._staging) as by_key:
            odd = self._odd.ascending()
            last = next(odd, None)
            for name, found in self._found.ascending():
                while last is not None and last[0] < name:
                    last = next(odd, None)
                touched = self._nobody_knows or (last is not None and last[0] == name)
                by_key.add((found.entry.key, found, not touched))
            for key, found, safe in by_key.ascending():
                if found.deletable and not safe:
                    objects, examples = self._withheld
                    self._withheld = Counted(objects + 1, (*examples, key)[:EXAMPLES])
                yield found, safe

    def remarks(self) -> tuple[Risk, ...]:
        """What a reviewer should know, once all were given back."""
        objects, examples = self._withheld
        if not objects:
            return ()
        named = ", ".join(ascii(key) for key in examples)
        text = (
            f"{counted_text(objects, 'extraneous destination object')} not deleted, although delete_extraneous is "
            "after-verify: the destination folds or renames keys, and these may be copies of source keys under another "
            f"name ({named})"
        )
        return (Risk("deletes-withheld", Level.MEDIUM, text),)

    def close(self) -> None:
        """Remove the temporary files."""
        self._odd.close()
        self._found.close()
