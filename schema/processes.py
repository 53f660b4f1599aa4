"""How many processes `apply` starts on one machine: asked by `apply`, and foretold by the plan's estimate."""

from __future__ import annotations

from schema.limits import Limits

MOST = 64
OBJECTS_EACH = 1_500
"""A forked process takes 0.15 s of processor time to start, as much as 100 objects; fewer are not worth one."""
MEMORY_EACH = 512 * 1024 * 1024
"""Of the limit on this machine or container: 85 MiB to begin with, and buffers."""


def processes_for(objects: int, limits: Limits, *, cores: int, memory: int) -> int:
    """What `--processes auto` means: one for each core, where there are objects and bytes of *memory* enough for it.

    One where the declaration bounds what a process takes: two would take twice as much. A few large objects keep all
    cores busy from one process, for their bytes pass without the interpreter's lock; many small ones do not.
    """
    if limits.memory is not None or limits.workers is not None:
        return 1
    return max(1, min(MOST, cores, objects // OBJECTS_EACH, memory // MEMORY_EACH))
