"""Processor time: whether it is scarce, and how the kernel hands it to an apply process.

Where it is scarce, more threads only wait for one another. Two signals: the machine has hardly an idle core
(/proc/stat, Linux), or this process alone keeps one core busy, which is all that Python code can use at once.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from executor.machine.control_groups import groups, lines

IDLE_SHARE = 0.05
"""Of all cores' time."""
PROCESS_SHARE = 0.95
"""Of one core's time."""


class ProcessorLoad:
    """Looks back to the last call. Where /proc/stat cannot be read the process's own time decides alone."""

    def __init__(
        self,
        stat: Path = Path("/proc/stat"),
        process_seconds: Callable[[], float] = time.process_time,
        clock: Callable[[], float] = time.monotonic,
        *,
        processes: int = 1,
    ) -> None:
        """*processes*: so many share the machine's cores with one another."""
        self._processes = processes
        self._stat = stat
        self._process_seconds = process_seconds
        self._clock = clock
        self._last = self._read()

    def saturated(self) -> bool:
        """True when processor time was scarce since the last call."""
        last, self._last = self._last, self._read()
        now, used, idle, total = (one - other for one, other in zip(self._last, last, strict=True))
        busy_alone = now > 0 and used >= PROCESS_SHARE * now
        return busy_alone or (total > 0 and idle < IDLE_SHARE * total)

    @property
    def cores(self) -> float:
        """How many cores are this process's share."""
        return usable_cores() / self._processes

    def spent(self) -> float:
        """Seconds of processor time this process has used so far."""
        return self._process_seconds()

    def _read(self) -> tuple[float, float, float, float]:
        idle = total = 0.0
        try:
            ticks = [float(tick) for tick in self._stat.read_text().split("\n", 1)[0].split()[1:9]]
            idle, total = ticks[3] + ticks[4], sum(ticks)
        except (OSError, ValueError, IndexError):
            pass
        return self._clock(), self._process_seconds(), idle, total


def waited_seconds(tasks: Path = Path("/proc/self/task")) -> float:
    """Thread-seconds for which this process's threads were ready but had no processor; 0.0 where the system does not
    count them.
    """
    total = 0
    try:
        for task in tasks.iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[1])
            except (OSError, ValueError, IndexError):
                continue  # the thread has ended
    except OSError:
        return 0.0
    return total / 1e9


def schedule_as_batch() -> bool:
    """Ask for SCHED_BATCH (sched(7)), which threads started later inherit; True when it holds afterwards.

    Each answer wakes a worker. Under the usual policy it interrupts whatever runs at that moment, another worker or a
    neighbour on a busy machine, only to wait for the interpreter. As batch work it takes its turn: the same share of
    the processors with fewer switches. A policy that somebody chose for this process stays.
    """
    if not hasattr(os, "SCHED_BATCH"):
        return False
    try:
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        return os.sched_getscheduler(0) == os.SCHED_BATCH
    except OSError:
        return False


def usable_cores(root: Path = Path("/"), cores: int | None = None) -> int:
    """Cores this process may use, at least 1: of the machine (its affinity), and of its control groups' quotas.

    A container's limit of 1500m is a quota (cpu.max, v2; cpu.cfs_quota_us, v1), not an affinity: os.cpu_count() would
    start a process for each core of the node. A fraction counts as a whole core. *cores*: as measured, unless given.
    """
    if cores is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """In cores: '150000 100000' means one and a half; 'max ...' and -1 mean no quota."""
    for group in groups(root, "cpu"):
        names = ("cpu.max",) if group.unified else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        words = " ".join(line for name in names for line in lines(group.folder / name)).split()
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
            yield int(words[0]) / int(words[1])
