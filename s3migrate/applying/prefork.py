"""Processes forked from this one while it has read the program and opened nothing: they share what it has imported.

Starting anew costs a process some 0.7 s of CPU, nearly all of it imports. Only a process with a single thread can be
forked safely; where there are more threads, or no fork, processes are started anew.
"""

from __future__ import annotations

import fcntl
import io
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol, Self

TASKS = Path("/proc/self/task")
"""A folder with an entry for each thread, those of C libraries too. Linux only."""


_HANDLED = frozenset((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))


class Process(Protocol):
    """What is needed of a child process; `subprocess.Popen` is one."""

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def stdout(self) -> IO[str] | None:
        """What it prints."""

    @property
    def stderr(self) -> IO[str] | None:
        """What it reports."""

    def poll(self) -> int | None:
        """Its return code, negative for a signal; None while it runs."""

    def send_signal(self, sig: int) -> None:
        """Send *sig*, unless it has ended."""


class Forked:
    """A process that was forked."""

    def __init__(self, pid: int, stdout: int, stderr: int) -> None:
        """*stdout*, *stderr*: the descriptors to read what it writes there; they are this object's."""
        self.pid = pid
        self.stdout: IO[str] = os.fdopen(stdout, encoding="utf-8", errors="backslashreplace")
        """What it prints."""
        self.stderr: IO[str] = os.fdopen(stderr, encoding="utf-8", errors="backslashreplace")
        """What it reports."""
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its return code, negative for a signal; None while it runs."""
        return self._waited(os.WNOHANG)

    def wait(self) -> int | None:
        """Its return code, when it has ended."""
        return self._waited(0)

    def send_signal(self, sig: int) -> None:
        """Send *sig*, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def _waited(self, how: int) -> int | None:
        if self._code is None:
            try:
                pid, status = os.waitpid(self.pid, how)
            except ChildProcessError:  # SIGCHLD is ignored: nobody knows how it ended, and the ledger knows the rest
                pid, status = self.pid, 0
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code


class Prefork:
    """Processes that wait to begin. Leaving it as a context ends those that were not released."""

    def __init__(self, run: Callable[[], int], count: int) -> None:
        """*count* processes that will run *run* and exit with what it returns. Raises OSError."""
        begin, self._gate = os.pipe()
        self._waiting: list[Forked] = []
        try:
            for _ in range(count):
                self._waiting.append(self._fork(run, begin))
        except BaseException:
            self.end()
            raise
        finally:
            os.close(begin)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.end()

    def end(self) -> None:
        """End those that still wait."""
        if self._gate >= 0:
            os.close(self._gate)
            self._gate = -1
        for process in self._waiting:
            process.send_signal(signal.SIGKILL)  # it has nothing; a stopped one would not read the pipe's end
            process.wait()
            process.stdout.close()
            process.stderr.close()
        self._waiting = []

    def release(self) -> list[Forked]:
        """Let all begin; they are the caller's from now on."""
        released, self._waiting = self._waiting, []
        with suppress(BrokenPipeError):  # all were killed, as their return codes will say
            os.write(self._gate, b"." * len(released))
        return released

    def _fork(self, run: Callable[[], int], begin: int) -> Forked:
        stdout, into_stdout = os.pipe()
        try:
            stderr, into_stderr = os.pipe()
        except OSError:
            os.close(stdout)
            os.close(into_stdout)
            raise
        signals = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)  # none is lost between two handlers
        try:
            pid = os.fork()
            if pid == 0:
                _become(run, begin, stdout=into_stdout, stderr=into_stderr)
        except OSError:
            os.close(stdout)
            os.close(stderr)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, signals)
            os.close(into_stdout)
            os.close(into_stderr)
        return Forked(pid, stdout, stderr)


def _become(run: Callable[[], int], begin: int, *, stdout: int, stderr: int) -> None:
    """Be the child, to its end: never returns."""
    code = 1
    with suppress(BaseException):
        for name in _HANDLED:
            signal.signal(name, signal.SIG_DFL)  # until *run* has handlers of its own
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
        os.setsid()  # Ctrl-C on the terminal reaches the parent, which passes it on once
        begin = _standard_streams(begin, stdout, stderr)
        begun = os.read(begin, 1)
        os.close(begin)
        code = run() if begun else 0
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _standard_streams(begin: int, stdout: int, stderr: int) -> int:
    """Have the three standard streams and *begin*, whose new number is returned, and no other descriptor open.

    As a process that is started anew: a copy of the gate's other end would keep those that wait from seeing that their
    parent is gone, and a lock of the shell's would be held.
    """
    nowhere = os.open(os.devnull, os.O_RDONLY)
    # Above the standard numbers, which are among them when the parent was started without its own.
    kept = [fcntl.fcntl(number, fcntl.F_DUPFD, 3) for number in (nowhere, stdout, stderr, begin)]
    for standard, number in enumerate(kept[:3]):
        os.dup2(number, standard)
    for path in Path("/proc/self/fd").iterdir():
        if (number := int(path.name)) > 2 and number != kept[3]:
            with suppress(OSError):  # the one by which the folder was read
                os.close(number)
    sys.stdin = io.TextIOWrapper(io.FileIO(0))
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(io.BufferedWriter(io.FileIO(number, "w")), "utf-8", "backslashreplace", line_buffering=True)
        for number in (1, 2)
    )
    return kept[3]


def prefork(run: Callable[[], int], count: int) -> Prefork | None:
    """*count* processes that wait to run *run*; None where this process must not be forked."""
    try:
        threads = len(list(TASKS.iterdir()))
        return Prefork(run, count) if threads == 1 else None
    except OSError:
        return None
