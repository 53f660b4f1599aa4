"""Where in the key space a plan acts: counted by prefix in bounded memory, then shown in a dozen rows.

Prefixes are counted at the greatest depth at which there are at most MOST_PREFIXES of them: six folders deep at first,
then less, at last by leading characters of the first folder's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schema.plan import Place

MOST_PREFIXES = 4_096
"""Of a section while it is planned..."""
PREFIXES_KEPT = 1_024
"""...and once it is."""
PLACES = 12

_FOLDERS = re.compile("[^/]*/|[^/]+")


class Counts(NamedTuple):
    """Objects by what happens to them, and the bytes written."""

    copy: int = 0
    overwrite: int = 0
    delete: int = 0
    bytes: int = 0

    def plus(self, other: Counts) -> Counts:
        """Both together."""
        return Counts(
            self.copy + other.copy,
            self.overwrite + other.overwrite,
            self.delete + other.delete,
            self.bytes + other.bytes,
        )

    @property
    def weight(self) -> tuple[int, int]:
        """Greater for what a reviewer wants to see first: what is destroyed, then what is created."""
        return self.overwrite + self.delete, self.copy


NOTHING = Counts()


class _Cut(NamedTuple):
    """A depth at which prefixes are counted."""

    folders: int
    characters: int = 0
    """Of the first folder's name; only where `folders` is 0."""

    def of(self, folder: str) -> str:
        """*folder* ('' or ending in '/', or cut by characters already) cut to this depth."""
        if not self.folders:
            return folder.partition("/")[0][: self.characters]
        end = -1
        for _ in range(self.folders):
            end = folder.find("/", end + 1)
            if end < 0:
                return folder
        return folder[: end + 1]


_CUTS = (*(_Cut(folders) for folders in (6, 4, 3, 2, 1)), *(_Cut(0, length) for length in (12, 8, 6, 4, 3, 2, 1, 0)))


class Prefixes:
    """Counts by prefix."""

    def __init__(self) -> None:
        self.rows: dict[str, Counts] = {}
        self._cuts = iter(_CUTS)
        self._cut = next(self._cuts)

    def add(self, folder: str, counts: Counts) -> None:
        """*counts* more in *folder*."""
        prefix = self._cut.of(folder)
        self.rows[prefix] = self.rows.get(prefix, NOTHING).plus(counts)
        if len(self.rows) > MOST_PREFIXES:
            self.fold(MOST_PREFIXES)

    def fold(self, most: int) -> None:
        """Count at a lesser depth from here on, so that there are at most *most* prefixes (1 or more)."""
        while len(self.rows) > most:
            self._cut = next(self._cuts)
            before, self.rows = self.rows, {}
            for prefix, counts in before.items():
                cut = self._cut.of(prefix)
                self.rows[cut] = self.rows.get(cut, NOTHING).plus(counts)


@dataclass(slots=True)
class _Node:
    """A prefix, what lies in it directly, and what lies deeper."""

    section: str
    prefix: str
    own: Counts = NOTHING
    total: Counts = NOTHING
    deeper: dict[str, _Node] = field(default_factory=dict)
    direct: bool = False
    """Stands for what lies in the prefix directly."""

    def add(self, prefix: str, counts: Counts) -> None:
        """*counts* of *prefix*, folder by folder."""
        node = self
        node.total = node.total.plus(counts)
        for folder in _FOLDERS.findall(prefix):
            following = node.deeper.get(folder)
            if following is None:
                following = node.deeper[folder] = _Node(self.section, node.prefix + folder)
            node = following
            node.total = node.total.plus(counts)
        node.own = node.own.plus(counts)

    def narrowed(self) -> _Node:
        """The deepest prefix that everything below this one shares."""
        node = self
        while len(node.deeper) == 1 and node.own == NOTHING:
            (node,) = node.deeper.values()
        return node

    def parts(self) -> list[_Node]:
        """What this prefix consists of, one level deeper; only itself if there is nothing deeper."""
        if not self.deeper:
            return [self]
        parts = [node.narrowed() for node in self.deeper.values()]
        if self.own != NOTHING:
            parts.append(_Node(self.section, self.prefix, self.own, self.own, direct=True))
        return parts

    def place(self) -> Place:
        """The row."""
        return Place(self.section, self.prefix, self.direct, *self.total)


def places_of(prefixes: Mapping[str, Mapping[str, Counts]]) -> tuple[tuple[Place, ...], Place | None]:
    """At most PLACES rows for the *prefixes* of each section, and the sum of what has none.

    The largest prefix is opened as long as its parts fit.
    """
    rows: list[_Node] = []
    for section, counted in prefixes.items():
        root = _Node(section, "")
        for prefix, counts in counted.items():
            root.add(prefix, counts)
        if root.total != NOTHING:
            rows.append(root.narrowed())
    if len(rows) == 1 and len(rows[0].parts()) > PLACES:
        rows = rows[0].parts()
    rows = _opened(rows)
    rows.sort(key=lambda node: (*(-count for count in node.total.weight), node.section, node.prefix))
    left = _sum(rows[PLACES:])
    return tuple(node.place() for node in rows[:PLACES]), left


def _opened(rows: list[_Node]) -> list[_Node]:
    """*rows* in as many parts as fit into PLACES, the largest opened first."""
    closed: set[tuple[str, str]] = set()
    while True:
        openable = [node for node in rows if node.deeper and (node.section, node.prefix) not in closed]
        if not openable:
            return rows
        largest = max(openable, key=lambda node: (sum(node.total.weight), node.section, node.prefix))
        parts = largest.parts()
        if len(rows) - 1 + len(parts) > PLACES:
            closed.add((largest.section, largest.prefix))
        else:
            rows = [*(node for node in rows if node is not largest), *parts]


def _sum(nodes: Sequence[_Node]) -> Place | None:
    if not nodes:
        return None
    total = NOTHING
    for node in nodes:
        total = total.plus(node.total)
    return Place("", "", False, *total)
