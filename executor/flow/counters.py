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

FORGET_FROM = 256
"""Counters kept before those of ended threads are looked for."""


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

    __slots__ = ("asking", "bytes", "ended", "faults", "ok", "owner", "seconds", "started", "throttled", "timeouts")

    def __init__(self) -> None:
        self.owner = threading.current_thread()
        self.started = self.ended = self.ok = self.throttled = self.timeouts = self.faults = self.bytes = 0
        self.seconds = 0.0
        self.asking = False
        """What this thread sends is a probe, on which no object depends."""

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


class RequestCounters:
    """The counters of all threads."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._counters: list[ThreadCounter] = []
        self._past = RequestTotals()
        self._past_ended = 0
        self._forget_at = FORGET_FROM

    def mine(self) -> ThreadCounter:
        """The calling thread's counter."""
        try:
            counter: ThreadCounter = self._local.counter
        except AttributeError:
            counter = self._local.counter = ThreadCounter()
            with self._lock:
                self._counters.append(counter)
                if len(self._counters) >= self._forget_at:
                    self._forget_ended_threads()
        return counter

    def in_flight(self) -> int:
        """Requests begun and not ended."""
        with self._lock:
            return sum([counter.started - counter.ended for counter in self._counters])

    def ended(self) -> int:
        """Requests ended since the start; cheaper than `totals`."""
        with self._lock:
            return self._past_ended + sum([counter.ended for counter in self._counters])

    def totals(self) -> RequestTotals:
        """Of all threads, including ended ones."""
        with self._lock:
            return self._past + _sum(self._counters)

    def _forget_ended_threads(self) -> None:
        """Keep what ended threads counted, not their counters. The lock is held."""
        alive: list[ThreadCounter] = []
        ended: list[ThreadCounter] = []
        for counter in self._counters:
            (alive if counter.owner.is_alive() else ended).append(counter)
        self._past += _sum(ended)
        self._past_ended += sum(counter.ended for counter in ended)
        self._counters = alive
        self._forget_at = max(FORGET_FROM, 2 * len(self._counters))


def _sum(counters: list[ThreadCounter]) -> RequestTotals:
    ok = throttled = timeouts = faults = size = 0
    seconds = 0.0
    for counter in counters:
        ok += counter.ok
        throttled += counter.throttled
        timeouts += counter.timeouts
        faults += counter.faults
        size += counter.bytes
        seconds += counter.seconds
    return RequestTotals(ok, throttled, timeouts, faults, size, seconds)
