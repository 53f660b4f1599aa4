"""One endpoint's requests: observed, held back, and judged. All times are seconds of one monotonic clock."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from typing import NamedTuple

from executor.activity import waiting
from executor.flow.breaker import WINDOW_SECONDS, Breaker
from executor.flow.counters import RequestCounters, RequestTotals
from executor.flow.pace import AdaptiveRate
from executor.flow.retry_budget import RetryBudget
from executor.flow.throttled_keys import Judgement, ThrottledKeys
from executor.flow.token_bucket import TokenBucket
from schema.errors import ConnectionFailed, RequestTimedOut, ResponseUnreadable, ServerFault, StoreError, Throttled
from schema.flow.samples import Activity
from schema.limits import LIMITS, Bounds, Limit
from schema.process_view import BreakerState, EndpointView, Quality
from storage.port import RequestSample

POLL_SECONDS = 0.5
"""How often a request held back checks whether limits or breaker have changed."""
SNAPSHOT_SECONDS = 5.0
COUNT_SECONDS = 0.1
ASK_AFTER_SECONDS = 1.0
"""After this long without any answer, while objects are throttled, the endpoint is probed."""
POOR_FAILURES = 0.1
POOR_THROTTLED = 0.2
DEGRADED_SHARE = 0.01
SLOW_FACTOR = 4.0
SLOW_SECONDS = 0.05
"""Degraded also means: the median answer takes 4 times the best median, and this much more."""
UNHINDERED_SHARE = 0.1
"""So many of the latest requests at least, however busy the processors are, are not held up by one another here."""
CROWDED_FACTOR = 1.5
"""Above this multiple of the best median, requests are waiting for one another. A far endpoint's 50 ms
become 55 on a busy machine, and more requests in flight still bring more; a near one's 1 ms becomes 5."""


class _Held(NamedTuple):
    """How long a request must wait before it is sent, and why."""

    seconds: float
    why: Activity = Activity.THROTTLING
    limit: str = ""
    """Which one, for Activity.LIMIT."""


class _Window(NamedTuple):
    ended_at: float
    seconds: float
    totals: RequestTotals


def wait_asleep(seconds: float) -> bool:
    """Sleep; False: nothing came in between."""
    time.sleep(seconds)
    return False


def _never() -> bool:
    return False


def _cost(limit: Limit, size: int) -> float:
    """What a request with *size* bytes of body takes of *limit*'s allowance for a second."""
    return size if limit.bounds is Bounds.BYTES else 1


class EndpointGovernor:
    """A storage.port.RequestObserver for one endpoint; share one between all stores of that endpoint.

    `before` blocks while a rate limit, the pace or the open breaker says so. `heed` tells it of a stop.
    """

    def __init__(
        self,
        name: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] = wait_asleep,
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
        self._allowances = {
            limit.name: (limit, TokenBucket(math.inf, now))
            for limit in LIMITS.values()
            if limit.bounds is not Bounds.AT_ONCE
        }
        self._paced = TokenBucket(math.inf, now)
        self._counters = RequestCounters()
        self._first_bytes: deque[float] = deque(maxlen=256)
        self._seconds: deque[float] = deque(maxlen=256)
        self.best_rtt = math.inf
        """Seconds from request to the first byte of an answer: the least median of a window."""
        self._seen = RequestTotals()
        self._seen_ended = 0
        self._windows: deque[_Window] = deque(maxlen=64)
        self._held = 0
        self._gated = False
        self._last_bad = -math.inf
        self._troubled = False
        self._throttled_keys = ThrottledKeys()
        self._stuck = 0
        self._answered = 0
        self._answered_at = now
        """When an answer was last seen."""
        self._questions = 0
        """Of ours that were answered."""
        self._served = 0
        """Other answers that the breaker knows of."""
        self._counted_at = -math.inf

    def before(self, operation: str, size: int) -> None:  # noqa: ARG002  the port's signature
        """Hold the request back as long as limits, pace and breaker ask for."""
        mine = self._counters.mine()
        if self._gated and not (mine.asking and self.well):
            self._hold(size)
        mine.started += 1

    def after(self, sample: RequestSample) -> None:
        """Count the request."""
        mine = self._counters.mine()
        mine.ended += 1
        mine.bytes += sample.bytes if sample.error is None else 0
        if sample.error is None:
            mine.ok += 1
            mine.seconds += sample.seconds
            self._first_bytes.append(sample.first_byte_seconds)
            self._seconds.append(sample.seconds)
        else:
            sample.error.endpoint = self.name
            if mine.asking or not (isinstance(sample.error, Throttled) and self._is_keys_own(sample.error)):
                mine.count_error(sample.error)
        if mine.asking:
            self._asked(sample.error)
        if self._troubled or sample.error is not None:
            self._consult_breaker(sample)

    def heed(self, draining: Callable[[], bool], wait: Callable[[float], bool]) -> None:
        """Let the breaker hold nothing back while *draining()*, and wait by *wait(seconds)*, which returns True to go
        at once.
        """
        self._draining, self._wait = draining, wait

    def blocked_for(self, now: float) -> float:
        """Seconds until a new request may be tried; 0.0: now. More than 0 only while the breaker is open."""
        breaker = self._breaker
        return max(0.0, breaker.opens_until - now) if breaker.state is BreakerState.OPEN else 0.0

    def may_retry(self, now: float, key: str = "") -> bool:
        """Pay for one retry from the endpoint's retry budget; False: wait `retry_wait` first.

        An object *key* that fails while others are served costs nothing: the budget protects an endpoint in trouble.
        """
        with self._lock:
            return self._breaker.at_fault(key) or self._retries.spend(now)

    def retry_wait(self, now: float) -> float:
        """Seconds until the retry budget affords a retry."""
        with self._lock:
            return self._retries.wait(now)

    def retry_succeeded(self, now: float) -> None:
        """A retry paid for worked: its cost comes back."""
        with self._lock:
            self._retries.refund(now)

    def key_served(self, key: str) -> None:
        """An object whose request had been refused went through after all."""
        if self._throttled_keys:
            with self._lock:
                self._throttled_keys.served(key)
                self._stuck = self._throttled_keys.stuck

    def hopeless(self, key: str) -> str:
        """Why the throttled object *key* is given up (and forgotten); '' when it is not."""
        now = self._clock()
        with self._lock:
            why = self._throttled_keys.hopeless(key, answered=self._answers(now), now=now)
            if why:
                self._throttled_keys.given_up(key)
                self._stuck = self._throttled_keys.stuck
        return why

    def to_be_asked(self, now: float) -> bool:
        """Only a probe can tell whether the endpoint is well: every object in hand is refused, or fails."""
        if self._breaker.in_doubt:
            return True
        if not self._throttled_keys:
            return False
        with self._lock:
            self._answers(now)
            return now - self._answered_at >= ASK_AFTER_SECONDS

    def askable(self) -> None:
        """The endpoint is probed, within `asking`, when it is `to_be_asked`."""
        self._breaker.askable = True

    @contextmanager
    def asking(self) -> Iterator[None]:
        """What this thread sends meanwhile is a probe: no object depends on the answer."""
        mine = self._counters.mine()
        mine.asking = True
        try:
            yield
        finally:
            mine.asking = False

    def set_limits(self, figures: Mapping[str, float]) -> None:
        """This process's limits at this endpoint by name; one not named there is lifted. Held requests follow soon."""
        now = self._clock()
        with self._lock:
            for name, (_, bucket) in self._allowances.items():
                bucket.set_rate(figures.get(name, math.inf), now)
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
    def stuck(self) -> int:
        """Objects that are throttled individually: each occupies a worker that does next to nothing."""
        return self._stuck

    @property
    def well(self) -> bool:
        """The breaker is closed."""
        return self._breaker.state is BreakerState.CLOSED

    @property
    def crowded(self) -> bool:
        """First bytes arrive clearly later than at best."""
        return self._rtt() > CROWDED_FACTOR * self.best_rtt

    @property
    def unhindered_seconds(self) -> float:
        """How long a request takes that does not wait for others in this process; 0.0: none has ended yet."""
        latest = sorted(self._seconds.copy())
        return latest[int(UNHINDERED_SHARE * len(latest))] if latest else 0.0

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
            self._paced.set_rate(self._pace.on_window(window.ok, window.throttled, seconds, now=now), now)
            self._tell_of_served(now)
            self._troubled = now - self._last_bad < WINDOW_SECONDS or not self.well
            self._gate()
            if self._pace.bears_with(window.throttled, window.ended):
                window = replace(window, throttled=0)
        rtt = self._rtt()
        if window.ok and rtt > 0:
            self.best_rtt = min(rtt, self.best_rtt)
        return window

    def snapshot(self, now: float) -> EndpointView:
        """The endpoint over the last few seconds."""
        with self._lock:
            recent = [w for w in self._windows if w.ended_at > now - SNAPSHOT_SECONDS] or list(self._windows)[-1:]
            state, until, pace = self._breaker.state, self._breaker.opens_until, self._pace.rate
            waiting = self._throttled_keys.waiting(now)
        totals = sum((window.totals for window in recent), RequestTotals())
        seconds = sum(window.seconds for window in recent) or 1.0
        ended = totals.ended or 1
        throttled, failed = totals.throttled / ended, (totals.timeouts + totals.faults) / ended
        return EndpointView(
            in_flight=self.in_flight,
            held=self._held,
            rtt_ms=round(self._rtt() * 1000, 1),
            bytes_per_second=totals.bytes / seconds,
            requests_per_second=totals.ended / seconds,
            throttled=throttled,
            failed=failed,
            pace=None if math.isinf(pace) else pace,
            quality=self._quality(state, throttled, failed),
            breaker=state,
            retry_in=None if state is BreakerState.CLOSED else max(0.0, until - now),
            waiting_keys=waiting,
        )

    def _quality(self, state: BreakerState, throttled: float, failed: float) -> Quality:
        if state is not BreakerState.CLOSED or failed >= POOR_FAILURES or throttled >= POOR_THROTTLED:
            return Quality.POOR
        rtt = self._rtt()
        slow = rtt > SLOW_FACTOR * self.best_rtt and rtt > self.best_rtt + SLOW_SECONDS
        return Quality.DEGRADED if slow or failed >= DEGRADED_SHARE or throttled >= DEGRADED_SHARE else Quality.GOOD

    def _rtt(self) -> float:
        # deque.copy is one call under the GIL; iterating would meet the writers.
        return median(self._first_bytes.copy() or [0.0])

    def _gate(self) -> None:
        limited = any(bucket.rate < math.inf for _, bucket in self._allowances.values())
        self._gated = limited or self._paced.rate < math.inf or not self.well

    def _hold(self, size: int) -> None:
        with self._lock:
            now = self._clock()
            tickets = [("", self._paced, self._paced.take(1, now))]
            for name, (limit, bucket) in self._allowances.items():
                tickets.append((name, bucket, bucket.take(_cost(limit, size), now)))
            self._held += 1
        try:
            while True:
                with self._lock:
                    held = self._hold_for(tickets, self._clock())
                if held.seconds <= 0:
                    return
                with waiting(held.why, held.limit):
                    if self._wait(min(held.seconds, POLL_SECONDS)):
                        return
        finally:
            with self._lock:
                self._held -= 1

    def _hold_for(self, tickets: Iterable[tuple[str, TokenBucket, float]], now: float) -> _Held:
        seconds, name = max((bucket.wait(ticket, now), name) for name, bucket, ticket in tickets)
        if seconds > 0 or self._draining() or self._breaker.allow(now):
            return _Held(seconds, Activity.LIMIT, name) if name else _Held(seconds)
        return _Held(max(self._breaker.opens_until - now, 0.1))

    def _asked(self, error: StoreError | None) -> None:
        """A probe was answered: with *error*, or well."""
        if _verdict(error)[0] and not isinstance(error, Throttled):
            with self._lock:
                self._questions += 1

    def _tell_of_served(self, now: float) -> None:
        """Good answers bypass the breaker while all is well. The lock is held."""
        served = self._counters.totals().ok - self._questions
        if served > self._served:
            self._breaker.served(served - self._served, now)
            self._served = served

    def _is_keys_own(self, error: Throttled) -> bool:
        """Whether the refusal is due to the object itself."""
        if not error.key:
            return False
        now = self._clock()
        with self._lock:
            code = error.code or f"HTTP {error.status}"
            judged = self._throttled_keys.throttled(error.key, code, answered=self._answers(now), now=now)
            if judged is Judgement.KEY_AFTER_ALL:
                self._pace.forgive()
            self._stuck = self._throttled_keys.stuck
        return judged is not Judgement.PACE

    def _answers(self, now: float) -> int:
        """Requests answered so far, counted at most ten times a second. The lock is held."""
        if now - self._counted_at >= COUNT_SECONDS:
            self._counted_at = now
            answered = self._counters.totals().ok
            if answered != self._answered:
                self._answered, self._answered_at = answered, now
        return self._answered

    def _consult_breaker(self, sample: RequestSample) -> None:
        with self._lock:
            now = self._clock()
            ok, subject = _verdict(sample.error)
            asking = self._counters.mine().asking
            if not ok:
                self._last_bad = now
                self._troubled = True
                self._tell_of_served(now)
            if self._breaker.in_doubt and asking:
                self._breaker.asked(ok, now)
            else:
                self._breaker.record(ok, now, started=now - sample.seconds, subject=subject)
            self._gate()


def _verdict(error: StoreError | None) -> tuple[bool, str | None]:
    """Whether the endpoint is well after *error*, and the object that may be to blame if not."""
    if isinstance(error, (ConnectionFailed, RequestTimedOut)):
        return False, None
    if isinstance(error, (ServerFault, ResponseUnreadable)):
        return False, error.key or None
    return True, None


class EndpointRetries:
    """The endpoints' retry budgets as one allowance: a retry is paid for where the failure was.

    An error no endpoint was observed to give (bytes that differ) is paid for by all."""

    def __init__(self, endpoints: Iterable[EndpointGovernor], clock: Callable[[], float]) -> None:
        self._by_name = {endpoint.name: endpoint for endpoint in endpoints}
        self._clock = clock

    def pay(self, error: StoreError) -> float:
        """0.0: paid; otherwise nothing is paid, and the budget allows it after that many seconds."""
        now = self._clock()
        paid: list[EndpointGovernor] = []
        for endpoint in self._concerned(error):
            if not endpoint.may_retry(now, error.key):
                for other in paid:
                    other.retry_succeeded(now)
                return max(endpoint.retry_wait(now), 0.001)
            paid.append(endpoint)
        return 0.0

    def refund(self, error: StoreError) -> None:
        """Give back what the retry after *error* cost."""
        now = self._clock()
        for endpoint in self._concerned(error):
            endpoint.retry_succeeded(now)
            if isinstance(error, Throttled):
                endpoint.key_served(error.key)

    def hopeless(self, error: Throttled) -> str:
        """Why the object that *error* refused is given up; '' when it is still waited for."""
        return next((why for endpoint in self._concerned(error) if (why := endpoint.hopeless(error.key))), "")

    def _concerned(self, error: StoreError) -> list[EndpointGovernor]:
        one = self._by_name.get(error.endpoint)
        return list(self._by_name.values()) if one is None else [one]
