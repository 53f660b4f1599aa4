"""The threads of one apply process put together: feeder -> pool -> writer."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from executor.activity import waiting
from executor.apply.feeder import Feeder
from executor.apply.history import FlowHistory, Watched
from executor.apply.loader import ChunkLoader
from executor.apply.object_tasks import ObjectTasks
from executor.apply.pool import WorkerPool
from executor.apply.surroundings import Membership, ProcessState, RunSurroundings
from executor.apply.writer import LeasedChunks, LedgerWriter
from executor.attempts import Retrier
from executor.copy.job import CopyTools
from executor.early_stop import EarlyStop
from executor.flow.endpoint import EndpointRetries
from executor.machine.buffers import BufferPool, ByteBudget
from executor.machine.memory import IdleMemory, trim
from executor.stop import Stop
from schema.errors import RunClosed
from schema.flow.samples import Activity
from schema.limits import CLOSED, RunLimits, closed_text
from schema.process_view import ProcessView

SLICE_SECONDS = 0.2
READY_POLL = 0.5


@dataclass(slots=True)
class Workshop:
    """What the runner's loop looks at."""

    given: RunSurroundings
    member: Membership
    pool: WorkerPool
    writer: LedgerWriter
    feeder: Feeder
    buffers: BufferPool
    history: FlowHistory
    _limits: RunLimits = field(default_factory=RunLimits)
    _idle_memory: IdleMemory = field(default_factory=IdleMemory)
    _finished: threading.Event = field(default_factory=threading.Event)
    _asked_in: int = -1
    _quiet_since: int = -1

    def start(self) -> None:
        """Begin to work."""
        self.pool.resize(self.given.governor.target())
        self.writer.on_finished(self._wake)
        self.feeder.start()

    def _wake(self) -> None:
        self.feeder.wake()
        self._finished.set()

    def wait(self, seconds: float) -> None:
        """Wait *seconds*, or until a chunk is finished: it may have been the run's last."""
        self._finished.wait(seconds)
        self._finished.clear()

    def rest(self, now: float) -> None:
        """Return memory to the system that has been unused for a while; called each tick."""
        if self._idle_memory.due(self.buffers.budget.in_use, self.buffers.held_bytes, now):
            self.buffers.release_idle()
            trim()

    def nothing_left(self) -> bool:
        """No chunk is open and no task is running: time to ask the ledger, once per round of the feeder."""
        rounds = self.feeder.starved_rounds
        if self.writer.open_chunks() or not self.pool.idle:
            self._asked_in = self._quiet_since = -1
            return False
        if self._quiet_since < 0:
            self._quiet_since = rounds
        asked, self._asked_in = self._asked_in, rounds
        return asked != rounds

    @property
    def starved(self) -> bool:
        """Since nothing is left here, two whole rounds of claims found nothing in any lane."""
        return 0 <= self._quiet_since < self.feeder.starved_rounds - 1

    def seen(self, now: float, limits: RunLimits) -> ProcessView:
        """What `status` shows of this process, held to its share of the run's *limits*."""
        return replace(
            self.given.governor.snapshot(now),
            busy=self.pool.busy,
            waiting=_closed_text(limits) or self.member.watch.waiting(now),
            moved=self.member.watch.moved(),
            limits=limits,
            share=self.member.lifeline.share,
        )

    def look(self, now: float, limits: RunLimits) -> None:
        """Look at what the threads are at; keep a sample of the run's history in the ledger when one is due."""
        self._limits = limits
        self.history.look(now)
        if self.history.due(now):
            self.sample(now)

    def sample(self, now: float) -> None:
        """Keep a sample now."""
        self.history.take(now, self.seen(now, self._limits))
        if self.member.lifeline.keep(self.history.unkept(now)):
            self.history.kept()

    def state(self) -> ProcessState:
        """The process's state now. Called by the window's readers, from their own threads."""
        budget = self.buffers.budget
        return ProcessState(
            view=self.seen(self.given.clock(), self._limits),
            thread_seconds=tuple(self.history.thread_seconds),
            buffer_bytes=budget.in_use,
            buffer_limit=budget.total,
            queued_rows=self.writer.queued,
            flush_seconds=self.writer.flush_seconds,
            object_sizes=self.writer.object_sizes,
        )

    def close(self) -> bool:
        """Start nothing more, let work in flight finish, flush it. Returns whether all of it finished."""
        stop, grace_seconds = self.given.stop, self.given.settings.grace_seconds
        if stop.draining:
            self.given.events.draining(stop.abandoning)
        stop.propagate()
        self.feeder.close(0)
        ended = _in_slices(self.pool.close, grace_seconds, stop)
        ended = _in_slices(self.feeder.close, grace_seconds, stop) and ended
        flushed = _in_slices(self.writer.close, grace_seconds, stop)
        return ended and flushed


def _closed_text(limits: RunLimits) -> str | None:
    until = limits.closed_until
    return None if until is None else f"the calendar is {closed_text(until)}"


def _waiting_for(member: Membership) -> AbstractContextManager[None]:
    """What a thread does whose next attempt may not begin."""
    if member.lifeline.closed:
        return waiting(Activity.LIMIT, CLOSED)
    return waiting(Activity.THROTTLING if member.lifeline.fresh else Activity.LEDGER)


def _in_slices(step: Callable[[float], bool], seconds: float, stop: Stop) -> bool:
    """Repeat *step(slice)* until it returns True, *seconds* have passed, or a second stop abandons the work."""
    for _ in range(max(1, round(seconds / SLICE_SECONDS))):
        stop.propagate()
        if stop.abandoning:
            return False
        if step(SLICE_SECONDS):
            return True
    return False


def open_workshop(given: RunSurroundings, member: Membership) -> Workshop:
    """Everything connected; only the writer is started."""
    settings, stop, clock, governor = given.settings, given.stop, given.clock, given.governor

    def ready(stopping: Stop) -> None:
        while not stopping.draining and (blocked := member.blocked(clock())):
            with _waiting_for(member):
                stopping.wait(min(max(blocked, SLICE_SECONDS), READY_POLL))
        if stopping.draining and member.lifeline.closed:
            raise RunClosed("stopped while the calendar was closed")

    # A drain keeps the declared limits; only a second stop goes past them.
    governor.heed(lambda: stop.draining, stop.wait_abandoned)
    allowance = EndpointRetries(governor.endpoints.values(), clock)
    retrier = Retrier(stop, random.random, ready, blameless=member.watch.blameless, allowance=allowance)
    buffers = BufferPool(ByteBudget(settings.budget))
    tools = CopyTools(buffers, retrier, stop, given.ledger, given.events)
    pool = WorkerPool(member.crash.met)
    sink = LeasedChunks(given.ledger, member.worker, settings.lease_seconds)
    writer = LedgerWriter(sink, given.patience, member.crash, clock=clock)
    tasks = ObjectTasks(tools, writer, EarlyStop(), pool.add, settings.restore_poll_seconds)
    loader = ChunkLoader(given, tasks, writer)
    feeder = Feeder(given, member, loader, pool=pool, writer=writer)
    history = FlowHistory(Watched(pool, writer, feeder, buffers.budget, given.sides), clock)
    workshop = Workshop(given, member, pool, writer, feeder, buffers, history)
    given.window.look = workshop.state
    return workshop
