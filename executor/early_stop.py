"""A failure that affects every object is not one object's failure: stop early, with one message."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from executor.route import Route
from schema.errors import AccessRefused, FeatureUnsupported, MigrationError, ObjectRefused, Scope, StoreError

FIRST_FAILURES = 25
"""The run stops after this many objects refused in a row, without one success."""
ASK_SECONDS = 5.0
"""Minimum seconds between two LISTs that explain a refused HEAD."""


class EarlyStop:
    """Counts refusals in a row. Only refusals that tend to concern the whole bucket count.

    A refused HEAD has no body and so gives no reason: a LIST of the route's two sides is asked for it, so that
    expired credentials or a wrong clock are not taken for the object's fault.
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

    def ending(self, error: MigrationError, route: Route | None = None) -> MigrationError | None:
        """Count *error*; the error that must end the run now, or None when the run may go on.

        AllRefused once too many objects in a row were refused. When *error* itself gives no reason, a LIST of
        *route*'s two sides is asked: what it is refused with, if that concerns the whole run.
        """
        if route is not None and _says_no_reason(error):
            reason = self._ask(route)
            if reason is not None:
                return reason
        if not isinstance(error, AccessRefused | FeatureUnsupported):
            return None
        with self._lock:
            self._in_a_row += 1
            too_many = self._in_a_row >= self._limit
        if not too_many:
            return None
        return AllRefused(f"{self._limit} objects in a row were refused; the last: {error}")

    def _ask(self, route: Route) -> StoreError | None:
        with self._asking:  # threads that waited here find the answer
            if self._clock() - self._well_at < ASK_SECONDS:
                return None
            ends = ((route.source, route.section.source), (route.destination, route.section.destination))
            for store, side in ends:
                try:
                    store.ask_listing(side.prefix)
                except StoreError as reason:
                    if reason.scope is Scope.RUN:
                        return reason
            self._well_at = self._clock()
            return None


def _says_no_reason(error: MigrationError) -> bool:
    """A HEAD answered 403, or 400 as for an expired token."""
    silent = isinstance(error, AccessRefused) or (isinstance(error, ObjectRefused) and error.status == 400)
    return silent and isinstance(error, StoreError) and error.operation == "HeadObject" and not error.code


class AllRefused(AccessRefused):
    """Object after object is refused: permissions, not objects, are wrong."""

    def __init__(self, message: str) -> None:
        super().__init__(message + ". Nothing is lost: correct the permissions and apply again.")
