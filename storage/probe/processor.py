"""How fast this machine's processor is, timed in some ten milliseconds.

The yardstick is MD5, for no other figure was steady: it is one long chain of dependent instructions, so neither what
the other half of a core does nor the state of the caches changes it. Requests over the loopback interface and
signatures, timed on one idle machine, differed by factors of three and two from one time to the next, MD5 by 3 %.
"""

from __future__ import annotations

import hashlib
import time

REPEATS = 3
SIZE = 2 << 20
"""Bytes hashed at a time."""
_MIB = 1 << 20


def md5_us() -> int:
    """Microseconds of processor time for the MD5 of a MiB."""
    return max(1, round(min(_hashed() for _ in range(REPEATS)) * 1e6 * _MIB / SIZE))


def _hashed() -> float:
    """Seconds of processor time for the MD5 of SIZE bytes."""
    body = bytes(SIZE)
    began = time.thread_time()
    hashlib.md5(body, usedforsecurity=False)
    return time.thread_time() - began
