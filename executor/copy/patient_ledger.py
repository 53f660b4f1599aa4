"""The ledger as workers see it: while PostgreSQL is away they wait for it, and only then."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from executor.events import Events
from executor.ledger.ledger import Ledger
from executor.ledger.values import Chunk, PartRecord, UploadRecord
from executor.stop import Stop
from schema.errors import LedgerUnavailable, Stopped

T = TypeVar("T")

FIRST_WAIT = 0.2
LONGEST_WAIT = 10.0


def patiently(call: Callable[[], T], stop: Stop, events: Events, give_up: Callable[[float], bool] | None = None) -> T:
    """*call*'s answer, asked again until the ledger is back.

    *give_up* waits up to so many seconds and says whether to go on no longer; without it, that is once a second
    stop lets go. Raises Stopped then.
    """
    gave_up = give_up or stop.wait_abandoned
    wait, told = FIRST_WAIT, False
    while True:
        try:
            answer = call()
        except LedgerUnavailable as error:
            if not told:
                events.waiting("ledger", error)
                told = True
            if gave_up(wait):
                raise Stopped("stopped while the ledger was away") from error
            wait = min(wait * 2, LONGEST_WAIT)
        else:
            if told:
                events.waiting("ledger", None)
            return answer


class PatientLedger:
    """The calls of copies in flight; each may be repeated, since the ledger's keys make it say the same again."""

    def __init__(self, ledger: Ledger, stop: Stop, events: Events) -> None:
        self._ledger = ledger
        self._stop = stop
        self._events = events

    def find_upload(self, run_id: int, batch_no: int, ord: int) -> tuple[UploadRecord, list[PartRecord]] | None:
        """See Ledger.find_upload."""
        return self._wait(lambda: self._ledger.find_upload(run_id, batch_no, ord))

    def record_upload(self, chunk: Chunk, upload: UploadRecord) -> None:
        """See Ledger.record_upload."""
        self._wait(lambda: self._ledger.record_upload(chunk, upload))

    def record_parts(self, chunk: Chunk, ord: int, parts: list[PartRecord]) -> None:
        """See Ledger.record_parts."""
        self._wait(lambda: self._ledger.record_parts(chunk, ord, parts))

    def forget_upload(self, chunk: Chunk, ord: int) -> None:
        """See Ledger.forget_upload."""
        self._wait(lambda: self._ledger.forget_upload(chunk, ord))

    def record_intent(self, chunk: Chunk, ord: int, text: str) -> None:
        """See Ledger.record_intent."""
        self._wait(lambda: self._ledger.record_intent(chunk, ord, text))

    def drifted(self, run_id: int) -> int:
        """See Ledger.drifted."""
        return self._wait(lambda: self._ledger.drifted(run_id))

    def _wait(self, call: Callable[[], T]) -> T:
        return patiently(call, self._stop, self._events)
