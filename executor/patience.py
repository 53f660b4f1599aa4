"""Calls to the ledger wait while PostgreSQL is unavailable, and only then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from executor.events import Events
from executor.stop import Stop
from schema.errors import LedgerUnavailable, Stopped

T = TypeVar("T")

FIRST_WAIT = 0.2
LONGEST_WAIT = 10.0


@dataclass(frozen=True, slots=True)
class LedgerPatience:
    """Repeats a call until the ledger is back. Every such call is idempotent by the ledger's keys."""

    stop: Stop
    events: Events

    def answer(self, call: Callable[[], T], gave_up: Callable[[float], bool] | None = None) -> T:
        """*call*'s answer.

        *gave_up(seconds)* waits that long at most and returns True when there is no point in going on; by default that
        is after a second stop. Raises Stopped then, and whatever else *call* raises at once.
        """
        give_up = gave_up or self.stop.wait_abandoned
        wait, told = FIRST_WAIT, False
        while True:
            try:
                answer = call()
            except LedgerUnavailable as error:
                if not told:
                    self.events.waiting("ledger", error)
                    told = True
                if give_up(wait):
                    raise Stopped("stopped while the ledger was away") from error
                wait = min(wait * 2, LONGEST_WAIT)
            else:
                if told:
                    self.events.waiting("ledger", None)
                return answer
