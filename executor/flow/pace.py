"""The request rate that a throttling endpoint accepts.

Pure: time is an argument. Concurrency alone cannot hold a request rate: at 2 ms a request a single worker makes 500 a
second. So throttling also sets a pace, measured from what was accepted, which then grows until requests are refused
again.
"""

from __future__ import annotations

import math
from typing import NamedTuple

THROTTLED_SHARE = 0.01
COOL_OFF_SECONDS = 0.5
BELOW_ACCEPTED = 0.95
STORM_SHARE = 0.3
"""Below this share of accepted requests, the accepted rate says little about the acceptable one."""
LEAST_RATE = 1.0
TELLING_SAMPLES = 20
TELLING_SECONDS = 1.0
"""Windows are joined until they hold this many requests, or last this long."""
FIRST_GROWTH = 0.01
"""Per second, once near the last refused pace; grows itself by a third each second."""
GROWTH_GROWTH = 1.3
FAST_GROWTH = 2.0
"""Per second, well below the last refused pace: a thousandfold in six seconds."""
DEEPEST_CUT = 0.7
"""Unless most requests are refused: one unlucky window with little traffic must not stop us."""
BINDING_SHARE = 0.8
UNUSED_SECONDS = 10.0
EPISODE_SECONDS = 10.0
"""Cuts further apart than this have nothing to do with each other."""
STRAY_SHARE = 0.1
"""Only less than this can be refusals that have nothing to do with how much we ask for."""
CURE_SHARE = 1 / 3
"""A pace cut to this share of what it was, and refused as often as before, was not the cause."""
STRAY_FACTOR = 3.0
"""What is tolerated then, times the share seen."""
STRAY_SECONDS = 600.0
"""Seconds of tolerance before the share is measured again."""


class _Answers(NamedTuple):
    """The outcome of a stretch of time."""

    accepted: int
    throttled: int
    seconds: float

    @property
    def pace(self) -> float:
        """Requests accepted a second."""
        return self.accepted / self.seconds

    @property
    def share(self) -> float:
        """The share of requests that were throttled, 0..1."""
        return self.throttled / (self.accepted + self.throttled)


class AdaptiveRate:
    """The pace of requests; math.inf until the endpoint throttles."""

    def __init__(self) -> None:
        self.rate = math.inf
        self._ceiling = math.inf
        self._growth = FIRST_GROWTH
        self._cool_until = -math.inf
        self._unused = 0.0
        self._accepted = self._throttled = 0
        self._seconds = 0.0
        self._tolerated = THROTTLED_SHARE
        """The share of refused requests that says nothing about the pace."""
        self._tolerant_until = -math.inf
        self._first: tuple[float, float] | None = None
        """(requests a second accepted, share refused) at the first cut of an episode."""
        self._last_cut = -math.inf

    def on_window(self, accepted: int, throttled: int, seconds: float, *, now: float) -> float:
        """Learn from a window that ended *now*; the pace from now on, requests a second."""
        self._accepted += accepted
        self._throttled += throttled
        self._seconds += seconds
        if self._accepted + self._throttled >= TELLING_SAMPLES or self._seconds >= TELLING_SECONDS:
            if now >= self._cool_until:
                self._learn(_Answers(self._accepted, self._throttled, self._seconds), now)
            self._accepted = self._throttled = 0
            self._seconds = 0.0
        return self.rate

    def forgive(self) -> None:
        """The refusals that lowered the pace had another cause: start over without a pace."""
        self.rate = self._ceiling = math.inf
        self._growth = FIRST_GROWTH
        self._unused = 0.0
        self._first = None

    def bears_with(self, throttled: int, ended: int) -> bool:
        """Whether that many refusals among *ended* requests are known to happen by chance, at any pace."""
        return self._tolerated > THROTTLED_SHARE and throttled <= self._tolerated * ended

    def _learn(self, seen: _Answers, now: float) -> None:
        if now > self._tolerant_until:
            self._tolerated = THROTTLED_SHARE
        ended = seen.accepted + seen.throttled
        if seen.throttled > self._tolerated * ended:
            if self._in_vain(seen, now):
                return
            self._cut(seen)
            self._cool_until = now + COOL_OFF_SECONDS
        elif self.rate < math.inf:
            self._grow(ended / seen.seconds, seen.seconds)

    def _in_vain(self, seen: _Answers, now: float) -> bool:
        """Returns True when a few requests are refused at any pace: the old pace is restored and these refusals are
        tolerated.

        A server that limits the rate accepts everything well below its limit. One that refuses one request in a
        hundred by chance would otherwise hold a run to some thirty requests a second (measured in a soak).
        """
        share, pace = seen.share, seen.pace
        if self._first is None or now - self._last_cut > EPISODE_SECONDS:
            self._first = (pace, share)
        self._last_cut = now
        fast, before = self._first
        if pace > CURE_SHARE * fast or share < before / 2 or max(share, before) > STRAY_SHARE:
            return False
        self._tolerated = min(STRAY_SHARE, max(THROTTLED_SHARE, STRAY_FACTOR * share, STRAY_FACTOR * before))
        self._tolerant_until = now + STRAY_SECONDS
        self.rate, self._ceiling = fast, math.inf
        self._growth = FIRST_GROWTH
        self._first = None
        return True

    def _cut(self, seen: _Answers) -> None:
        self._growth = FIRST_GROWTH
        self._unused = 0.0
        share, pace = 1.0 - seen.share, seen.pace
        if share < STORM_SHARE:
            self.rate = max(LEAST_RATE, min(pace, self.rate / 2))
            return
        floor = DEEPEST_CUT * self.rate if share > 0.5 and self.rate < math.inf else LEAST_RATE
        self._ceiling = max(pace, floor)
        self.rate = max(floor, BELOW_ACCEPTED * pace)

    def _grow(self, used: float, seconds: float) -> None:
        if used < BINDING_SHARE * self.rate:
            self._unused += seconds
            if self._unused >= UNUSED_SECONDS:
                self.rate = self._ceiling = math.inf
                self._unused = 0.0
            return
        self._unused = 0.0
        if math.isinf(self._ceiling):
            self.rate *= 1 + FAST_GROWTH * seconds
        elif self.rate < BELOW_ACCEPTED * self._ceiling:
            self.rate = min(self.rate * (1 + FAST_GROWTH * seconds), BELOW_ACCEPTED * self._ceiling)
        else:
            self.rate *= 1 + self._growth * seconds
            self._growth = min(self._growth * GROWTH_GROWTH**seconds, FAST_GROWTH)
