"""The ledger writer: batches, backpressure, waits for the ledger, and never blocks a stop."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.clock import SOON
from support.silent import Silent

from executor.apply.writer import Batching, LedgerWriter
from executor.copy.job import OpenChunk
from executor.events import Events
from executor.ledger.values import Chunk, ChunkKind, ChunkReport, Completion, Failure, Lane, Outcome
from executor.patience import LedgerPatience
from executor.stop import Crash, Stop
from schema.errors import LedgerUnavailable
from schema.plan import Batch, Method

BATCH = Batch("b0", "main", "tiny", "bulk", Method.STREAM, 10, 10, ("a", "z"), "sha256:" + "0" * 64)


def open_chunk(number: int = 0, objects: int = 2, token: int = 1) -> OpenChunk:
    chunk = Chunk(1, number, 0, ChunkKind.OBJECTS, Lane.WHOLE, 0, objects, token, uuid.UUID(int=token))
    return OpenChunk(chunk, BATCH, objects)


def done(ord: int) -> Completion:
    return Completion(0, ord, Outcome.COPIED, 1, 1, "e", b"")


def failed(ord: int, *, terminal: bool) -> Failure:
    return Failure(0, ord, 1, terminal, 503, "SlowDown", "no")


class Sink:
    """Stands in for the ledger."""

    def __init__(self) -> None:
        self.flushed: list[list[ChunkReport]] = []
        self.lost: frozenset[int] = frozenset()
        self.error: Exception | None = None
        self.away = 0
        self.asked = threading.Semaphore(0)

    def flush(self, reports: list[ChunkReport]) -> frozenset[int]:
        self.asked.release()
        if self.away:
            self.away -= 1
            raise LedgerUnavailable("away")
        if self.error:
            raise self.error
        self.flushed.append(reports)
        return self.lost

    @property
    def ords(self) -> list[int]:
        return [c.ord for reports in self.flushed for report in reports for c in report.completions]


class Waits(Silent):
    def __init__(self) -> None:
        self.said: list[bool] = []

    def waiting(self, what: str, error: BaseException | None) -> None:  # noqa: ARG002
        self.said.append(error is not None)


@contextmanager
def writer(
    sink: Sink, *, flush_rows: int = 500, events: Events | None = None
) -> Iterator[tuple[LedgerWriter, Stop, Crash]]:
    stop = Stop()
    crash = Crash(stop)
    patience = LedgerPatience(stop, events or Silent())
    made = LedgerWriter(sink, patience, crash, clock=time.monotonic, batching=Batching(flush_rows, 60.0))
    try:
        yield made, stop, crash
    finally:
        stop.request()
        stop.request()
        stop.propagate()
        made.close(SOON)


def test_a_finished_chunk_is_flushed_at_once_and_let_go() -> None:
    sink, work = Sink(), open_chunk()
    with writer(sink) as (made, _, _):
        made.begin(work)
        made.put(work, done(0))
        made.put(work, done(1))
        assert sink.asked.acquire(timeout=SOON)
        assert made.close(SOON)
        assert [(r.chunk, r.finished) for r in sink.flushed[0]] == [(work.chunk, True)]
        assert made.open_chunks() == []
    assert sink.ords == [0, 1]


def test_rows_are_batched_and_the_rest_is_flushed_on_close() -> None:
    sink, work = Sink(), open_chunk(objects=10)
    with writer(sink, flush_rows=4) as (made, _, _):
        made.begin(work)
        for ord in range(6):
            made.put(work, done(ord))
        assert made.close(SOON)
        assert [work] == made.open_chunks()
    assert sink.ords == list(range(6))
    assert len(sink.flushed) == 2
    assert not any(report.finished for reports in sink.flushed for report in reports)


def test_only_terminal_failures_count_an_object_as_ended() -> None:
    sink, work = Sink(), open_chunk(objects=1)
    with writer(sink) as (made, _, _):
        made.begin(work)
        made.put(work, failed(0, terminal=False))
        made.put(work, failed(0, terminal=True))
        assert made.close(SOON)
    reports = [report for flushed in sink.flushed for report in flushed]
    assert [len(report.failures) for report in reports] == [2]
    assert reports[-1].finished


def test_an_empty_chunk_is_finished_as_soon_as_it_begins() -> None:
    sink = Sink()
    with writer(sink) as (made, _, _):
        made.begin(open_chunk(objects=0))
        assert made.close(SOON)
    assert [r.finished for r in sink.flushed[0]] == [True]


def test_while_the_ledger_is_away_everything_waits_and_is_flushed_once() -> None:
    sink, work, events = Sink(), open_chunk(), Waits()
    sink.away = 2
    with writer(sink, events=events) as (made, _, _):
        made.begin(work)
        made.put(work, done(0))
        made.put(work, done(1))
        for _ in range(3):
            assert sink.asked.acquire(timeout=SOON)
        assert made.close(SOON)
    assert sink.ords == [0, 1]
    assert events.said == [True, False]


def test_a_full_queue_holds_the_workers_back() -> None:
    sink, work = Sink(), open_chunk(objects=1000)
    sink.away = 10**9
    with writer(sink, flush_rows=1) as (made, _, _):
        made.begin(work)
        handed = 0

        def hand_over() -> None:
            nonlocal handed
            for ord in range(50):
                made.put(work, done(ord))
                handed += 1

        thread = threading.Thread(target=hand_over, daemon=True)
        thread.start()
        assert sink.asked.acquire(timeout=SOON)
        thread.join(0.2)
        assert handed <= 1 + 4 + 1  # in the writer's hand, in the queue, at the door
        sink.away = 0
        thread.join(SOON)
        assert handed == 50
        assert made.close(SOON)
    assert sink.ords == list(range(50))


def test_a_stop_is_heard_while_the_queue_is_full_and_the_ledger_away() -> None:
    sink, work = Sink(), open_chunk(objects=1000)
    sink.away = 10**9
    with writer(sink, flush_rows=1) as (made, stop, _):
        made.begin(work)
        for ord in range(5):
            made.put(work, done(ord))
        assert sink.asked.acquire(timeout=SOON)
        started = time.monotonic()
        assert not made.close(0.05)
        assert time.monotonic() - started < SOON / 2
        stop.request()
        stop.request()
        stop.propagate()
        assert made.close(SOON)


def test_a_lost_chunk_is_dropped_and_a_new_claim_of_it_is_not() -> None:
    sink, old, new = Sink(), open_chunk(), open_chunk(token=2)
    with writer(sink) as (made, _, _):
        made.begin(old)
        made.put(old, done(0))
        made.mark_lost(frozenset({0}))
        assert old.lost
        made.begin(new)
        made.put(old, done(1))
        made.put(new, done(0))
        made.put(new, done(1))
        assert made.close(SOON)
    told = [report for reports in sink.flushed for report in reports]
    assert [report.chunk.token for report in told] == [2]
    assert told[0].finished


def test_a_claim_voids_an_earlier_one_of_the_same_chunk() -> None:
    sink, old, new = Sink(), open_chunk(), open_chunk(token=2)
    with writer(sink) as (made, _, _):
        made.begin(old)
        made.begin(new)
        assert (old.lost, new.lost) == (True, False)
        assert made.open_chunks() == [new]


def test_the_ledgers_word_that_a_lease_is_lost_is_heard() -> None:
    sink, work = Sink(), open_chunk()
    sink.lost = frozenset({0})
    with writer(sink) as (made, _, _):
        made.begin(work)
        made.put(work, done(0))
        made.put(work, done(1))
        assert made.close(SOON)
    assert work.lost


def test_a_writer_that_died_says_so_and_blocks_nobody() -> None:
    sink, work = Sink(), open_chunk(objects=1000)
    sink.error = ValueError("a bug")
    with writer(sink, flush_rows=1) as (made, _, crash):
        made.begin(work)
        for ord in range(50):
            made.put(work, done(ord))
        assert not made.close(SOON)
        with pytest.raises(ValueError, match="a bug") as raised:
            crash.reraise()
        assert raised.value is sink.error
