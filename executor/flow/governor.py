"""The governor of one process: how many workers, and its share of the run's limits.

All times are seconds of one monotonic clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from executor.flow.concurrency import INITIAL, ConcurrencyController, WindowStats
from executor.flow.counters import RequestTotals
from executor.flow.endpoint import EndpointGovernor
from executor.flow.enough import Enough, NeverScarce, Processor
from schema.limits import LIMITS, Bounds
from schema.process_view import ProcessView

STALLED_SECONDS = 5.0
"""A window without any answer is closed after this many seconds."""
TICK_SLACK = 0.01
MOST_STUCK = 64
"""Workers added at most to replace those waiting with an object that is throttled individually."""
NEVER_SCARCE = NeverScarce()


class Governor:
    """Owns the concurrency controller of the process and the limits of its endpoints.

    With *workers* given the concurrency is fixed; otherwise it adapts within 1..*max_workers*. Where time of the
    *processor* is scarce and answers take longer because of it, growth must prove more, and ends where all cores are
    busy.
    """

    def __init__(
        self,
        endpoints: Mapping[str, EndpointGovernor],
        max_workers: int,
        *,
        workers: int | None = None,
        initial: int = INITIAL,
        processor: Processor = NEVER_SCARCE,
    ) -> None:
        self._processor = processor
        self._enough = Enough(processor.cores)
        self.endpoints = dict(endpoints)
        self._distinct = list({id(endpoint): endpoint for endpoint in self.endpoints.values()}.values())
        self._fixed = workers
        self._controller = ConcurrencyController(max_workers, initial=min(initial, max_workers))
        self._why = "starting" if workers is None else "fixed"
        self._most: int | None = None
        self._room: int | None = None
        self._room_why = ""
        self._window_at: float | None = None
        self._in_use = 0
        self._ticks = 0

    def target(self) -> int:
        """How many worker threads should be active now."""
        wanted = self._fixed or self._controller.target
        # Workers asleep with an object that is throttled individually are not at work.
        stuck = min(MOST_STUCK, sum(endpoint.stuck for endpoint in self._distinct))
        working = wanted if self._most is None else min(wanted, self._most)
        return stuck + working if self._room is None else min(stuck + working, self._room)

    def bind(self, room: int, why: str) -> None:
        """Never have more than *room* workers, and give *why* as the reason where more were wanted."""
        self._room, self._room_why = room, why

    def tick(self, now: float, busy: int | None = None) -> None:
        """To be called about every 100 ms; *busy*: workers with a task in hand, when known."""
        if self._window_at is None:
            self._window_at = now
            return
        in_flight = sum(endpoint.in_flight for endpoint in self._distinct)
        held = sum(endpoint.held for endpoint in self._distinct)
        self._in_use += in_flight if busy is None else max(0, busy - held)
        self._ticks += 1
        seconds = now - self._window_at
        if seconds < self._controller.window_seconds - TICK_SLACK:
            return
        if seconds < STALLED_SECONDS and not any(endpoint.unseen() for endpoint in self._distinct):
            return
        self._close_window(seconds, now)

    def set_limits(self, figures: Mapping[str, float], *, share: float = 1.0) -> None:
        """Run-wide limits of each endpoint by name, of which this process may use *share* (0..1]; others are lifted.

        Of the concurrent requests at least one: each worker has one at an endpoint at a time.
        """
        ours = {name: figure * share for name, figure in figures.items()}
        at_once = [figure for name, figure in ours.items() if LIMITS[name].bounds is Bounds.AT_ONCE]
        self._most = max(1, math.floor(min(at_once) + 1e-9)) if at_once else None
        for endpoint in self._distinct:
            endpoint.set_limits(ours)

    def heed(self, draining: Callable[[], bool], wait: Callable[[float], bool]) -> None:
        """Tell all endpoints of stops: *draining()* lets requests past an open breaker (they fail soon and are given
        back), *wait(seconds)* waits and says True when limits matter no more."""
        for endpoint in self._distinct:
            endpoint.heed(draining, wait)

    def blocked_for(self, now: float) -> float:
        """Seconds for which no new object should be begun because an endpoint's breaker is open; 0.0: go on."""
        return max((endpoint.blocked_for(now) for endpoint in self._distinct), default=0.0)

    def snapshot(self, now: float) -> ProcessView:
        """Workers, why, and every endpoint."""
        return ProcessView(
            self.target(),
            self._reason(),
            {name: endpoint.snapshot(now) for name, endpoint in self.endpoints.items()},
        )

    def _reason(self) -> str:
        """Why there are as many workers as there are."""
        wanted, target = self._fixed or self._controller.target, self.target()
        if target == wanted:
            return self._why
        return self._room_why if target == self._room else "limited"

    def _learn_cost(self, windows: Sequence[RequestTotals], totals: RequestTotals) -> None:
        """Refused requests cost little and are not away for long: a window of those alone teaches nothing."""
        away = [(w.ok, e.unhindered_seconds) for w, e in zip(windows, self._distinct, strict=True)]
        answered = sum(ok for ok, seconds in away if seconds > 0)
        if answered:
            seconds = sum(ok * seconds for ok, seconds in away) / answered
            self._enough.learn(self._processor.spent(), totals.ended, seconds)

    def _close_window(self, seconds: float, now: float) -> None:
        well = all(endpoint.well for endpoint in self._distinct)
        windows = [endpoint.close_window(seconds, now) for endpoint in self._distinct]
        totals = sum(windows, RequestTotals())
        scarce = self._processor.saturated()
        self._learn_cost(windows, totals)
        stats = WindowStats(
            seconds=seconds,
            count=totals.ok,
            bytes=totals.bytes,
            throttles=totals.throttled,
            timeouts=totals.timeouts,
            latency=totals.seconds / totals.ok if totals.ok else 0.0,
            in_use=self._in_use / self._ticks,
            saturated=scarce and any(endpoint.crowded for endpoint in self._distinct),
            enough=self._enough.workers() if scarce else math.inf,
        )
        self._window_at, self._in_use, self._ticks = now, 0, 0
        if self._fixed is None and well:
            self._why = self._controller.on_window(stats, now).reason
