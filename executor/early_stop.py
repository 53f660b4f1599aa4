"""A failure that hits every object is not an object's failure: stop early, with one message."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from executor.route import SectionRuntime
from schema.errors import AccessRefused, FeatureUnsupported, MigrationError, ObjectRefused, Scope, StoreError

FIRST_FAILURES = 25
"""So many objects refused in a row, without one success, and the run stops."""
ASK_SECONDS = 5.0
"""A refused HEAD is asked about no more often than this."""


class EarlyStop:
    """Counts refusals in a row. Only refusals that tend to concern the whole bucket count.

    The refusal of a HEAD has no body and says no reason: a LIST of the section's two sides is asked for it, so
    that expired credentials or a wrong clock are not taken for the object's fault.
    """

    def __init__(self, limit: int = FIRST_FAILURES, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._in_a_row = 0
        self._well_at = float("-inf")
        self._lock = threading.Lock()
        self._asking = threading.Lock()

    def succeeded(self) -> None:
        """An object arrived."""
        if self._in_a_row:
            with self._lock:
                self._in_a_row = 0

    def failed(self, error: MigrationError, section: SectionRuntime | None = None) -> None:
        """Raises AllRefused once too many objects in a row were refused, and what a LIST of *section* is refused
        with when *error* itself gave no reason and the reason concerns the whole run."""
        if section is not None and _says_no_reason(error):
            self._ask(section)
        if not isinstance(error, AccessRefused | FeatureUnsupported):
            return
        with self._lock:
            self._in_a_row += 1
            too_many = self._in_a_row >= self._limit
        if too_many:
            raise AllRefused(f"{self._limit} objects in a row were refused; the last: {error}")

    def _ask(self, section: SectionRuntime) -> None:
        with self._asking:  # those who wait here find the answer given
            if self._clock() - self._well_at < ASK_SECONDS:
                return
            ends = ((section.source, section.section.source), (section.destination, section.section.destination))
            for store, side in ends:
                try:
                    store.ask_listing(side.prefix)
                except StoreError as reason:
                    if reason.scope is Scope.RUN:
                        raise
            self._well_at = self._clock()


def _says_no_reason(error: MigrationError) -> bool:
    """A HEAD answered 403, or 400 as for an expired token."""
    silent = isinstance(error, AccessRefused) or (isinstance(error, ObjectRefused) and error.status == 400)
    return silent and isinstance(error, StoreError) and error.operation == "HeadObject" and not error.code


class AllRefused(AccessRefused):
    """Object after object is refused: permissions, not objects, are wrong."""

    def __init__(self, message: str) -> None:
        super().__init__(message + ". Nothing is lost: mend the permissions and apply again.")
