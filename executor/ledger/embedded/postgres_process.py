"""Which process serves a data folder, with proof; and ending it by pid where it cannot be reached.

A pid in a file proves nothing: after a reboot it may belong to any process. A process is the server of a data folder
when its program is called postgres and its working folder is that folder: the very inode, so that a server whose folder
was removed is distinguished from its successor. Both come from Linux's /proc; without it nothing is proven, no process
is ended by pid, and PostgreSQL's own checks decide.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
ENDING = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0))
"""Signals for fast and immediate shutdown, then a kill, with the seconds each is given. The next start recovers what
was committed.
"""
LOOK_SECONDS = 0.05


class DataFolder(NamedTuple):
    """A data folder by its inode, whatever happens to its name."""

    device: int
    inode: int

    @staticmethod
    def at(path: Path) -> DataFolder | None:
        """The folder that has this name now; None: there is none."""
        try:
            found = path.stat()
        except OSError:
            return None
        return DataFolder(found.st_dev, found.st_ino)


def can_tell(proc: Path = PROC) -> bool:
    """Whether processes can be inspected on this machine."""
    return (proc / "self" / "cwd").exists()


def serves(pid: int, folder: DataFolder, proc: Path = PROC) -> bool:
    """Whether process *pid* is a PostgreSQL process of the server of *folder*."""
    try:
        # Strings: a search visits every process of the machine, and Path would cost ten times as much.
        with open(f"{proc}/{pid}/comm", "rb") as file:  # noqa: PTH123
            if file.read().strip() != b"postgres":
                return False
        where = os.stat(f"{proc}/{pid}/cwd")  # noqa: PTH116
    except OSError:
        return False
    return (where.st_dev, where.st_ino) == folder


def server_of(folder: DataFolder, named: int | None = None, proc: Path = PROC) -> int | None:
    """The pid of the server of *folder*; None: none is running, as far as can be seen. *named*: checked first."""
    if named is not None and serves(named, folder, proc) and not serves(_parent(named, proc), folder, proc):
        return named
    with contextlib.suppress(OSError):
        running = [int(name) for name in os.listdir(proc) if name.isdigit()]  # noqa: PTH208
        of_folder = {pid for pid in running if serves(pid, folder, proc)}
        return next((pid for pid in of_folder if _parent(pid, proc) not in of_folder), None)
    return None


def end(pid: int, folder: DataFolder, sleep: Callable[[float], None], *, proc: Path = PROC) -> bool:
    """End the server *pid* of *folder* and wait for it; True when it is gone."""
    for word, seconds in ENDING:
        if not serves(pid, folder, proc):
            return True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, word)
        for _ in range(int(seconds / LOOK_SECONDS)):
            if not serves(pid, folder, proc):
                return True
            sleep(LOOK_SECONDS)
    return not serves(pid, folder, proc)


def _parent(pid: int, proc: Path) -> int:
    try:
        return int((proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0
