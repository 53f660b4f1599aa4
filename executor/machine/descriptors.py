"""How many files and connections this process may have open, and how many workers those suffice for."""

from __future__ import annotations

import os
import resource
from typing import NamedTuple

RESERVED = 40
"""Reserved for everything besides the workers: the ledger's connections, manifests, listings, probes, name look-ups."""
UNKNOWN_USE = 64
"""Assumed to be open where the system does not say (no /proc)."""


class Descriptors(NamedTuple):
    """What is available and what is in use."""

    limit: int
    used: int

    @property
    def free(self) -> int:
        """For connections of workers."""
        return max(0, self.limit - self.used - RESERVED)

    def workers(self, each: int) -> int:
        """How many workers of *each* descriptors there is room for; at least one."""
        return max(1, self.free // each)

    @property
    def why(self) -> str:
        """What `status` says when this limits the workers."""
        return f"bound by open files (ulimit -n {self.limit})"


def raise_limit() -> None:
    """Let this process open as many as its hard limit allows, instead of the soft one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            return  # macOS refuses "unlimited"; the soft limit is what there is


def descriptors() -> Descriptors:
    """Of this process, now."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 1_000_000 if soft == resource.RLIM_INFINITY else soft
    try:
        with os.scandir("/proc/self/fd") as entries:
            return Descriptors(limit, sum(1 for _ in entries))
    except OSError:
        return Descriptors(limit, UNKNOWN_USE)
