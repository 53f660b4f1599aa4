"""How much memory object buffers may take, and how glibc's malloc is kept from taking more.

The limit is the smallest of the machine's memory, the control group's limit (v2 or v1, own and ancestors') and
RLIMIT_AS. Files are read below a root that is an argument, so that each kind of machine can be tested on any.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from executor.machine.control_groups import groups, lines

MIB = 1024 * 1024
SHARE = 0.6
BASE = 150 * MIB
"""What a process holds besides its buffers: interpreter, libraries, connections, queues."""
FLOOR = 16 * MIB
"""The least budget worth working with; smaller limits end in an out-of-memory kill, or an honest MemoryError."""
PLENTY = 256 * MIB
"""Buffers of all processes together are no more where no limits.memory is declared: 16 parts of 16 MiB on their way at
once, or two thousand objects of 100 KB. 12 x 200 MB took 1,145 MiB without a bound, and longer than with 64 MiB."""
M_ARENA_MAX = -8
ARENAS = 2
IDLE_SECONDS = 5.0
"""After so long without use, buffers are given back to the system: a run may wait for hours."""


class MemoryLimit(NamedTuple):
    """Bytes this process may use in total, and what sets that limit."""

    bytes: int
    source: str


def default_budget(root: Path = Path("/"), machine: int | None = None, address_space: int | None = None) -> int:
    """Bytes for object buffers: 60 % of the limit, or what the base of 150 MiB leaves if less; at least 16 MiB."""
    return budget_of(memory_limit(root, machine, address_space).bytes)


def undeclared_budget(processes: int) -> int:
    """Bytes for the buffers of one of *processes* on this machine where no limits.memory is declared."""
    return max(FLOOR, min(default_budget(), PLENTY) // processes)


def budget_of(limit: int) -> int:
    """The buffers' part of *limit* bytes, in whole MiB."""
    return max(FLOOR, min(int(limit * SHARE), limit - BASE) // MIB * MIB)


def memory_limit(root: Path = Path("/"), machine: int | None = None, address_space: int | None = None) -> MemoryLimit:
    """The smallest limit on this process. *machine* and *address_space* (bytes): as measured, unless given."""
    limits = [MemoryLimit(_machine_memory() if machine is None else machine, "the machine's memory")]
    limits += _cgroup_limits(root)
    space = _address_space_left() if address_space is None else address_space
    if space is not None:
        limits.append(MemoryLimit(space, "RLIMIT_AS (ulimit -v)"))
    return min(limits)


def set_malloc_arenas(arenas: int = ARENAS) -> bool:
    """Let glibc use at most *arenas* heaps for all threads. False where there is no mallopt (musl, macOS).

    To be called before threads are started; arenas that exist already stay.
    """
    libc = _libc()
    mallopt = getattr(libc, "mallopt", None)
    return mallopt is not None and mallopt(M_ARENA_MAX, arenas) == 1


def trim() -> bool:
    """Return free heap memory to the system. Returns whether any was returned."""
    malloc_trim = getattr(_libc(), "malloc_trim", None)
    return malloc_trim is not None and malloc_trim(0) == 1


def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None


def _machine_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _address_space_left() -> int | None:
    soft, _hard = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def _cgroup_limits(root: Path) -> Iterator[MemoryLimit]:
    for group in groups(root, "memory"):
        name = "memory.max" if group.unified else "memory.limit_in_bytes"
        for line in lines(group.folder / name):
            if line.isdigit():
                yield MemoryLimit(int(line), f"the control group's {name}")


def calm_collector() -> None:
    """What start-up made stays for good, and what follows makes hardly a cycle: look for garbage cycles rarely.

    The collector took 4 % of an apply's processor time with Python's thresholds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


class IdleMemory:
    """Says once that nothing has been lent for five seconds and memory is still held."""

    def __init__(self) -> None:
        self._idle_since: float | None = None

    def due(self, lent: int, held: int, now: float) -> bool:
        """Whether to release idle buffers. *lent*: bytes in use, *held*: those and the idle ones."""
        if lent or not held:
            self._idle_since = None
            return False
        if self._idle_since is None:
            self._idle_since = now
        return now - self._idle_since >= IDLE_SECONDS
