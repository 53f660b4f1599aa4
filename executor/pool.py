"""Worker threads over two lanes: whole objects and parts. Neither lane can starve the other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from executor.ledger_types import Lane

Task = Callable[[], None]

IDLE_SECONDS = 0.5
"""How long an idle thread sleeps before it looks whether it is still wanted."""


class WorkerPool:
    """Runs tasks in up to `target` threads; more are started as the target grows, surplus ones rest.

    Even threads prefer the whole-object lane, odd ones the parts lane; each takes from the other lane
    when its own is empty. Tasks must not raise: one that does ends the run through `on_crash`.
    """

    def __init__(self, on_crash: Callable[[BaseException], None]) -> None:
        self._lanes: dict[Lane, deque[Task]] = {Lane.WHOLE: deque(), Lane.PARTS: deque()}
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._target = 0
        self._busy = 0
        self._closing = False
        self._on_crash = on_crash

    def resize(self, target: int) -> None:
        """Want *target* threads from now on."""
        with self._changed:
            grown = target > self._target
            self._target = target
            while len(self._threads) < target and not self._closing:
                index = len(self._threads)
                thread = threading.Thread(target=self._work, args=(index,), name=f"worker-{index}", daemon=True)
                self._threads.append(thread)
                thread.start()
            if grown:
                self._changed.notify_all()

    def add(self, lane: Lane, tasks: list[Task]) -> None:
        """Queue *tasks*; never blocks, the feeder asks `waiting` before it adds more."""
        with self._changed:
            if self._closing:
                return
            self._lanes[lane].extend(tasks)
            self._changed.notify(len(tasks))

    def waiting(self, lane: Lane) -> int:
        """Tasks queued in *lane* and not begun."""
        return len(self._lanes[lane])

    @property
    def target(self) -> int:
        """Threads wanted now."""
        return self._target

    @property
    def busy(self) -> int:
        """Threads at work now."""
        return self._busy

    @property
    def idle(self) -> bool:
        """Nothing queued and nobody at work."""
        with self._changed:
            return not self._busy and not any(self._lanes.values())

    def drop_waiting(self) -> int:
        """Forget the tasks not begun; how many there were."""
        with self._changed:
            dropped = sum(len(lane) for lane in self._lanes.values())
            for lane in self._lanes.values():
                lane.clear()
            return dropped

    def close(self, seconds: float) -> bool:
        """Begin nothing more and wait up to *seconds* for the tasks at work; True when all have ended."""
        with self._changed:
            self._closing = True
            for lane in self._lanes.values():
                lane.clear()
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._busy, timeout=seconds)

    def _take(self, index: int) -> Task | None:
        mine, other = (Lane.WHOLE, Lane.PARTS) if index % 2 == 0 else (Lane.PARTS, Lane.WHOLE)
        with self._changed:
            while not self._closing:
                if index < self._target:
                    lane = self._lanes[mine] or self._lanes[other]
                    if lane:
                        self._busy += 1
                        return lane.popleft()
                self._changed.wait(IDLE_SECONDS if index < self._target else None)
            return None

    def _work(self, index: int) -> None:
        while (task := self._take(index)) is not None:
            try:
                task()
            except BaseException as error:
                self._on_crash(error)
            finally:
                with self._changed:
                    self._busy -= 1
                    if self._closing:
                        self._changed.notify_all()
