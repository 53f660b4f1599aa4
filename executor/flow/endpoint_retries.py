"""The retry budgets of a process's endpoints as one allowance: a retry is paid for where the failure was."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from executor.flow.governor import EndpointGovernor
from schema.errors import StoreError


class EndpointRetries:
    """A RetryAllowance. An error no endpoint was observed to give (bytes that differ) is paid for by all."""

    def __init__(self, endpoints: Iterable[EndpointGovernor], clock: Callable[[], float]) -> None:
        self._by_name = {endpoint.name: endpoint for endpoint in endpoints}
        self._clock = clock

    def pay(self, error: StoreError) -> float:
        """0.0: paid; otherwise nothing is, and so many seconds pass until the budget affords it."""
        now = self._clock()
        paid: list[EndpointGovernor] = []
        for endpoint in self._concerned(error):
            if not endpoint.may_retry(now):
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

    def _concerned(self, error: StoreError) -> list[EndpointGovernor]:
        one = self._by_name.get(error.endpoint)
        return list(self._by_name.values()) if one is None else [one]
