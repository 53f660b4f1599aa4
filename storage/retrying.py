"""Repeats a call after a transient error. Time, waiting and randomness are arguments.

Only the caller knows what may be repeated: a read always, a guarded write after looking at what it left behind.
This module knows how often and how long to wait.
"""

from __future__ import annotations

import random as chance
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from schema.errors import StoreError, Throttled

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a call is made and how long the waits between may be. All times are seconds."""

    attempts: int = 5
    """Calls in all, the first included. Throttled answers are not counted."""
    base: float = 0.2
    """The longest wait after the first failure; it doubles with each further one."""
    throttle_base: float = 1.0
    """The same after an answer that asks for fewer requests."""
    cap: float = 20.0
    """No computed wait is longer. A server's own Retry-After may be."""

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.base < 0 or self.throttle_base < 0 or self.cap < 0:
            raise ValueError(f"a retry policy needs at least one attempt and no negative time: {self}")


def delay(policy: RetryPolicy, attempt: int, error: StoreError, *, random: Callable[[], float]) -> float:
    """Seconds to wait after failure number *attempt* (from 1): full jitter, never less than Retry-After.

    Full jitter (uniform between 0 and the doubling bound) spreads the callers that failed together. *random*
    answers in [0, 1).
    """
    base = policy.throttle_base if isinstance(error, Throttled) else policy.base
    # Above 2**30 the cap has long decided; the bound keeps the power a small number.
    longest = min(base * 2.0 ** min(attempt - 1, 30), policy.cap)
    return max(random() * longest, error.retry_after or 0.0)


def _unnoticed(_error: StoreError, _attempt: int, _seconds: float) -> None:
    """The on_retry of callers that report nothing."""


@dataclass(frozen=True, slots=True)
class Retry:
    """A policy together with the clock, the waiting and the randomness it uses."""

    policy: RetryPolicy = field(default_factory=RetryPolicy)
    wait: Callable[[float], object] = time.sleep
    random: Callable[[], float] = chance.random
    clock: Callable[[], float] = time.monotonic
    throttle_seconds: float = 600.0
    on_retry: Callable[[StoreError, int, float], None] = _unnoticed
    """Called before each wait: the error, the failures so far of its kind, and the seconds."""

    def call(self, call: Callable[[], Result]) -> Result:
        """The result of *call*, repeated after retryable errors, at most `policy.attempts` times in total.

        Throttled does not count as an attempt, but raises once a further wait would end later than
        `throttle_seconds` after the first throttled answer in a row (any other answer starts the count anew).
        Raises what *call* raised last: errors that are not retryable and those of other kinds at once.
        """
        failures = throttles = 0
        throttled_since: float | None = None
        while True:
            try:
                return call()
            except Throttled as error:
                now = self.clock()
                throttles += 1
                throttled_since = now if throttled_since is None else throttled_since
                seconds = delay(self.policy, throttles, error, random=self.random)
                if now + seconds - throttled_since > self.throttle_seconds:
                    raise
                self.on_retry(error, throttles, seconds)
            except StoreError as error:
                failures += 1
                throttles, throttled_since = 0, None
                if not error.retryable or failures >= self.policy.attempts:
                    raise
                seconds = delay(self.policy, failures, error, random=self.random)
                self.on_retry(error, failures, seconds)
            self.wait(seconds)
