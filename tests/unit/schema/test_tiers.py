"""Part arithmetic up to 48.8 TiB: what S3 takes, what memory holds, and that the parts are the object."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from executor.copy.layout import PartRange, parts_of
from schema.facts import Capabilities
from schema.tiers import (
    COPIED_PART,
    FEW_PARTS,
    GIB,
    MAX_OBJECT,
    MAX_PART,
    MAX_PARTS,
    MIB,
    MIN_PART,
    TIERS,
    WINDOW,
    copied_part_size,
    held_bytes,
    part_size,
    tier_of,
)

SIZES = st.one_of(st.integers(1, MAX_OBJECT), st.sampled_from([t.high + d for t in TIERS for d in (-1, 0)]))
BUDGETS = st.integers(20 * MIB, 512 * GIB)


@given(size=SIZES, budget=BUDGETS)
@example(size=MAX_OBJECT, budget=20 * MIB)
@example(size=1, budget=20 * MIB)
@example(size=MAX_PARTS * 16 * MIB + 1, budget=GIB)
@example(size=MAX_PARTS * MIN_PART + 1, budget=20 * MIB)
def test_a_cut_is_what_s3_takes_and_memory_holds(size: int, budget: int) -> None:
    for part in (part_size(size, budget), copied_part_size(size)):
        assert MIN_PART <= part <= MAX_PART
        assert part % MIB == 0
        assert -(-size // part) <= MAX_PARTS
    part = part_size(size, budget)
    assert held_bytes(size, part, budget) <= max(budget // 2, WINDOW)
    if size <= MAX_PARTS * MIN_PART:
        assert 4 * part <= budget, "four parts side by side, wherever 10,000 parts allow it"


@given(size=st.integers(1, FEW_PARTS * MAX_PART), budget=BUDGETS)
def test_where_only_a_thousand_parts_are_taken(size: int, budget: int) -> None:
    for part in (part_size(size, budget, FEW_PARTS), copied_part_size(size, FEW_PARTS)):
        assert MIN_PART <= part <= MAX_PART
        assert -(-size // part) <= FEW_PARTS
    with pytest.raises(ValueError, match="largest object"):
        part_size(FEW_PARTS * MAX_PART + 1, budget, FEW_PARTS)


@pytest.mark.parametrize(("fact", "most"), [("enforced", MAX_PARTS), ("unknown", MAX_PARTS), ("rejected", FEW_PARTS)])
def test_the_probe_decides_how_many_parts_there_may_be(fact: str, most: int) -> None:
    assert Capabilities({"part_numbers": fact}).most_parts == most
    assert Capabilities().most_parts == MAX_PARTS


@given(size=st.integers(1, 64 * GIB), part=st.integers(MIN_PART // MIB, 512).map(lambda mib: mib * MIB))
def test_the_parts_are_the_object(size: int, part: int) -> None:
    parts = parts_of(size, part)
    at = 0
    for number, (given_number, start, length) in enumerate(parts, 1):
        assert (given_number, start) == (number, at)
        assert length == part or (number == len(parts) and 0 < length <= part)
        at += length
    assert at == size


@pytest.mark.parametrize(
    ("size", "parts"),
    [
        (5 * MIB, [(1, 0, 5 * MIB)]),
        (5 * MIB - 1, [(1, 0, 5 * MIB - 1)]),
        (5 * MIB + 1, [(1, 0, 5 * MIB), (2, 5 * MIB, 1)]),
    ],
)
def test_around_a_boundary(size: int, parts: list[PartRange]) -> None:
    assert parts_of(size, 5 * MIB) == parts


def test_the_largest_object_and_one_byte_more() -> None:
    assert part_size(MAX_OBJECT, GIB) == MAX_PART
    assert len(parts_of(MAX_OBJECT, MAX_PART)) == MAX_PARTS
    with pytest.raises(ValueError, match="largest object"):
        part_size(MAX_OBJECT + 1, GIB)
    with pytest.raises(ValueError, match="largest object"):
        copied_part_size(MAX_OBJECT + 1)
    with pytest.raises(ValueError, match="largest object"):
        tier_of(MAX_OBJECT + 1)


def test_the_endpoints_own_copies_are_not_bound_by_memory() -> None:
    assert copied_part_size(6 * GIB) == COPIED_PART > part_size(6 * GIB, 256 * MIB)
