"""What every engine can do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple, Protocol


class WorkerEnd(NamedTuple):
    """How one worker ended."""

    code: int
    """Its exit code; below 0: the number of the signal that killed it, or -1 when nobody knows."""
    said: str = ""
    """The last lines of its stderr, or what the engine says of it."""


class Engine(Protocol):
    """Places workers. Each is the command `s3migrate WORDS`, in the environment of wherever it runs."""

    def place(self, words: Sequence[str]) -> None:
        """Begin one more worker, or ask for one; it may have to wait for room. Raises ConnectionFailed."""

    def placed(self) -> int:
        """Workers asked for that have not been told as ended, running or waiting."""

    def ended(self) -> list[WorkerEnd]:
        """Those that have ended since the last call."""

    def stop(self) -> None:
        """Ask every worker to drain (SIGTERM), and let none that waits begin."""

    def close(self) -> None:
        """Let go of the engine; workers that are still there end, or are the engine's business."""


def command(words: Sequence[str]) -> list[str]:
    """`s3migrate WORDS` by the interpreter that runs this."""
    return [sys.executable, "-m", "s3migrate", *words]
