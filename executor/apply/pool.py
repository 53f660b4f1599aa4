"""Worker threads over two lanes: whole objects and parts. Neither lane can starve the other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from executor.activity import ThreadActivity, waiting
from executor.activity import mine as activity_of_thread
from executor.ledger.values import Lane
from schema.flow.samples import Activity

Task = Callable[[], object]
"""Its answer is not looked at."""

IDLE_SECONDS = 0.5
"""How long an idle thread sleeps before it checks whether it is still wanted."""


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
        self._added = 0
        self._dropped = 0
        # One slot per thread, written by that thread alone: while tasks are queued, none takes a lock.
        self._at_work: list[bool] = []
        self._ended: list[int] = []
        self._activities: list[ThreadActivity] = []
        self._closing = False
        self._on_crash = on_crash

    def resize(self, target: int) -> None:
        """Want *target* threads from now on."""
        with self._changed:
            grown = target > self._target
            self._target = target
            while len(self._threads) < target and not self._closing:
                index = len(self._threads)
                self._at_work.append(False)
                self._ended.append(0)
                self._activities.append(ThreadActivity())
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
            self._added += len(tasks)
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
    def activities(self) -> list[ThreadActivity]:
        """What the wanted threads are doing; resting ones are left out."""
        return self._activities[: self._target]

    @property
    def busy(self) -> int:
        """Threads at work now."""
        return sum(self._at_work)

    @property
    def idle(self) -> bool:
        """Nothing queued and nobody at work."""
        # What has ended is read first: a task that ends adds its followers before.
        ended = sum(self._ended) + self._dropped
        return ended == self._added

    def drop_waiting(self) -> int:
        """Drop the tasks that have not begun. Returns their number."""
        with self._changed:
            dropped = 0
            for lane in self._lanes.values():
                while lane:
                    try:
                        lane.popleft()
                    except IndexError:
                        break
                    dropped += 1
            self._dropped += dropped
            return dropped

    def close(self, seconds: float) -> bool:
        """Start no more tasks and wait up to *seconds* for those running. Returns whether all have ended."""
        with self._changed:
            self._closing = True
            self.drop_waiting()
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not any(self._at_work), timeout=seconds)

    def _take(self, index: int) -> Task | None:
        whole, parts = self._lanes[Lane.WHOLE], self._lanes[Lane.PARTS]
        mine, other = (whole, parts) if index % 2 == 0 else (parts, whole)
        while not self._closing:
            if index < self._target:
                # Set before taking: `close` must not overlook a task on its way from the lane to the thread.
                self._at_work[index] = True
                try:
                    return mine.popleft() if mine else other.popleft()
                except IndexError:
                    self._at_work[index] = False
            with self._changed:
                if not self._closing and not (index < self._target and (mine or other)):
                    with waiting(Activity.IDLE):
                        self._changed.wait(IDLE_SECONDS if index < self._target else None)
        return None

    def _work(self, index: int) -> None:
        self._activities[index] = activity_of_thread()
        while (task := self._take(index)) is not None:
            try:
                task()
            except BaseException as error:
                self._on_crash(error)
            finally:
                self._ended[index] += 1
                self._at_work[index] = False
        with self._changed:
            self._changed.notify_all()  # `close` may have seen this thread between two tasks
