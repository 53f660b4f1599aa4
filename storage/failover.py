"""Moves a store that only reads to the next declared endpoint of its bucket while the one in use does not answer.

`apply` has its breakers for that (executor.apply.endpoint_watch); verify and certify have no governor.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from schema.declaration import Side
from schema.errors import ConnectionFailed, RequestTimedOut
from storage.port import UNOBSERVED, RequestObserver, RequestSample

FAILURES_IN_A_ROW: Final = 3
"""After these, of requests that began since the last move and without an answer between them, the store moves."""


class Movable(Protocol):
    """What can be moved: S3Store."""

    def move_to(self, endpoint_url: str) -> None:
        """Send what follows to another endpoint of the same bucket."""


class Failover:
    """The observer of one store's requests; `store` is set once it is open. Usable from many threads."""

    def __init__(
        self,
        side: Side,
        note: Callable[[str], None],
        inner: RequestObserver = UNOBSERVED,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """*note* is called with a message at each move."""
        self.store: Movable | None = None
        self._inner = inner
        self._ways = side.endpoint_candidates
        self._note = note
        self._clock = clock
        self._failed = 0
        self._at = self._ways.index(side.endpoint_url) if side.endpoint_url in self._ways else 0
        self._moved_at = float("-inf")
        self._lock = threading.Lock()

    def before(self, operation: str, size: int) -> None:
        """As the inner one."""
        self._inner.before(operation, size)

    def after(self, sample: RequestSample) -> None:
        """Count it."""
        self._inner.after(sample)
        if not isinstance(sample.error, ConnectionFailed | RequestTimedOut):
            self._failed = 0
            return
        with self._lock:
            now = self._clock()
            if self.store is None or len(self._ways) < 2 or now - sample.seconds < self._moved_at:
                return  # that request had still gone to the endpoint before
            self._failed += 1
            if self._failed < FAILURES_IN_A_ROW:
                return
            self._at = (self._at + 1) % len(self._ways)
            self._failed, self._moved_at = 0, now
            self.store.move_to(self._ways[self._at])
        self._note(f"{sample.error}; {self._ways[self._at]} is used instead")
