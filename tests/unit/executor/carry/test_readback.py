"""When a reading is believed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from executor.carry.readback import READINGS, settled

EQUAL, BITTEN, BITTEN_TWICE, DIFFERENT = (1, 1), (9, 1), (1, 9), (1, 2)


@pytest.mark.parametrize(
    ("readings", "believed", "asked"),
    [
        ([EQUAL], EQUAL, 1),
        ([BITTEN, EQUAL], EQUAL, 2),
        ([BITTEN, BITTEN_TWICE, EQUAL], EQUAL, 3),
        ([DIFFERENT, DIFFERENT], DIFFERENT, 2),
        ([BITTEN, DIFFERENT, DIFFERENT], DIFFERENT, 3),
        ([DIFFERENT, BITTEN, DIFFERENT], DIFFERENT, 3),
        ([(1, n) for n in range(2, 2 + READINGS)], (1, 1 + READINGS), READINGS),
    ],
)
def test_a_difference_is_believed_when_it_is_found_twice(
    readings: Sequence[tuple[int, int]], believed: tuple[int, int], asked: int
) -> None:
    left = list(readings)
    assert settled(lambda: left.pop(0), lambda pair: pair[0] == pair[1]) == believed
    assert len(readings) - len(left) == asked
