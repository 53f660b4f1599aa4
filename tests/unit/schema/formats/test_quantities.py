"""Sizes, rates, durations, counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.formats.quantities import (
    count_text,
    duration_text,
    parse_rate,
    parse_size,
    rate_text,
    size_text,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        (7, 7),
        ("3.5GiB", 3_758_096_384),
        ("64MiB", 67_108_864),
        ("64 mib", 67_108_864),
        ("10 MB", 10_000_000),
        ("10MB", 10_000_000),
        ("1k", None),
        ("1B", 1),
        ("1.5", 1),
        (" 1KiB ", 1024),
        ("48.8TiB", 53_656_167_435_468),
    ],
)
def test_sizes_are_read(text: str | int, size: int | None) -> None:
    if size is None:
        with pytest.raises(ValueError, match="not a size"):
            parse_size(text)
    else:
        assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", "1e9", "1,000", "1 parsec", "0x10", "１", "1.GiB", "NaN", True, -5])
def test_what_is_no_size_is_refused_with_an_example(text: str | int) -> None:
    with pytest.raises(ValueError, match=r"3\.5GiB|negative"):
        parse_size(text)


def test_rates_are_sizes_a_second_and_never_zero() -> None:
    assert parse_rate("200MiB/s") == parse_rate("200 MiB") == 209_715_200
    for wrong in ("0", "0MiB/s", "fast", "1/m"):
        with pytest.raises(ValueError, match="rate"):
            parse_rate(wrong)


@given(st.integers(0, 2**62))
def test_a_text_for_people_is_never_more_than_the_size(size: int) -> None:
    shown = parse_size(size_text(size).replace(",", ""))
    assert shown <= size
    assert size - shown <= size / 10


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_048_575, "1023.9 KiB"),
        (18_178_535_979_586, "16.5 TiB"),
    ],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert size_text(size).replace(",", "") == text


def test_other_texts_for_people() -> None:
    assert rate_text(37_120_000) == "35.4 MiB/s"
    assert count_text(1204) == "1,204"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (0.44, "0.4 s"),
        (42.9, "42 s"),
        (60, "1 min"),
        (425, "7 min 5 s"),
        (3600, "1 h"),
        (14_760, "4 h 6 min"),
        (266_400, "3 d 2 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
