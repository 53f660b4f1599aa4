"""Keeps the pool's lanes filled: claims a chunk when a lane runs low, loads it, queues its tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from executor.apply.loader import ChunkLoader
from executor.apply.pool import WorkerPool
from executor.apply.writer import LedgerWriter
from executor.copy.patient_ledger import patiently
from executor.events import Events
from executor.ledger.ledger import Ledger
from executor.ledger.values import Lane, Worker
from executor.stop import Stop
from schema.errors import Stopped

IDLE_SECONDS = 0.25
"""Between two claims that found nothing."""


class Feeder:
    """One thread. `starved_rounds` counts the rounds in which every lane was asked for and none had a chunk."""

    def __init__(
        self,
        ledger: Ledger,
        worker: Worker,
        loader: ChunkLoader,
        pool: WorkerPool,
        writer: LedgerWriter,
        *,
        stop: Stop,
        events: Events,
        lease_seconds: float,
        batches: Sequence[int] | None,
        blocked: Callable[[], bool],
        on_crash: Callable[[BaseException], None],
    ) -> None:
        self._ledger = ledger
        self._worker = worker
        self._loader = loader
        self._pool = pool
        self._writer = writer
        self._stop = stop
        self._events = events
        self._lease_seconds = lease_seconds
        self._batches = batches
        self._blocked = blocked
        self._on_crash = on_crash
        self.starved_rounds = 0
        self._ended = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)

    def start(self) -> None:
        """Begin to claim."""
        self._thread.start()

    def wake(self) -> None:
        """Something may have become ready: look now, not at the next round."""
        self._woken.set()

    def close(self, seconds: float) -> bool:
        """Claim nothing more; True when the thread has ended within *seconds*."""
        self._ended.set()
        self._woken.set()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._over():
                fed = False if self._blocked() else self._feed()
                if not fed:
                    self._woken.wait(IDLE_SECONDS)
                    self._woken.clear()
        except Stopped:
            return
        except BaseException as error:
            self._on_crash(error)

    def _over(self) -> bool:
        return self._stop.draining or self._ended.is_set()

    def _feed(self) -> bool:
        """Claim for each lane that runs low; True when something was claimed."""
        claimed = False
        starved = True
        for lane in Lane:
            if self._pool.waiting(lane) > self._low_water(lane):
                starved = False
                continue
            chunk = patiently(
                lambda lane=lane: self._ledger.claim(  # type: ignore[misc]
                    self._worker, lane, lease_seconds=self._lease_seconds, batches=self._batches
                ),
                self._stop,
                self._events,
                self._ended.wait,
            )
            if chunk is None:
                continue
            claimed, starved = True, False
            work, tasks = patiently(
                lambda chunk=chunk: self._loader.load(chunk),  # type: ignore[misc]
                self._stop,
                self._events,
                self._ended.wait,
            )
            self._writer.begin(work)
            for target, queued in tasks.items():
                self._pool.add(target, queued)
        self.starved_rounds += starved
        return claimed

    def _low_water(self, lane: Lane) -> int:
        """Tasks that must wait so that no thread runs dry during one claim."""
        return 2 * self._pool.target if lane is Lane.WHOLE else self._pool.target // 2
