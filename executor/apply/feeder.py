"""Keeps the pool's lanes filled: claims a chunk when a lane runs low, loads it, queues its tasks.

The pool says when a lane runs low. Looking four times a second instead left every worker without work for a tenth of
the time, where a thousand objects are copied in a second.
"""

from __future__ import annotations

import math
import threading
from functools import partial

from executor.activity import ThreadActivity, mine, waiting
from executor.apply.loader import ChunkLoader
from executor.apply.pool import WorkerPool
from executor.apply.surroundings import Membership, RunSurroundings
from executor.apply.writer import LedgerWriter
from executor.flow.demand import Demand
from executor.ledger.values import Chunk, Lane
from schema.errors import Stopped
from schema.flow.samples import Activity

IDLE_SECONDS = 0.25
"""Seconds between two claims of a lane after one that found nothing, unless a chunk has been finished here."""


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
        self._demand = {lane: Demand() for lane in Lane}
        self._nothing_since: dict[Lane, float] = {}
        """When the ledger had nothing for a lane."""
        self.starved_rounds = 0
        self.activity = ThreadActivity()
        self._ended = threading.Event()
        self._woken = threading.Event()
        self._ask_again = False
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)

    def start(self) -> None:
        """Begin to claim."""
        self._pool.on_low(self._woken.set)
        self._thread.start()

    def wake(self) -> None:
        """Work may have become ready: claim now instead of at the next round."""
        self._ask_again = True
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
                    self._rest()
        except Stopped:
            return
        except BaseException as error:
            self._member.crash.met(error)

    def _over(self) -> bool:
        return self._given.stop.draining or self._ended.is_set()

    def _rest(self) -> None:
        """Until a lane runs low or work may have become ready, but not for long: others finish chunks too."""
        in_vain = not self._woken.wait(IDLE_SECONDS)
        self._woken.clear()
        if in_vain or self._ask_again:
            self._ask_again = False
            self._nothing_since.clear()

    def _feed(self) -> bool:
        """Claim for each lane that runs low. Returns whether anything was claimed."""
        claimed = False
        starved = True
        for lane in Lane:
            if not self._wanted(lane):
                starved = False
                continue
            with waiting(Activity.LEDGER):
                chunk = self._patience.answer(partial(self._claim, lane), self._ended.wait)
            if chunk is None:
                self._nothing_since[lane] = self._given.clock()
                continue
            claimed, starved = True, False
            work, tasks = self._patience.answer(partial(self._loader.load, chunk), self._ended.wait)
            self._writer.begin(work)
            for target, queued in tasks.items():
                self._pool.add(target, queued)
        self.starved_rounds += starved
        return claimed

    def _wanted(self, lane: Lane) -> bool:
        """Whether to ask the ledger for more of *lane*; where there is enough, the pool tells when there is not."""
        now = self._given.clock()
        if now - self._nothing_since.get(lane, -math.inf) < IDLE_SECONDS:
            return False
        demand = self._demand[lane]
        demand.learn(self._pool.taken(lane), now)
        low = demand.low_water(self._least(lane))
        self._pool.watch(lane, low)
        return self._pool.waiting(lane) <= low

    def _claim(self, lane: Lane) -> Chunk | None:
        member, seconds = self._member, self._given.settings.lease_seconds
        return self._given.ledger.leases.claim(member.worker, lane, lease_seconds=seconds, batches=member.batches)

    def _least(self, lane: Lane) -> int:
        """Tasks that must wait in any case, so that no thread runs dry during one claim."""
        return 2 * self._pool.target if lane is Lane.WHOLE else self._pool.target // 2
