"""One bounded queue and one thread per process between the workers and the ledger.

When PostgreSQL is slow the queue fills and copying waits; when it is away the writer waits for it.
Nothing is dropped, and nothing is reported as done before it is durable.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from executor.activity import waiting
from executor.apply.inbox import Inbox
from executor.copy.job import OpenChunk
from executor.flow.meters import SECONDS, SIZES, Histogram
from executor.ledger.ledger import Ledger
from executor.ledger.values import Chunk, ChunkReport, Completion, Failure, Verification, Worker
from executor.patience import LedgerPatience
from executor.stop import Crash
from schema.errors import Stopped
from schema.flow.samples import Activity


class Postponed(NamedTuple):
    """An object that cannot be moved yet: its chunk goes back, to be claimed not before *seconds* from now."""

    seconds: float


Result = Completion | Failure | Verification | Postponed | None
"""None: the chunk has nothing left to do."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is durable of this process's work."""

    objects: int = 0
    """With a completion or a proof."""
    failed: int = 0
    bytes: int = 0

    def __sub__(self, other: Recorded) -> Recorded:
        return Recorded(self.objects - other.objects, self.failed - other.failed, self.bytes - other.bytes)

    def with_report(self, report: ChunkReport) -> Recorded:
        """The same with *report*."""
        return Recorded(
            self.objects + len(report.completions),
            self.failed + sum(failure.terminal for failure in report.failures),
            self.bytes + sum([row.size for row in report.completions]),
        )


class ChunkSink(Protocol):
    """Where a writer's reports go. Both methods raise LedgerUnavailable and may then be repeated."""

    def flush(self, reports: list[ChunkReport]) -> frozenset[int]:
        """Make them durable. Returns the numbers of the chunks whose lease was lost; nothing of those is written."""

    def give_back(self, chunk: Chunk, seconds: float) -> None:
        """Let *chunk* be claimed again, not before *seconds* from now."""


@dataclass(frozen=True, slots=True)
class LeasedChunks:
    """The ledger as a sink for the chunks that *worker* holds."""

    ledger: Ledger
    worker: Worker
    lease_seconds: float
    """A flush extends the leases by this much."""

    def flush(self, reports: list[ChunkReport]) -> frozenset[int]:
        """See ChunkSink."""
        return self.ledger.checkpoints.flush(self.worker, reports, lease_seconds=self.lease_seconds)

    def give_back(self, chunk: Chunk, seconds: float) -> None:
        """See ChunkSink."""
        self.ledger.leases.release(self.worker, [chunk], after_seconds=seconds)


class Batching(NamedTuple):
    """When results are flushed, unless a chunk is complete before."""

    rows: int
    seconds: float


BATCHING = Batching(rows=500, seconds=1.0)


@dataclass(slots=True)
class _Pending:
    work: OpenChunk
    results: list[Result] = field(default_factory=list)


class LedgerWriter:
    """Flushes results at *batching*.rows, after *batching*.seconds, or when a chunk is complete."""

    def __init__(
        self,
        sink: ChunkSink,
        patience: LedgerPatience,
        crash: Crash,
        *,
        clock: Callable[[], float],
        batching: Batching = BATCHING,
    ) -> None:
        self._sink = sink
        self._patience = patience
        self._crash = crash
        self._clock = clock
        self._flush_rows = batching.rows
        self._flush_seconds = batching.seconds
        self._inbox: Inbox[tuple[OpenChunk, Result] | None] = Inbox(4 * batching.rows)
        self._on_finished: Callable[[], None] = lambda: None
        self.recorded = Recorded()
        self.flush_seconds = Histogram(SECONDS)
        self.object_sizes = Histogram(SIZES)
        self._open: dict[int, OpenChunk] = {}
        self._open_lock = threading.Lock()
        self._closing = False
        self._died = False
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()

    def on_finished(self, tell: Callable[[], None]) -> None:
        """Call *tell* whenever a chunk of this process is done: work that waited for it may now be ready."""
        self._on_finished = tell

    def begin(self, work: OpenChunk) -> None:
        """A chunk was claimed; its results will follow. An earlier claim of the same chunk is void."""
        with self._open_lock:
            earlier = self._open.get(work.chunk.chunk_no)
            if earlier is not None:
                earlier.lost = True
            self._open[work.chunk.chunk_no] = work
        if work.remaining == 0:
            self.put(work, None)

    def put(self, work: OpenChunk, result: Result) -> None:
        """Queue one result. Blocks while the queue is full (backpressure), unless the writer has died."""
        if self._died or self._inbox.put((work, result), 0.0):
            return
        with waiting(Activity.LEDGER):
            while not (self._died or self._inbox.put((work, result), 1.0) or self._patience.stop.abandoning):
                pass

    @property
    def queued(self) -> int:
        """Results not yet written to the ledger."""
        return len(self._inbox)

    def open_chunks(self) -> list[OpenChunk]:
        """Chunks held by this process, for heartbeats and for release."""
        with self._open_lock:
            return list(self._open.values())

    def mark_lost(self, chunk_numbers: frozenset[int]) -> None:
        """These leases are gone; their results must not be written."""
        with self._open_lock:
            for number in chunk_numbers:
                work = self._open.pop(number, None)
                if work is not None:
                    work.lost = True

    def close(self, seconds: float) -> bool:
        """Flush what is queued and end. Returns whether all was written within *seconds*. May be called again."""
        if self._died:
            return False
        if not self._closing:
            if not self._inbox.put(None, seconds):
                return False  # the ledger is unavailable: never block the thread that receives the second stop
            self._closing = True
        self._thread.join(seconds)
        return not self._thread.is_alive() and not self._died

    def _run(self) -> None:
        try:
            self._drain()
        except BaseException as error:
            self._died = True
            self._crash.met(error)

    def _drain(self) -> None:
        pending: dict[int, _Pending] = {}
        rows, deadline, closing = 0, 0.0, False
        while not closing:
            timeout = max(0.0, deadline - self._clock()) if pending else None
            items = self._inbox.take(timeout, self._flush_rows - rows)
            for item in items:
                if item is None:
                    closing = True
                elif not item[0].lost:
                    if not pending:
                        deadline = self._clock() + self._flush_seconds
                    rows += _file(pending, *item)
            full = rows >= self._flush_rows or any(slot.work.remaining == 0 for slot in pending.values())
            if pending and (full or closing or not items or self._clock() >= deadline):
                self._flush(list(pending.values()))
                pending, rows = {}, 0

    def _flush(self, pending: list[_Pending]) -> None:
        reports = [_report(slot) for slot in pending if not slot.work.lost]
        if not reports:
            return
        returned = [slot.work for slot in pending if slot.work.postponed and slot.work.remaining == 0]

        def flush() -> frozenset[int]:
            lost = self._sink.flush(reports)
            for left in returned:
                self._sink.give_back(left.chunk, left.postponed)
            return lost

        began = self._clock()
        try:
            lost = self._patience.answer(flush)
        except Stopped:
            return
        self.flush_seconds.observe(self._clock() - began)
        self.mark_lost(lost)
        self.mark_lost(frozenset(left.chunk.chunk_no for left in returned))
        for report in reports:
            if report.chunk.chunk_no not in lost:
                self.recorded = self.recorded.with_report(report)
                for row in report.completions:
                    self.object_sizes.observe(row.size)
            if report.finished and report.chunk.chunk_no not in lost:
                with self._open_lock:
                    work = self._open.pop(report.chunk.chunk_no, None)
                if work is not None:
                    self._patience.events.batch_finished(work.batch.id)
                    self._on_finished()


def _file(pending: dict[int, _Pending], work: OpenChunk, result: Result) -> int:
    """Add *result* to the others of its chunk. Returns the number of rows it adds."""
    slot = pending.get(id(work))
    if slot is None:
        slot = pending[id(work)] = _Pending(work)
    if isinstance(result, Postponed):
        work.postponed = max(work.postponed, result.seconds)
        work.remaining -= 1
        return 0
    if result is None:
        return 0
    slot.results.append(result)
    if not (isinstance(result, Failure) and not result.terminal):
        work.remaining -= 1
    return 1


def _report(slot: _Pending) -> ChunkReport:
    results = slot.results
    return ChunkReport(
        chunk=slot.work.chunk,
        completions=[r for r in results if isinstance(r, Completion)],
        failures=[r for r in results if isinstance(r, Failure)],
        verifications=[r for r in results if isinstance(r, Verification)],
        finished=slot.work.remaining == 0 and not slot.work.postponed,
    )
