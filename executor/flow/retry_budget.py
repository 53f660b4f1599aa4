"""A budget of retries for each endpoint: when everything fails, retrying everything makes it worse."""

from __future__ import annotations

CAPACITY = 500.0
COST = 5.0
REFILL_PER_SECOND = 10.0
EARNED = 1.0
"""What a request that succeeds adds: where nine of ten succeed, retries are never short."""


class RetryBudget:
    """A bucket of tokens: a retry costs 5 of 500, its success gives them back, each success adds 1, each second 10.

    Full, it allows 100 retries at once; empty, while nothing succeeds, 2 a second. Pure, and not safe for threads.
    """

    def __init__(self, now: float) -> None:
        self._tokens = CAPACITY
        self._at = now

    def wait(self, now: float) -> float:
        """Seconds until the budget allows a retry; 0.0: now."""
        self._refill(now)
        return max(0.0, COST - self._tokens) / REFILL_PER_SECOND

    def spend(self, now: float) -> bool:
        """Pay for one retry; False when the budget is exhausted and the caller must wait."""
        self._refill(now)
        if self._tokens < COST:
            return False
        self._tokens -= COST
        return True

    def refund(self, now: float) -> None:
        """A retry succeeded: its cost comes back."""
        self._refill(now)
        self._tokens = min(CAPACITY, self._tokens + COST)

    def earn(self, successes: int, now: float) -> None:
        """That many requests succeeded."""
        self._refill(now)
        self._tokens = min(CAPACITY, self._tokens + EARNED * successes)

    def _refill(self, now: float) -> None:
        elapsed = max(0.0, now - self._at)
        self._at = max(self._at, now)
        self._tokens = min(CAPACITY, self._tokens + elapsed * REFILL_PER_SECOND)
