"""One guarded write: what the plan expects at the destination, and what follows when something else is there."""

from __future__ import annotations

from executor.carry.carriage import Source
from executor.copy.job import Ended, Job
from executor.copy.reconcile import reconcile
from schema.errors import DestinationChanged, ObjectMissing
from schema.plan import Action
from storage.port import UNGUARDED


class GuardedWrite:
    """The precondition of one object's write. It changes only when our own write was damaged in transit."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.guard = job.route.guard(job.entry)
        self._there = job.entry.destination_etag if job.entry.action is Action.OVERWRITE else None
        """The ETag of the object that may be replaced; None: no object may be there."""

    def undisturbed(self) -> bool:
        """Whether the object to overwrite is still what the plan saw.

        Asked of the destination only where it does not enforce If-Match, right before the write. Raises StoreErrors.
        """
        job, route = self._job, self._job.route
        if self._there is None or job.landed is not None or route.guarded(Action.OVERWRITE):
            return True
        try:
            head = route.destination.head(job.entry.target)
        except ObjectMissing:
            return False
        return head.etag == self._there

    def judged(self, source: Source, crc: int | None) -> Ended:
        """How the object ends when the destination holds something else than planned. Raises StoreErrors.

        *crc*: the source's CRC64NVME, None where it was not read.
        """
        return reconcile(self._job, source, crc) or self._job.conflict("the object to overwrite is gone")

    def refused(self, source: Source, crc: int | None, error: DestinationChanged) -> Ended:
        """The same after the destination refused the write with *error*, raised again when nothing is there."""
        if self._job.entry.action is Action.OVERWRITE:
            return self.judged(source, crc)
        ended = reconcile(self._job, source, crc)
        if ended is None:
            raise error
        return ended

    def replace(self, etag: str) -> None:
        """Our own damaged write is there now, as *etag*: the next attempt replaces exactly that."""
        self._there = etag
        if self.guard != UNGUARDED:
            self.guard = self._job.route.replacing(etag)
