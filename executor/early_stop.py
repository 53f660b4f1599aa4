"""A failure that hits every object is not an object's failure: stop early, with one message."""

from __future__ import annotations

import threading

from schema.errors import AccessRefused, FeatureUnsupported, MigrationError

FIRST_FAILURES = 25
"""So many objects refused in a row, without one success, and the run stops."""


class EarlyStop:
    """Counts refusals in a row. Only refusals that tend to concern the whole bucket count."""

    def __init__(self, limit: int = FIRST_FAILURES) -> None:
        self._limit = limit
        self._in_a_row = 0
        self._lock = threading.Lock()

    def succeeded(self) -> None:
        """An object arrived."""
        if self._in_a_row:
            with self._lock:
                self._in_a_row = 0

    def failed(self, error: MigrationError) -> None:
        """Raises AllRefused once too many objects in a row were refused."""
        if not isinstance(error, AccessRefused | FeatureUnsupported):
            return
        with self._lock:
            self._in_a_row += 1
            too_many = self._in_a_row >= self._limit
        if too_many:
            raise AllRefused(f"{self._limit} objects in a row were refused; the last: {error}")


class AllRefused(AccessRefused):
    """Object after object is refused: permissions, not objects, are wrong."""

    def __init__(self, message: str) -> None:
        super().__init__(message + ". Nothing is lost: mend the permissions and apply again.")
