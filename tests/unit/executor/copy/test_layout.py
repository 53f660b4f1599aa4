"""Where an object is cut into parts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from executor.copy.layout import parts_of


@given(st.integers(1, 10_000), st.integers(1, 1000))
def test_parts_cover_exactly(size: int, part: int) -> None:
    made = parts_of(size, part)
    assert [p.number for p in made] == list(range(1, len(made) + 1))
    assert [p.start for p in made] == [0, *(p.start + p.length for p in made[:-1])]
    assert made[-1].start + made[-1].length == size
    assert {p.length for p in made[:-1]} <= {part}
    assert 0 < made[-1].length <= part
