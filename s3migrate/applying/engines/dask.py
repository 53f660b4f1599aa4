"""Workers as tasks of a Dask cluster: `pip install 's3migrate[dask]'` here and on its workers.

A Dask worker that dies takes its task with it, and the scheduler runs the task again elsewhere; it may also run a task
twice. Neither matters: the ledger knows what is left to do and fences off all but one writer.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from distributed import Client, Event, Future

from s3migrate.applying.engines.engine import WorkerEnd
from s3migrate.applying.engines.worker import work
from schema.errors import ConnectionFailed

CONNECT_SECONDS = 10


def task(words: Sequence[str], stop_event: str) -> tuple[int, str]:
    """What a Dask worker runs."""
    stop = Event(stop_event)
    end = work(words, stop.is_set)
    return end.code, end.said


class DaskEngine:
    """See Engine."""

    def __init__(self, address: str) -> None:
        try:
            self._client = Client(address, timeout=CONNECT_SECONDS)
        except OSError as error:
            raise ConnectionFailed(f"no Dask scheduler answers at {address}: {error}") from None
        self._name = f"s3migrate-{uuid.uuid4().hex[:12]}"
        self._stop = Event(self._name, client=self._client)
        self._futures: list[Future] = []
        self._count = 0

    def place(self, words: Sequence[str]) -> None:
        self._count += 1
        self._futures.append(
            self._client.submit(task, list(words), self._name, key=f"{self._name}-{self._count}", pure=False)
        )

    def placed(self) -> int:
        return len(self._futures)

    def ended(self) -> list[WorkerEnd]:
        ends = []
        for future in tuple(self._futures):
            if future.done():
                self._futures.remove(future)
                ends.append(_end_of(future))
        return ends

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self._client.close()


def _end_of(future: Future) -> WorkerEnd:
    if future.status == "finished":
        return WorkerEnd(*future.result())
    return WorkerEnd(-1, f"Dask: {future.status}: {future.exception() if future.status == 'error' else ''}")
