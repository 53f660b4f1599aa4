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

    def moved(self, what: str, url: str) -> None:
        """Nothing."""

    def progress(self, progress: Progress, flow: ProcessView) -> None:
        """Nothing."""

    def draining(self, abandoning: bool) -> None:
        """Nothing."""


class Told(Silent):
    """Keeps the troubles it is told of, and what was waited for."""

    def __init__(self) -> None:
        self.troubles: list[ObjectTrouble] = []
        self.waits: list[tuple[str, str | None]] = []
        """What for, and why; None: it is back."""
        self.moves: list[tuple[str, str]] = []

    def object_trouble(self, trouble: ObjectTrouble) -> None:
        """Kept."""
        self.troubles.append(trouble)

    def waiting(self, what: str, error: MigrationError | None) -> None:
        """Kept."""
        self.waits.append((what, None if error is None else str(error)))

    def moved(self, what: str, url: str) -> None:
        """Kept."""
        self.moves.append((what, url))
