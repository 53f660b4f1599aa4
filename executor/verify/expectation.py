"""What plan and ledger together say should be true of every key, streamed in key order."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, groupby, islice
from typing import NamedTuple

from executor.ledger.ledger import Ledger
from executor.ledger.values import Completion
from schema.files.manifest import ManifestStore, read_entries
from schema.plan import SOURCE_ACTIONS, Action, Batch, Entry, Plan, Section
from storage.disk_sort import sort_on_disk

PAGE = 1000


class Expected(NamedTuple):
    """One manifest line, and the ledger's row for it."""

    entry: Entry
    completion: Completion | None
    batch_no: int
    """-1: a side manifest."""
    ord: int


class Expectations:
    """All lines of one section's manifests, with the ledger's rows joined to those that move something."""

    def __init__(
        self, plan: Plan, section: Section, manifests: ManifestStore, *, ledger: Ledger | None, run_id: int | None
    ) -> None:
        self._plan = plan
        self._section = section
        self._manifests = manifests
        self._ledger = ledger
        self._run_id = run_id
        self._reordered = bool(section.mapping_examples)

    def by_source(self) -> Iterator[Expected]:
        """Every line that speaks of a source key, ascending by it."""
        return self._ordered(lambda e: e.entry.key, self._streams(SOURCE_ACTIONS))

    def by_target(self) -> Iterator[Expected]:
        """Every line, ascending by the key at the destination."""
        return self._ordered(lambda e: e.entry.target, self._streams(frozenset(Action)))

    def transfers(self) -> Iterator[Expected]:
        """Every line that moves something, in the batches' order."""
        for batch_no, batch in self._batches():
            yield from self._joined(batch_no, batch)

    def left_alone(self, actions: Sequence[Action]) -> Iterator[Entry]:
        """The lines of the side manifests of *actions*, one action after the other."""
        for action in actions:
            digest = self._section.side_manifests.get(str(action))
            if digest is not None:
                yield from (entry for _, entry in read_entries(self._manifests, digest))

    def _batches(self) -> list[tuple[int, Batch]]:
        return [(n, b) for n, b in enumerate(self._plan.batches) if b.section == self._section.id]

    def _streams(self, actions: frozenset[Action]) -> list[Iterator[Expected]]:
        """One ascending stream for all batches that were cut together, and one for each side manifest."""

        def lane(item: tuple[int, Batch]) -> tuple[str, str, str]:
            return item[1].stage, item[1].tier, str(item[1].method)

        streams: list[Iterator[Expected]] = []
        for _, group in groupby(sorted(self._batches(), key=lambda i: (lane(i), i[1].keys)), key=lane):
            streams.append(self._chained(list(group), actions))
        streams += [self._side(digest, actions) for digest in self._section.side_manifests.values()]
        return streams

    def _chained(self, batches: list[tuple[int, Batch]], actions: frozenset[Action]) -> Iterator[Expected]:
        lines = chain.from_iterable(self._joined(n, b) for n, b in batches)
        return (e for e in lines if e.entry.action in actions)

    def _side(self, digest: str, actions: frozenset[Action]) -> Iterator[Expected]:
        for ord, entry in read_entries(self._manifests, digest):
            if entry.action in actions:
                yield Expected(entry, None, -1, ord)

    def _joined(self, batch_no: int, batch: Batch) -> Iterator[Expected]:
        lines = read_entries(self._manifests, batch.manifest)
        while page := list(islice(lines, PAGE)):
            rows: dict[int, Completion] = {}
            if self._ledger is not None and self._run_id is not None:
                found = self._ledger.reports.completions(self._run_id, batch_no, lo=page[0][0], hi=page[-1][0] + 1)
                rows = {row.ord: row for row in found}
            for ord, entry in page:
                yield Expected(entry, rows.get(ord), batch_no, ord)

    def _ordered(self, key: Callable[[Expected], str], streams: list[Iterator[Expected]]) -> Iterator[Expected]:
        if not self._reordered:
            return heapq.merge(*streams, key=key)
        # A mapping by rules does not keep the order.
        return sort_on_disk(chain.from_iterable(streams), key)
