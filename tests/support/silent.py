"""Events that nobody hears."""

from __future__ import annotations

from executor.events import ObjectTrouble
from executor.ledger.values import Progress
from schema.errors import MigrationError
from schema.process_view import ProcessView


class Silent:
    """Says nothing."""

    def run_accepted(self, run_id: int, resumed: bool, progress: Progress) -> None:
        """Nothing."""

    def batch_finished(self, batch: str) -> None:
        """Nothing."""

    def object_trouble(self, trouble: ObjectTrouble) -> None:
        """Nothing."""

    def waiting(self, what: str, error: MigrationError | None) -> None:
        """Nothing."""

    def progress(self, progress: Progress, flow: ProcessView) -> None:
        """Nothing."""

    def draining(self, abandoning: bool) -> None:
        """Nothing."""
