"""A closed-loop simulation of workers, a client's CPU and an S3 endpoint, in virtual time."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from executor.flow.concurrency import ConcurrencyController, WindowStats
from executor.flow.pace import AdaptiveRate
from executor.flow.token_bucket import TokenBucket


@dataclass
class Endpoint:
    """An endpoint with *slots* servers, a bounded queue, a rate limit and a lossy way to it."""

    rtt: float
    service: float
    slots: int = 10_000
    queue: int = 10_000
    rate: float = float("inf")
    burst: float = 1.0
    """Seconds of the rate that the endpoint lets go in one burst."""
    loss: float = 0.0
    loss_seconds: float = 1.0
    timeout_share: float = 0.0
    sigma: float = 0.35
    client_cpu: float = 0.0003
    client_cores: int = 1


@dataclass
class Counts:
    ok: int = 0
    throttled: int = 0
    timeouts: int = 0
    targets: list[int] = field(default_factory=list)


class Pacer:
    """An adaptive request rate and its bucket, as an endpoint's governor holds them."""

    def __init__(self) -> None:
        self.pace = AdaptiveRate()
        self.bucket = TokenBucket(self.pace.rate, 0.0)


@dataclass
class Simulation:
    """Runs workers against *endpoint*; `counts(lo, hi)` tells what happened between two moments."""

    endpoint: Endpoint
    controller: ConcurrencyController | None = None
    fixed: int = 16
    seed: int = 1
    pacer: Pacer | None = None
    changes: dict[float, Callable[[Endpoint], None]] = field(default_factory=dict)
    object_bytes: int = 100_000
    objects: int | None = None
    tick: float = 0.1

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0
        self._busy_slots = 0
        self._server_queue: deque[Callable[[], None]] = deque()
        self._free_cpu = [0.0] * self.endpoint.client_cores
        self._tokens = self.endpoint.burst * self.endpoint.rate if self.endpoint.rate != float("inf") else 0.0
        self._tokens_at = 0.0
        self.in_flight = 0
        self.started = 0
        self.done_at: float | None = None
        self._idle: list[int] = []
        self._workers = 0
        self.log: list[tuple[float, int, int, int]] = []
        self._window = self._fresh()
        self._window_at = 0.0
        self._busy_sum = 0.0
        self._ticks = 0

    def _fresh(self) -> dict[str, float]:
        return {"ok": 0, "throttled": 0, "timeouts": 0, "latency": 0.0, "ended": 0}

    def at(self, when: float, what: Callable[[], None]) -> None:
        self._serial += 1
        heapq.heappush(self._events, (when, self._serial, what))

    @property
    def target(self) -> int:
        return self.controller.target if self.controller else self.fixed

    def run(self, seconds: float) -> None:
        self.log.append((0.0, 0, 0, self.target))
        for when, change in self.changes.items():
            self.at(when, lambda change=change: change(self.endpoint))
        self.at(self.tick, self._on_tick)
        self._resize()
        while self._events and self._events[0][0] <= seconds and self.done_at is None:
            self.now, _, what = heapq.heappop(self._events)
            what()

    def _resize(self) -> None:
        while self._workers < self.target:
            self._workers += 1
            self._idle.append(self._workers - 1)
        runnable = sorted(index for index in self._idle if index < self.target)
        self._idle = [index for index in self._idle if index >= self.target]
        for index in runnable:
            self._next(index, None)

    def _next(self, index: int, attempt: int | None) -> None:
        if attempt is None:
            if index >= self.target:
                self._idle.append(index)
                return
            if self.objects is not None and self.started >= self.objects:
                return
            self.started += 1
            attempt = 0
        if self.pacer is None:
            self._send(index, attempt)
        else:
            self._pace(index, attempt, self.pacer.bucket.take(1, self.now))

    def _pace(self, index: int, attempt: int, ticket: float) -> None:
        assert self.pacer is not None
        wait = self.pacer.bucket.wait(ticket, self.now)
        if wait > 1e-9:
            self.at(self.now + min(wait, 0.5), lambda: self._pace(index, attempt, ticket))
        else:
            self._send(index, attempt)

    def _send(self, index: int, attempt: int) -> None:
        self.in_flight += 1
        sent = self.now
        core = min(range(len(self._free_cpu)), key=self._free_cpu.__getitem__)
        ready = max(self.now, self._free_cpu[core]) + self.endpoint.client_cpu
        self._free_cpu[core] = ready
        half = self.endpoint.rtt / 2
        self.at(ready + half, lambda: self._arrive(index, attempt, sent))

    def _accepts(self) -> bool:
        rate = self.endpoint.rate
        if rate == float("inf"):
            return True
        burst = max(1.0, self.endpoint.burst * rate)
        self._tokens = min(burst, self._tokens + (self.now - self._tokens_at) * rate)
        self._tokens_at = self.now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _arrive(self, index: int, attempt: int, sent: float) -> None:
        endpoint = self.endpoint
        if not self._accepts() or len(self._server_queue) >= endpoint.queue:
            self.at(self.now + endpoint.rtt / 2, lambda: self._answer(index, attempt, sent, "throttled"))
            return

        def serve() -> None:
            self._busy_slots += 1
            spread = self.random.lognormvariate(-(endpoint.sigma**2) / 2, endpoint.sigma)
            self.at(self.now + endpoint.service * spread, lambda: self._served(index, attempt, sent))

        if self._busy_slots < endpoint.slots:
            serve()
        else:
            self._server_queue.append(serve)

    def _served(self, index: int, attempt: int, sent: float) -> None:
        self._busy_slots -= 1
        while self._server_queue and self._busy_slots < self.endpoint.slots:
            self._server_queue.popleft()()
        back = self.endpoint.rtt / 2
        verdict = "ok"
        if self.random.random() < self.endpoint.loss:
            back += self.endpoint.loss_seconds
            if self.random.random() < self.endpoint.timeout_share:
                verdict = "timeouts"
        self.at(self.now + back, lambda: self._answer(index, attempt, sent, verdict))

    def _answer(self, index: int, attempt: int, sent: float, verdict: str) -> None:
        self.in_flight -= 1
        window = self._window
        window[verdict] += 1
        window["ended"] += 1
        window["latency"] += self.now - sent
        self.log.append((self.now, ("ok", "throttled", "timeouts").index(verdict), index, self.target))
        if verdict == "ok":
            self._next(index, None)
            if self.objects is not None and self.started >= self.objects and not self.in_flight:
                self.done_at = self.now
        else:
            base = 1.0 if verdict == "throttled" else 0.2
            pause = self.random.random() * min(20.0, base * 2**attempt)
            self.at(self.now + pause, lambda: self._next(index, attempt + 1))

    def _on_tick(self) -> None:
        self.at(self.now + self.tick, self._on_tick)
        self._busy_sum += self.in_flight
        self._ticks += 1
        elapsed = self.now - self._window_at
        wanted = self.controller.window_seconds if self.controller else 1.0
        if elapsed < wanted - 0.001 or (not self._window["ended"] and elapsed < 5):
            return
        w = self._window
        stats = WindowStats(
            seconds=elapsed,
            count=int(w["ok"]),
            bytes=int(w["ok"]) * self.object_bytes,
            throttles=int(w["throttled"]),
            timeouts=int(w["timeouts"]),
            latency=w["latency"] / w["ended"] if w["ended"] else 0.0,
            in_use=self._busy_sum / self._ticks,
        )
        self._window, self._window_at, self._busy_sum, self._ticks = self._fresh(), self.now, 0.0, 0
        if self.pacer:
            self.pacer.bucket.set_rate(
                self.pacer.pace.on_window(stats.count, stats.throttles, stats.seconds, now=self.now), self.now
            )
        if self.controller:
            self.decision = self.controller.on_window(stats, self.now)
            self._resize()

    def counts(self, lo: float, hi: float) -> Counts:
        found = Counts()
        for _when, verdict, _index, target in self._between(lo, hi):
            if verdict == 0:
                found.ok += 1
            elif verdict == 1:
                found.throttled += 1
            else:
                found.timeouts += 1
            found.targets.append(target)
        return found

    def _between(self, lo: float, hi: float) -> Iterator[tuple[float, int, int, int]]:
        return (entry for entry in self.log[1:] if lo <= entry[0] < hi)
