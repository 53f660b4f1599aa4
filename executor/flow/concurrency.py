"""How many requests to keep in flight: slow start, additive increase and x0.7 cuts, then hill climbing. Pure.

Goodput decides, measured over windows of at least two round trips, never single latencies: the time of an
object copy depends on its size, and per-sample latency control fell to 13-29 % of the capacity in simulations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto

INITIAL = 16
CUT = 0.7
DEEP_CUT = 0.5
"""For the first throttle of a slow start, whose last step was a doubling, and when most requests are refused."""
CUT_FLOOR = 8
"""Cuts go no lower: a few workers sleep between retries, and the request rate is limited elsewhere (pace.py)."""
MODEST = INITIAL
"""Busy processors never reduce concurrency below this while it is not known how many workers are enough: each step down
costs too little goodput to be seen, and all of them together cost much."""
FEWEST = 2
"""The same where it is known. Each worker has a connection and a buffer, and what one leaves in the caches another
pushes out (docs/decisions.md)."""
TOO_MANY = 1.25
"""Times what is enough, and the workers above it are taken away on trial: below that the estimate's own noise decides.
"""
MUCH = 0.3
"""A trial that loses so much goodput has shown that they were needed: where some requests are answered much sooner than
others, the estimate is too low. What is lost to a neighbour that has more threads meanwhile is less."""
TRIAL_WINDOWS = 3
CALM_SECONDS = 15.0
"""This long after the last cut, processors and not a throttling server decide at such low concurrency."""
COOL_OFF_SECONDS = 0.5
"""Seconds after a cut in which answers still belong to the old level."""
THROTTLED_SHARE = 0.01
TIMED_OUT_SHARE = 0.05
"""Lost packets are not congestion: 1 % of timeouts must not shrink anything."""
ELASTICITY = 0.12
"""Growth must pay: +25 % concurrency for at least +3 % goodput, +100 % for +12 %."""
BUSY_ELASTICITY = 0.5
"""While the processors are busy growth must pay this much: where they are the bottleneck it never does, and where they
merely happen to be busy while requests wait for a far endpoint, it does. Not growing at all on a busy machine was 131
objects/s where 512 were to be had (5,000 x 100 KB with 50 ms on every request, 2 cores).
"""
SLACK = 0.04
"""Shrinking must be free: -20 % concurrency for at most -0.8 % goodput. Between the two nothing moves."""
BUSY_SHARE = 0.7
"""Below it the concurrency is not in use, so nothing can be learned about it."""
ROUND_SHARE = 0.9
"""A window of slow start must have seen this many requests end per worker."""
STEP = 1.25
LONGEST_STEP = 2.0
FIRST_REST_SECONDS = 1.0
LONGEST_REST_SECONDS = 10.0
ENOUGH_SAMPLES = 400
ENOUGH_SECONDS = 8.0
LONGEST_WINDOW_SECONDS = 10.0
NEAR_CEILING = 0.9
NEAR_STEP = 1.1
"""The first step upward from there."""
FAR_SECONDS = 0.05
FAR_INITIAL = 64
"""Where a request takes longer than that, slow start begins here as soon as this is known: a canary of few objects is
enough, and 16 in flight would be 150 objects/s. Only requests of few bytes tell it: a part of 16 MiB takes that long
anywhere.
"""
LATE_GROWTH = 1.25
"""From there on slow start multiplies by this instead of 2, and must pay as on a busy machine: what one step too many
adds has connected, over TLS, in vain."""
QUICK_BYTES = 256 << 10
"""Of so many at most: above this a request is a transfer, whose time depends on how many share the line."""
REQUEST_WORK = 64 * 1024
"""What a request weighs besides its bytes, so that small and large objects add up to one goodput."""


@dataclass(frozen=True, slots=True)
class WindowStats:
    """What happened in one window."""

    seconds: float
    count: int
    """Requests that succeeded, or failed by their object's fault."""
    bytes: int
    throttles: int
    timeouts: int
    latency: float
    """Mean seconds of a request; 0.0 when none ended."""
    in_use: float
    """Mean number of workers at work (not those held back by a rate limit)."""
    saturated: bool = False
    """Processor time was scarce: more workers would only wait for one another."""
    enough: float = math.inf
    """So many workers keep all processors busy, by what a request costs and how long it waits; math.inf: not known, or
    processors were idle."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The concurrency wanted from now on, and the reason of its last change."""

    target: int
    reason: str


class _Phase(Enum):
    SLOW_START = auto()
    RECOVERING = auto()
    RESTING = auto()
    PROBING = auto()
    TRIAL = auto()


@dataclass(slots=True)
class _Tally:
    """Windows added up."""

    seconds: float = 0.0
    count: int = 0
    work: float = 0.0
    windows: int = 0

    def add(self, stats: WindowStats) -> None:
        self.seconds += stats.seconds
        self.count += stats.count
        self.work += _work(stats)
        self.windows += 1

    @property
    def goodput(self) -> float:
        return self.work / self.seconds if self.seconds else 0.0

    @property
    def enough(self) -> bool:
        return self.windows >= 2 and (self.count >= ENOUGH_SAMPLES or self.seconds >= ENOUGH_SECONDS)

    def noise(self, other: _Tally) -> float:
        """The relative standard error of a quotient of two goodputs, about: a closed loop is half a Poisson's."""
        return 0.5 * math.sqrt(1 / max(1, self.count) + 1 / max(1, other.count))


def _work(stats: WindowStats) -> float:
    return stats.bytes + REQUEST_WORK * stats.count


def _quick(stats: WindowStats) -> bool:
    """Its requests took as long as their endpoint is away, and not as long as their bytes take."""
    return stats.bytes <= QUICK_BYTES * stats.count


class ConcurrencyController:
    """Finds and follows the least concurrency that gives the full goodput, within [minimum, maximum]."""

    def __init__(self, maximum: int, *, minimum: int = 1, initial: int = INITIAL) -> None:
        if not 1 <= minimum <= maximum:
            raise ValueError(f"concurrency bounds {minimum}..{maximum} make no sense")
        self._minimum = minimum
        self._maximum = maximum
        self._target = float(min(max(initial, minimum), maximum))
        self._reason = "starting"
        self._phase = _Phase.SLOW_START
        self._latency = 0.0
        self._settled_at = float("-inf")
        self._cool_until = float("-inf")
        self._ceiling = 0.0
        self._cut_at = float("-inf")
        self._busy = False
        self._enough = math.inf
        self._proven = 0.0
        """So many have shown that they are needed, whatever is said to be enough."""
        self._far = min(FAR_INITIAL, maximum)
        self._last: WindowStats | None = None
        self._before = self._target
        self._poor = False
        self._baseline = _Tally()
        self._tally = _Tally()
        self._base = self._target
        self._upward = True
        self._stride = STEP
        self._rest = FIRST_REST_SECONDS
        self._rest_until = 0.0

    @property
    def target(self) -> int:
        """The concurrency wanted."""
        return max(self._minimum, min(self._maximum, round(self._target)))

    @property
    def window_seconds(self) -> float:
        """How long the next window should be: two round trips and 0.25 s; one and a half and 0.1 s in slow start."""
        least, trips = (0.1, 1.5) if self._phase is _Phase.SLOW_START else (0.25, 2.0)
        return max(least, min(LONGEST_WINDOW_SECONDS, trips * self._latency))

    @property
    def _modest(self) -> int:
        """Never fewer than that for want of processors."""
        return min(self._maximum, MODEST if math.isinf(self._enough) else FEWEST)

    @property
    def _most(self) -> float:
        """Nothing is tried beyond that; clearly more go on trial."""
        return float(round(min(float(self._maximum), max(float(self._modest), self._enough, self._proven))))

    @property
    def _elasticity(self) -> float:
        return BUSY_ELASTICITY if self._busy else ELASTICITY

    def on_window(self, stats: WindowStats, now: float) -> Decision:
        """Learn from a window that ended *now*."""
        if stats.latency > 0:
            self._latency = stats.latency
        self._busy = stats.saturated
        self._enough = stats.enough
        if self._congested(stats):
            if now >= self._cool_until:
                self._cut(stats, now)
        elif now >= self._cool_until and stats.count:
            self._learn(stats, now)
        return Decision(self.target, self._reason)

    def _learn(self, stats: WindowStats, now: float) -> None:
        if stats.in_use < BUSY_SHARE * self.target:
            self._last = None
            if self._phase is _Phase.SLOW_START:
                if _quick(stats) and stats.latency > FAR_SECONDS and self._target < self._far:
                    self._move(self._far, "starting far away", now)
            elif self._phase in (_Phase.PROBING, _Phase.TRIAL):
                self._move(self._base, "too little work to tell", now)
                self._begin_rest(now)
        elif self._phase is _Phase.SLOW_START:
            self._slow_start(stats, now)
        elif self._phase is _Phase.RECOVERING:
            self._recover(now)
        elif now - stats.seconds >= self._settled_at - 0.01:
            if self._phase is _Phase.RESTING:
                self._learn_at_rest(stats, now)
            else:
                self._tally.add(stats)
                if self._phase is _Phase.TRIAL:
                    self._judge_trial(now)
                else:
                    self._judge(now)

    def _learn_at_rest(self, stats: WindowStats, now: float) -> None:
        self._tally.add(stats)
        if self._busy and self.target < self._modest and now - self._cut_at > CALM_SECONDS:
            self._move(self._modest, "the processors are busy", now)
            self._begin_rest(now)
        elif self._target > TOO_MANY * self._most and self._tally.count >= ENOUGH_SAMPLES:
            self._begin_trial(now)
        elif now >= self._rest_until and self._tally.enough:
            self._begin_probe(self._tally, now)

    def _congested(self, stats: WindowStats) -> bool:
        total = stats.count + stats.throttles + stats.timeouts
        throttled = stats.throttles > THROTTLED_SHARE * total
        timed_out = stats.timeouts >= 2 and stats.timeouts > TIMED_OUT_SHARE * total
        return throttled or timed_out

    def _cut(self, stats: WindowStats, now: float) -> None:
        refused = stats.throttles + stats.timeouts
        share = refused / (refused + stats.count)
        word = f"{'throttled' if stats.throttles else 'timeouts'}: {100 * share:.0f} % of requests refused"
        self._cool_until = now + COOL_OFF_SECONDS
        if self._phase is _Phase.PROBING and self._upward and refused <= stats.count:
            self._reject(word, now)
            self._stride = NEAR_STEP
            return
        if self._phase is _Phase.TRIAL:
            self._target = self._base  # the refusals are answers to as many as before
        deep = self._phase is _Phase.SLOW_START or refused > stats.count
        self._ceiling = self._target
        self._cut_at = now
        self._phase = _Phase.RECOVERING
        self._upward = True
        self._rest = FIRST_REST_SECONDS
        self._stride = NEAR_STEP
        self._move(max(self._target * (DEEP_CUT if deep else CUT), min(self._target, CUT_FLOOR)), word, now)

    def _slow_start(self, stats: WindowStats, now: float) -> None:
        if stats.count + stats.timeouts < ROUND_SHARE * self.target and stats.seconds < LONGEST_WINDOW_SECONDS:
            return  # less than a round: what ended says little about this many in flight
        last, self._last = self._last, stats
        near = stats.latency <= FAR_SECONDS
        # Far away the handshakes of so many at once keep the processors busy for a moment.
        if last is None and self._busy and near:
            self._move(self._target, "the processors are busy", now)
            self._begin_rest(now)
            self._learn_at_rest(stats, now)
            return
        if last is not None:
            grown = self._target / self._before - 1
            gain = (_work(stats) / stats.seconds) / (_work(last) / last.seconds) - 1 if last.count else 1.0
            late = self._before >= FAR_INITIAL
            if grown > 0 and gain < (BUSY_ELASTICITY if late else self._elasticity) * grown:
                # With a far endpoint a window holds few answers, so one poor window is not conclusive.
                if self._poor or (self._busy and near):
                    self._move(self._before, "more gave no more goodput", now)
                    self._begin_rest(now)
                    return
                self._poor = True
                self._last = last
                return
        self._poor = False
        if self._target >= (self._most if self._busy or near else self._maximum):
            self._begin_rest(now)
            self._learn_at_rest(stats, now)
            return
        self._before = self._target
        growth = 2.0 if self._target < FAR_INITIAL else LATE_GROWTH
        self._move(self._target * growth, "slow start: more gave more goodput", now)

    def _recover(self, now: float) -> None:
        enough = NEAR_CEILING * self._ceiling
        if self._target < enough:
            self._move(min(self._target + max(1.0, 0.1 * self._ceiling), max(enough, 1.0)), "recovering", now)
        else:
            self._begin_rest(now)

    def _begin_rest(self, now: float) -> None:
        self._phase = _Phase.RESTING
        self._tally = _Tally()
        self._base = self._target = float(self.target)
        self._rest_until = now + self._rest

    def _compare_with(self, baseline: _Tally, phase: _Phase) -> None:
        """Begin an experiment: what follows is compared with *baseline*, the goodput of as many as now."""
        self._baseline = baseline
        self._tally = _Tally()
        self._phase = phase
        self._base = float(self.target)

    def _begin_trial(self, now: float) -> None:
        """Go down to what is said to be enough."""
        self._compare_with(self._tally, _Phase.TRIAL)
        self._move(self._most, "so many keep the processors busy", now)

    def _judge_trial(self, now: float) -> None:
        tally, baseline = self._tally, self._baseline
        if tally.windows < TRIAL_WINDOWS or not tally.enough:
            return
        if tally.goodput < (1 - MUCH) * baseline.goodput:
            self._proven = self._base
            self._move(self._base, "fewer gave less goodput", now)
        self._begin_rest(now)

    def _begin_probe(self, baseline: _Tally, now: float) -> None:
        self._compare_with(baseline, _Phase.PROBING)
        if self._base >= self._most:
            self._upward = False
        elif self._base <= (self._modest if self._busy else self._minimum):
            self._upward = True
        if self._upward:
            self._move(min(self._most, max(self._base + 1, self._base * self._stride)), "trying more", now)
        else:
            fewer = min(self._base - 1, self._base / STEP)
            self._move(max(fewer, self._modest) if self._busy else fewer, "trying fewer", now)
        if self._target == self._base:
            self._begin_rest(now)

    def _judge(self, now: float) -> None:
        tally, baseline = self._tally, self._baseline
        change = self._target / self._base - 1
        gain = tally.goodput / baseline.goodput - 1 if baseline.goodput else 1.0
        noise = tally.noise(baseline)
        if self._upward:
            clearly = gain > 0.5 * change + noise
            hopeless = gain < -noise and tally.windows >= 2
            paid = gain >= max(self._elasticity * change, noise)
        else:
            clearly = gain > noise and tally.windows >= 2
            hopeless = gain < 0.5 * change - noise / 2
            paid = gain >= SLACK * change
        if not (clearly or hopeless or tally.enough):
            return
        if paid and not hopeless:
            self._accept(gain, now)
        else:
            self._reject("more gave no more goodput" if self._upward else "fewer gave less goodput", now)

    def _accept(self, gain: float, now: float) -> None:
        self._proven = max(self._proven, self._target) if self._upward else min(self._proven, self._target)
        self._rest = FIRST_REST_SECONDS
        self._reason = f"more gave {gain:+.0%} goodput" if self._upward else "fewer give the same goodput"
        self._stride = min(self._stride * 1.25, LONGEST_STEP) if self._upward else STEP
        reason = self._reason
        self._begin_probe(self._tally, now)
        self._reason = reason

    def _reject(self, reason: str, now: float) -> None:
        self._move(self._base, reason, now)
        self._stride = STEP
        self._upward = not self._upward
        self._rest = min(self._rest * 1.5, LONGEST_REST_SECONDS)
        self._begin_rest(now)

    def _move(self, wanted: float, reason: str, now: float) -> None:
        self._target = max(float(self._minimum), min(float(self._maximum), wanted))
        self._reason = reason
        self._settled_at = now + self._latency
