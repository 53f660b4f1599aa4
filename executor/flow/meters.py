"""Histograms of a process's requests, for scraping. Kept only where metrics are asked for (`apply --metrics`)."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from executor.flow.side_counters import SideObserver
from schema.flow.request_classes import RequestClass, class_of
from storage.port import RequestSample

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the steps in which requests are counted by their time."""
SIZES = (1024, 16 * 1024, 128 * 1024, 1 << 20, 8 << 20, 64 << 20, 1 << 30, 16 << 30, 1 << 40)
NO_ANSWER = "none"


class Histogram:
    """How many values lie in each step; `counts` has one more place than there are bounds. One thread at a time."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count *value*."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def copy(self) -> Histogram:
        """As it is now."""
        made = Histogram(self.bounds)
        made.counts, made.sum = list(self.counts), self.sum
        return made

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper bound, values up to it), as Prometheus has them."""
        total, steps = 0, []
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            total += count
            steps.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
        return steps


class Answered(NamedTuple):
    """What requests are counted by."""

    operation: str
    code_class: str
    """'2xx' .. '5xx'; 'none': no answer came."""


class RequestMeter:
    """One side's requests. A lock is taken for each: this is the price of `--metrics`, about 1 us."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answered: Counter[Answered] = Counter()
        self.durations: dict[str, Histogram] = {}
        self.first_bytes: dict[str, Histogram] = {}
        self.sent = 0
        self.received = 0
        self.in_flight = 0

    def begin(self) -> None:
        """A request is sent."""
        with self.lock:
            self.in_flight += 1

    def end(self, sample: RequestSample) -> None:
        """It ended."""
        status = 200 if sample.error is None else sample.error.status
        answered = Answered(sample.operation, f"{status // 100}xx" if status else NO_ANSWER)
        reads = class_of(sample.operation) in (RequestClass.GET, RequestClass.LIST)
        with self.lock:
            self.in_flight -= 1
            self.answered[answered] += 1
            self.sent += 0 if reads else sample.bytes
            self.received += sample.bytes if reads else 0
            if sample.error is None:
                _of(self.durations, sample.operation).observe(sample.seconds)
                _of(self.first_bytes, sample.operation).observe(sample.first_byte_seconds)


def _of(histograms: dict[str, Histogram], operation: str) -> Histogram:
    if operation not in histograms:
        histograms[operation] = Histogram(SECONDS)
    return histograms[operation]


class MeteredObserver:
    """A storage.port.RequestObserver: what *observer* does, and *meter*."""

    def __init__(self, observer: SideObserver, meter: RequestMeter) -> None:
        self._observer = observer
        self._meter = meter

    def before(self, operation: str, size: int) -> None:
        """Held back requests are not in flight yet."""
        self._observer.before(operation, size)
        self._meter.begin()

    def after(self, sample: RequestSample) -> None:
        """Count it."""
        self._observer.after(sample)
        self._meter.end(sample)
