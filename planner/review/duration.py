"""How long `apply` will take, and what bounds it.

Per tier the longest of four, for tiers follow one another:
waiting      units of work x latency of a read and a write / requests at once, of all processes
interpreter  units x processor time of one / processes: whatever Python does between two requests is done one at a time
processor    that, the ledger's part, moving the bytes and the ends on this machine / the cores that are to be had
bandwidth    bytes / throughput
Before anything is deleted, every object is read at both ends, which takes as long again as to copy it.
A declared rate of requests holds at each endpoint. In front of it all stand starting the processes and the canary with
its gate. The machine is taken to have nothing else to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from planner.review.calibration import MS, Calibration, PlanningMachine
from planner.review.workload import TierWork
from schema.limits import Limits
from schema.plan import DELETES
from schema.tiers import MIB

CONCURRENCY = 64
MOST_CONCURRENT = 512
FIRST_CONCURRENT = 16
LATENCY_MS = {"tiny": 90, "small": 140, "parts": 400}
"""GET and PUT of one object, or of one part, end to end, where no probe measured them."""
THROUGHPUT_MIB = 300
"""Per second, of a network that nobody measured."""
REFERENCE = PlanningMachine("", 1, 0, md5_us=1_600)
"""What figures are made of where no machine was timed: one process on an idle machine."""
OBJECT_REQUESTS = 6
"""A unit of work costs its process as much processor time as so many small requests, where answers come at once."""
FAR_REQUESTS = 15
"""And where they come after FAR_MS: hundreds of threads wait, and each finds the processor's caches cold."""
FAR_MS = 100
TLS_REQUESTS = 1
"""An end that speaks TLS costs so many more; and its bytes twice as much, to be decrypted or encrypted."""
LEDGER_PER_CENT = 25
"""Of a small request's processor time: what a unit costs PostgreSQL, with its share of a batch's commit."""
END_PER_CENT = 50
"""And an end that is on the same machine."""
BUSY_PER_CENT = 90
"""Of the processors' time is used: threads also wait for one another."""
CANARY_ROUNDS = 10
"""Round trips, one after the other, until the canary is copied and read back."""
GATE_MS = 500
"""The canary is read back, its gate opens, and the end of the run is noticed."""
_SHORT = ("tiny", "markers", DELETES)


class Duration(NamedTuple):
    """Of one apply."""

    seconds: int
    bound_by: str
    processes: int
    processor_ms: int
    """Of all processes together, without the ledger's; of their start, too."""


class Rates(NamedTuple):
    """What a run of a plan meets."""

    measured: Calibration
    """Of all sections together."""
    machine: PlanningMachine | None
    """None: none was timed."""
    requests: int
    """Of the endpoint asked most during apply: each has its own limit."""
    parts_hashed: bool = False
    """A destination enforces no CRC of parts, so they are proven by their MD5."""
    throttled_seconds: int = 0
    """What its requests take at the endpoint that held an earlier run back, at the rate that it bore."""

    def by_requests(self, limits: Limits) -> dict[str, int]:
        """Microseconds by each bound on requests."""
        limited = int(self.requests * 1000 * MS / limits.requests_per_second) if limits.requests_per_second else 0
        return {"requests_per_second": limited, "throttling": self.throttled_seconds * 1000 * MS}


def duration(tiers: Mapping[str, TierWork], limits: Limits, rates: Rates) -> Duration:
    """Of a plan of *tiers*."""
    machine = rates.machine or REFERENCE
    processes = machine.processes(sum(tier.tally.objects for tier in tiers.values()), limits) if rates.machine else 1
    if not tiers:
        return Duration(0, "nothing to do", processes, 0)
    crew = _Crew(limits, rates, machine, processes, DELETES in tiers)
    spent: dict[str, int] = {}
    total = 0
    for name, tier in tiers.items():
        takes = crew.takes(name, tier)
        bound = max(takes, key=takes.__getitem__)
        spent[bound] = spent.get(bound, 0) + takes[bound]
        total += takes[bound]
    bound_by = max(spent, key=spent.__getitem__)
    for bound, longest in rates.by_requests(limits).items():
        if longest > total:
            total, bound_by = longest, bound
    total += crew.start()
    return Duration(
        -(-total // (1000 * MS)),
        bound_by,
        processes,
        sum(crew.spends(name, tier) for name, tier in tiers.items()) // MS + crew.starts() // MS,
    )


def unit_us(machine: PlanningMachine, latency_us: int, encrypted: int) -> int:
    """Processor time of an object in one piece, or of a part, but for its bytes; *encrypted*: ends that speak TLS."""
    farness = min(latency_us, FAR_MS * MS)
    more = (FAR_REQUESTS - OBJECT_REQUESTS) * farness // (FAR_MS * MS)
    return (OBJECT_REQUESTS + more + encrypted * TLS_REQUESTS) * machine.request_us


class _Work(NamedTuple):
    """What is to be done for one tier, the proof before deletes included."""

    whole: int
    """Objects in one piece."""
    parts: int
    windows: int
    """Through which some of them are read, one after the other."""
    moved: int
    """Bytes that pass each end: of what is streamed, and of everything when it is proven."""
    hashed: bool
    """It travels in parts that have no other proof than MD5."""

    @property
    def units(self) -> int:
        """Objects in one piece, and parts."""
        return self.whole + self.parts


class _Crew(NamedTuple):
    """The processes of one apply; times in microseconds."""

    limits: Limits
    rates: Rates
    machine: PlanningMachine
    processes: int
    deleting: bool
    """Everything else is proven first."""

    @property
    def measured(self) -> Calibration:
        """What the probe found."""
        return self.rates.measured

    def takes(self, name: str, tier: TierWork) -> dict[str, int]:
        """How long tier *name* takes by each bound."""
        work = self._work(name, tier)
        near, parted = self._latency(name), self._latency("parts")
        return {
            "latency": self._waiting(work.whole + work.windows, near) + self._waiting(work.parts, parted),
            "bandwidth": work.moved * 1000 * MS // self._throughput(),
            "processor": self._processor(work) if self.measured.known else 0,
        }

    def spends(self, name: str, tier: TierWork) -> int:
        """Processor time for tier *name*."""
        work = self._work(name, tier)
        return self._handling(work) + self._moving(work)

    def starts(self) -> int:
        """Processor time for starting the processes, and the one that watches over several."""
        return self.machine.start_us + (self.machine.forked_us * self.processes if self.processes > 1 else 0)

    def start(self) -> int:
        """From the command to the canary's gate, and from the last object to the command's end."""
        if not self.measured.known:
            return 0
        one = self.machine.start_us
        forked = self.machine.forked_us * self.processes // min(self.processes, self.machine.cores)
        others = forked if self.processes > 1 else 0
        return one + others + GATE_MS * MS + CANARY_ROUNDS * self._latency("small") + self._slow_start()

    def _work(self, name: str, tier: TierWork) -> _Work:
        rounds = 2 if self.deleting and name != DELETES else 1
        moved = tier.tally.bytes - tier.copied.bytes + (tier.tally.bytes if self.deleting else 0)
        return _Work(
            rounds * tier.whole,
            rounds * (tier.parts.parts + tier.copied_parts.parts),
            rounds * tier.parts.windows,
            0 if name == DELETES else moved,
            hashed=self.rates.parts_hashed and tier.parts.objects > 0,
        )

    def _latency(self, name: str) -> int:
        """Microseconds from the first request of a unit to its last answer."""
        if self.measured.latency_us is None:
            return LATENCY_MS["tiny" if name in _SHORT else "small" if name != "parts" else name] * MS
        return self.measured.latency_us

    def _waiting(self, units: int, latency: int) -> int:
        return units * latency // (self._concurrency(latency) * self.processes)

    def _concurrency(self, latency: int) -> int:
        """How many units are under way at once in a process: as declared, else as many as keep a processor busy."""
        if self.limits.workers:
            return self.limits.workers
        useful = -(-latency // self._unit()) if self.measured.known else CONCURRENCY
        most = min(max(useful, CONCURRENCY), MOST_CONCURRENT)
        at_once = self.limits.concurrent_requests
        return max(1, min(most, int(at_once) // self.processes)) if at_once else most

    def _unit(self) -> int:
        return unit_us(self.machine, self._latency("small"), self.measured.encrypted)

    def _handling(self, work: _Work) -> int:
        """What the interpreters have to do."""
        return work.units * self._unit()

    def _moving(self, work: _Work) -> int:
        """Processor time for the bytes: received, sent, and hashed."""
        hashing = self.machine.md5_us if work.hashed else 0
        return work.moved * ((2 + self.measured.encrypted) * self.machine.mib_us + hashing) // MIB

    def _processor(self, work: _Work) -> int:
        """By the interpreters of all processes, or by the cores, which the ledger and ends of this machine use, too."""
        machine, here = self.machine, self.measured.here
        handled, moved = self._handling(work), self._moving(work)
        beside = work.units * (LEDGER_PER_CENT + here * END_PER_CENT) * machine.request_us // 100
        ends = work.moved * (here + min(here, self.measured.encrypted)) * machine.mib_us // MIB
        busiest = max(handled // self.processes, (handled + moved + beside + ends) // machine.cores)
        return busiest * 100 // BUSY_PER_CENT

    def _throughput(self) -> int:
        """Bytes a second."""
        network = THROUGHPUT_MIB * MIB if self.measured.here < 2 else 1000 * THROUGHPUT_MIB * MIB
        return int(min(network, self.limits.bandwidth) if self.limits.bandwidth else network)

    def _slow_start(self) -> int:
        """What is lost while requests at once double, each doubling taking two round trips."""
        if self.limits.workers:
            return 0
        latency = self._latency("small")
        doublings = (self._concurrency(latency) // FIRST_CONCURRENT).bit_length() - 1
        return 2 * latency * max(0, doublings - 1)
