"""Sizes, rates, durations and counts: from text for people to numbers and back."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal
from types import MappingProxyType

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_UNITS = MappingProxyType(
    {
        "": 1,
        "b": 1,
        **{unit.lower(): 1024**power for power, unit in enumerate(_BINARY) if power},
        **{unit: 1000**power for power, unit in enumerate(("kb", "mb", "gb", "tb", "pb", "eb"), start=1)},
    }
)
_THOUSANDS = MappingProxyType({"": 1, "k": 10**3, "m": 10**6, "g": 10**9})
_COUNT = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([kKMG]?)", re.ASCII)
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) ?%", re.ASCII)
_SECONDS = MappingProxyType({"": 1, "s": 1, "min": 60, "h": 3600})
_DURATION = re.compile(r"([0-9]{1,9}) ?([a-z]{0,3})", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?) ?([A-Za-z]{0,3})", re.ASCII)


def parse_size(text: str | int) -> int:
    """Bytes of '3.5GiB', '64 MiB', '10 MB' (decimal), '123' or 123. ValueError says what is expected."""
    if isinstance(text, int) and not isinstance(text, bool):
        if text < 0:
            raise ValueError(f"{text} is negative; a size is 0 or more bytes")
        return text
    found = _SIZE.fullmatch(text.strip()) if isinstance(text, str) else None
    factor = None if found is None else _UNITS.get(found[2].lower())
    if found is None or factor is None:
        raise ValueError(f"{str(text)[:40]!r} is not a size; write bytes or a unit: 1048576, 64MiB, 3.5GiB, 10 MB")
    return int(Decimal(found[1]) * factor)


def parse_rate(text: str | int) -> int:
    """Bytes per second of '200MiB/s' or a size alone. ValueError for anything else, and for 0."""
    body = text.strip().removesuffix("/s") if isinstance(text, str) else text
    try:
        rate = parse_size(body)
    except ValueError:
        raise ValueError(f"{str(text)[:40]!r} is not a rate; write bytes a second: 200MiB/s, 10 MB/s") from None
    if rate == 0:
        raise ValueError("a rate of 0 would never end; leave the limit out instead")
    return rate


def parse_duration(text: str | int) -> int:
    """Seconds of '45s', '5 min', '1h', '90' or 90. ValueError says what is expected."""
    found = _DURATION.fullmatch(str(text).strip()) if not isinstance(text, bool) else None
    factor = None if found is None else _SECONDS.get(found[2])
    if found is None or factor is None:
        raise ValueError(f"{str(text)[:40]!r} is not a duration; write seconds or a unit: 90, 45s, 5min, 1h")
    return int(found[1]) * factor


def parse_count(text: str | int) -> int:
    """A number of things: 1200000, '1,200,000', '1.2M' (k thousand, M million, G billion). ValueError."""
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    found = _COUNT.fullmatch(text.strip().replace(",", "")) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{str(text)[:40]!r} is not a count; write a number, or one with k, M or G: 1200000, 1.2M")
    return int(Decimal(found[1]) * _THOUSANDS[found[2].lower()])


def parse_around(text: str | int, parse: Callable[[str | int], int]) -> tuple[int, int]:
    """Least and most of '1.2M ± 5%' (or +-5%), a quantity that *parse* reads; without a tolerance both are equal."""
    if not isinstance(text, str):
        value = parse(text)
        return value, value
    quantity, sign, tolerance = text.replace("+-", "±").partition("±")
    value = parse(quantity.strip())
    if not sign:
        return value, value
    found = _PERCENT.fullmatch(tolerance.strip())
    if found is None or Decimal(found[1]) > 100:
        raise ValueError(f"{text[:40]!r}: the tolerance is a percentage of at most 100: 1.2M ± 5%")
    margin = Decimal(value) * Decimal(found[1]) / 100
    return math.ceil(value - margin), math.floor(value + margin)


def size_text(size: int) -> str:
    """Bytes for people: '0 B', '1.0 KiB', '16.5 TiB'. At most four significant characters; never rounds up a unit."""
    value, power = size, 0
    while value >= 1024 and power < len(_BINARY) - 1:
        value //= 1024
        power += 1
    if power == 0:
        return f"{size} B"
    tenths = size * 10 // 1024**power
    return f"{tenths // 10:,}.{tenths % 10} {_BINARY[power]}"


def rate_text(bytes_per_second: float) -> str:
    """'35.4 MiB/s'."""
    return f"{size_text(int(bytes_per_second))}/s"


def count_text(number: int) -> str:
    """With thousands separators: '1,204'."""
    return f"{number:,}"


def counted_text(number: int, noun: str) -> str:
    """A number and its noun: '1 process', '2 processes', '1,204 objects'."""
    ending = "" if number == 1 else "es" if noun.endswith(("s", "ch")) else "s"
    return f"{count_text(number)} {noun}{ending}"


def duration_text(seconds: float) -> str:
    """For people: '0.4 s', '42 s', '7 min 5 s', '4 h 6 min', '3 d 2 h'. Negative counts as 0."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    for unit, name, small, small_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            rest = whole % unit // small
            return f"{whole // unit} {name} {rest} {small_name}" if rest else f"{whole // unit} {name}"
    raise AssertionError("60 seconds and more have a unit")
