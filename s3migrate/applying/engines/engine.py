"""What every engine can do, and how one is named."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from schema.errors import UsageError

EXPECTED = "local, dask://HOST:PORT, ray://HOST:PORT or slurm"


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


def engine_of(name: str) -> Engine:
    """The engine that *name* names. Raises UsageError for none, or one whose library is not installed."""
    scheme, _, rest = name.partition("://")
    try:
        if name == "local":
            from s3migrate.applying.engines.local import LocalEngine

            return LocalEngine()
        if name == "slurm":
            from s3migrate.applying.engines.slurm import SlurmEngine

            return SlurmEngine()
        if scheme == "dask" and rest:
            from s3migrate.applying.engines.dask import DaskEngine

            return DaskEngine(f"tcp://{rest}")
        if scheme == "ray" and rest:
            from s3migrate.applying.engines.ray import RayEngine

            return RayEngine(name)
    except ImportError as error:
        raise UsageError(f"--engine {name} needs a library that is not here ({error}): s3migrate[{scheme}]") from None
    raise UsageError(f"--engine {name!r} is unknown; it is {EXPECTED}")
