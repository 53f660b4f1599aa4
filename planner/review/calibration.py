"""What a plan's duration is estimated from: the requests of the probe, and the machine that planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from schema.errors import WhichSide
from schema.flow.samples import SIDES, Activity, FlowCounts, FlowPoint
from schema.limits import Limits
from schema.processes import processes_for

MS = 1000
"""Microseconds."""
TELLING_REQUESTS = 1_000
HELD_SHARE = 0.2
"""Of the threads' time in a step: so much of it held back by throttling, and the endpoint sets the rate."""
REQUEST_PER_MIL = 52
"""A small request takes that part of the MD5 of a MiB: 84 of 1,620 us, by what 60,000 objects of 1 KB took."""
MIB_PER_MIL = 300
"""And a MiB received or sent, while all cores do the like."""
START = 460
"""And starting a process as much as so many: 0.75 s."""
FORKED = 100
"""And one that is forked from it: 0.15 s."""


class Calibration(NamedTuple):
    """Microseconds of one small request of a pair, the median of those the probe sent. None: none was sent."""

    read_us: int | None = None
    """GET or HEAD at the source."""
    write_us: int | None = None
    """PUT at the destination."""
    here: int = 0
    """How many of the two ends are on the machine that planned, and take the time of its processors, too."""
    encrypted: int = 0
    """How many of the two ends speak TLS."""

    @property
    def latency_us(self) -> int | None:
        """A read and the write after it. None: one of them was not measured."""
        return None if self.read_us is None or self.write_us is None else self.read_us + self.write_us

    @property
    def known(self) -> bool:
        """Both were measured."""
        return self.latency_us is not None


UNMEASURED = Calibration()


class PlanningMachine(NamedTuple):
    """The machine that planned, which is taken for the one that will apply."""

    host: str
    cores: int
    memory: int
    """Bytes a process may use."""
    md5_us: int
    """Processor time of the MD5 of a MiB, timed there: the yardstick of everything else."""

    @property
    def request_us(self) -> int:
        """Processor time of a small request."""
        return max(1, self.md5_us * REQUEST_PER_MIL // 1000)

    @property
    def mib_us(self) -> int:
        """Processor time of a MiB received, or sent."""
        return max(1, self.md5_us * MIB_PER_MIL // 1000)

    @property
    def start_us(self) -> int:
        """Processor time of starting a process."""
        return self.md5_us * START

    @property
    def forked_us(self) -> int:
        """Processor time of a process that shares what another has loaded, until it begins."""
        return self.md5_us * FORKED

    def processes(self, objects: int, limits: Limits) -> int:
        """How many `apply` starts there."""
        return processes_for(objects, limits, cores=self.cores, memory=self.memory)


class Borne(NamedTuple):
    """What an earlier run of the same migration got from an endpoint that refused requests."""

    run: int
    side: WhichSide
    """The one that refused most."""
    requests_per_second: int
    """Of that side, not refused."""

    def document(self) -> dict[str, Any]:
        """As the plan's assumptions hold it."""
        return {**self._asdict(), "side": self.side.value}


class Calibrated(NamedTuple):
    """All that was measured for a plan."""

    machine: PlanningMachine | None
    """None: nothing was timed."""
    pairs: Mapping[str, Calibration]
    """By section."""
    borne: Borne | None = None
    """None: there was no such run, or it was refused next to nothing."""


NOT_CALIBRATED = Calibrated(None, {})


def borne_in(run: int, history: Sequence[FlowPoint]) -> Borne | None:
    """What the endpoint that refused most gave *run* while that held its threads back."""
    side = max(SIDES, key=lambda one: sum(point.counts.of(one).throttled for point in history))
    if not any(point.counts.of(side).throttled for point in history):
        return None
    held = [point for point in history if _held_back(point.counts)]
    accepted = sum(point.counts.of(side).total - point.counts.of(side).throttled for point in held)
    # The last step of a run is as long as its processes lived.
    seconds = sum(min(point.seconds, point.counts.seconds) for point in held)
    return Borne(run, side, max(1, round(accepted / seconds))) if seconds else None


def tells(history: Sequence[FlowPoint]) -> bool:
    """Whether a run asked enough to show what its endpoints bear."""
    asked = sum(point.counts.of(side).total for point in history for side in SIDES)
    return asked >= TELLING_REQUESTS or any(_held_back(point.counts) for point in history)


def _held_back(counts: FlowCounts) -> bool:
    return counts.threads.get(Activity.THROTTLING, 0.0) > HELD_SHARE * sum(counts.threads.values())


def measured_document(pairs: Mapping[str, Calibration]) -> dict[str, dict[str, int]]:
    """*pairs* as the plan's assumptions hold them: only what is known."""
    return {
        name: {
            "read_us": one.read_us,
            "write_us": one.write_us,
            "ends_on_this_machine": one.here,
            "ends_over_tls": one.encrypted,
        }
        for name, one in pairs.items()
        if one.read_us is not None and one.write_us is not None
    }


def measured_in(estimate: Mapping[str, Any]) -> Calibrated:
    """The measurements behind an earlier plan's estimate; none where it was made of constants, or by an earlier
    version.
    """
    assumed = estimate.get("assumptions", {})
    machine, found, borne = assumed.get("machine"), assumed.get("measured", {}), assumed.get("borne")
    fields: Sequence[str] = PlanningMachine._fields
    return Calibrated(
        PlanningMachine(*(machine[name] for name in fields)) if machine and set(fields) <= set(machine) else None,
        {
            name: Calibration(
                int(one["read_us"]),
                int(one["write_us"]),
                int(one["ends_on_this_machine"]),
                int(one.get("ends_over_tls", 0)),
            )
            for name, one in found.items()
            if "read_us" in one
        },
        Borne(borne["run"], WhichSide(borne["side"]), borne["requests_per_second"]) if borne else None,
    )
