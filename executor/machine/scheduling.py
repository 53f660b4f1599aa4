"""How the kernel schedules an apply process."""

from __future__ import annotations

import os


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
