"""A process for each running embedded server: stops it when no command has needed it for some minutes, then ends.

It checks at intervals whether a process holds postgres.use, whether somebody is connected by hand, and when the file
was last touched. It stops the server under the lock for starts and stops, and while no command can begin to use it: one
that comes in between waits for the stop, and starts the server again. It ends when there is no server left; when the
folder is gone, it stops the server that was left behind in it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from executor.ledger.embedded import postgres_process, watcher
from executor.ledger.embedded.postgres_process import DataFolder
from executor.ledger.embedded.server import EmbeddedPostgres
from schema.errors import MigrationError

LONGEST_PAUSE = 15.0
SHORTEST_PAUSE = 0.05


@dataclass(slots=True)
class Idleness:
    """Since when a server has not been needed. Times are seconds since the epoch."""

    last_use: float

    def is_due(self, now: float, idle: float, *, in_use: bool, touched: float) -> bool:
        """Whether the server has been idle for *idle* seconds (0: it may stay). *touched*: the last use on file."""
        self.last_use = now if in_use else max(self.last_use, touched)
        return idle > 0 and now - self.last_use >= idle


def pause(idle: float) -> float:
    """Seconds between two looks."""
    return min(LONGEST_PAUSE, max(SHORTEST_PAUSE, idle / 4)) if idle else LONGEST_PAUSE


class Watch:
    """One watcher's work. *descriptor* holds the lock on postgres.watch."""

    def __init__(
        self,
        server: EmbeddedPostgres,
        descriptor: int,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._server = server
        self._descriptor = descriptor
        self._clock = clock
        self._sleep = sleep
        self._folder: DataFolder | None = None
        self._pid: int | None = None

    def run(self) -> None:
        """Watch until there is nothing to watch."""
        idleness = Idleness(self._clock())
        while not self._over():
            idle, touched = watcher.read_idle(self._server.folder)
            # What fails here (a folder being removed, a server that refuses) is seen at the next check.
            with contextlib.suppress(OSError, MigrationError, psycopg2.Error):
                if idleness.is_due(self._clock(), idle, in_use=self._server.in_use(), touched=touched):
                    if self._stopped():
                        return
                    idleness.last_use = self._clock()
            # Without the file no idle time is set: the folder is being removed.
            self._sleep(pause(idle) if touched else SHORTEST_PAUSE)

    def _over(self) -> bool:
        """True when no server is left to watch; then the lock is given back, so that the next start has a watcher."""
        here = DataFolder.at(self._server.folder / watcher.WATCH_FILE)
        if here is None or here.inode != os.fstat(self._descriptor).st_ino:
            self._end_orphan()
            return True
        self._folder = DataFolder.at(self._server.data) or self._folder
        self._pid = self._server.process()
        if self._pid is not None:
            return False
        with self._server.locked():
            if self._server.process() is not None:
                return False
            os.close(self._descriptor)
            return True

    def _end_orphan(self) -> None:
        """The folder was removed under the server's feet."""
        if self._folder is not None and self._pid is not None and postgres_process.can_tell():
            postgres_process.end(self._pid, self._folder, self._sleep)

    def _stopped(self) -> bool:
        """Stop the server, unless somebody began to use it meanwhile."""
        with self._server.locked(), self._server.unused() as free:
            if not free or self._server.connections():
                return False
            self._server.stop_locked()
            os.close(self._descriptor)
            return True


def main(arguments: Sequence[str]) -> None:
    """The process: folder and inherited descriptor."""
    folder, descriptor = Path(arguments[0]), int(arguments[1])
    os.set_inheritable(descriptor, False)
    for word in (signal.SIGINT, signal.SIGHUP):
        signal.signal(word, signal.SIG_IGN)
    os.pwrite(descriptor, f"{os.getpid():<20}".encode(), 0)
    Watch(EmbeddedPostgres(folder), descriptor).run()
    sys.exit(0)
