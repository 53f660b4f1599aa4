"""The circuit breaker of one endpoint: when it is down, wait for it instead of failing object after object. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from schema.process_view import BreakerState

WINDOW_SECONDS = 10.0
LEAST_SAMPLES = 20
BAD_SHARE = 0.5
CONSECUTIVE = 10
LEAST_SUBJECTS = 3
"""Failures of fewer different objects are the objects' fault, not the endpoint's."""
FIRST_OPEN_SECONDS = 5.0
LONGEST_OPEN_SECONDS = 60.0
PROBE_SECONDS = 120.0
"""A probe without an answer after this long is given up, and another may be sent."""
REMEMBERED = 1000
SERVED_SECONDS = 15.0
"""Within this time of the last good answer, failures that name objects may be theirs: the endpoint is probed before it
opens.
"""
SERVED_SINCE = 10
"""Good answers after an object's failure that rule out an outage: requests already in flight may still succeed."""
DOUBT_SECONDS = 5.0
"""A question without an answer after this long counts as answered: the endpoint is down."""


class _Sample(NamedTuple):
    at: float
    ok: bool
    subject: str | None


class Breaker:
    """Opens when at least half of 20 or more results within 10 s were bad, or 10 in a row were.

    Bad are failures of the endpoint: no connection, timeouts, 5xx; not 4xx, not throttling. Open for
    5 s, then one probe: its success closes the breaker, its failure doubles the wait, up to 60 s.

    A 500 may be its object's fault instead. So an object that fails again no longer counts once the endpoint has
    answered another request well since. And where the endpoint can be probed (*askable*), failures that all name
    objects do not open the breaker of an endpoint that answered well just before: it is `in_doubt` until `asked` is
    called. Not safe for threads: the caller holds a lock.
    """

    def __init__(self) -> None:
        self.askable = False
        self.state = BreakerState.CLOSED
        """As of the last call of `allow` or `record`. To be read by others, set by none."""
        self._opens_until = 0.0
        self._open_seconds = FIRST_OPEN_SECONDS
        self._changed_at = float("-inf")
        self._probe_at: float | None = None
        self._samples: deque[_Sample] = deque(maxlen=REMEMBERED)
        self._row: deque[_Sample] = deque(maxlen=CONSECUTIVE)
        self._bad = 0
        self._good = 0
        """Good answers so far."""
        self._good_at = float("-inf")
        self._failed: dict[str, int] = {}
        """Object -> good answers when it first failed."""
        self._doubt_since: float | None = None

    @property
    def in_doubt(self) -> bool:
        """The endpoint should be probed."""
        return self._doubt_since is not None

    @property
    def opens_until(self) -> float:
        """When the next probe may be sent; meaningful only while not closed."""
        return self._opens_until

    def allow(self, now: float) -> bool:
        """Whether a request may be sent now. When half-open, True is returned once: to the probe."""
        if self.state is BreakerState.CLOSED:
            return True
        if self.state is BreakerState.OPEN:
            if now < self._opens_until:
                return False
            self.state = BreakerState.HALF_OPEN
            self._changed_at = now
            self._probe_at = None
        if self._probe_at is not None and now - self._probe_at < PROBE_SECONDS:
            return False
        self._probe_at = now
        return True

    def record(self, ok: bool, now: float, *, started: float | None = None, subject: str | None = None) -> None:
        """A request that *started* then ended; one begun before the last change of state is ignored.

        *subject* names the object where the failure may be its own fault; None: it cannot be.
        """
        if started is not None and started < self._changed_at:
            return
        if self.state is BreakerState.CLOSED:
            if ok:
                self._good += 1
                self._good_at = now
            elif subject is not None and self.at_fault(subject):
                return
            if not ok and subject is not None and subject not in self._failed:
                if len(self._failed) >= REMEMBERED:
                    self._failed.pop(next(iter(self._failed)))
                self._failed[subject] = self._good
            self._remember(_Sample(now, ok, subject))
            if not ok and self._broken():
                self._judge(now)
        elif self.state is BreakerState.HALF_OPEN:
            if ok:
                self.state = BreakerState.CLOSED
                self._changed_at = now
                self._good += 1
            else:
                self._open(now, min(self._open_seconds * 2, LONGEST_OPEN_SECONDS))

    def asked(self, ok: bool, now: float) -> None:
        """The answer to a probe sent because of `in_doubt`."""
        if self._doubt_since is None or self.state is not BreakerState.CLOSED:
            return
        self._doubt_since = None
        if ok:
            self._good += 1
            self._forget_all()
        else:
            self._open(now, FIRST_OPEN_SECONDS)

    def at_fault(self, subject: str) -> bool:
        """*subject* has failed, and the endpoint has answered others well since: the fault is the object's."""
        return self._good - self._failed.get(subject, self._good) >= SERVED_SINCE

    def served(self, good: int, at: float) -> None:
        """*good* answers, the last of them at *at*, that `record` was not called for."""
        if good:
            self._good += good
            self._good_at = max(self._good_at, at)

    def _judge(self, now: float) -> None:
        """Too many failures: open, or have the endpoint probed first."""
        objects = all(sample.ok or sample.subject is not None for sample in self._samples)
        if not (self.askable and objects and now - self._good_at <= SERVED_SECONDS):
            self._open(now, FIRST_OPEN_SECONDS)
        elif self._doubt_since is None:
            self._doubt_since = now
        elif now - self._doubt_since > DOUBT_SECONDS:
            self._open(now, FIRST_OPEN_SECONDS)

    def _open(self, now: float, seconds: float) -> None:
        self._doubt_since = None
        self.state = BreakerState.OPEN
        self._open_seconds = seconds
        self._opens_until = now + seconds
        self._changed_at = now
        self._probe_at = None
        self._forget_all()

    def _forget_all(self) -> None:
        self._samples.clear()
        self._row.clear()
        self._bad = 0

    def _remember(self, sample: _Sample) -> None:
        samples = self._samples
        if len(samples) == REMEMBERED or (samples and samples[0].at < sample.at - WINDOW_SECONDS):
            self._forget(sample.at - WINDOW_SECONDS)
        samples.append(sample)
        if sample.ok:
            self._row.clear()
        else:
            self._bad += 1
            self._row.append(sample)

    def _forget(self, before: float) -> None:
        samples = self._samples
        while samples and (samples[0].at < before or len(samples) == REMEMBERED):
            self._bad -= not samples.popleft().ok

    def _broken(self) -> bool:
        if len(self._row) == CONSECUTIVE and _several(self._row):
            return True
        enough = len(self._samples) >= LEAST_SAMPLES and self._bad >= BAD_SHARE * len(self._samples)
        return enough and _several(s for s in self._samples if not s.ok)


def _several(bad: Iterable[_Sample]) -> bool:
    subjects: set[str] = set()
    anonymous = 0
    for sample in bad:
        if sample.subject is None:
            anonymous += 1
        else:
            subjects.add(sample.subject)
        if anonymous + len(subjects) >= LEAST_SUBJECTS:
            return True
    return False
