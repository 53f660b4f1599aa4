"""From a claimed chunk to tasks: manifest checked once per batch, recorded objects left out."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial

from executor.apply.object_tasks import Item, ObjectTasks
from executor.apply.pool import Task
from executor.apply.writer import LedgerWriter, OpenChunk
from executor.copy.present import present_targets
from executor.ledger.ledger import Ledger
from executor.ledger.values import DRIFTED, Chunk, ChunkKind, Completion, Lane, Verdict
from executor.route import SectionRuntime
from executor.verify.objects import Level, prove_object
from schema.errors import Scope, Stopped, StoreError
from schema.manifest import ManifestStore, read_entries, verify_manifest
from schema.plan import Action, Batch, Entry, Plan
from storage.retrying import Retry


class ChunkLoader:
    """Loads chunks for one process. Used by the feeder's thread alone."""

    def __init__(
        self,
        plan: Plan,
        sections: Mapping[str, SectionRuntime],
        manifests: ManifestStore,
        ledger: Ledger,
        writer: LedgerWriter,
        tasks: ObjectTasks,
        retry: Retry,
    ) -> None:
        self._plan = plan
        self._sections = sections
        self._manifests = manifests
        self._ledger = ledger
        self._writer = writer
        self._tasks = tasks
        self._retry = retry
        self._verified: set[str] = set()
        self._lock = threading.Lock()

    def load(self, chunk: Chunk) -> tuple[OpenChunk, dict[Lane, list[Task]]]:
        """The chunk as opened with the writer, and its tasks. Raises IntegrityRefused, StoreErrors, LedgerErrors."""
        batch = self._plan.batches[chunk.batch_no]
        self._check(batch)
        done = self._ledger.recorded(chunk) if chunk.token > 1 else frozenset()
        entries = read_entries(self._manifests, batch.manifest, chunk.lo, chunk.hi)
        items = [(ord, entry) for ord, entry in entries if ord not in done]
        section = self._sections[batch.section].for_batch(batch)
        work = OpenChunk(chunk, batch, len(items))
        if chunk.kind is ChunkKind.VERIFY:
            tasks = {Lane.WHOLE: self._verify_tasks(work, section, items)}
        else:
            recorded = self._recorded_versions(chunk) if done else ()
            whole, parted = self._tasks.of(work, section, items, self._present(section, items), recorded)
            tasks = {Lane.WHOLE: whole, Lane.PARTS: parted}
        return work, tasks

    def _check(self, batch: Batch) -> None:
        if batch.manifest not in self._verified:
            verify_manifest(self._manifests, batch.manifest, objects=batch.objects, bytes=batch.bytes, keys=batch.keys)
            self._verified.add(batch.manifest)

    def _present(self, section: SectionRuntime, items: list[Item]) -> frozenset[str]:
        """Targets to compare before writing, where the destination would not stop us."""
        if section.guarded(Action.COPY) or self._plan.policy.versions == "all":
            return frozenset()
        creates = [entry for _, entry in items if entry.action is Action.COPY]
        prefix = section.section.destination.prefix
        found = self._retry.call(lambda: present_targets(section.destination, prefix, creates))
        return frozenset(entry.target for entry in creates) if found is None else found

    def _recorded_versions(self, chunk: Chunk) -> frozenset[str]:
        """Ids of the versions that this chunk has put in place; empty unless the plan moves all versions."""
        if self._plan.policy.versions != "all":
            return frozenset()
        rows = self._ledger.completions(chunk.run_id, chunk.batch_no, chunk.lo, chunk.hi)
        return frozenset(row.destination_version for row in rows if row.destination_version is not None)

    def _verify_tasks(self, work: OpenChunk, section: SectionRuntime, items: list[Item]) -> list[Task]:
        chunk = work.chunk
        completions = {c.ord: c for c in self._ledger.completions(chunk.run_id, chunk.batch_no, chunk.lo, chunk.hi)}
        return [partial(self._verify, work, section, ord, entry, completions.get(ord)) for ord, entry in items]

    def _verify(
        self, work: OpenChunk, section: SectionRuntime, ord: int, entry: Entry, completion: Completion | None
    ) -> None:
        tools = self._tasks.tools
        if work.lost or tools.stop.draining:
            return
        if completion is not None and completion.outcome in DRIFTED:
            # Left alone on purpose and told as drift; there is nothing of ours to prove, so it blocks nobody.
            self._writer.put(work, Verdict(ord, True, f"left alone: {completion.outcome.name.lower()}"))
            return
        level = Level.CONTENT if entry.action in (Action.COPY, Action.OVERWRITE) else Level.HEAD
        try:
            found = prove_object(section, entry, completion, level, tools).differences
        except Stopped:
            return
        except StoreError as error:
            if error.scope is Scope.RUN:
                raise
            found = (str(error),)
        self._writer.put(work, Verdict(ord, not found, "; ".join(found)))
