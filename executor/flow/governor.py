"""The governor of one process: how many workers, how fast, and whether an endpoint is well.

`EndpointGovernor` observes the requests of one endpoint and holds them back; `Governor` decides for the process.
All moments are seconds of one monotonic clock.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import median
from typing import NamedTuple

from executor.flow.breaker import WINDOW_SECONDS, Breaker, BreakerState
from executor.flow.concurrency import INITIAL, ConcurrencyController, WindowStats
from executor.flow.counters import RequestCounters, RequestTotals
from executor.flow.pace import AdaptiveRate
from executor.flow.retry_budget import RetryBudget
from executor.flow.snapshots import EndpointSnapshot, GovernorSnapshot, Quality
from executor.flow.token_bucket import TokenBucket
from schema.errors import ConnectionFailed, RequestTimedOut, ResponseUnreadable, ServerFault, StoreError
from storage.port import RequestSample

POLL_SECONDS = 0.5
"""How often a request held back looks whether limits or breaker have changed."""
STALLED_SECONDS = 5.0
"""A window without any answer is closed after this."""
SNAPSHOT_SECONDS = 5.0
POOR_FAILURES = 0.1
POOR_THROTTLED = 0.2
DEGRADED_SHARE = 0.01
SLOW_FACTOR = 4.0
SLOW_SECONDS = 0.05
"""Degraded also means: the median answer takes 4 times the best median, and this much more."""
TICK_SLACK = 0.01
CROWDED_FACTOR = 1.5
"""Times its best median, and the median answer tells of requests that wait for each other. A far endpoint's 50 ms
become 55 on a busy machine, and more requests in flight still bring more; a near one's 1 ms becomes 5."""


class _Window(NamedTuple):
    ended_at: float
    seconds: float
    totals: RequestTotals


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _never() -> bool:
    return False


class EndpointGovernor:
    """A storage.port.RequestObserver for one endpoint; share one between all stores of that endpoint.

    `before` blocks while a rate limit, the pace or the open breaker says so. `heed` tells it of a stop.
    """

    def __init__(
        self,
        name: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] = _sleep,
    ) -> None:
        self.name = name
        self._clock = clock
        self._wait = wait
        self._draining: Callable[[], bool] = _never
        self._lock = threading.Lock()
        now = clock()
        self._breaker = Breaker()
        self._retries = RetryBudget(now)
        self._pace = AdaptiveRate()
        self._request_limit = math.inf
        self._requests = TokenBucket(math.inf, now)
        self._bytes = TokenBucket(math.inf, now)
        self._counters = RequestCounters()
        self._first_bytes: deque[float] = deque(maxlen=256)
        self._best_rtt = math.inf
        self._seen = RequestTotals()
        self._seen_ended = 0
        self._windows: deque[_Window] = deque(maxlen=64)
        self._held = 0
        self._gated = False
        self._last_bad = -math.inf
        self._troubled = False

    def before(self, operation: str, size: int) -> None:  # noqa: ARG002  the port's signature
        """Hold the request back as long as limits, pace and breaker ask for."""
        if self._gated:
            self._hold(size)
        self._counters.mine().started += 1

    def after(self, sample: RequestSample) -> None:
        """Count the request."""
        mine = self._counters.mine()
        mine.ended += 1
        mine.bytes += sample.bytes if sample.error is None else 0
        if sample.error is None:
            mine.ok += 1
            mine.seconds += sample.seconds
            self._first_bytes.append(sample.first_byte_seconds)
        else:
            mine.count_error(sample.error)
            sample.error.endpoint = self.name
        if self._troubled or sample.error is not None:
            self._consult_breaker(sample)

    def heed(self, draining: Callable[[], bool], wait: Callable[[float], bool]) -> None:
        """Hold nothing back for the breaker while *draining()*, and wait by *wait(seconds)*: True means go at once."""
        self._draining, self._wait = draining, wait

    def blocked_for(self, now: float) -> float:
        """Seconds until a new request may be tried; 0.0: now. More than 0 only while the breaker is open."""
        breaker = self._breaker
        return max(0.0, breaker.opens_until - now) if breaker.state is BreakerState.OPEN else 0.0

    def may_retry(self, now: float) -> bool:
        """Pay for one retry from the endpoint's retry budget; False: wait `retry_wait` first."""
        with self._lock:
            return self._retries.spend(now)

    def retry_wait(self, now: float) -> float:
        """Seconds until the retry budget affords a retry."""
        with self._lock:
            return self._retries.wait(now)

    def retry_succeeded(self, now: float) -> None:
        """A retry paid for worked: its cost comes back."""
        with self._lock:
            self._retries.refund(now)

    def set_limits(self, requests_per_second: float | None, bytes_per_second: float | None) -> None:
        """This process's limits at this endpoint; None: no limit. Requests held back learn of it at once, nearly."""
        now = self._clock()
        with self._lock:
            self._request_limit = math.inf if requests_per_second is None else requests_per_second
            self._requests.set_rate(min(self._request_limit, self._pace.rate), now)
            self._bytes.set_rate(math.inf if bytes_per_second is None else bytes_per_second, now)
            self._gate()

    @property
    def in_flight(self) -> int:
        """Requests on the way."""
        return self._counters.in_flight()

    @property
    def held(self) -> int:
        """Requests held back."""
        return self._held

    @property
    def well(self) -> bool:
        """The breaker is closed."""
        return self._breaker.state is BreakerState.CLOSED

    @property
    def crowded(self) -> bool:
        """Answers begin clearly later than they did at best."""
        return self._rtt() > CROWDED_FACTOR * self._best_rtt

    def unseen(self) -> int:
        """Requests ended since the last `close_window`."""
        return self._counters.ended() - self._seen_ended

    def close_window(self, seconds: float, now: float) -> RequestTotals:
        """What ended in the last *seconds*, since the last call; teaches the pace."""
        self._seen_ended = self._counters.ended()
        totals = self._counters.totals()
        window, self._seen = totals - self._seen, totals
        with self._lock:
            self._windows.append(_Window(now, seconds, window))
            self._retries.earn(window.ok, now)
            pace = self._pace.on_window(window.ok, window.throttled, seconds, now)
            self._requests.set_rate(min(self._request_limit, pace), now)
            self._troubled = now - self._last_bad < WINDOW_SECONDS or not self.well
            self._gate()
            if self._pace.bears_with(window.throttled, window.ended):
                window = replace(window, throttled=0)
        rtt = self._rtt()
        if window.ok and rtt > 0:
            self._best_rtt = min(rtt, self._best_rtt)
        return window

    def snapshot(self, now: float) -> EndpointSnapshot:
        """The endpoint over the last few seconds."""
        with self._lock:
            recent = [w for w in self._windows if w.ended_at > now - SNAPSHOT_SECONDS] or list(self._windows)[-1:]
            state, until, pace = self._breaker.state, self._breaker.opens_until, self._pace.rate
        totals = sum((window.totals for window in recent), RequestTotals())
        seconds = sum(window.seconds for window in recent) or 1.0
        ended = totals.ended or 1
        throttled, failed = totals.throttled / ended, (totals.timeouts + totals.faults) / ended
        rtt = self._rtt()
        return EndpointSnapshot(
            in_flight=self.in_flight,
            held=self._held,
            rtt_ms=round(rtt * 1000, 1),
            bytes_per_second=totals.bytes / seconds,
            requests_per_second=totals.ended / seconds,
            throttled=throttled,
            failed=failed,
            pace=None if math.isinf(pace) else pace,
            quality=self._quality(state, throttled, failed, rtt),
            breaker=state.value,
            retry_in=None if state is BreakerState.CLOSED else max(0.0, until - now),
        )

    def _quality(self, state: BreakerState, throttled: float, failed: float, rtt: float) -> Quality:
        if state is not BreakerState.CLOSED or failed >= POOR_FAILURES or throttled >= POOR_THROTTLED:
            return Quality.POOR
        slow = rtt > SLOW_FACTOR * self._best_rtt and rtt > self._best_rtt + SLOW_SECONDS
        return Quality.DEGRADED if slow or failed >= DEGRADED_SHARE or throttled >= DEGRADED_SHARE else Quality.GOOD

    def _rtt(self) -> float:
        # deque.copy is one call under the GIL; iterating would meet the writers.
        return median(self._first_bytes.copy() or [0.0])

    def _gate(self) -> None:
        limited = self._requests.rate < math.inf or self._bytes.rate < math.inf
        self._gated = limited or not self.well

    def _hold(self, size: int) -> None:
        with self._lock:
            now = self._clock()
            request, data = self._requests.take(1, now), self._bytes.take(size, now)
            self._held += 1
        try:
            while True:
                with self._lock:
                    seconds = self._hold_for(request, data, self._clock())
                if seconds <= 0 or self._wait(min(seconds, POLL_SECONDS)):
                    return
        finally:
            with self._lock:
                self._held -= 1

    def _hold_for(self, request: float, data: float, now: float) -> float:
        seconds = max(self._requests.wait(request, now), self._bytes.wait(data, now))
        if seconds > 0 or self._draining() or self._breaker.allow(now):
            return seconds
        return max(self._breaker.opens_until - now, 0.1)

    def _consult_breaker(self, sample: RequestSample) -> None:
        with self._lock:
            now = self._clock()
            ok, subject = _verdict(sample.error)
            if not ok:
                self._last_bad = now
                self._troubled = True
            self._breaker.record(ok, now, started=now - sample.seconds, subject=subject)
            self._gate()


def _verdict(error: StoreError | None) -> tuple[bool, str | None]:
    """Whether the endpoint is well after *error*, and the object that may be to blame if not."""
    if isinstance(error, (ConnectionFailed, RequestTimedOut)):
        return False, None
    if isinstance(error, (ServerFault, ResponseUnreadable)):
        return False, error.key or None
    return True, None


class Governor:
    """Owns the concurrency controller of the process and the limits of its endpoints.

    With *workers* given the concurrency is fixed; otherwise it adapts within 1..*max_workers*. *saturated* says
    whether processor time was scarce since it was last asked: where answers begin later for it, growth must prove more.
    """

    def __init__(
        self,
        endpoints: Mapping[str, EndpointGovernor],
        max_workers: int,
        *,
        workers: int | None = None,
        initial: int = INITIAL,
        saturated: Callable[[], bool] = lambda: False,
    ) -> None:
        self._saturated = saturated
        self.endpoints = dict(endpoints)
        self._distinct = list({id(endpoint): endpoint for endpoint in self.endpoints.values()}.values())
        self._fixed = workers
        self._controller = ConcurrencyController(max_workers, initial=min(initial, max_workers))
        self._why = "starting" if workers is None else "fixed"
        self._most: int | None = None
        self._room: int | None = None
        self._room_why = ""
        self._window_at: float | None = None
        self._in_use = 0
        self._ticks = 0

    def target(self) -> int:
        """How many worker threads should be active now."""
        wanted = self._fixed or self._controller.target
        bounds = [bound for bound in (self._most, self._room) if bound is not None]
        return min(wanted, *bounds) if bounds else wanted

    def bind(self, room: int, why: str) -> None:
        """Never have more than *room* workers, and give *why* as the reason where more were wanted."""
        self._room, self._room_why = room, why

    def tick(self, now: float, busy: int | None = None) -> None:
        """To be called about every 100 ms; *busy*: workers with a task in hand, when known."""
        if self._window_at is None:
            self._window_at = now
            return
        in_flight = sum(endpoint.in_flight for endpoint in self._distinct)
        held = sum(endpoint.held for endpoint in self._distinct)
        self._in_use += in_flight if busy is None else max(0, busy - held)
        self._ticks += 1
        seconds = now - self._window_at
        if seconds < self._controller.window_seconds - TICK_SLACK:
            return
        if seconds < STALLED_SECONDS and not any(endpoint.unseen() for endpoint in self._distinct):
            return
        self._close_window(seconds, now)

    def set_limits(
        self,
        requests_per_second: float | None,
        bytes_per_second: float | None,
        concurrent_requests: float | None = None,
        *,
        share: float = 1.0,
    ) -> None:
        """Run-wide limits for each endpoint (None: no limit), of which this process may use *share* (0..1].

        Of the concurrent requests at least one: each worker has one at an endpoint at a time.
        """
        self._most = None if concurrent_requests is None else max(1, math.floor(concurrent_requests * share + 1e-9))
        for endpoint in self._distinct:
            endpoint.set_limits(
                None if requests_per_second is None else requests_per_second * share,
                None if bytes_per_second is None else bytes_per_second * share,
            )

    def heed(self, draining: Callable[[], bool], wait: Callable[[float], bool]) -> None:
        """Tell all endpoints of stops: *draining()* lets requests past an open breaker (they fail soon and are given
        back), *wait(seconds)* waits and says True when limits matter no more."""
        for endpoint in self._distinct:
            endpoint.heed(draining, wait)

    def blocked_for(self, now: float) -> float:
        """Seconds for which no new object should be begun because an endpoint's breaker is open; 0.0: go on."""
        return max((endpoint.blocked_for(now) for endpoint in self._distinct), default=0.0)

    def snapshot(self, now: float) -> GovernorSnapshot:
        """Workers, why, and every endpoint."""
        return GovernorSnapshot(
            self.target(),
            self._reason(),
            {name: endpoint.snapshot(now) for name, endpoint in self.endpoints.items()},
        )

    def _reason(self) -> str:
        """Why there are as many workers as there are."""
        wanted, target = self._fixed or self._controller.target, self.target()
        if target == wanted:
            return self._why
        return self._room_why if target == self._room else "limited"

    def _close_window(self, seconds: float, now: float) -> None:
        well = all(endpoint.well for endpoint in self._distinct)
        totals = sum((endpoint.close_window(seconds, now) for endpoint in self._distinct), RequestTotals())
        stats = WindowStats(
            seconds=seconds,
            count=totals.ok,
            bytes=totals.bytes,
            throttles=totals.throttled,
            timeouts=totals.timeouts,
            latency=totals.seconds / totals.ok if totals.ok else 0.0,
            in_use=self._in_use / self._ticks,
            saturated=self._saturated() and any(endpoint.crowded for endpoint in self._distinct),
        )
        self._window_at, self._in_use, self._ticks = now, 0, 0
        if self._fixed is None and well:
            self._why = self._controller.on_window(stats, now).reason
