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


class _Queue:
    """The tasks of one lane that have not begun."""

    __slots__ = ("added", "low", "tasks", "watched")

    def __init__(self) -> None:
        self.tasks: deque[Task] = deque()
        self.added = 0
        self.low = 0
        self.watched = False
        """Nobody has been told yet that `low` is reached."""

    def take(self) -> Task | None:
        """The oldest; None: there is none. Takes no lock."""
        try:
            return self.tasks.popleft()
        except IndexError:
            return None

    def reached(self) -> bool:
        """Once per `watched`: no more than `low` are left."""
        if self.watched and len(self.tasks) <= self.low:
            self.watched = False
            return True
        return False


class WorkerPool:
    """Runs tasks in up to `target` threads; more are started as the target grows, surplus ones rest.

    Even threads prefer the whole-object lane, odd ones the parts lane; each takes from the other lane
    when its own is empty. Tasks must not raise: one that does ends the run through `on_crash`.
    """

    def __init__(self, on_crash: Callable[[BaseException], None]) -> None:
        self._lanes = {Lane.WHOLE: _Queue(), Lane.PARTS: _Queue()}
        self._on_low: Callable[[], None] = lambda: None
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._target = 0
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
            queue = self._lanes[lane]
            queue.added += len(tasks)
            queue.tasks.extend(tasks)
            self._changed.notify(len(tasks))

    def waiting(self, lane: Lane) -> int:
        """Tasks queued in *lane* and not begun."""
        return len(self._lanes[lane].tasks)

    def taken(self, lane: Lane) -> int:
        """Tasks of *lane* taken so far."""
        with self._changed:  # between the two halves of `add` it would be too many
            queue = self._lanes[lane]
            return queue.added - len(queue.tasks)

    def on_low(self, tell: Callable[[], None]) -> None:
        """Call *tell* when a lane that is watched runs low."""
        self._on_low = tell

    def watch(self, lane: Lane, low: int) -> None:
        """Tell once when a task is taken of *lane* and no more than *low* wait."""
        queue = self._lanes[lane]
        queue.low, queue.watched = low, True

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
        return ended == sum(queue.added for queue in self._lanes.values())

    def drop_waiting(self) -> int:
        """Drop the tasks that have not begun. Returns their number."""
        with self._changed:
            dropped = 0
            for queue in self._lanes.values():
                while queue.take() is not None:
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
                for queue in (mine, other):
                    if (task := queue.take()) is not None:
                        if queue.reached():
                            self._on_low()
                        return task
                self._at_work[index] = False
            with self._changed:
                if not self._closing and not (index < self._target and (mine.tasks or other.tasks)):
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
