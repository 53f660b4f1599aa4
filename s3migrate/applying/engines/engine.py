"""What every engine can do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple, Protocol


class WorkerEnd(NamedTuple):
    """How one worker ended."""

    code: int
    """Its exit code; negative: the number of the signal that killed it, or -1 when that is unknown."""
    said: str = ""
    """The last lines of its stderr, or what the engine says about it."""


class Engine(Protocol):
    """Places workers. Each is the command `s3migrate WORDS`, in the environment of wherever it runs."""

    def place(self, words: Sequence[str]) -> None:
        """Start one more worker, or queue it until there is room. Raises ConnectionFailed."""

    def placed(self) -> int:
        """How many workers are running or queued: all that were placed and not yet returned by `ended`."""

    def ended(self) -> list[WorkerEnd]:
        """The workers that have ended since the last call."""

    def stop(self) -> None:
        """Ask every running worker to drain (SIGTERM) and cancel the queued ones."""

    def close(self) -> None:
        """Release the engine; workers that are still there end or are left to the engine."""


def command(words: Sequence[str]) -> list[str]:
    """The argv of `s3migrate WORDS`, for this interpreter."""
    return [sys.executable, "-m", "s3migrate", *words]
