"""From a claimed chunk to tasks: manifest checked once per batch, recorded objects left out."""

from __future__ import annotations

from functools import partial

from executor.apply.object_tasks import ObjectTasks
from executor.apply.pool import Task
from executor.apply.present import present_targets
from executor.apply.proof_on_the_way import ProofOnTheWay
from executor.apply.surroundings import RunSurroundings
from executor.apply.writer import LedgerWriter
from executor.copy.job import Job, OpenChunk
from executor.ledger.values import Chunk, ChunkKind, Lane
from executor.route import Route
from schema.files.manifest import read_entries, verify_manifest
from schema.plan import Action, Batch
from storage.retrying import Retry


class ChunkLoader:
    """Loads chunks for one process. Used by the feeder's thread alone."""

    def __init__(self, given: RunSurroundings, tasks: ObjectTasks, writer: LedgerWriter) -> None:
        self._plan = given.plan
        self._routes = given.routes
        self._manifests = given.manifests
        self._ledger = given.ledger
        self._writer = writer
        self._tasks = tasks
        self._retry = Retry(wait=given.stop.wait)
        self._verified: set[str] = set()

    def load(self, chunk: Chunk) -> tuple[OpenChunk, dict[Lane, list[Task]]]:
        """The chunk as opened with the writer, and its tasks. Raises IntegrityRefused, StoreErrors, LedgerErrors."""
        batch = self._plan.batches[chunk.batch_no]
        self._check(batch)
        done = self._ledger.checkpoints.recorded(chunk) if chunk.token > 1 else frozenset()
        entries = read_entries(self._manifests, batch.manifest, lo=chunk.lo, hi=chunk.hi)
        items = [(ord, entry) for ord, entry in entries if ord not in done]
        route, tools = self._routes[batch.section].for_batch(batch), self._tasks.tools
        work = OpenChunk(chunk, batch, len(items))
        jobs = [Job(route, entry, work, ord, tools) for ord, entry in items]
        if chunk.kind is ChunkKind.VERIFY:
            return work, {Lane.WHOLE: self._verify_tasks(chunk, jobs)}
        recorded = self._recorded_versions(chunk) if done else ()
        return work, self._tasks.of(jobs, present=self._present(route, jobs), recorded=recorded)

    def _check(self, batch: Batch) -> None:
        if batch.manifest not in self._verified:
            verify_manifest(self._manifests, batch.manifest, objects=batch.objects, bytes=batch.bytes, keys=batch.keys)
            self._verified.add(batch.manifest)

    def _present(self, route: Route, jobs: list[Job]) -> frozenset[str]:
        """Targets to compare before writing, where the destination would not stop us."""
        if route.guarded(Action.COPY) or self._plan.policy.versions == "all":
            return frozenset()
        creates = [job.entry for job in jobs if job.entry.action is Action.COPY]
        prefix = route.section.destination.prefix
        found = self._retry.call(lambda: present_targets(route.destination, prefix, creates))
        return frozenset(entry.target for entry in creates) if found is None else found

    def _recorded_versions(self, chunk: Chunk) -> frozenset[str]:
        """Ids of the versions this chunk has written; empty unless the plan moves all versions."""
        if self._plan.policy.versions != "all":
            return frozenset()
        rows = self._ledger.reports.completions(chunk.run_id, chunk.batch_no, lo=chunk.lo, hi=chunk.hi)
        return frozenset(row.destination_version for row in rows if row.destination_version is not None)

    def _verify_tasks(self, chunk: Chunk, jobs: list[Job]) -> list[Task]:
        rows = self._ledger.reports.completions(chunk.run_id, chunk.batch_no, lo=chunk.lo, hi=chunk.hi)
        completions = {row.ord: row for row in rows}
        prover = ProofOnTheWay(self._writer)
        return [partial(prover.prove, job, completions.get(job.ord)) for job in jobs]
