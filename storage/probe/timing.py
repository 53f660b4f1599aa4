"""How long the requests of a probe took, at one endpoint."""

from __future__ import annotations

import statistics
import threading

from storage.port import RequestSample

_READS = frozenset({"GetObject", "HeadObject"})
_WRITES = frozenset({"PutObject"})
_SMALL = 256 * 1024
"""Bytes. With larger bodies the time depends on bandwidth more than on distance."""


class Timing:
    """An observer of one endpoint's requests. Failed ones and large ones do not count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reads: list[float] = []
        self._writes: list[float] = []

    def before(self, operation: str, size: int) -> None:
        """Nothing is limited."""

    def after(self, sample: RequestSample) -> None:
        """See RequestObserver."""
        if sample.error is not None or sample.bytes > _SMALL:
            return
        with self._lock:
            if sample.operation in _READS:
                self._reads.append(sample.seconds)
            elif sample.operation in _WRITES:
                self._writes.append(sample.seconds)

    @property
    def read_us(self) -> int | None:
        """The median of small reads in microseconds, at least 1; None: there were none."""
        return _median_us(self._reads)

    @property
    def write_us(self) -> int | None:
        """The same of small writes."""
        return _median_us(self._writes)


def _median_us(seconds: list[float]) -> int | None:
    return max(1, round(statistics.median(seconds) * 1e6)) if seconds else None
