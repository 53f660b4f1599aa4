"""The plan in a few dozen rows: where in the key space, how large, how old. Counted while entries stream by.

A pull request shows these rows, and must do so in two seconds and without the manifests. Memory does not grow with the
number of objects.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import heappush, heappushpop, nlargest
from operator import itemgetter

from planner.review.places import PREFIXES_KEPT, Counts, Prefixes, places_of
from planner.review.workload import ClassWork
from schema.declaration import Pair
from schema.plan import TRANSFER_ACTIONS, Action, Entry, Overview, Share, SizedKey, Tally
from schema.tiers import TIERS

HELD = 1_000
"""Entries counted at a time."""
LARGEST = 10
SHARES = 12
"""Rows of years and of storage classes; the remainder is one more row."""
EXAMPLES = 3
SHOWN_BY_EXAMPLE = (Action.OVERWRITE, Action.DELETE, Action.DELETE_MARKER, Action.CONFLICT, Action.UNSUPPORTED)
UNKNOWN_YEAR = "unknown"
_LATEST_YEAR = 9999
_SIZE, _MODIFIED = itemgetter(1), itemgetter(4)


@dataclass(frozen=True, slots=True)
class SectionOverview:
    """What one section adds to the overview."""

    section: str
    prefixes: Mapping[str, Counts]
    sizes: Mapping[str, Tally]
    years: Mapping[str, Tally]
    largest: Sequence[tuple[int, str]]
    examples: Mapping[Action, Sequence[str]]


class OverviewCounter:
    """Takes every entry of a section that moves something, and the first keys of those that need a decision."""

    def __init__(self, pair: Pair) -> None:
        self._section = pair.id
        self._skip = len(pair.destination.prefix)
        self._held: list[Entry] = []
        self._prefixes = Prefixes()
        self._sizes: dict[str, Tally] = {}
        self._years: dict[str, Tally] = {}
        self._largest: list[tuple[int, str]] = []
        self._examples: dict[Action, list[str]] = {action: [] for action in SHOWN_BY_EXAMPLE}

    def add(self, entry: Entry) -> None:
        """One entry of a batch."""
        self._held.append(entry)
        if len(self._held) == HELD:
            self._count()

    def add_example(self, entry: Entry) -> None:
        """One entry that may be among the first of its action."""
        examples = self._examples.get(entry[3])
        if examples is not None and len(examples) < EXAMPLES:
            key = entry.target if entry[3] in TRANSFER_ACTIONS else entry[0]
            if _has_text(key):
                examples.append(key)

    def _count(self) -> None:
        held, self._held = self._held, []
        folders: dict[str, list[int]] = {}
        written: list[Entry] = []
        skip, copy, overwrite = self._skip, Action.COPY, Action.OVERWRITE
        for entry in held:
            action = entry[3]
            target = entry[5] or entry[0]
            folder = target[skip : target.rfind("/") + 1]
            row = folders.get(folder)
            if row is None:
                row = folders[folder] = [0, 0, 0, 0]
            if action is copy:
                row[0] += 1
            else:
                self.add_example(entry)
                row[1 if action is overwrite else 2] += 1
                if action is not overwrite:
                    continue
            row[3] += entry[1]
            written.append(entry)
        for folder, counts in folders.items():
            self._prefixes.add(folder if _has_text(folder) else "", Counts(*counts))
        if written:
            self._count_written(written)

    def _count_written(self, written: list[Entry]) -> None:
        sizes = sorted(map(_SIZE, written))
        start = 0
        for tier in TIERS:
            end = bisect_right(sizes, tier.high, start)
            if end > start:
                _increase(self._sizes, tier.name, sizes[start:end])
            start = end
        if len(self._largest) < LARGEST or sizes[-1] > self._largest[0][0]:
            self._keep_largest(written)
        written.sort(key=_MODIFIED)
        start = 0
        while start < len(written):
            name, until = _year_of(written[start][4])
            end = bisect_left(written, until, start, key=_MODIFIED)
            _increase(self._years, name, list(map(_SIZE, written[start:end])))
            start = end

    def _keep_largest(self, written: Sequence[Entry]) -> None:
        largest = self._largest
        for entry in written:
            size = entry[1]
            if len(largest) == LARGEST and size <= largest[0][0]:
                continue
            target = entry.target
            if not _has_text(target):
                continue
            if len(largest) < LARGEST:
                heappush(largest, (size, target))
            else:
                heappushpop(largest, (size, target))

    def finish(self) -> SectionOverview:
        """What was counted, reduced to fewer prefixes: other sections may have some, too."""
        self._count()
        self._prefixes.fold(PREFIXES_KEPT)
        return SectionOverview(
            self._section, self._prefixes.rows, self._sizes, self._years, self._largest, self._examples
        )


def overview_of(sections: Sequence[SectionOverview], classes: Iterable[Mapping[str, ClassWork]]) -> Overview:
    """All *sections* together; *classes* is what each carries by storage class."""
    places, left = places_of({section.section: section.prefixes for section in sections})
    sizes = _merged(section.sizes for section in sections)
    years = _merged(section.years for section in sections)
    carried = _merged({name: Tally(work.objects, work.bytes) for name, work in each.items()} for each in classes)
    return Overview(
        places=places,
        places_left=left,
        sizes=tuple(Share(tier.name, *sizes[tier.name]) for tier in TIERS if tier.name in sizes),
        years=_shares(sorted(years.items(), reverse=True), "earlier")[::-1],
        storage_classes=_shares(sorted(carried.items(), key=lambda row: (-row[1].bytes, row[0])), "others"),
        largest=tuple(
            SizedKey(key, size)
            for size, key in nlargest(LARGEST, (each for section in sections for each in section.largest))
        ),
        examples={
            str(action): tuple(keys[:EXAMPLES])
            for action in SHOWN_BY_EXAMPLE
            if (keys := [key for section in sections for key in section.examples[action]])
        },
    )


def _has_text(text: str) -> bool:
    """False for a lone surrogate inside: no document can hold that."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def _year_of(modified_ms: int) -> tuple[str, int]:
    """The year in UTC, and the instant it ends. A listing without times gives 0, which counts as unknown."""
    if modified_ms <= 0:
        return UNKNOWN_YEAR, 1
    try:
        year = datetime.fromtimestamp(modified_ms // 1000, UTC).year
    except (OverflowError, OSError, ValueError):
        year = _LATEST_YEAR
    if year >= _LATEST_YEAR:
        return UNKNOWN_YEAR, modified_ms + 1
    return str(year), int(datetime(year + 1, 1, 1, tzinfo=UTC).timestamp()) * 1000


def _increase(tallies: dict[str, Tally], name: str, sizes: Sequence[int]) -> None:
    before = tallies.get(name, Tally())
    tallies[name] = Tally(before.objects + len(sizes), before.bytes + sum(sizes))


def _merged(tallies: Iterable[Mapping[str, Tally]]) -> dict[str, Tally]:
    merged: dict[str, Tally] = {}
    for each in tallies:
        for name, tally in each.items():
            before = merged.get(name, Tally())
            merged[name] = Tally(before.objects + tally.objects, before.bytes + tally.bytes)
    return merged


def _shares(rows: Sequence[tuple[str, Tally]], others: str) -> tuple[Share, ...]:
    """The first SHARES rows; the rest is one row called *others*."""
    shares = [Share(name, *tally) for name, tally in rows[:SHARES]]
    rest = [tally for _, tally in rows[SHARES:]]
    if rest:
        shares.append(Share(others, sum(tally.objects for tally in rest), sum(tally.bytes for tally in rest)))
    return tuple(shares)
