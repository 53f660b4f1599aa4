"""Where a parted copy stands in the run: its chunk and line, its ledger, and whom it tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from executor.copy.whole import OnRetry
from executor.ledger.values import Chunk, Completion, Failure, PartRecord, UploadRecord
from schema.errors import MigrationError


class UploadLedger(Protocol):
    """What a parted copy asks of the ledger; every call is durable when it returns."""

    def find_upload(self, run_id: int, batch_no: int, ord: int) -> tuple[UploadRecord, list[PartRecord]] | None:
        """The open upload of an object, and its parts."""

    def record_upload(self, chunk: Chunk, upload: UploadRecord) -> None:
        """Before the first part is sent."""

    def record_parts(self, chunk: Chunk, ord: int, parts: list[PartRecord]) -> None:
        """Raises LeaseLost."""

    def forget_upload(self, chunk: Chunk, ord: int) -> None:
        """The upload is completed or aborted."""


@dataclass(frozen=True, slots=True)
class PartedPlace:
    """Where a parted copy stands in the run, and whom it tells."""

    chunk: Chunk
    ord: int
    ledger: UploadLedger
    spawn: Callable[[list[Callable[[], None]]], None]
    """Queues tasks in the parts lane."""
    finish: Callable[[Completion | Failure, str], None]
    """Told once: the object's end, and what differed in a conflict."""
    lost: Callable[[], bool]
    """True once the chunk's lease is gone."""
    on_retry: OnRetry
    failed: Callable[[MigrationError], None]
    """Told of the error that ends the object; may raise, to end the run."""
    landed: Callable[[], Completion | None] | None = None
    """versions: all: whether this version is at the destination already, asked when an answer was lost."""
