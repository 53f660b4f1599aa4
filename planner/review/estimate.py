"""What a plan will take: requests, time, memory, ledger, money. Every input is printed under `assumptions`.

Time, per tier: the longer of objects (or parts) x latency / concurrency and bytes / throughput; tiers are added up.
Where the probe measured latencies, they take the place of the constants, and the processor's time for each request is
reckoned with as well. A limit of requests a second holds at each endpoint.
`low` is 7/10 of it and `high` twice it; hours in which the calendar is closed come on top (planner.review.week). What
the endpoint copies moves no bytes through this machine and holds none in memory. Memory of a worker process:
concurrency (or the number of units of work, where that is less) x the most one unit holds (schema.tiers.held_bytes: a
whole object, a part, or a window of it), but never more than the byte budget, and 150 MiB for the program itself. No
floats anywhere: figures with decimals are quoted text, so the plan has one spelling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from planner.review.calibration import UNMEASURED, Calibration, measured_document
from planner.review.cost import ASSUMPTIONS, SectionWork, cost, restore_assumptions
from planner.review.requests import LISTING_PASSES, requests_of
from planner.review.week import WeekHours
from planner.review.workload import TierWork
from schema.declaration import Declaration
from schema.formats.quantities import duration_text, size_text
from schema.limits import Limits
from schema.plan import DELETES, Tally
from schema.tiers import MIB, WHOLE_MAX, held_bytes

BASE_MEMORY = 150 * MIB
"""What a worker process needs besides object buffers."""
LEDGER_BYTES_PER_ROW = 125
"""Measured on PostgreSQL: 125 MB a million completions."""
PROCESSES = 1
CONCURRENCY = 64
LATENCY_MS = {"tiny": 90, "small": 140, "parts": 400}
"""GET and PUT of one object, or of one part, end to end."""
THROUGHPUT_MIB = 300
"""Per second and process."""
PROCESSOR_US = {"whole": 280, "part": 3000}
"""Microseconds of one small object, or of one part, without its bytes: 1,000,000 x 1 KB were measured at 277 s."""
MOST_CONCURRENT = 512
START_MS = 1500
"""From the command to the canary's gate."""
_SHORT = ("tiny", "markers", DELETES)


def estimate(
    tiers: Mapping[str, TierWork], work: Sequence[SectionWork], declaration: Declaration, *, budget: int
) -> dict[str, Any]:
    """The plan's `estimate`."""
    concurrency = declaration.limits.workers or CONCURRENCY
    requests = requests_of(work, declaration)
    busiest = max(requests.by_endpoint.values(), default=0)
    seconds, bound_by = _seconds(tiers, _measured(work), declaration.limits, requests=busiest)
    largest = max(item.largest.size for item in work)
    total = sum(tier.tally.objects for tier in tiers.values())
    unit = _largest_unit(tiers, largest, budget)
    week = WeekHours.of(declaration.limits)
    low, high = week.at_best(seconds * 7 // 10), week.at_worst(seconds * 2)
    seconds = week.at_best(seconds)
    units = sum(tier.whole + tier.parts.parts for name, tier in tiers.items() if name != DELETES)
    memory = min(budget, min(concurrency, units) * unit) + BASE_MEMORY
    document: dict[str, Any] = {
        "duration": {
            "expected": duration_text(seconds),
            "low": duration_text(low),
            "high": duration_text(high),
            "bound_by": bound_by,
        },
        "requests": requests.by_kind,
        "memory_per_worker": {
            "expected": size_text(memory),
            "limit": size_text(budget + BASE_MEMORY),
        },
        "ledger": {"rows": total, "disk": size_text(total * LEDGER_BYTES_PER_ROW)},
        "figures": {
            "seconds": seconds,
            "seconds_low": low,
            "seconds_high": high,
            "memory_per_worker_bytes": memory,
            "ledger_bytes": total * LEDGER_BYTES_PER_ROW,
        },
        "assumptions": {
            "worker_processes": PROCESSES,
            "concurrency_per_worker": concurrency,
            "mib_per_second_per_worker": THROUGHPUT_MIB,
            "listing_passes": LISTING_PASSES,
            "ledger_bytes_per_row": LEDGER_BYTES_PER_ROW,
            "base_memory": size_text(BASE_MEMORY),
            "largest_unit_held": size_text(unit),
            "not_counted": "retries, HEAD of verify, and tags (but where each object is asked for them)",
            **_assumed_latencies(work),
            **week.assumed,
        },
    }
    charged = cost(work, requests.by_kind, declaration)
    if charged is not None:
        document["cost_usd"] = charged
        document["assumptions"] |= ASSUMPTIONS | restore_assumptions(work, declaration.policy)
    if "restore" in requests.by_kind:
        document["assumptions"]["restore_wait"] = (
            "not in the duration: minutes to 48 hours by tier and class; the archived stage waits for it"
        )
    return document


def _assumed_latencies(work: Sequence[SectionWork]) -> dict[str, Any]:
    if not _measured(work).known:
        return {
            "latency_ms": dict(LATENCY_MS),
            "source": "constants of this build; no probe of the network was made",
        }
    return {
        "measured": measured_document({item.section.id: item.calibration for item in work}),
        "processor_us": dict(PROCESSOR_US),
        "start_ms": START_MS,
        "source": "latencies are the probe's; the rest are constants of this build",
    }


class Pace(NamedTuple):
    """What one unit of work takes: microseconds from its first request to its last answer, and of processor."""

    latency: int
    processor: int


def _pace(name: str, measured: Calibration) -> Pace:
    """Of a whole object of tier *name*."""
    if measured.read_ms is None or measured.write_ms is None:
        return Pace(LATENCY_MS["tiny" if name in _SHORT else "small"] * 1000, 0)
    return Pace((measured.read_ms + measured.write_ms) * 1000, PROCESSOR_US["whole"])


def _pace_of_parts(measured: Calibration) -> Pace:
    if measured.read_ms is None or measured.write_ms is None:
        return Pace(LATENCY_MS["parts"] * 1000, 0)
    return Pace((measured.read_ms + measured.write_ms) * 1000, PROCESSOR_US["part"])


def _concurrency(limits: Limits, pace: Pace) -> int:
    """How many units are under way at once: as declared, else as many as keep a processor busy."""
    if limits.workers:
        return limits.workers
    useful = -(-pace.latency // pace.processor) if pace.processor else CONCURRENCY
    most = min(max(useful, CONCURRENCY), MOST_CONCURRENT)
    return int(min(most, limits.concurrent_requests)) if limits.concurrent_requests else most


def _seconds(tiers: Mapping[str, TierWork], measured: Calibration, limits: Limits, *, requests: int) -> tuple[int, str]:
    """How long it takes, and what bounds it. *requests*: of the endpoint asked most, for each has its own limit."""
    rate = THROUGHPUT_MIB * MIB * PROCESSES
    rate = min(rate, limits.bandwidth) if limits.bandwidth else rate
    waiting = moving = total = 0
    for name, tier in tiers.items():
        parts = tier.parts.parts + tier.copied_parts.parts
        by_latency = _milliseconds(tier.whole, _pace(name, measured), limits)
        by_latency += _milliseconds(parts, _pace_of_parts(measured), limits)
        by_bytes = (tier.tally.bytes - tier.copied.bytes) * 1000 // rate if name != DELETES else 0
        waiting += by_latency
        moving += by_bytes
        total += max(by_latency, by_bytes)
    bound_by = "bandwidth" if moving > waiting else "latency"
    if limits.requests_per_second:
        by_requests = int(requests * 1000 / limits.requests_per_second)
        if by_requests > total:
            total, bound_by = by_requests, "requests_per_second"
    total += START_MS if tiers and measured.known else 0
    return -(-total // 1000), bound_by if tiers else "nothing to do"


def _milliseconds(units: int, pace: Pace, limits: Limits) -> int:
    """Of so many units: many at once, but the processor does one after the other."""
    return max(units * pace.latency // _concurrency(limits, pace), units * pace.processor) // (1000 * PROCESSES)


def _measured(work: Sequence[SectionWork]) -> Calibration:
    """Of all sections together, by what each moves; UNMEASURED when one that moves anything was not measured."""
    moving = [(item.section.summary.get("transfer", Tally()).objects, item.calibration) for item in work]
    moving = [(objects, one) for objects, one in moving if objects]
    total = sum(objects for objects, _ in moving)
    if not moving or not all(one.known for _, one in moving):
        return UNMEASURED
    return Calibration(
        sum(objects * (one.read_ms or 0) for objects, one in moving) // total,
        sum(objects * (one.write_ms or 0) for objects, one in moving) // total,
    )


def _largest_unit(tiers: Mapping[str, TierWork], largest: int, budget: int) -> int:
    """The most bytes one unit of work of this plan holds."""
    part = max((tier.parts.largest_part for tier in tiers.values()), default=0)
    whole = min(max(largest, 0), WHOLE_MAX)
    return max(held_bytes(whole, 0, budget), held_bytes(part, part, budget) if part else 0)
