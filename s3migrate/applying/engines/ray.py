"""Workers as tasks of a Ray cluster: `pip install 's3migrate[ray]'` here and on its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray

from s3migrate.applying.engines.engine import WorkerEnd
from s3migrate.applying.engines.worker import work
from schema.errors import ConnectionFailed

RETRIES = 3
"""Of a task whose node is lost. A worker that ends, however it ends, does not fail its task."""


def task(words: Sequence[str]) -> tuple[int, str]:
    """What a Ray node runs. Ray cancels it with a KeyboardInterrupt; the worker then drains."""
    end = work(words, lambda: False)
    return end.code, end.said


class RayEngine:
    """See Engine."""

    def __init__(self, address: str) -> None:
        try:
            ray.init(address=address, log_to_driver=False, logging_level="error")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConnectionFailed(f"no Ray cluster answers at {address}: {error}") from None
        self._task = ray.remote(max_retries=RETRIES)(task)
        self._references: list[Any] = []

    def place(self, words: Sequence[str]) -> None:
        self._references.append(self._task.remote(list(words)))

    def placed(self) -> int:
        return len(self._references)

    def ended(self) -> list[WorkerEnd]:
        if not self._references:
            return []
        done, self._references = ray.wait(self._references, num_returns=len(self._references), timeout=0)
        return [_end_of(reference) for reference in done]

    def stop(self) -> None:
        for reference in self._references:
            ray.cancel(reference, force=False)

    def close(self) -> None:
        ray.shutdown()


def _end_of(reference: Any) -> WorkerEnd:
    try:
        return WorkerEnd(*ray.get(reference))
    except (ray.exceptions.RayError, KeyboardInterrupt) as error:
        return WorkerEnd(-1, f"Ray: {type(error).__name__}: {error}".splitlines()[0])
