"""One worker as a child process: what a task of Dask or Ray runs, and the local engine as well."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence

from s3migrate.applying.engines.engine import WorkerEnd, command

LINES_KEPT = 20
POLL_SECONDS = 1.0


class WorkerProcess:
    """A child that runs `s3migrate WORDS`; it ends when this process does."""

    def __init__(self, words: Sequence[str], *, neighbours: int = 1) -> None:
        """*neighbours*: workers that share this machine's memory, it included."""
        self.process = subprocess.Popen(
            command([*words, "--one-of", str(neighbours), str(os.getpid())]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._said: deque[str] = deque(maxlen=LINES_KEPT)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        if self.process.stderr is not None:
            with self.process.stderr as lines:
                self._said.extend(line.rstrip("\n") for line in lines)

    def stop(self) -> None:
        """Ask it to drain."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def end(self, seconds: float) -> WorkerEnd | None:
        """How it ended; None: it has not within *seconds*."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join(POLL_SECONDS)
        return WorkerEnd(code, "\n".join(self._said))


def work(words: Sequence[str], stopped: Callable[[], bool]) -> WorkerEnd:
    """Run one worker to its end. It drains when *stopped*, polled once a second, is true, and on any interruption."""
    worker = WorkerProcess(words)
    asked = False
    while (end := _interruptible(worker)) is None:
        if not asked and stopped():
            asked = True
            worker.stop()
    return end


def _interruptible(worker: WorkerProcess) -> WorkerEnd | None:
    try:
        return worker.end(POLL_SECONDS)
    except BaseException:  # Ray cancels by KeyboardInterrupt, Dask by whatever ends its threads
        worker.stop()
        worker.end(60.0)
        raise
