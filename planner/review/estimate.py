"""What a plan will take: requests, time, memory, ledger, money. Every input is printed under `assumptions`.

Time: planner.review.duration. `low` is 7/10 of it and `high` twice it; hours in which the calendar is closed come on
top (planner.review.week). What the endpoint copies moves no bytes through this machine and holds none in memory. Memory
of a worker process: concurrency (or the number of units of work, where that is less) x the most one unit holds
(schema.tiers.held_bytes: a whole object, a part, or a window of it), but never more than the byte budget, and 150 MiB
for the program itself. No floats anywhere: figures with decimals are quoted text, so the plan has one spelling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from planner.review.calibration import (
    NOT_CALIBRATED,
    UNMEASURED,
    Borne,
    Calibrated,
    Calibration,
    measured_document,
)
from planner.review.cost import ASSUMPTIONS, SectionWork, cost, restore_assumptions
from planner.review.duration import (
    CONCURRENCY,
    LATENCY_MS,
    REFERENCE,
    THROUGHPUT_MIB,
    Rates,
    duration,
    unit_us,
)
from planner.review.requests import LISTING_PASSES, Requests, requests_of
from planner.review.week import WeekHours
from planner.review.workload import TierWork
from schema.checksums import PARTS_FACT
from schema.declaration import Declaration
from schema.ends import endpoint_of
from schema.errors import WhichSide
from schema.formats.quantities import duration_text, size_text
from schema.plan import DELETES, Tally
from schema.tiers import MIB, WHOLE_MAX, held_bytes

BASE_MEMORY = 150 * MIB
"""What a worker process needs besides object buffers."""
LEDGER_BYTES_PER_ROW = 125
"""Measured on PostgreSQL: 125 MB a million completions."""
ALWAYS_ASSUMED = {
    "listing_passes": LISTING_PASSES,
    "ledger_bytes_per_row": LEDGER_BYTES_PER_ROW,
    "base_memory": size_text(BASE_MEMORY),
    "not_counted": "retries, HEAD of verify, and tags (but where each object is asked for them)",
}


def estimate(
    tiers: Mapping[str, TierWork],
    work: Sequence[SectionWork],
    declaration: Declaration,
    *,
    budget: int,
    measured: Calibrated = NOT_CALIBRATED,
) -> dict[str, Any]:
    """The plan's `estimate`. What *measured* says of pairs stands in *work*, too, and is taken from there."""
    concurrency = declaration.limits.workers or CONCURRENCY
    requests = requests_of(work, declaration)
    takes = duration(tiers, declaration.limits, _rates(work, measured, requests))
    seconds = takes.seconds
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
            "bound_by": takes.bound_by,
            "processes": takes.processes,
        },
        "requests": requests.by_kind,
        "memory_per_worker": {"expected": size_text(memory), "limit": size_text(budget + BASE_MEMORY)},
        "ledger": {"rows": total, "disk": size_text(total * LEDGER_BYTES_PER_ROW)},
        "figures": {
            "seconds": seconds,
            "seconds_low": low,
            "seconds_high": high,
            **({"processor_ms": takes.processor_ms} if measured.machine else {}),
            "memory_per_worker_bytes": memory,
            "ledger_bytes": total * LEDGER_BYTES_PER_ROW,
        },
        "assumptions": {
            "worker_processes": takes.processes,
            "concurrency_per_worker": concurrency,
            "mib_per_second": THROUGHPUT_MIB,
            "largest_unit_held": size_text(unit),
            **ALWAYS_ASSUMED,
            **_assumed_latencies(work, measured),
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


def _rates(work: Sequence[SectionWork], measured: Calibrated, requests: Requests) -> Rates:
    hashed = not all(item.section.destination_capabilities.enforces(PARTS_FACT) for item in work)
    most = max(requests.by_endpoint.values(), default=0)
    borne = _throttling(work, measured.borne, requests) if measured.borne else 0
    return Rates(_measured(work), measured.machine, most, parts_hashed=hashed, throttled_seconds=borne)


def _throttling(work: Sequence[SectionWork], borne: Borne, requests: Requests) -> int:
    """Seconds that the requests take at the side that was seen to refuse, at the rate that it bore."""
    sides = [item.section.source if borne.side is WhichSide.SOURCE else item.section.destination for item in work]
    asked = max((requests.by_endpoint.get(endpoint_of(side), 0) for side in sides), default=0)
    return -(-asked // borne.requests_per_second)


def _assumed_latencies(work: Sequence[SectionWork], measured: Calibrated) -> dict[str, Any]:
    machine, borne = measured.machine, measured.borne
    known = {
        **({"machine": machine._asdict()} if machine else {}),
        **({"borne": borne.document()} if borne else {}),
    }
    moving = _measured(work)
    if moving.latency_us is None:
        return known | {
            "latency_ms": dict(LATENCY_MS),
            "source": "constants of this build; no probe of the network was made",
        }
    timed = machine or REFERENCE
    return known | {
        "measured": measured_document({item.section.id: item.calibration for item in work}),
        "processor_us": {
            "object_or_part": unit_us(timed, moving.latency_us, moving.encrypted),
            "mib": timed.mib_us,
            "start": timed.start_us,
        },
        "source": "latencies are the probe's, processor times "
        + (f"those of {machine.host} when it planned" if machine else "constants of this build")
        + "; bandwidth is not measured, an endpoint's own rate limit shows in a run and not in a probe, and the "
        "machine that applies is taken to be this one with nothing else to do",
    }


def _measured(work: Sequence[SectionWork]) -> Calibration:
    """Of all sections together, by what each moves; UNMEASURED when one that moves anything was not measured."""
    moving = [(item.section.summary.get("transfer", Tally()).objects, item.calibration) for item in work]
    moving = [(objects, one) for objects, one in moving if objects]
    total = sum(objects for objects, _ in moving)
    if not moving or not all(one.known for _, one in moving):
        return UNMEASURED
    return Calibration(
        sum(objects * (one.read_us or 0) for objects, one in moving) // total,
        sum(objects * (one.write_us or 0) for objects, one in moving) // total,
        max(one.here for _, one in moving),
        max(one.encrypted for _, one in moving),
    )


def _largest_unit(tiers: Mapping[str, TierWork], largest: int, budget: int) -> int:
    """The most bytes one unit of work of this plan holds."""
    part = max((tier.parts.largest_part for tier in tiers.values()), default=0)
    whole = min(max(largest, 0), WHOLE_MAX)  # the window of what crosses in one PUT, too
    return max(held_bytes(whole, 0, budget), held_bytes(part, part, budget) if part else 0)
