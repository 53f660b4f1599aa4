"""Size tiers and part arithmetic: one function for the plan's estimate and the executor's cuts."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

MIN_PART = 5 * MIB
"""Smallest part S3 accepts, except for the last one."""
MAX_PART = 5 * GIB
MAX_PARTS = 10_000
FEW_PARTS = 1_000
"""The assumed limit of an endpoint that refuses part number 10,000 (OpenStack Swift's default)."""
MAX_OBJECT = MAX_PARTS * MAX_PART
"""48.8 TiB."""
WHOLE_MAX = 16 * MIB
"""Objects up to this size are copied by one GET and one PUT, held whole in memory."""
SINGLE_PUT_MAX = 256 * MIB
"""Bigger ones, up to this size, may cross in one PUT through a window (schema.plan.is_single_put)."""
COPIED_PART = 64 * MIB
WINDOW = 8 * MIB
"""What is too big to be held is read through a window of this size while it is sent."""


@dataclass(frozen=True, slots=True)
class Tier:
    """A class of sizes: `low` < size <= `high` (tiny starts at 0)."""

    name: str
    high: int
    part: int
    """Preferred part size; 0: whole."""


# 16 MiB parts: 1 GB took 9.5 s against 11.6 with 64 MiB, and 345 MiB of memory against 1,033 (docs/bench.md).
TIERS = (
    Tier("tiny", 256 * KIB, 0),
    Tier("small", WHOLE_MAX, 0),
    Tier("medium", SINGLE_PUT_MAX, 16 * MIB),
    Tier("large", 16 * GIB, 16 * MIB),
    Tier("huge", MAX_OBJECT, 64 * MIB),
)


def tier_of(size: int) -> Tier:
    """The tier of an object of *size* bytes. Raises ValueError above 48.8 TiB."""
    for tier in TIERS:
        if size <= tier.high:
            return tier
    raise ValueError(f"{size} bytes is more than S3's largest object, {MAX_OBJECT}")


def part_size(size: int, budget: int, most_parts: int = MAX_PARTS) -> int:
    """Bytes a part of an object of *size* gets under a byte *budget*; a multiple of 1 MiB.

    At most *most_parts* parts, each 5 MiB..5 GiB. Where it can be, four parts fit into the budget.
    """
    preferred = tier_of(size).part or WHOLE_MAX
    fitting = budget // 4 // MIB * MIB
    return max(_least_part(size, most_parts), min(preferred, fitting))


def copied_part_size(size: int, most_parts: int = MAX_PARTS) -> int:
    """Part size where the endpoint makes the copy: memory does not bound it, and fewer requests are better."""
    return max(_least_part(size, most_parts), COPIED_PART)


def _least_part(size: int, most_parts: int) -> int:
    needed = -(-size // most_parts)
    least = max(MIN_PART, -(-needed // MIB) * MIB)
    if least > MAX_PART:
        raise ValueError(f"{size} bytes is more than the largest object, {most_parts * MAX_PART}")
    return least


def single_put_window(budget: int) -> int:
    """Bytes that an object which crosses in one PUT is read through: as much as the largest that is held whole."""
    return held_bytes(WHOLE_MAX, 0, budget)


def held_bytes(size: int, part: int, budget: int) -> int:
    """Bytes of buffer one unit of work (a whole object, part == 0, or one part) holds while it runs."""
    wanted = part or size
    return wanted if wanted <= max(budget // 2, MIN_PART) else WINDOW
