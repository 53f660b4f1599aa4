"""A token bucket whose waiting callers hold tickets, so that a new rate moves them too. Pure: time is an argument."""

from __future__ import annotations

import math

BURST_SECONDS = 0.25
"""Unused allowance that may be saved up, in seconds of the rate."""

LEAST_WAIT_SECONDS = 1e-4
"""Shorter waits are not worth a sleep; the account is kept all the same."""


class TokenBucket:
    """Supplies *rate* tokens a second (math.inf: no limit).

    A caller takes any amount at once, which may be more than the bucket ever holds, and waits until its last
    token but the burst has been supplied. So a request larger than a second's allowance goes through, and
    those behind it pay. Not safe for threads: the caller holds a lock.
    """

    def __init__(self, rate: float, now: float, burst_seconds: float = BURST_SECONDS) -> None:
        _check(rate)
        self._rate = rate
        self._burst_seconds = burst_seconds
        self._supplied = 0.0
        self._taken = 0.0
        self._at = now

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self._rate

    def take(self, amount: float, now: float) -> float:
        """Take *amount* tokens; the ticket to ask `wait` with."""
        self._supply(now)
        ticket = self._taken
        self._taken += amount
        return ticket

    def wait(self, ticket: float, now: float) -> float:
        """Seconds until the holder of *ticket* may go on; 0.0: now."""
        if math.isinf(self._rate):
            return 0.0
        self._supply(now)
        seconds = (ticket - self._supplied) / self._rate
        return seconds if seconds > LEAST_WAIT_SECONDS else 0.0

    def set_rate(self, rate: float, now: float) -> None:
        """Supply *rate* from now on; debts stay, savings shrink with the rate."""
        _check(rate)
        self._supply(now)
        self._rate = rate
        self._supply(now)

    def _supply(self, now: float) -> None:
        elapsed = max(0.0, now - self._at)
        self._at = max(self._at, now)
        if math.isinf(self._rate):
            self._supplied = self._taken
            return
        burst = max(1.0, self._rate * self._burst_seconds) if self._burst_seconds else 0.0
        self._supplied = min(self._supplied + elapsed * self._rate, self._taken + burst - 1.0)


def _check(rate: float) -> None:
    if not rate > 0:
        raise ValueError(f"a rate must be more than 0 a second, not {rate}")
