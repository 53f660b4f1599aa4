"""Which of several declared endpoints a store's requests go to, by what its transfers show; each process for itself.

The plan chose by small requests and one read; what counts is how fast bodies get through from where this process runs.
So the endpoint in use is measured by the store's own transfers, and now and then a few of them (TRIAL of them, no more:
a way may be slow) go by another one. Where these were quicker, the other is used by all for a while; and kept, if the
transfers together then are quicker than they were before. Nothing is sent for the measurement's sake.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from schema.declaration import Side
from storage.failover import Movable
from storage.port import RequestObserver, RequestSample

TRIAL: Final = 8
"""Transfers that try another endpoint."""
MEASURED: Final = 48
"""Transfers of all threads after which the endpoint in use is judged anew."""
LEAST_SECONDS: Final = 1.0
"""Of a judgement: less says little, however many transfers there were."""
BETTER: Final = 1.25
"""An endpoint must be this many times as fast as the one in use to replace it."""
AGAIN_SECONDS: Final = 300.0
"""Between two trials of an endpoint; doubled after each that did not help, up to an hour."""
SLOWER_SECONDS: Final = 30.0
"""The same where the endpoint in use has become slower than it was when it was chosen."""
MOST_SECONDS: Final = 3600.0
REQUEST_BYTES: Final = 512 * 1024
"""A request counts as this many bytes, since small ones take time as well."""
TRANSFERS: Final = frozenset({"GetObject", "PutObject", "UploadPart"})


@dataclass(slots=True)
class _Window:
    """Transfers by one endpoint."""

    count: int = 0
    work: float = 0.0
    """Requests, and bytes by REQUEST_BYTES."""
    seconds: float = 0.0
    """Of all of them."""
    busy: float = 0.0
    """In which any was under way."""

    @property
    def each(self) -> float:
        """Seconds for a piece of work."""
        return self.seconds / self.work if self.work else float("inf")

    @property
    def rate(self) -> float:
        """Work a second of all threads together."""
        return self.work / self.busy if self.busy else 0.0


@dataclass(slots=True)
class _Way:
    """What is known of one endpoint."""

    next_trial: float = 0.0
    vain: int = 0
    """Trials in a row that led nowhere."""

    def failed(self, now: float) -> None:
        """It was no better."""
        self.next_trial = now + min(MOST_SECONDS, AGAIN_SECONDS * 2**self.vain)
        self.vain += 1


@dataclass(slots=True)
class Trials:
    """The decisions; not for several threads at once. Times are seconds of one clock; ways are numbers from 0."""

    ways: int
    at: int = 0
    """In use."""
    _known: list[_Way] = field(init=False)
    _window: _Window = field(default_factory=_Window)
    _trial: int | None = None
    _begun: int = 0
    _tried: _Window = field(default_factory=_Window)
    _before: tuple[int, float] | None = None
    """The way before, and its rate, until the one in use has proved itself."""
    _best: float = 0.0
    """The rate of the one in use when it was measured last."""
    _each: float = 0.0
    """Seconds it took then for a piece of work."""
    _under_way: int = 0
    _moment: float = 0.0

    def __post_init__(self) -> None:
        self._known = [_Way() for _ in range(self.ways)]

    def begins(self, now: float) -> int:
        """The way that the transfer takes that begins now."""
        self._pass(now)
        self._under_way += 1
        if self._trial is not None and self._begun < TRIAL:
            self._begun += 1
            return self._trial
        return self.at

    def ended(self, way: int, sample: RequestSample, now: float) -> None:
        """A transfer by *way* has ended."""
        self._pass(now)
        self._under_way -= 1
        if way == self._trial:
            self._add(self._tried, sample)
            if self._tried.count >= TRIAL or sample.error is not None:
                self._tried_enough(now, failed=sample.error is not None)
        elif way == self.at and sample.error is None and sample.seconds:
            self._add(self._window, sample)
            if self._window.count >= MEASURED and self._window.busy >= LEAST_SECONDS:
                self._measured(now)

    def moved(self, way: int) -> None:
        """All go by *way* from now on: the one in use was away."""
        self.at, self._trial, self._before, self._window = way, None, None, _Window()

    def _pass(self, now: float) -> None:
        if self._under_way:
            self._window.busy += now - self._moment
        self._moment = now

    def _add(self, window: _Window, sample: RequestSample) -> None:
        window.count += 1
        window.work += 1 + sample.bytes / REQUEST_BYTES
        window.seconds += sample.seconds

    def _tried_enough(self, now: float, *, failed: bool) -> None:
        way, self._trial = self._trial, None
        if way is None:
            return
        if failed or self._tried.each * BETTER > self._each:
            self._known[way].failed(now)
            return
        self._before = (self.at, self._best)
        self.at, self._window = way, _Window()

    def _measured(self, now: float) -> None:
        """The way in use has a full window: is it kept, and is another one tried?"""
        rate, each, self._window = self._window.rate, self._window.each, _Window()
        if self._before is not None:
            way, was = self._before
            self._before = None
            if rate < was * BETTER:
                self._known[self.at].failed(now)
                self.at, self._best = way, was
                return
            self._known[self.at].vain = 0
            self._known[way].failed(now)
        slower = rate * BETTER < self._best
        self._best, self._each = rate, each
        if slower:
            for known in self._known:
                known.next_trial = min(known.next_trial, now + SLOWER_SECONDS)
        due = [way for way in range(self.ways) if way != self.at and self._known[way].next_trial <= now]
        if self._trial is None and due:
            self._trial, self._begun, self._tried = due[0], 0, _Window()


class EndpointTrials:
    """A storage.port.RequestObserver that moves its store, which is set once it is open. For many threads."""

    def __init__(self, inner: RequestObserver, side: Side, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.store: Movable | None = None
        self._inner = inner
        self._urls: Sequence[str] = side.endpoint_candidates
        at = self._urls.index(side.endpoint_url) if side.endpoint_url in self._urls else 0
        self._sent_to = at
        self._trials = Trials(len(self._urls), at)
        self._clock = clock
        self._lock = threading.Lock()
        self._local = threading.local()

    def in_use(self) -> str:
        """The URL of the endpoint that most requests go to."""
        return self._urls[self._trials.at]

    def move_to(self, endpoint_url: str) -> None:
        """Send what follows there: the one in use is away."""
        with self._lock:
            self._trials.moved(self._urls.index(endpoint_url))
            self._send_to(self._trials.at)

    def before(self, operation: str, size: int) -> None:
        """As the inner one; then the store goes where this transfer is to go."""
        self._inner.before(operation, size)
        if operation in TRANSFERS:
            with self._lock:
                way = self._local.way = self._trials.begins(self._clock())
                self._send_to(way)

    def after(self, sample: RequestSample) -> None:
        """Measure a transfer."""
        if sample.operation in TRANSFERS:
            with self._lock:
                self._trials.ended(self._local.way, sample, self._clock())
        self._inner.after(sample)

    def _send_to(self, way: int) -> None:
        if way != self._sent_to and self.store is not None:
            self._sent_to = way
            self.store.move_to(self._urls[way])
