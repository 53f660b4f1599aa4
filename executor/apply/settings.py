"""How one process takes part in a run."""

from __future__ import annotations

from dataclasses import dataclass

from executor.ledger.values import ProcessPlace


@dataclass(frozen=True, slots=True)
class ApplySettings:
    """How this process takes part."""

    who: str
    host: str
    pid: int
    tool_version: str
    budget: int
    """Bytes of object buffers."""
    only: frozenset[str] | None = None
    """Ids of stages or batches; None: all."""
    leave_when_idle: bool = False
    """End as soon as nothing can be claimed, even while others still work: for workers that an autoscaler adds."""
    lease_seconds: float = 30.0
    """Chunks whose lease was not renewed for this long may be claimed by others."""
    grace_seconds: float = 60.0
    """How long a drain waits for objects in flight."""
    restore_poll_seconds: float = 900.0
    """How long an object that is being restored from an archive is left alone before it is looked at again."""
    process: ProcessPlace | None = None
    """Lets other processes on this machine detect our death and release our leases at once."""

    @property
    def place(self) -> ProcessPlace:
        """`process`, or a folder in which no process is ever considered dead."""
        return self.process or ProcessPlace("", self.pid, 0)
