"""The memory contract: bytes are reserved before they are held, and buffers are reused.

`ByteBudget` is the promise (the sum of all reservations never exceeds the total), `BufferPool` keeps it: what it
holds, lent and idle together, is never more.
"""

from __future__ import annotations

import mmap
import threading
from collections import deque
from collections.abc import Callable

from executor.activity import waiting
from schema.flow.samples import Activity

POLL_SECONDS = 0.2
"""How often a waiting reservation checks whether to give up."""
MAPPED_FROM = 64 * 1024
"""Buffers of this capacity or more are mappings of their own. From malloc's heap, freed ones stay with the process:
32 threads with mixed sizes grew to 475 MiB under a budget of 128 MiB, against 129 MiB with mappings."""

Buffer = bytearray | mmap.mmap


class _Waiter:
    __slots__ = ("granted", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.granted = threading.Event()


class ByteBudget:
    """A semaphore of bytes, fair between large and small.

    Reservations are granted in order of arrival. One that does not fit may be overtaken by smaller ones,
    but only until `total` bytes went past it: then all wait for it. So a large reservation waits at most for
    one turnover of the budget plus the slowest holder, and while it waits the free bytes are still of use.
    """

    def __init__(self, total: int) -> None:
        if total <= 0:
            raise ValueError(f"a byte budget must be positive, not {total}")
        self.total = total
        self.in_use = 0
        self.peak = 0
        self._lock = threading.Lock()
        self._waiters: deque[_Waiter] = deque()
        self._smallest = 0
        self._overtaken = 0

    @property
    def waiting(self) -> int:
        """How many reservations wait."""
        return len(self._waiters)

    def reserve(self, size: int, stop: Callable[[], bool]) -> bool:
        """Reserve *size* bytes, waiting for them; False when *stop()* became true first.

        Raises ValueError when *size* is more than the whole budget: it would wait for ever.
        """
        with self._lock:
            used = self.in_use + size
            if used <= self.total and size >= 0 and not self._waiters:
                self.in_use = used
                if used > self.peak:
                    self.peak = used
                return True
        self._check(size)
        return self._wait(size, stop)

    def release(self, size: int) -> None:
        """Give back *size* reserved bytes. Raises ValueError when more comes back than was reserved."""
        with self._lock:
            if not 0 <= size <= self.in_use:
                raise ValueError(f"{size} bytes given back, {self.in_use} are reserved")
            self.in_use -= size
            if self._waiters:
                self._grant()

    def _check(self, size: int) -> None:
        if not 0 <= size <= self.total:
            raise ValueError(f"{size} bytes can never be reserved from a memory budget of {self.total} bytes")

    def _take(self, size: int) -> None:
        self.in_use += size
        self.peak = max(self.peak, self.in_use)

    def _wait(self, size: int, stop: Callable[[], bool]) -> bool:
        waiter = _Waiter(size)
        with self._lock:
            self._smallest = min(self._smallest, size) if self._waiters else size
            self._waiters.append(waiter)
            self._grant()
        with waiting(Activity.MEMORY):
            while not waiter.granted.is_set():
                if stop():
                    return self._give_up(waiter)
                waiter.granted.wait(POLL_SECONDS)
        return True

    def _give_up(self, waiter: _Waiter) -> bool:
        with self._lock:
            if waiter.granted.is_set():
                return True
            head = self._waiters[0] is waiter
            self._waiters.remove(waiter)
            if head:
                self._overtaken = 0
                self._grant()
            return False

    def _grant(self) -> None:
        """Grant what fits, oldest first. The lock is held."""
        if self.total - self.in_use < self._smallest:
            return
        kept: deque[_Waiter] = deque()
        for waiter in self._waiters:
            patient = not kept or self._overtaken + waiter.size <= self.total
            if self.in_use + waiter.size > self.total or not patient:
                kept.append(waiter)
                continue
            self._take(waiter.size)
            self._overtaken = self._overtaken + waiter.size if kept else 0
            waiter.granted.set()
        self._waiters = kept
        self._smallest = min((waiter.size for waiter in kept), default=0)


class BufferPool:
    """Reusable buffers by size class, lent as memoryviews within a byte budget.

    What is lent is reserved. Idle buffers are kept only as long as lent and idle together stay within the budget's
    total, so the memory held never exceeds it, provided that nobody else reserves from the same budget.
    """

    def __init__(self, budget: ByteBudget) -> None:
        self.budget = budget
        self._lock = threading.Lock()
        self._idle: dict[int, list[Buffer]] = {}
        self._held = 0

    def take(self, size: int, stop: Callable[[], bool]) -> memoryview | None:
        """A writable view of exactly *size* bytes of undefined content; None when *stop()* became true first.

        Waits for memory like `ByteBudget.reserve`, and raises ValueError like it. Give it back with `give`.
        """
        capacity = min(capacity_for(size), max(size, self.budget.total))
        if not self.budget.reserve(capacity, stop):
            return None
        with self._lock:
            idle = self._idle.get(capacity)
            if idle:
                buffer = idle.pop()
            else:
                self._make_room(capacity)
                buffer = _allocate(capacity)
                self._held += capacity
        return memoryview(buffer)[:size]

    def give(self, view: memoryview) -> None:
        """Take back a view lent by `take`; neither it nor a slice of it may be used any more."""
        buffer = view.obj
        view.release()
        if not isinstance(buffer, Buffer):
            raise TypeError("only views lent by this pool can be given back")
        capacity = len(buffer)
        with self._lock:
            self._idle.setdefault(capacity, []).append(buffer)
        self.budget.release(capacity)

    @property
    def held_bytes(self) -> int:
        """Bytes of all buffers, lent and idle."""
        return self._held

    def release_idle(self) -> int:
        """Drop all idle buffers. Returns their size in bytes."""
        with self._lock:
            before = self._held
            for capacity in list(self._idle):
                self._drop(capacity, len(self._idle[capacity]))
            return before - self._held

    def _make_room(self, capacity: int) -> None:
        """Drop idle buffers until *capacity* more bytes fit. The lock is held."""
        for idle_capacity in list(self._idle):
            excess = self._held + capacity - self.budget.total
            if excess <= 0:
                return
            self._drop(idle_capacity, -(-excess // idle_capacity))

    def _drop(self, capacity: int, count: int) -> None:
        idle = self._idle[capacity]
        for _ in range(min(count, len(idle))):
            _free(idle.pop())
            self._held -= capacity
        if not idle:
            del self._idle[capacity]


def _allocate(capacity: int) -> Buffer:
    if capacity < MAPPED_FROM:
        return bytearray(capacity)
    return mmap.mmap(-1, capacity, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _free(buffer: Buffer) -> None:
    """Unmap at once what is mapped; heap memory goes with its last reference."""
    if isinstance(buffer, mmap.mmap):
        try:
            buffer.close()
        except BufferError:
            return  # a slice is still in use: the mapping is released with it


def capacity_for(size: int) -> int:
    """The size class that holds *size* bytes, which is what the pool reserves: at most a quarter more.

    Classes are four to each doubling, from 4 KiB up; powers of two (the usual part sizes) are classes.
    """
    if size <= 4096:
        return 4096
    step = 1 << ((size - 1).bit_length() - 3)
    return -(-size // step) * step
