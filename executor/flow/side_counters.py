"""Requests to one side of the pairs, counted by operation as they end, each thread for itself.

A SideObserver stands between the stores of a side and the governor of their endpoint, which both sides may share.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import Final

from executor import activity
from executor.flow.counters import FORGET_FROM
from executor.flow.endpoint import EndpointGovernor
from schema.errors import ConnectionFailed, RequestTimedOut, ResponseUnreadable, ServerFault, StoreError, Throttled
from schema.flow.request_classes import RequestClass, class_of
from schema.flow.samples import NO_REQUESTS, Activity, SideCounts
from storage.port import RequestSample

_WORKING: Final = Activity.WORKING
"""Looked up for each request, where a member of an enum class is too slow to reach."""
_ENDPOINTS_FAULT = (ConnectionFailed, RequestTimedOut, ServerFault, ResponseUnreadable)


class _ThreadCounts:
    """One thread's; only that thread writes it."""

    __slots__ = ("activity", "bytes", "failed", "owner", "requests", "seconds", "throttled")

    def __init__(self) -> None:
        self.owner = threading.current_thread()
        self.activity = activity.mine()
        self.requests: defaultdict[str, int] = defaultdict(int)
        self.throttled = self.failed = self.bytes = 0
        self.seconds = 0.0

    def counts(self) -> SideCounts:
        """By class. dict.copy is one call under the GIL; iterating would meet the thread at work."""
        requests: dict[RequestClass, int] = {}
        for operation, number in self.requests.copy().items():
            kind = class_of(operation)
            requests[kind] = requests.get(kind, 0) + number
        return SideCounts(requests, self.throttled, self.failed, self.bytes, self.seconds)


class SideCounters:
    """All requests of this process to one side, at whatever endpoint."""

    def __init__(self) -> None:
        self.local = threading.local()
        self._lock = threading.Lock()
        self._threads: list[_ThreadCounts] = []
        self._past = NO_REQUESTS
        self._forget_at = FORGET_FROM

    def mine(self) -> _ThreadCounts:
        """The calling thread's counts, made when it is first asked for. `local.counts` is the same, and quicker."""
        counts: _ThreadCounts | None = getattr(self.local, "counts", None)
        if counts is None:
            counts = self.local.counts = _ThreadCounts()
            with self._lock:
                self._threads.append(counts)
                if len(self._threads) >= self._forget_at:
                    self._forget_ended_threads()
        return counts

    def counts(self) -> SideCounts:
        """Since the start, of all threads, ended ones too."""
        with self._lock:
            return sum((thread.counts() for thread in self._threads), self._past)

    def _forget_ended_threads(self) -> None:
        """Keep what ended threads counted, not their counters. The lock is held."""
        ended = [thread for thread in self._threads if not thread.owner.is_alive()]
        self._past = sum((thread.counts() for thread in ended), self._past)
        self._threads = [thread for thread in self._threads if thread.owner.is_alive()]
        self._forget_at = max(FORGET_FROM, 2 * len(self._threads))


class SideObserver:
    """A storage.port.RequestObserver: passes on to *endpoint*, counts in *counters*, and records what the thread waits
    for.
    """

    def __init__(self, endpoint: EndpointGovernor, counters: SideCounters, waits_for: Activity) -> None:
        self._hold_back = endpoint.before
        self._tell = endpoint.after
        self._counters = counters
        self._local = counters.local
        self._waits_for = waits_for

    def before(self, operation: str, size: int) -> None:
        """Hold the request back as long as the endpoint's governor does."""
        try:
            mine: _ThreadCounts = self._local.counts
        except AttributeError:
            mine = self._counters.mine()
        mine.activity.doing = self._waits_for
        self._hold_back(operation, size)  # which says so while it does, and then goes back to what was said here

    def after(self, sample: RequestSample) -> None:
        """Count the request, and pass it on to the governor."""
        operation, seconds, _, size, error = sample
        try:
            mine: _ThreadCounts = self._local.counts
        except AttributeError:
            mine = self._counters.mine()
        mine.activity.doing = _WORKING
        mine.requests[operation] += 1
        if error is None:
            mine.bytes += size
            mine.seconds += seconds
        else:
            _count_error(mine, error)
        self._tell(sample)


def _count_error(mine: _ThreadCounts, error: StoreError) -> None:
    if isinstance(error, Throttled):
        mine.throttled += 1
    elif isinstance(error, _ENDPOINTS_FAULT):
        mine.failed += 1
