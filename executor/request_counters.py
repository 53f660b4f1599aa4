"""Counts requests in many threads without a lock between them: each thread owns its counter, one reader sums."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from schema.errors import (
    ConnectionFailed,
    RequestTimedOut,
    ResponseUnreadable,
    ServerFault,
    StoreError,
    Throttled,
)


@dataclass(frozen=True, slots=True)
class RequestTotals:
    """Requests of one endpoint, since the start or (after subtraction) in a window."""

    ok: int = 0
    """Answered: success, or an error that is the object's fault."""
    throttled: int = 0
    timeouts: int = 0
    """No answer: timed out, or no connection."""
    faults: int = 0
    """The endpoint failed inside, or its answer was unreadable."""
    bytes: int = 0
    seconds: float = 0.0
    """Sum over the answered requests."""

    @property
    def ended(self) -> int:
        """All of them."""
        return self.ok + self.throttled + self.timeouts + self.faults

    def __add__(self, other: RequestTotals) -> RequestTotals:
        return RequestTotals(
            self.ok + other.ok,
            self.throttled + other.throttled,
            self.timeouts + other.timeouts,
            self.faults + other.faults,
            self.bytes + other.bytes,
            self.seconds + other.seconds,
        )

    def __sub__(self, other: RequestTotals) -> RequestTotals:
        return RequestTotals(
            self.ok - other.ok,
            self.throttled - other.throttled,
            self.timeouts - other.timeouts,
            self.faults - other.faults,
            self.bytes - other.bytes,
            self.seconds - other.seconds,
        )


class ThreadCounter:
    """The counter of one thread; only that thread writes it."""

    __slots__ = ("bytes", "ended", "faults", "ok", "owner", "seconds", "started", "throttled", "timeouts")

    def __init__(self) -> None:
        self.owner = threading.current_thread()
        self.started = self.ended = self.ok = self.throttled = self.timeouts = self.faults = self.bytes = 0
        self.seconds = 0.0

    def count_error(self, error: StoreError) -> None:
        """A request ended with *error*."""
        if isinstance(error, Throttled):
            self.throttled += 1
        elif isinstance(error, (RequestTimedOut, ConnectionFailed)):
            self.timeouts += 1
        elif isinstance(error, (ServerFault, ResponseUnreadable)):
            self.faults += 1
        else:
            self.ok += 1

    def totals(self) -> RequestTotals:
        """As they are now."""
        return RequestTotals(self.ok, self.throttled, self.timeouts, self.faults, self.bytes, self.seconds)


class RequestCounters:
    """The counters of all threads."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._counters: list[ThreadCounter] = []
        self._past = RequestTotals()

    def mine(self) -> ThreadCounter:
        """The calling thread's counter."""
        try:
            counter: ThreadCounter = self._local.counter
        except AttributeError:
            counter = self._local.counter = ThreadCounter()
            with self._lock:
                self._counters.append(counter)
        return counter

    def in_flight(self) -> int:
        """Requests begun and not ended."""
        with self._lock:
            return sum(counter.started - counter.ended for counter in self._counters)

    def totals(self) -> RequestTotals:
        """Of all threads, ended ones too."""
        with self._lock:
            ended = [counter for counter in self._counters if not counter.owner.is_alive()]
            for counter in ended:
                self._past += counter.totals()
                self._counters.remove(counter)
            total = self._past
            for counter in self._counters:
                total += counter.totals()
            return total
