"""How often an object is tried, and how long a worker waits in between.

Throttling is waited out, unless only that object is throttled. A run-wide error ends the run. Every other retryable
error is retried with full jitter until the attempts are spent, and only as fast as the endpoint's retry budget allows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from executor.activity import waiting
from executor.stop import Stop
from schema.errors import DigestMismatch, Scope, Stopped, StoreError, Throttled
from schema.flow.samples import Activity
from storage.retrying import RetryPolicy, delay

T = TypeVar("T")

OBJECT_POLICY = RetryPolicy(attempts=5)
DIGEST_ATTEMPTS = 3
OBJECT_DEADLINE_SECONDS = 900.0
"""An object (or part) whose own failed attempts took this long in total is not retried. Waits are not counted, nor is
time lost to throttling or to an endpoint that is down. 16 MiB at 18 KiB/s would take as long.
"""
BUDGET_POLL_SECONDS = 0.5
"""Longest wait before asking again for a retry the budget did not allow: successes of others return tokens."""


class RetryAllowance(Protocol):
    """Decides whether a retry may be made now."""

    def pay(self, error: StoreError) -> float:
        """Pay for one retry after *error*. Returns 0.0 when paid, else the seconds to wait before asking again."""

    def refund(self, error: StoreError) -> None:
        """The retry paid for *error* worked."""

    def hopeless(self, error: Throttled) -> str:
        """Why the object that *error* refused should be given up; '' when it should not."""


class Unlimited:
    """No budget."""

    def pay(self, error: StoreError) -> float:  # noqa: ARG002  the protocol's signature
        """Paid."""
        return 0.0

    def refund(self, error: StoreError) -> None:
        """Nothing was paid."""

    def hopeless(self, error: Throttled) -> str:  # noqa: ARG002  the protocol's signature
        """Never known."""
        return ""


UNLIMITED = Unlimited()


OnRetry = Callable[[StoreError, int], None]
"""Called before each retry with the error that made it necessary and the number of attempts used so far."""


def unobserved(_error: StoreError, _attempt: int) -> None:
    """The OnRetry of callers that report nothing."""


@dataclass(slots=True)
class AttemptCounter:
    """The attempts one object, part or request has used; throttled ones do not count."""

    used: int = 0
    """Attempts that ended, successfully or not."""
    under_way: bool = False
    throttled: int = 0
    digest_mismatches: int = 0
    seconds: float = 0.0
    """Spent in failed attempts, throttled ones left out."""

    @property
    def begun(self) -> int:
        """Attempts used, and the one under way."""
        return self.used + self.under_way

    @property
    def failed_before(self) -> bool:
        """An attempt has failed or was throttled: what it did at the other end is not known."""
        return bool(self.used or self.throttled)


@dataclass(frozen=True, slots=True)
class Retrier:
    """Repeats a step of an object's copy."""

    stop: Stop
    random: Callable[[], float]
    ready: Callable[[Stop], None]
    """Returns when requests may succeed again, or when a stop was requested."""
    policy: RetryPolicy = OBJECT_POLICY
    blameless: Callable[[], bool] = lambda: False
    """An endpoint is down: a failure now is not the object's fault and costs it no attempt."""
    allowance: RetryAllowance = UNLIMITED
    clock: Callable[[], float] = time.monotonic

    def run(
        self,
        step: Callable[[], T],
        spent: AttemptCounter | None = None,
        on_retry: OnRetry = unobserved,
    ) -> T:
        """*step*'s answer; raises its last StoreError, or Stopped when a stop came in between attempts.

        The attempts are charged to *spent*, which may have been used before; without it the step has its own.
        """
        counter = AttemptCounter() if spent is None else spent
        failed: StoreError | None = None
        while True:
            self.ready(self.stop)
            if failed is not None:
                self._afford(failed)
            if self.stop.draining and counter.failed_before:
                raise Stopped("stopped between attempts")
            began = self.clock()
            counter.under_way = True
            try:
                result = step()
            except StoreError as error:
                counter.under_way = False
                if not error.retryable or error.scope is Scope.RUN:
                    counter.used += 1
                    raise
                self._count(error, counter, self.clock() - began)
                wait = delay(self.policy, max(1, counter.used + counter.throttled), error, random=self.random)
                on_retry(error, counter.used)
                with waiting(Activity.THROTTLING):
                    self.stop.wait(wait)
                failed = error
            else:
                if failed is not None:
                    self.allowance.refund(failed)
                counter.under_way = False
                counter.used += 1
                return result

    def _afford(self, failed: StoreError) -> None:
        """Wait until the endpoint that failed may be asked again, or a stop is requested."""
        while not self.stop.draining and (seconds := self.allowance.pay(failed)) > 0:
            # Half to all of it, so that waiting threads do not come back together.
            with waiting(Activity.THROTTLING):
                self.stop.wait(min(seconds, BUDGET_POLL_SECONDS) * (0.5 + self.random() / 2))
            self.ready(self.stop)

    def _count(self, error: StoreError, counter: AttemptCounter, seconds: float) -> None:
        """Raise *error* when its attempts or its time are spent."""
        if isinstance(error, Throttled) or (self.blameless() and not isinstance(error, DigestMismatch)):
            counter.throttled += 1
            if isinstance(error, Throttled) and (why := self.allowance.hopeless(error)):
                raise error.explained(f"{why}; `s3migrate retry` tries the object again")
            return
        counter.used += 1
        if isinstance(error, DigestMismatch):
            counter.digest_mismatches += 1
            if counter.digest_mismatches >= DIGEST_ATTEMPTS:
                raise error
        counter.seconds += seconds
        if counter.used >= self.policy.attempts or counter.seconds >= OBJECT_DEADLINE_SECONDS:
            raise error
