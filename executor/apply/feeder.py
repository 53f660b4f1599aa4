"""Keeps the pool's lanes filled: claims a chunk when a lane runs low, loads it, queues its tasks."""

from __future__ import annotations

import threading
from functools import partial

from executor.activity import ThreadActivity, mine, waiting
from executor.apply.loader import ChunkLoader
from executor.apply.pool import WorkerPool
from executor.apply.surroundings import Membership, RunSurroundings
from executor.apply.writer import LedgerWriter
from executor.ledger.values import Chunk, Lane
from schema.errors import Stopped
from schema.flow.samples import Activity

IDLE_SECONDS = 0.25
"""Seconds between two claims after one that found nothing."""


class Feeder:
    """One thread. `starved_rounds` counts the rounds in which every lane was asked for and none had a chunk."""

    def __init__(
        self,
        given: RunSurroundings,
        member: Membership,
        loader: ChunkLoader,
        *,
        pool: WorkerPool,
        writer: LedgerWriter,
    ) -> None:
        self._given = given
        self._member = member
        self._loader = loader
        self._pool = pool
        self._writer = writer
        self._patience = given.patience
        self.starved_rounds = 0
        self.activity = ThreadActivity()
        self._ended = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)

    def start(self) -> None:
        """Begin to claim."""
        self._thread.start()

    def wake(self) -> None:
        """Work may have become ready: claim now instead of at the next round."""
        self._woken.set()

    def close(self, seconds: float) -> bool:
        """Stop claiming. Returns True when the thread has ended within *seconds*."""
        self._ended.set()
        self._woken.set()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        self.activity = mine()
        try:
            while not self._over():
                if self._member.blocked(self._given.clock()) or not self._feed():
                    self._woken.wait(IDLE_SECONDS)
                    self._woken.clear()
        except Stopped:
            return
        except BaseException as error:
            self._member.crash.met(error)

    def _over(self) -> bool:
        return self._given.stop.draining or self._ended.is_set()

    def _feed(self) -> bool:
        """Claim for each lane that runs low. Returns whether anything was claimed."""
        claimed = False
        starved = True
        for lane in Lane:
            if self._pool.waiting(lane) > self._low_water(lane):
                starved = False
                continue
            with waiting(Activity.LEDGER):
                chunk = self._patience.answer(partial(self._claim, lane), self._ended.wait)
            if chunk is None:
                continue
            claimed, starved = True, False
            work, tasks = self._patience.answer(partial(self._loader.load, chunk), self._ended.wait)
            self._writer.begin(work)
            for target, queued in tasks.items():
                self._pool.add(target, queued)
        self.starved_rounds += starved
        return claimed

    def _claim(self, lane: Lane) -> Chunk | None:
        member, seconds = self._member, self._given.settings.lease_seconds
        return self._given.ledger.leases.claim(member.worker, lane, lease_seconds=seconds, batches=member.batches)

    def _low_water(self, lane: Lane) -> int:
        """Tasks that must wait so that no thread runs dry during one claim."""
        return 2 * self._pool.target if lane is Lane.WHOLE else self._pool.target // 2
