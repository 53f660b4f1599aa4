"""A bounded queue from many threads to one, made for the hot path: handing over an item is one append.

queue.Queue takes a lock and wakes the consumer for every item, which was a fifth of the interpreter's time per object.
Here the consumer takes everything that is queued at once, and after sleeping it waits briefly for more.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")

GATHER_SECONDS = 0.01


class Inbox(Generic[Item]):
    """`put` from any thread, `take` from one. May exceed *maximum* by one item per producer thread."""

    def __init__(self, maximum: int, gather_seconds: float = GATHER_SECONDS) -> None:
        self._maximum = maximum
        self._gather_seconds = gather_seconds
        self._items: deque[Item] = deque()
        self._asleep = False
        self._arrived = threading.Event()
        self._room = threading.Event()
        self._never = threading.Event()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item, timeout: float) -> bool:
        """Queue *item*. Returns False when there was no room within *timeout* seconds."""
        if len(self._items) >= self._maximum:
            self._room.clear()
            # Checked again after clearing: the consumer may have made room in between.
            if len(self._items) >= self._maximum and not self._room.wait(timeout):
                return False
        self._items.append(item)
        if self._asleep:
            self._arrived.set()
        return True

    def take(self, timeout: float | None, most: int) -> list[Item]:
        """At most *most* items, oldest first; [] when none came within *timeout* seconds (None: waits for one)."""
        if not self._items:
            self._arrived.clear()
            self._asleep = True
            # Checked again after announcing it: a producer may have seen the consumer still awake.
            if not self._items:
                self._arrived.wait(timeout)
            self._asleep = False
            if len(self._items) < most:
                self._never.wait(self._gather_seconds)
        taken = [self._items.popleft() for _ in range(min(most, len(self._items)))]
        self._room.set()
        return taken
