"""While an endpoint is away: say so, move to another one where several are declared, and ask whether it is back.

The breaker lets one request through now and then to see. It belongs to no object, so an outage of any length costs an
object at most the attempt it had in flight.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from executor.events import Events
from executor.flow.endpoint import EndpointGovernor
from schema.ends import server_of
from schema.errors import ConnectionFailed, StoreError
from schema.process_view import BreakerState


@dataclass(frozen=True, slots=True)
class EndpointCare:
    """What can be done about an endpoint."""

    probe: Callable[[], object]
    """One small request through the endpoint's observer; StoreErrors are answers too."""
    move: Callable[[], str | None] = lambda: None
    """Send what follows to the next declared candidate; its URL, None: there is only this one."""
    in_use: Callable[[], str] | None = None
    """The URL of the candidate in use, which transfers may have shown to be the best; None: nobody chooses."""


ASK_SECONDS = 0.5
"""Minimum time between two probes of an endpoint that may have recovered."""


class EndpointWatch:
    """`tick` is the runner's; `blocked` and `waiting` are for all threads."""

    def __init__(
        self, endpoints: Mapping[str, EndpointGovernor], care: Mapping[str, EndpointCare], events: Events
    ) -> None:
        self._endpoints = dict(endpoints)
        self._care = dict(care)
        self._events = events
        self._away: dict[str, float] = {}
        """Endpoint -> the time at which its breaker lets the next probe pass, as last seen."""
        self._at: dict[str, str] = {}
        self._probes: dict[str, threading.Thread] = {}
        self._asked_at: dict[str, float] = {}
        for name in self._endpoints.keys() & self._care.keys():
            self._endpoints[name].askable()

    def tick(self, now: float) -> None:
        """Check every endpoint. At most one probe per endpoint is in flight."""
        for name, endpoint in self._endpoints.items():
            self._see_choice(name)
            if endpoint.well:
                if self._away.pop(name, None) is not None:
                    self._tell_well(name)
                if endpoint.to_be_asked(now) and now - self._asked_at.get(name, float("-inf")) >= ASK_SECONDS:
                    self._asked_at[name] = now
                    self._probe(name)
                continue
            seen = endpoint.snapshot(now)
            opens_at = now + (seen.retry_in or 0.0)
            # A breaker that opened again gives a later time, a half-open one a time in the past.
            if seen.breaker == BreakerState.OPEN and opens_at > self._away.get(name, float("-inf")) + 0.5:
                self._opened(name, name not in self._away)
                self._away[name] = opens_at
            if not seen.retry_in:
                self._probe(name)

    def blocked(self, now: float) -> float:
        """Seconds until it is worth checking again whether objects may be started; 0.0: now.

        An endpoint that can be probed is waited for until it recovers; otherwise objects try as the breaker permits.
        """
        longest = 0.0
        for name, endpoint in self._endpoints.items():
            if not endpoint.well:
                wait = endpoint.blocked_for(now)
                longest = max(longest, wait or 0.1 if name in self._care else wait)
        return longest

    def blameless(self) -> bool:
        """An endpoint is away: what fails now fails because of it."""
        return not all(endpoint.well for endpoint in self._endpoints.values())

    def waiting(self, now: float) -> str | None:
        """Why no work is started, for `status`; None: nothing is blocked."""
        away = [name for name, endpoint in self._endpoints.items() if not endpoint.well]
        if not away:
            return None
        return "; ".join(
            f"endpoint {name} does not answer, asked again in {self._endpoints[name].blocked_for(now):.0f} s"
            for name in away
        )

    def moved(self) -> dict[str, str]:
        """Endpoint -> the URL used instead of the planned one."""
        return dict(self._at)

    def _see_choice(self, name: str) -> None:
        """Tell where an endpoint that is well has been left for a quicker one."""
        care = self._care.get(name)
        if care is None or care.in_use is None or name in self._away:
            return
        url, before = care.in_use(), self._at.get(name)
        if url != before and (before is not None or server_of(url) != name):
            self._at[name] = url
            self._events.moved(f"endpoint {name}", url)

    def _tell_well(self, name: str) -> None:
        url = self._at.get(name)
        if url is None or server_of(url) == name:
            self._events.waiting(f"endpoint {name}", None)
        else:
            self._events.moved(f"endpoint {name}", url)

    def _opened(self, name: str, first: bool) -> None:
        care = self._care.get(name)
        url = care.move() if care is not None else None
        if url is not None:
            self._at[name] = url
        if first or url is not None:
            text = f"{name} does not answer as it should; the run continues when it does"
            if url is not None:
                text = f"{name} does not answer as it should; the run moves on to {url}"
            self._events.waiting(f"endpoint {name}", ConnectionFailed(text))

    def _probe(self, name: str) -> None:
        running = self._probes.get(name)
        care = self._care.get(name)
        if care is None or (running is not None and running.is_alive()):
            return

        def ask() -> None:
            try:
                with self._endpoints[name].asking():
                    care.probe()
            except StoreError:
                return  # the endpoint's observer has seen the answer

        thread = threading.Thread(target=ask, name=f"probe {name}", daemon=True)
        self._probes[name] = thread
        thread.start()
