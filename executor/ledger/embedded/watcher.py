"""The process that stops an idle embedded server: how it is started, found, informed and ended.

It starts out holding the lock on postgres.watch, so that there is never a second one and never a gap, and it has no
parent: a kill -9 of the command that started it does not affect it. See idle_stop.py for its work.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

WATCH_FILE = "postgres.watch"
USE_FILE = "postgres.use"
_ROOT = Path(__file__).resolve().parents[3]
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from executor.ledger.embedded.idle_stop import main; main(sys.argv[2:])"
)


def ensure(folder: Path) -> None:
    """Start the process for the server in *folder* unless there is one. Costs one system call when there is."""
    descriptor = os.open(folder / WATCH_FILE, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)  # the previous pid may have been reused by now
        # The shell ends at once, so that its child is not ours and leaves no zombie.
        words = [sys.executable, "-c", _PROGRAM, str(_ROOT), str(folder), str(descriptor)]
        subprocess.run(
            ["/bin/sh", "-c", 'nice -n 19 "$@" &', "sh", *words],
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(descriptor,),
            check=False,
        )
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)


def dismiss(folder: Path) -> None:
    """End the process, if there is one. One that has not written its pid yet finds no server, and ends on its own."""
    try:
        descriptor = os.open(folder / WATCH_FILE, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        said = os.pread(descriptor, 20, 0).strip()
        if said.isdigit() and int(said) != os.getpid() and _watches(int(said), folder):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(said), signal.SIGTERM)
    finally:
        os.close(descriptor)


def _watches(pid: int, folder: Path) -> bool:
    """Whether process *pid* says by its arguments that it watches *folder*; a pid alone is never enough to end it."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return _PROGRAM.encode() in words and os.fsencode(folder) in words


def write_idle(descriptor: int, seconds: float) -> None:
    """Into postgres.use: the idle time that is asked for. The file's time is that of the last use."""
    os.pwrite(descriptor, f"{seconds:<20g}".encode(), 0)
    os.utime(descriptor)


def read_idle(folder: Path) -> tuple[float, float]:
    """(idle seconds asked for last, when that was in seconds since the epoch). (0.0, 0.0): nobody ever asked."""
    try:
        path = folder / USE_FILE
        return float(path.read_text() or 0.0), path.stat().st_mtime
    except (OSError, ValueError):
        return 0.0, 0.0
