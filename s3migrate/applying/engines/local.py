"""Workers on this machine."""

from __future__ import annotations

from collections.abc import Sequence

from s3migrate.applying.engines.engine import WorkerEnd
from s3migrate.applying.engines.worker import WorkerProcess


class LocalEngine:
    """See Engine."""

    def __init__(self, most: int) -> None:
        """At most *most* workers at once share this machine's memory."""
        self._most = most
        self._workers: list[WorkerProcess] = []

    def place(self, words: Sequence[str]) -> None:
        self._workers.append(WorkerProcess(words, neighbours=self._most))

    def placed(self) -> int:
        return len(self._workers)

    def ended(self) -> list[WorkerEnd]:
        ends = []
        for worker in tuple(self._workers):
            if (end := worker.end(0.0)) is not None:
                self._workers.remove(worker)
                ends.append(end)
        return ends

    def stop(self) -> None:
        for worker in self._workers:
            worker.stop()

    def close(self) -> None:
        self.stop()
