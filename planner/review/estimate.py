"""What a plan will take: requests, time, memory, ledger, money. Every input is printed under `assumptions`.

Time, per tier: the longer of objects (or parts) x latency / concurrency and bytes / throughput; tiers are added up.
`low` is 7/10 of it and `high` twice it. What the endpoint copies moves no bytes through this machine and holds none in
memory. Memory of a worker process: concurrency (or the number of units of work, where that is less) x the most one unit
holds (schema.tiers.held_bytes: a whole object, a part, or a window of it), but never more than the byte budget, and 150
MiB for the program itself. No floats anywhere: figures with decimals are quoted text, so the plan has one spelling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from planner.review.cost import ASSUMPTIONS, SectionWork, cost, restore_assumptions
from planner.review.requests import LISTING_PASSES, requests_of
from planner.review.workload import TierWork
from schema.declaration import Declaration
from schema.formats.quantities import duration_text, size_text
from schema.limits import Limits
from schema.plan import DELETES
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
_SHORT = ("tiny", "markers", DELETES)


def estimate(
    tiers: Mapping[str, TierWork], work: Sequence[SectionWork], declaration: Declaration, *, budget: int
) -> dict[str, Any]:
    """The plan's `estimate`."""
    concurrency = declaration.limits.workers or CONCURRENCY
    requests = requests_of(work, declaration)
    seconds, bound_by = _seconds(tiers, max(requests.by_endpoint.values(), default=0), declaration.limits)
    largest = max(item.largest.size for item in work)
    total = sum(tier.tally.objects for tier in tiers.values())
    unit = _largest_unit(tiers, largest, budget)
    low, high = seconds * 7 // 10, seconds * 2
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
            "latency_ms": dict(LATENCY_MS),
            "listing_passes": LISTING_PASSES,
            "ledger_bytes_per_row": LEDGER_BYTES_PER_ROW,
            "base_memory": size_text(BASE_MEMORY),
            "largest_unit_held": size_text(unit),
            "not_counted": "retries, HEAD of verify, and tags (but where each object is asked for them)",
            "source": "constants of this build; no probe of the network was made",
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


def _seconds(tiers: Mapping[str, TierWork], requests: int, limits: Limits) -> tuple[int, str]:
    """How long it takes, and what bounds it. *requests*: of the endpoint asked most, for each has its own limit."""
    concurrency = limits.workers or CONCURRENCY
    rate = THROUGHPUT_MIB * MIB * PROCESSES
    rate = min(rate, limits.bandwidth) if limits.bandwidth else rate
    waiting = moving = total = 0
    for name, tier in tiers.items():
        latency = LATENCY_MS["tiny" if name in _SHORT else "small"]
        parts = tier.parts.parts + tier.copied_parts.parts
        by_latency = (tier.whole * latency + parts * LATENCY_MS["parts"]) // (concurrency * PROCESSES)
        by_bytes = (tier.tally.bytes - tier.copied.bytes) * 1000 // rate if name != DELETES else 0
        waiting += by_latency
        moving += by_bytes
        total += max(by_latency, by_bytes)
    bound_by = "bandwidth" if moving > waiting else "latency"
    if limits.requests_per_second:
        by_requests = int(requests * 1000 / limits.requests_per_second)
        if by_requests > total:
            total, bound_by = by_requests, "requests_per_second"
    return -(-total // 1000), bound_by if tiers else "nothing to do"


def _largest_unit(tiers: Mapping[str, TierWork], largest: int, budget: int) -> int:
    """The most bytes one unit of work of this plan holds."""
    part = max((tier.parts.largest_part for tier in tiers.values()), default=0)
    whole = min(max(largest, 0), WHOLE_MAX)
    return max(held_bytes(whole, 0, budget), held_bytes(part, part, budget) if part else 0)
