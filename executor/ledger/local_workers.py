"""Which processes of this machine still live: a worker that was killed cannot say so itself.

A pid means something only within one boot and one pid namespace (a container), and a pid may be used again; so a
process is known by its place, its pid and the moment it was started. All three come from Linux's /proc; where there
is none, nobody is ever taken for dead and leases end by their time.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
_STARTED = 19
"""Of the fields after the program's name in /proc/PID/stat, counted from 0: field 22, clock ticks since boot."""


class ProcessPlace(NamedTuple):
    """A process, recognisable to others on the same machine."""

    place: str
    """Boot id and pid namespace; '' where they cannot be read."""
    pid: int
    started: int
    """Clock ticks since boot; 0 where they cannot be read."""


def this_process(pid: int, proc: Path = PROC) -> ProcessPlace:
    """The place of the own process, whose number is *pid*."""
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        namespace = (proc / str(pid) / "ns/pid").readlink()
    except OSError:
        return ProcessPlace("", pid, 0)
    return ProcessPlace(f"{boot} {namespace}", pid, started(pid, proc) or 0)


def started(pid: int, proc: Path = PROC) -> int | None:
    """When process *pid* of this place was started, in clock ticks since boot; None when it has ended.

    A zombie has ended: it writes no more, it only was not yet waited for.
    """
    try:
        # The program's name stands in parentheses and may hold spaces and parentheses itself.
        fields = (proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[_STARTED])


def is_dead(other: ProcessPlace, here: ProcessPlace, proc: Path = PROC) -> bool:
    """Whether *other* is known to have ended: it ran in the same place as *here*, and is no more."""
    if not here.place or other.place != here.place or not other.started:
        return False
    return started(other.pid, proc) != other.started
