"""What a plan's duration is estimated from: the requests of the probe, and the machine that planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from schema.limits import Limits
from schema.processes import processes_for

MS = 1000
"""Microseconds."""


class Calibration(NamedTuple):
    """Microseconds of one small request of a pair, the median of those the probe sent. None: none was sent."""

    read_us: int | None = None
    """GET or HEAD at the source."""
    write_us: int | None = None
    """PUT at the destination."""
    here: int = 0
    """How many of the two ends are on the machine that planned, and take the time of its processors, too."""

    @property
    def known(self) -> bool:
        """Both were measured."""
        return self.read_us is not None and self.write_us is not None


UNMEASURED = Calibration()


class PlanningMachine(NamedTuple):
    """The machine that planned, which is taken for the one that will apply."""

    host: str
    cores: int
    memory: int
    """Bytes a process may use."""
    request_us: int
    """Processor time of a small request, timed there."""
    mib_us: int
    """Processor time of a MiB received, timed there."""
    md5_us: int
    """Processor time of the MD5 of a MiB, timed there."""

    def processes(self, objects: int, limits: Limits) -> int:
        """How many `apply` starts there."""
        return processes_for(objects, limits, cores=self.cores, memory=self.memory)


class Calibrated(NamedTuple):
    """All that was measured for a plan."""

    machine: PlanningMachine | None
    """None: nothing was timed."""
    pairs: Mapping[str, Calibration]
    """By section."""


def measured_document(pairs: Mapping[str, Calibration]) -> dict[str, dict[str, int]]:
    """*pairs* as the plan's assumptions hold them: only what is known."""
    return {
        name: {"read_us": one.read_us, "write_us": one.write_us, "ends_on_this_machine": one.here}
        for name, one in pairs.items()
        if one.read_us is not None and one.write_us is not None
    }


def measured_in(estimate: Mapping[str, Any]) -> Calibrated:
    """The measurements behind an earlier plan's estimate; none where it was made of constants, or by an earlier
    version.
    """
    assumed = estimate.get("assumptions", {})
    machine, found = assumed.get("machine"), assumed.get("measured", {})
    fields: Sequence[str] = PlanningMachine._fields
    return Calibrated(
        PlanningMachine(*(machine[name] for name in fields)) if machine and set(fields) <= set(machine) else None,
        {
            name: Calibration(int(one["read_us"]), int(one["write_us"]), int(one["ends_on_this_machine"]))
            for name, one in found.items()
            if "read_us" in one
        },
    )
