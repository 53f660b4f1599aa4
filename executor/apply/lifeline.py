"""A process's connection to the run: renews leases, releases those of dead workers, reads progress, shares limits.

While PostgreSQL is away the lifeline only notes how long: a worker that could not renew its leases for most of their
duration must not begin new writes (`fresh` is false), because another worker may soon hold them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from executor.apply.settings import ApplySettings
from executor.copy.job import OpenChunk
from executor.flow.limits import limits_at
from executor.ledger.ledger import Ledger
from executor.ledger.samples import NewSample
from executor.ledger.values import Progress, RunState, Worker
from executor.ledger.workers import is_dead
from schema.errors import LedgerUnavailable
from schema.limits import Limits, RunLimits
from schema.process_view import ProcessView

PROGRESS_SECONDS = 1.0
SHOW_SECONDS = 2.0
FRESH_SHARE = 0.6
"""Share of a lease's duration after which, without a renewal, no new write is begun."""


class Lifeline:
    """Called by the runner's thread only; `fresh` and `closed` may be read from any thread."""

    def __init__(
        self,
        ledger: Ledger,
        worker: Worker,
        settings: ApplySettings,
        *,
        declared: Limits,
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._worker = worker
        self._lease_seconds = settings.lease_seconds
        self._clock = clock
        self._declared = declared
        self._process = settings.place
        self._who = settings.who
        self._share = 1.0
        self._closed = False
        self._renewed = clock()
        self._next_renewal = clock() + settings.lease_seconds / 4
        self._next_reap = clock()
        self._next_progress = clock()
        self._next_show = clock()

    @property
    def fresh(self) -> bool:
        """The leases were renewed recently enough to begin a write."""
        return self._clock() - self._renewed < self._lease_seconds * FRESH_SHARE

    @property
    def closed(self) -> bool:
        """The calendar lets nothing run."""
        return self._closed

    def renew(self, held: Sequence[OpenChunk]) -> frozenset[int]:
        """Renew the leases that are due. Returns the numbers of the chunks whose lease is lost."""
        now = self._clock()
        try:
            if now >= self._next_reap:
                self._ledger.leases.reap(self._worker.run_id)
                self._next_reap = now + self._lease_seconds / 3
            if now < self._next_renewal:
                return frozenset()
            lost = self._ledger.leases.renew(
                self._worker, [work.chunk for work in held], lease_seconds=self._lease_seconds
            )
        except LedgerUnavailable:
            self._next_renewal = self._next_reap = now + 1.0
            return frozenset()
        self._renewed = now
        self._next_renewal = now + self._lease_seconds / 4
        return lost

    def progress_due(self, run_id: int) -> Progress | None:
        """The ledger's progress, about once a second; None in between and while the ledger is unavailable."""
        now = self._clock()
        if now < self._next_progress:
            return None
        self._next_progress = now + PROGRESS_SECONDS
        try:
            return self._ledger.reports.progress(run_id)
        except LedgerUnavailable:
            return None

    def limits(self, progress: Progress, *, holding: bool) -> RunLimits:
        """The run's limits now; this process may use `share` of them. *holding*: it has work of the run in hand."""
        self._share = 1.0 / max(1, progress.working if holding else progress.workers)
        limits = limits_at(self._declared, progress.now, progress.limits)
        self._closed = limits.closed_until is not None
        return limits

    @property
    def share(self) -> float:
        """This process's part of the run's limits: those that hold work share them evenly, idle ones need none.

        One that holds none yet counts all live processes: when a stage opens they all take work at once, and until the
        next reading (a second later) none knows of the others.
        """
        return self._share

    def bury_dead(self) -> int:
        """Release the chunks of dead processes on this machine; returns the number of chunks.

        Never raises: while the ledger is unavailable, leases simply expire.
        """
        try:
            dead = [
                worker.worker_id
                for worker in self._ledger.workers.present(self._worker.run_id)
                if worker.worker_id != self._worker.worker_id and is_dead(worker.process, self._process)
            ]
            return self._ledger.workers.bury(self._worker.run_id, dead, who=self._who) if dead else 0
        except LedgerUnavailable:
            return 0

    def show(self, seen: Callable[[], ProcessView]) -> None:
        """Every two seconds: store this process's view for `status`, and look for dead processes on this machine."""
        now = self._clock()
        if now < self._next_show:
            return
        self._next_show = now + SHOW_SECONDS
        try:
            self._ledger.workers.show(self._worker, seen())
        except LedgerUnavailable:
            return
        self.bury_dead()

    def keep(self, samples: Sequence[NewSample]) -> bool:
        """Append *samples* to the run's history. Returns False while the ledger is unavailable."""
        try:
            self._ledger.samples.append(self._worker, samples)
        except LedgerUnavailable:
            return False
        return True

    def finish(self, run_id: int) -> RunState | None:
        """The run's state, recomputed; None while the ledger is unavailable."""
        try:
            return self._ledger.runs.finish(run_id)
        except LedgerUnavailable:
            return None

    def leave(self, held: Sequence[OpenChunk], exit_code: int) -> None:
        """Release the leases still held, so that the next process need not wait for them to expire."""
        try:
            self._ledger.leases.release(self._worker, [work.chunk for work in held])
            self._ledger.workers.leave(self._worker, exit_code)
        except LedgerUnavailable:
            return  # the leases run out
