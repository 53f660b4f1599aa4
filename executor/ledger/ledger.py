"""The ledger: which work there is, who has it, and what has become of every object.

One PostgreSQL schema, many processes. Every method is one or a few short transactions and may be called from
any thread. Raised by all of them: LedgerUnavailable (waiting and calling again is right; also when the answer
to a commit was lost, and then the call says the same again without doing it twice) and LedgerSchemaError.
What a lease protects is fenced in the same transaction that writes: a worker that lost its lease writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from executor.ledger import advance, check, flush, leases, migrate, reports, runs, scopes, uploads, workers
from executor.ledger.database import Database
from executor.ledger.local_workers import ProcessPlace
from executor.ledger.values import (
    BatchState,
    Chunk,
    ChunkReport,
    ChunkSpec,
    Completion,
    EarlierCompletion,
    FailedObject,
    Lane,
    PartRecord,
    Progress,
    Run,
    RunState,
    UploadRecord,
    Worker,
    WorkerSeen,
)
from schema.plan import Plan
from schema.process_view import ProcessView


class Ledger:
    """The ledger at *url* (postgresql://...; the driver is pinned to psycopg2). Connects when first asked.

    *connections*: how many stay open; as many again may open for a moment. *missed* is called, and must not wait,
    whenever it is found away.
    """

    def __init__(self, url: str, *, connections: int = 4, missed: Callable[[], None] | None = None) -> None:
        self._database = Database(url, connections=connections, missed=missed)

    def close(self) -> None:
        """Close the connections. The ledger may be used again: it opens new ones."""
        self._database.close()

    # The schema

    def migrate(self) -> list[int]:
        """Apply the migrations that are missing, all or none; their versions."""
        return migrate.migrate(self._database)

    def check_schema(self) -> None:
        """Raise LedgerSchemaError unless the schema is this build's."""
        migrate.check(self._database)

    @staticmethod
    def sql() -> str:
        """The whole schema as one script."""
        return migrate.script()

    # Runs

    def accept(self, plan: Plan, chunks: Iterable[ChunkSpec], *, who: str, tool_version: str) -> Run:
        """Enroll *plan* with its *chunks*, or find it enrolled (`resumed`); *chunks* are not read then.

        An older unfinished run of the lineage is superseded and its workers fenced. Raises StalePlan (the lineage
        has moved on), LockHeld (another run writes to an overlapping destination), ValueError (*chunks* do not
        cover the plan's batches exactly).
        """
        return runs.accept(self._database, plan, chunks, who=who, tool_version=tool_version)

    def join(self, run: Run, host: str, pid: int, tool_version: str, process: ProcessPlace | None = None) -> Worker:
        """Enroll this process; with *process* its neighbours notice its death. Raises StalePlan when *run* has
        ended, was superseded or unlocked since."""
        return leases.join(self._database, run, host, pid, tool_version, process)

    def workers(self, run_id: int) -> list[WorkerSeen]:
        """The run's processes that have not left, oldest first; a dead one is among them until it is buried."""
        return workers.workers(self._database, run_id)

    def show(self, worker: Worker, seen: ProcessView) -> None:
        """Keep what the process sees for `status`, and note that it lives."""
        workers.show(self._database, worker, seen)

    def bury(self, run_id: int, dead: Collection[int], *, who: str) -> int:
        """Note that workers *dead* are no more; the chunks they had leased are ready again; how many chunks."""
        return workers.bury(self._database, run_id, dead, who)

    def leave(self, worker: Worker, exit_code: int) -> None:
        """Note that the process ended. Its leases are not touched: `release` them before."""
        leases.leave(self._database, worker, exit_code)

    def finish(self, run_id: int) -> RunState:
        """Recompute and answer the run's state: COMPLETE when every chunk is done, FAILED when only parked chunks
        and those blocked behind them are left; then the destination is let go."""
        return advance.finish(self._database, run_id)

    def retry(self, run_id: int, *, who: str = "operator", tool_version: str = "") -> int:
        """Make parked chunks ready again and a failed run open; how many chunks. Raises LockHeld, StalePlan."""
        return advance.retry(self._database, run_id, who, tool_version)

    def change_state(self, run_id: int, state: RunState, *, who: str = "operator") -> RunState:
        """Set an unfinished run OPEN, PAUSED or DRAINING; the state it is in now. Claims need OPEN."""
        return advance.change_state(self._database, run_id, state, who)

    def unlock(self, lock_id: str, *, who: str = "operator") -> int:
        """Break a scope lock and fence its run's workers; the run's id. Raises UsageError for an unknown id."""
        return scopes.unlock(self._database, lock_id, who)

    # Work

    def claim(
        self, worker: Worker, lane: Lane, *, lease_seconds: float, batches: Sequence[int] | None = None
    ) -> Chunk | None:
        """Lease the next ready chunk of *lane* (of *batches* only); None when there is none for this worker now."""
        return leases.claim(self._database, worker, lane, lease_seconds=lease_seconds, batches=batches)

    def recorded(self, chunk: Chunk) -> frozenset[int]:
        """The ords of *chunk* that need nothing more, from earlier claims: completed, or verified as good."""
        return leases.recorded(self._database, chunk)

    def flush(self, worker: Worker, reports: Sequence[ChunkReport], *, lease_seconds: float) -> frozenset[int]:
        """Make *reports* durable in one transaction and prolong their leases; the chunk_nos whose lease was lost,
        of which nothing is written.

        `finished` closes the chunk (done, or parked when objects failed), and with it what follows: the batch's
        state, dependants, the run's end, the audit event. May be repeated after LedgerUnavailable. ValueError:
        a finished chunk has objects that are neither completed nor failed.
        """
        return flush.flush(self._database, worker, reports, lease_seconds=lease_seconds)

    def heartbeat(self, worker: Worker, chunks: Iterable[Chunk], *, lease_seconds: float) -> frozenset[int]:
        """Prolong leases and show that the process lives; the chunk_nos whose lease is lost."""
        return leases.heartbeat(self._database, worker, chunks, lease_seconds=lease_seconds)

    def release(self, worker: Worker, chunks: Iterable[Chunk], *, after_seconds: float = 0) -> None:
        """Give chunks back, to be claimed not before *after_seconds* from now. What was flushed stays recorded."""
        leases.release(self._database, worker, chunks, after_seconds=after_seconds)

    def reap(self, run_id: int) -> int:
        """Make chunks ready again whose lease ran out; how many."""
        return leases.reap(self._database, run_id)

    def record_intent(self, chunk: Chunk, ord: int, text: str) -> None:
        """Note, durably, what is about to be done and cannot be undone. Raises LeaseLost."""
        uploads.record_intent(self._database, chunk, ord, text)

    # Multipart uploads

    def record_upload(self, chunk: Chunk, upload: UploadRecord) -> None:
        """Note an upload before its first part; it replaces the object's earlier one. Raises LeaseLost."""
        uploads.record_upload(self._database, chunk, upload)

    def find_upload(self, run_id: int, batch_no: int, ord: int) -> tuple[UploadRecord, list[PartRecord]] | None:
        """The object's upload in progress, and its parts by number."""
        return uploads.find_upload(self._database, run_id, batch_no, ord)

    def record_parts(self, chunk: Chunk, ord: int, parts: Sequence[PartRecord]) -> None:
        """Note acknowledged parts of the object's upload. Raises LeaseLost."""
        uploads.record_parts(self._database, chunk, ord, parts)

    def forget_upload(self, chunk: Chunk, ord: int) -> None:
        """Drop the object's upload: completed, or unknown to the server. Raises LeaseLost."""
        uploads.forget_upload(self._database, chunk, ord)

    def open_uploads(self, run_id: int) -> Iterator[UploadRecord]:
        """Every upload neither completed nor aborted, replaced ones included."""
        return uploads.open_uploads(self._database, run_id)

    def close_upload(self, run_id: int, batch_no: int, ord: int, upload_id: str | None = None) -> None:
        """Forget an aborted upload; without *upload_id* all of the object's. For the janitor: not fenced."""
        uploads.close_upload(self._database, run_id, batch_no, ord, upload_id)

    # Questions

    def progress(self, run_id: int) -> Progress:
        """What is durable now. KeyError: no such run."""
        return reports.progress(self._database, run_id)

    def runs(self) -> list[Run]:
        """Every run, newest first."""
        return reports.runs(self._database)

    def find_run(self, plan_id: str) -> Run | None:
        """The run of this plan."""
        return reports.find_run(self._database, plan_id)

    def plan_of(self, run_id: int) -> Plan:
        """The plan that the run carries out, as it was accepted."""
        return reports.plan_of(self._database, run_id)

    def latest_run(self) -> Run | None:
        """The run accepted last."""
        return reports.latest_run(self._database)

    def drifted(self, run_id: int) -> int:
        """Objects left alone because their source or destination had changed since the plan; deletes not counted."""
        return reports.drifted(self._database, run_id)

    def failures(self, run_id: int, limit: int | None = None) -> list[FailedObject]:
        """Objects given up, or found different by verification (code VerifyMismatch), and not good since."""
        return reports.failures(self._database, run_id, limit)

    def completions(self, run_id: int, batch_no: int, lo: int = 0, hi: int | None = None) -> Iterator[Completion]:
        """Completion rows of [lo, hi) by ord, streamed; a connection is kept until the iterator ends or is closed."""
        return reports.completions(self._database, run_id, batch_no, lo, hi)

    def completed_before(self, lineage: str, section: str, run_id: int | None = None) -> Iterator[EarlierCompletion]:
        """Objects that plans of *lineage* put in place for *section* (before run *run_id*), oldest run first."""
        return reports.completed_before(self._database, lineage, section, run_id)

    def batch_numbers(self, run_id: int) -> dict[str, int]:
        """Batch id -> number."""
        return reports.batch_numbers(self._database, run_id)

    def batch_states(self, run_id: int) -> dict[str, BatchState]:
        """Batch id -> state, in the plan's order."""
        return reports.batch_states(self._database, run_id)

    def explain(self, run_id: int, batch_no: int, ord: int) -> dict[str, Any]:
        """Everything known of one object: chunks, completion, failures, verifications, intents, upload."""
        return reports.explain(self._database, run_id, batch_no, ord)

    def set_limit(self, run_id: int, name: str, value: float) -> None:
        """Set a limit that every process of the run reads."""
        reports.set_limit(self._database, run_id, name, value)

    def limits(self, run_id: int) -> Mapping[str, float]:
        """The limits set while the run goes on."""
        return reports.limits(self._database, run_id)

    def check(self, run_id: int) -> list[str]:
        """Every contradiction between rows, counters, digests and the audit chain; empty when all is whole."""
        return check.check(self._database, run_id)
