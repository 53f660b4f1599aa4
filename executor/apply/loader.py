"""From a claimed chunk to tasks: manifest checked once per batch, recorded objects left out."""

from __future__ import annotations

from functools import partial

from executor.apply.object_tasks import ObjectTasks
from executor.apply.pool import Task
from executor.apply.present import present_targets
from executor.apply.surroundings import RunSurroundings
from executor.apply.writer import LedgerWriter
from executor.copy.blame import is_own
from executor.copy.job import Job, OpenChunk
from executor.ledger.values import DRIFTED, Chunk, ChunkKind, Completion, Lane, Verification
from executor.route import Route
from executor.verify.objects import Depth, ObjectProver
from schema.errors import Scope, Stopped, StoreError
from schema.files.manifest import read_entries, verify_manifest
from schema.plan import WRITE_ACTIONS, Action, Batch
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
        return [partial(self._verify, job, completions.get(job.ord)) for job in jobs]

    def _verify(self, job: Job, completion: Completion | None) -> None:
        if job.work.lost or job.tools.stop.draining:
            return
        if completion is not None and completion.outcome in DRIFTED:
            # Left alone on purpose and reported as drift: we wrote nothing that could be proven, so it blocks no gate.
            self._writer.put(job.work, Verification(job.ord, True, f"left alone: {completion.outcome.name.lower()}"))
            return
        key = job.entry.key
        if completion is None:
            # Its copy failed by its own fault, or its stage would not be verified yet; `retry` brings both back.
            self._writer.put(job.work, Verification(job.ord, False, "not there to be verified", key, own=True))
            return
        level = Depth.CONTENT if job.entry.action in WRITE_ACTIONS else Depth.HEAD
        # A key that ends in / is a folder to many servers, which keep neither content nor tags of it.
        own = key.endswith("/")
        try:
            found = ObjectProver(job.route, level, job.tools).prove(job.entry, completion).differences
        except Stopped:
            return
        except StoreError as error:
            if error.scope is Scope.RUN:
                raise
            found, own = (str(error),), is_own(error)
        if found:
            self._writer.put(job.work, Verification(job.ord, False, "; ".join(found), key, own=own))
        else:
            self._writer.put(job.work, Verification(job.ord, True))
