"""Header values that say the same however they are spelt, and those that do not."""

from __future__ import annotations

import pytest

from schema.formats.header_values import same_value

TYPE, CACHE = "content-type", "cache-control"


@pytest.mark.parametrize(
    ("name", "a", "b"),
    [
        (TYPE, "text/plain;charset=utf-8", "text/plain; charset=UTF-8"),
        (TYPE, "Text/HTML", "text/html"),
        (TYPE, 'multipart/x; boundary="aB"; q=1', "multipart/x;q=1;boundary=aB"),
        ("content-encoding", "GZIP,br", "gzip, br"),
        ("content-language", "de-DE, en", "de-de,en"),
        (CACHE, "Max-Age=9,no-store", "max-age=9, no-store"),
    ],
)
def test_the_same(name: str, a: str, b: str) -> None:
    assert same_value(name, a, b)
    assert same_value(name, b, a)


@pytest.mark.parametrize(
    ("name", "a", "b"),
    [
        (TYPE, "text/plain; charset=utf-8", "text/plain"),
        (TYPE, "text/plain; charset=utf-8", "text/plain; charset=latin-1"),
        (TYPE, "multipart/x; boundary=aB", "multipart/x; boundary=ab"),
        (TYPE, "text/plain", ""),
        (TYPE, "", "text/plain"),
        ("content-encoding", "gzip", "br"),
        ("content-encoding", "gzip, br", "br, gzip"),
        (CACHE, "max-age=9", "max-age=90"),
        (CACHE, 'private="A"', 'private="a"'),
        ("content-disposition", 'attachment; filename="A"', 'attachment; filename="a"'),
        ("expires", "x", "X"),
    ],
)
def test_not_the_same(name: str, a: str, b: str) -> None:
    assert not same_value(name, a, b)
    assert not same_value(name, b, a)
