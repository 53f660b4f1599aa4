"""What the executor tells while it works. A view decides how it looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from executor.ledger.values import Progress
from schema.errors import MigrationError


@dataclass(frozen=True, slots=True)
class ObjectTrouble:
    """One object that did not arrive as planned (yet, or for good)."""

    section: str
    batch: str
    ord: int
    key: str
    """Unescaped."""
    reason: str
    """Class of the trouble: an error's class name or an outcome."""
    message: str
    status: int
    attempt: int
    final: bool


@dataclass(frozen=True, slots=True)
class FlowState:
    """What the governor sees: concurrency now and why, and each endpoint's health."""

    workers: int
    why: str
    endpoints: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Events(Protocol):
    """Called from several threads; must be quick and must not raise."""

    def run_accepted(self, run_id: int, resumed: bool, progress: Progress) -> None:
        """The plan is in the ledger, or was found there."""

    def batch_finished(self, batch: str) -> None:
        """Every object of a batch is accounted for by this process's last flush."""

    def object_trouble(self, trouble: ObjectTrouble) -> None:
        """An object failed, drifted or is retried."""

    def waiting(self, what: str, error: MigrationError | None) -> None:
        """Work stands still until *what* is back (ledger, endpoint); error None: it is back."""

    def progress(self, progress: Progress, flow: FlowState) -> None:
        """About once a second; figures are the ledger's, so they are durable."""

    def draining(self, abandoning: bool) -> None:
        """A stop was asked for."""
