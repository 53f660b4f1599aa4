"""Content-defined batches: the keys decide where they are cut, so that a small change touches few manifests.

Fresh: a batch ends before the first key whose hash is below a threshold, once it has half its target of objects, and
at the latest at 1.5 times the target. A last batch below a quarter of the target joins its neighbour.
With a base plan, its batches' first keys are the cuts ("sticky"); between them a batch is cut only from twice the
target on, at three times at the latest (then the last may stay small); keys beyond the base's last are cut fresh.
Planning an unchanged listing again gives the same batches in either mode (a property test holds this).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from schema.files.manifest import ManifestStore, ManifestSummary, ManifestWriter
from schema.plan import Batch, Entry, Method

TARGETS = {
    "tiny": 50_000,
    "small": 25_000,
    "medium": 10_000,
    "large": 1_000,
    "huge": 10,
    "canary": 10_000,
    "markers": 10_000,
    "deletes": 25_000,
}
"""Objects a batch of a tier should have. A canary (at most 1,000 objects) is one batch."""


BatchGroup = tuple[str, str, str, Method | None]
"""(section, stage, tier, method): what is cut together."""


class Sticky(NamedTuple):
    """The cuts of a base plan for one group: the first keys of its batches, ascending, and its last key."""

    starts: tuple[str, ...]
    end: str


class DraftBatch(NamedTuple):
    """A batch that has its manifest but not its id yet."""

    section: str
    stage: str
    tier: str
    method: Method | None
    manifest: ManifestSummary


class BatchCutter:
    """Cuts the ascending entries of one section, stage, tier and method into batches, each straight into its manifest.

    Holds at most a quarter of a target of entries (those of a batch that might yet join the one before it) and two
    open manifest writers. The versions of one key are never split. Call finish() or discard().
    """

    def __init__(
        self,
        group: BatchGroup,
        target: int,
        open_writer: Callable[[], ManifestWriter],
        *,
        store: ManifestStore,
        sticky: Sticky | None = None,
    ) -> None:
        self._group = group
        self._open_writer = open_writer
        self._store = store
        self._target = target
        self._least = max(1, target // 4)
        self._starts: Iterator[str] = iter(sticky.starts if sticky else ())
        self._next_start = next(self._starts, None)
        self._end = sticky.end if sticky else None
        self._between(sticky is not None)
        self._threshold = min(2**64, 2**65 // max(1, target))
        self._previous: ManifestWriter | None = None
        self._previous_cut: int | None = None
        self._current: ManifestWriter | None = None
        self._held: list[Entry] = []
        self._count = 0
        self._last_key: str | None = None
        self._drafts: list[DraftBatch] = []

    def _between(self, sticky: bool) -> None:
        """Set the size bounds for cuts between those of the base plan."""
        self._low = self._target * 2 if sticky else max(1, self._target // 2)
        self._high = self._target * 3 if sticky else max(1, self._target * 3 // 2)

    def add(self, entry: Entry) -> None:
        """The next entry; keys ascend, but for the versions of one key."""
        key = entry[0]
        if key != self._last_key:
            if self._next_start is not None or self._end is not None:
                self._pass_boundaries(key)
            if self._count >= self._low and (self._count >= self._high or self._hits(key)):
                self._cut()
            self._last_key = key
        self._count += 1
        if self._current is not None:
            self._current.add(entry)
            return
        self._held.append(entry)
        if self._previous is None or self._count >= self._least:
            self._release()

    def _hits(self, key: str) -> bool:
        digest = hashlib.sha256(b"cut\0" + key.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8]) < self._threshold

    def _pass_boundaries(self, key: str) -> None:
        """Cut where the base plan did, if *key* is the first at or behind such a cut."""
        passed = False
        while self._next_start is not None and key >= self._next_start:
            self._next_start = next(self._starts, None)
            passed = True
        if self._end is not None and key > self._end:
            self._end = None
            self._between(sticky=False)
            passed = True
        if not passed or self._count == 0:
            return
        if self._count >= self._least:
            self._cut()
        elif self._previous is not None:
            self._try_join(self._previous)

    def _cut(self) -> None:
        if self._held:
            self._release()
        self._previous, self._current = self._current, None
        self._previous_cut = None
        self._count = 0

    def _release(self) -> None:
        """The current batch is big enough to stand alone: the one before it is finished."""
        if self._previous is not None:
            self._publish(self._previous)
            self._previous = None
        writer = self._current = self._open_writer()
        for entry in self._held:
            writer.add(entry)
        self._held.clear()

    def _try_join(self, previous: ManifestWriter) -> None:
        """Append what is held to the batch before it, unless planning again on the result would cut it differently.

        On a base the joined batch is walked from its first key: the first place where it is long enough to be cut
        must be none, or so near its end that the rest would join again.
        """
        cut, total, last = self._previous_cut, previous.objects, None
        for entry in self._held:
            if cut is None and entry[0] != last and self._too_long(total, entry[0]):
                cut = total
            last = entry[0]
            total += 1
        if cut is not None and total - cut >= self._least:
            return
        for entry in self._held:
            previous.add(entry)
        self._previous_cut = cut
        self._held.clear()
        self._count = 0

    def _too_long(self, objects: int, key: str) -> bool:
        """Whether a batch on a base ends before *key* once it has this many *objects*."""
        return objects >= self._target * 2 and (objects >= self._target * 3 or self._hits(key))

    def _publish(self, writer: ManifestWriter) -> None:
        self._drafts.append(DraftBatch(*self._group, writer.finish(self._store)))

    def finish(self) -> list[DraftBatch]:
        """Finish what is open; all batches, in key order."""
        if self._previous is not None and self._held:
            self._try_join(self._previous)
        if self._held:
            self._release()
        for writer in (self._previous, self._current):
            if writer is not None:
                self._publish(writer)
        self._previous = self._current = None
        return self._drafts

    def discard(self) -> None:
        """Drop what is open, with its temporary files."""
        for writer in (self._previous, self._current):
            if writer is not None:
                writer.discard()
        self._previous = self._current = None
        self._held.clear()


def sticky_cuts(batches: Iterable[Batch]) -> dict[BatchGroup, Sticky]:
    """The cuts of a base plan, by group."""
    groups: dict[BatchGroup, list[Batch]] = {}
    for batch in batches:
        groups.setdefault((batch.section, batch.stage, batch.tier, batch.method), []).append(batch)
    return {
        group: Sticky(tuple(sorted(b.keys[0] for b in members)), max(b.keys[1] for b in members))
        for group, members in groups.items()
    }


def named(drafts: Sequence[DraftBatch]) -> tuple[Batch, ...]:
    """Batches with ids: tier and six hex digits of a hash of section and first key; more where two would be equal."""
    taken: set[str] = set()
    batches: list[Batch] = []
    for draft in drafts:
        section, stage, tier, method, (manifest, objects, size, first, last) = draft
        seed = f"{section}\0{first}".encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(b"id\0" + seed).hexdigest()
        length = 6
        while (name := f"{tier}-{digest[:length]}") in taken:
            length += 1
        taken.add(name)
        batches.append(Batch(name, section, tier, stage, method, objects, size, (first, last), manifest))
    return tuple(batches)
