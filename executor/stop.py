"""How a process ends early: a stop in two stages, and the first error of any thread, which asks for one."""

from __future__ import annotations

import threading

from schema.errors import Stopped


class Stop:
    """Counts requests. `request` is safe inside a signal handler: it takes no lock.

    The runner's loop calls `propagate`, which wakes all waiting threads.
    """

    def __init__(self) -> None:
        self._requests = 0
        self._woken = threading.Event()
        self._abandoned = threading.Event()

    def request(self, *_signal: object) -> None:
        """Ask to drain; the second time: to abandon. Usable as a signal handler."""
        self._requests += 1

    def propagate(self) -> None:
        """Wake the waiting threads when a request has come in."""
        if self._requests >= 1:
            self._woken.set()
        if self._requests >= 2:
            self._abandoned.set()

    @property
    def draining(self) -> bool:
        """No new work may begin."""
        return self._requests >= 1

    @property
    def abandoning(self) -> bool:
        """Work in flight may be dropped."""
        return self._requests >= 2

    def wait(self, seconds: float) -> bool:
        """Wait *seconds*, or less when a stop comes in; True when it has."""
        return self._woken.wait(max(0.0, seconds))

    def wait_abandoned(self, seconds: float) -> bool:
        """Wait *seconds*, or less when the second request comes in; True when it has."""
        return self._abandoned.wait(max(0.0, seconds))


def stopped_reading(who: str) -> Stopped:
    """What ends the command *who*, which only reads, after a stop."""
    return Stopped(f"{who} was stopped; nothing was changed, run it again")


class Crash:
    """Keeps the first error of any thread, and requests a stop; later errors are its consequences."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._lock = threading.Lock()
        self._first: BaseException | None = None

    def met(self, error: BaseException) -> None:
        """Called in the failing thread."""
        with self._lock:
            if self._first is None:
                self._first = error
                self._stop.request()

    def reraise(self) -> None:
        """Raise the first error, if there was one."""
        if self._first is not None:
            raise self._first
