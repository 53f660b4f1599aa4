"""What a plan will take: requests, time, memory, ledger, money. Every input is printed under `assumptions`.

Time, per tier: the longer of objects (or parts) x latency / concurrency and bytes / throughput; tiers are added up.
`low` is 7/10 of it and `high` twice it. Memory of a worker process: concurrency x the most one unit of work holds
(schema.tiers.held_bytes: a whole object, a part, or a window of it), but never more than the byte budget, and 150 MiB
for the program itself. No floats anywhere: figures with decimals are quoted text, so that the plan has one spelling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from urllib.parse import urlsplit

from planner import prices
from planner.batches import DraftBatch
from schema.declaration import Limits, Side
from schema.plan import Section, Tally
from schema.quantities import duration_text, size_text
from schema.tiers import GIB, MIB, TIERS, WHOLE_MAX, held_bytes, part_size

BASE_MEMORY = 150 * MIB
"""What a worker process needs beside object buffers."""
LEDGER_BYTES_PER_ROW = 125
"""Measured on PostgreSQL: 125 MB a million completions, index and log aside."""
PROCESSES = 1
CONCURRENCY = 64
LATENCY_MS = {"tiny": 90, "small": 140, "parts": 400}
"""GET and PUT of one object, or one part, end to end."""
THROUGHPUT_MIB = 300
"""Per process."""
LISTING_PASSES = 2
"""Plan and verify."""
OTHER_TIERS = ("canary", "markers", "deletes")
COPY_MAX = 5 * GIB
"""The largest object of one CopyObject."""


class PartCount:
    """Objects that cross in parts, and their parts."""

    WHOLE_UP_TO = WHOLE_MAX

    __slots__ = ("largest_part", "objects", "parts")

    def __init__(self) -> None:
        self.objects = 0
        self.parts = 0
        self.largest_part = 0

    def add(self, size: int, budget: int) -> None:
        """One object of more than WHOLE_UP_TO bytes."""
        part = part_size(size, budget)
        self.objects += 1
        self.parts += -(-size // part)
        self.largest_part = max(self.largest_part, part)

    def plus(self, other: PartCount) -> PartCount:
        """Both together."""
        both = PartCount()
        both.objects = self.objects + other.objects
        both.parts = self.parts + other.parts
        both.largest_part = max(self.largest_part, other.largest_part)
        return both


@dataclass(frozen=True, slots=True)
class TierWork:
    """What one tier moves, all sections together."""

    batches: int
    tally: Tally
    parts: PartCount

    @property
    def whole(self) -> int:
        """Objects that cross in one GET and one PUT."""
        return self.tally.objects - self.parts.objects


def work_by_tier(drafts: Sequence[DraftBatch], parts: Sequence[Mapping[str, PartCount]]) -> dict[str, TierWork]:
    """The work of each tier that has any, small before big, then canary, markers and deletes."""
    work: dict[str, TierWork] = {}
    for name in (*(tier.name for tier in TIERS), *OTHER_TIERS):
        manifests = [draft.manifest for draft in drafts if draft.tier == name]
        if not manifests:
            continue
        counted = PartCount()
        for section in parts:
            counted = counted.plus(section.get(name, PartCount()))
        tally = Tally(sum(m.objects for m in manifests), sum(m.bytes for m in manifests))
        work[name] = TierWork(len(manifests), tally, counted)
    return work


def tier_rows(work: Mapping[str, TierWork], budget: int) -> tuple[Mapping[str, Any], ...]:
    """The plan's `tiers`: range, method, batches, objects, bytes."""
    return tuple(
        {
            "tier": name,
            "range": _range_text(name),
            "method": _method_text(name, tier, budget),
            "batches": tier.batches,
            "objects": tier.tally.objects,
            "bytes": tier.tally.bytes,
        }
        for name, tier in work.items()
    )


def _range_text(name: str) -> str:
    low = 0
    for tier in TIERS:
        if tier.name == name:
            return f"{size_text(low)} - {size_text(tier.high)}"
        low = tier.high
    return "any below 256 MiB" if name == "canary" else "any"


def _method_text(name: str, work: TierWork, budget: int) -> str:
    if name == "deletes":
        return "delete"
    if not work.parts.objects:
        return "whole"
    largest = work.parts.largest_part
    window = held_bytes(largest, largest, budget)
    through = "" if window == largest else f" through windows of {size_text(window)}"
    return f"{'whole, or ' if work.whole else ''}parts of up to {size_text(largest)}{through}"


def estimate(
    work: Mapping[str, TierWork], sections: Sequence[Section], limits: Limits, budget: int, largest: int
) -> dict[str, Any]:
    """The plan's `estimate`. *largest*: bytes of the largest object to move."""
    concurrency = limits.workers or CONCURRENCY
    requests = _requests(work, sections)
    seconds, bound_by = _seconds(work, requests, limits, concurrency)
    total = sum(tier.tally.objects for tier in work.values())
    unit = _largest_unit(work, largest, budget)
    document: dict[str, Any] = {
        "duration": {
            "expected": duration_text(seconds),
            "low": duration_text(seconds * 7 // 10),
            "high": duration_text(seconds * 2),
            "bound_by": bound_by,
        },
        "requests": requests,
        "memory_per_worker": {
            "expected": size_text(min(budget, concurrency * unit) + BASE_MEMORY),
            "limit": size_text(budget + BASE_MEMORY),
        },
        "ledger": {"rows": total, "disk": size_text(total * LEDGER_BYTES_PER_ROW)},
        "assumptions": {
            "worker_processes": PROCESSES,
            "concurrency_per_worker": concurrency,
            "mib_per_second_per_worker": THROUGHPUT_MIB,
            "latency_ms": dict(LATENCY_MS),
            "listing_passes": LISTING_PASSES,
            "ledger_bytes_per_row": LEDGER_BYTES_PER_ROW,
            "base_memory": size_text(BASE_MEMORY),
            "largest_unit_held": size_text(unit),
            "source": "constants of this build; no probe of the network was made",
        },
    }
    cost = _cost(requests, sections, work)
    if cost is not None:
        document["cost_usd"] = cost
        document["assumptions"] |= {
            "prices": prices.SOURCE,
            "prices_as_of": prices.AS_OF,
            "usd_per_gb_between_regions": str(prices.INTER_REGION_GB),
            "storage_class": "all at the STANDARD request rate; retrieval fees and storage while both copies exist "
            "are not included",
        }
    return document


def _requests(work: Mapping[str, TierWork], sections: Sequence[Section]) -> dict[str, int]:
    """GET, PUT-class, DELETE and LIST requests, if nothing has to be repeated and every object has no tags."""
    gets = puts = 0
    for name, tier in work.items():
        if name == "deletes":
            continue
        gets += tier.whole + tier.parts.parts
        puts += tier.whole + tier.parts.parts + 2 * tier.parts.objects
    deletes = work["deletes"].tally.objects if "deletes" in work else 0
    markers = sum(section.summary.get("delete-marker", Tally()).objects for section in sections)
    if sections and all(section.method == "server-copy" for section in sections):
        gets = 0
    else:
        gets -= markers
    lists = sum(
        -(-inventory.objects // 1000) or 1
        for section in sections
        for inventory in (section.source_inventory, section.destination_inventory)
    )
    return {
        "get": max(0, gets),
        "put": max(0, puts - markers),
        "delete": deletes + markers,
        "list": lists * LISTING_PASSES,
    }


def _seconds(
    work: Mapping[str, TierWork], requests: Mapping[str, int], limits: Limits, concurrency: int
) -> tuple[int, str]:
    rate = THROUGHPUT_MIB * MIB * PROCESSES
    rate = min(rate, limits.bandwidth) if limits.bandwidth else rate
    waiting = moving = total = 0
    for name, tier in work.items():
        latency = LATENCY_MS["tiny"] if name in ("tiny", "markers", "deletes") else LATENCY_MS["small"]
        by_latency = (tier.whole * latency + tier.parts.parts * LATENCY_MS["parts"]) // (concurrency * PROCESSES)
        by_bytes = 0 if name == "deletes" else tier.tally.bytes * 1000 // rate
        waiting += by_latency
        moving += by_bytes
        total += max(by_latency, by_bytes)
    bound_by = "bandwidth" if moving > waiting else "latency"
    if limits.requests_per_second:
        by_requests = int(sum(requests.values()) * 1000 / limits.requests_per_second)
        if by_requests > total:
            total, bound_by = by_requests, "requests_per_second"
    return -(-total // 1000), bound_by if total else "nothing to do"


def _largest_unit(work: Mapping[str, TierWork], largest: int, budget: int) -> int:
    """The most bytes one unit of work of this plan holds."""
    part = max((tier.parts.largest_part for tier in work.values()), default=0)
    whole = min(max(largest, 0), WHOLE_MAX)
    return max(held_bytes(whole, 0, budget), held_bytes(part, part, budget) if part else 0)


def is_aws(side: Side) -> bool:
    """Whether a side is at AWS, as far as its endpoint tells."""
    if side.endpoint_url is None:
        return True
    host = urlsplit(side.endpoint_url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _cost(
    requests: Mapping[str, int], sections: Sequence[Section], work: Mapping[str, TierWork]
) -> dict[str, str] | None:
    """Only where both ends of every section are at AWS: nobody else's prices are known here."""
    if not work or not all(is_aws(section.source) and is_aws(section.destination) for section in sections):
        return None
    standard = prices.CLASSES["STANDARD"]
    by_requests = (
        requests["get"] * standard.get_1k
        + requests["put"] * standard.put_1k
        + requests["list"] * prices.LIST_1K
        + requests["delete"] * prices.DELETE_1K
    ) / 1000
    traffic = Decimal(0)
    for section in sections:
        moved = sum(section.summary.get(name, Tally()).bytes for name in ("copy", "overwrite"))
        same = section.source.region == section.destination.region
        traffic += moved * (prices.SAME_REGION_GB if same else prices.INTER_REGION_GB) / prices.GB
    return {"requests": _usd(by_requests), "traffic": _usd(traffic), "total": _usd(by_requests + traffic)}


def _usd(amount: Decimal) -> str:
    return str(amount.quantize(Decimal("0.01"), ROUND_HALF_UP))
