"""The threads of one apply process put together: feeder -> pool -> writer."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from executor.apply.endpoint_watch import EndpointWatch
from executor.apply.feeder import Feeder
from executor.apply.lifeline import Lifeline
from executor.apply.loader import ChunkLoader
from executor.apply.object_tasks import ObjectTasks
from executor.apply.pool import WorkerPool
from executor.apply.settings import ApplySettings
from executor.apply.writer import LedgerWriter
from executor.attempts import Retrier
from executor.copy.patient_ledger import PatientLedger
from executor.copy.whole import Tools
from executor.crash import Crash
from executor.early_stop import EarlyStop
from executor.events import Events, FlowState
from executor.flow.endpoint_retries import EndpointRetries
from executor.flow.governor import Governor
from executor.flow.limits import RunLimits
from executor.ledger.ledger import Ledger
from executor.ledger.values import Worker
from executor.machine.buffers import BufferPool, ByteBudget
from executor.machine.idle_memory import IdleMemory
from executor.machine.memory import trim
from executor.route import SectionRuntime
from executor.stop import Stop
from schema.manifest import ManifestStore
from schema.plan import Plan
from storage.retrying import Retry

SLICE_SECONDS = 0.2
READY_POLL = 0.5


@dataclass(slots=True)
class Workshop:
    """What the runner's loop looks at."""

    pool: WorkerPool
    writer: LedgerWriter
    feeder: Feeder
    governor: Governor
    watch: EndpointWatch
    buffers: BufferPool
    _idle_memory: IdleMemory = field(default_factory=IdleMemory)
    _finished: threading.Event = field(default_factory=threading.Event)
    _asked_in: int = -1
    _quiet_since: int = -1

    def start(self) -> None:
        """Begin to work."""
        self.pool.resize(self.governor.target())
        self.writer.on_finished(self._wake)
        self.feeder.start()

    def _wake(self) -> None:
        self.feeder.wake()
        self._finished.set()

    def wait(self, seconds: float) -> None:
        """So long, or until a chunk is finished: it may have been the run's last."""
        self._finished.wait(seconds)
        self._finished.clear()

    def rest(self, now: float) -> None:
        """Give memory back that nobody has used for a while; called each tick."""
        if self._idle_memory.due(self.buffers.budget.in_use, self.buffers.held_bytes, now):
            self.buffers.release_idle()
            trim()

    def nothing_left(self) -> bool:
        """Nothing is open here or at work: time to ask the ledger, once for each of the feeder's rounds."""
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

    def flow(self, now: float) -> FlowState:
        """What the governor sees."""
        seen = self.governor.snapshot(now)
        return FlowState(seen.workers, seen.why, {name: asdict(end) for name, end in seen.endpoints.items()})

    def seen(self, now: float, limits: RunLimits | None, share: float) -> dict[str, Any]:
        """What `status` shows of this process."""
        return {
            **asdict(self.flow(now)),
            "busy": self.pool.busy,
            "waiting": self.watch.waiting(now),
            "moved": self.watch.moved(),
            "limits": None if limits is None else {**limits.as_dict(), "share": share},
        }

    def close(self, grace_seconds: float, events: Events, stop: Stop) -> bool:
        """Begin nothing more, let what is in flight end, flush it. True when all of it did."""
        if stop.draining:
            events.draining(stop.abandoning)
        stop.propagate()
        self.feeder.close(0)
        ended = _in_slices(self.pool.close, grace_seconds, stop)
        ended = _in_slices(self.feeder.close, grace_seconds, stop) and ended
        flushed = _in_slices(self.writer.close, grace_seconds, stop)
        return ended and flushed


def _in_slices(step: Callable[[float], bool], seconds: float, stop: Stop) -> bool:
    """*step(slice)* until it says True, *seconds* are over, or a second stop lets go."""
    for _ in range(max(1, round(seconds / SLICE_SECONDS))):
        stop.propagate()
        if stop.abandoning:
            return False
        if step(SLICE_SECONDS):
            return True
    return False


def open_workshop(
    plan: Plan,
    sections: Mapping[str, SectionRuntime],
    manifests: ManifestStore,
    ledger: Ledger,
    worker: Worker,
    governor: Governor,
    lifeline: Lifeline,
    settings: ApplySettings,
    only: Sequence[int] | None,
    events: Events,
    stop: Stop,
    clock: Callable[[], float],
    crash: Crash,
    watch: EndpointWatch,
) -> Workshop:
    """Everything wired; nothing started but the writer."""

    def ready(stopping: Stop) -> None:
        while not stopping.draining:
            blocked = watch.blocked(clock())
            if not blocked and lifeline.fresh:
                return
            stopping.wait(min(max(blocked, SLICE_SECONDS), READY_POLL))

    # A drain keeps the declared limits; only a second stop goes past them.
    governor.heed(lambda: stop.draining, stop.wait_abandoned)
    allowance = EndpointRetries(governor.endpoints.values(), clock)
    retrier = Retrier(stop, random.random, ready, blameless=watch.blameless, allowance=allowance)
    tools = Tools(BufferPool(ByteBudget(settings.budget)), retrier, stop)
    pool = WorkerPool(crash.met)
    writer = LedgerWriter(
        lambda reports: ledger.flush(worker, reports, lease_seconds=settings.lease_seconds),
        stop=stop,
        events=events,
        clock=clock,
        on_crash=crash.met,
        give_back=lambda chunk, seconds: ledger.release(worker, [chunk], after_seconds=seconds),
    )
    patient, poll = PatientLedger(ledger, stop, events), settings.restore_poll_seconds
    tasks = ObjectTasks(tools, patient, writer, events, EarlyStop(), pool.add, poll)
    retry = Retry(wait=lambda seconds: void(stop.wait(seconds)))
    loader = ChunkLoader(plan, sections, manifests, ledger, writer, tasks, retry)
    feeder = Feeder(
        ledger,
        worker,
        loader,
        pool,
        writer,
        stop=stop,
        events=events,
        lease_seconds=settings.lease_seconds,
        batches=only,
        blocked=lambda: watch.blocked(clock()) > 0 or not lifeline.fresh,
        on_crash=crash.met,
    )
    return Workshop(pool, writer, feeder, governor, watch, tools.buffers)


def void(_answer: object) -> None:
    """Drop an answer where the caller wants none."""
