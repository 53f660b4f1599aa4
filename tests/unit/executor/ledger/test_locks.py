"""Destination scopes: what overlaps, and what is the same endpoint."""

from __future__ import annotations

import pytest

from executor.ledger.locks import scope_of
from schema.declaration import Side


def side(bucket: str = "b", prefix: str = "", endpoint: str | None = "https://s3.example") -> Side:
    return Side(bucket, prefix, endpoint)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (side(), side()),
        (side(prefix=""), side(prefix="a/")),
        (side(prefix="a"), side(prefix="a/b/")),
        (side(endpoint="https://S3.Example:443/"), side(endpoint="https://s3.example")),
        (side(endpoint=None), side(endpoint=None)),
        (side(endpoint=None), side(endpoint="https://s3.eu-west-1.amazonaws.com")),
    ],
)
def test_overlapping_scopes(one: Side, other: Side) -> None:
    assert scope_of(one).overlaps(scope_of(other))
    assert scope_of(other).overlaps(scope_of(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (side("a"), side("b")),
        (side(prefix="a/"), side(prefix="b/")),
        (side(prefix="a/b"), side(prefix="a/c")),
        (side(endpoint="http://s3.example:9000"), side(endpoint="http://s3.example:9001")),
        (side(endpoint=None), side()),
    ],
)
def test_scopes_apart(one: Side, other: Side) -> None:
    assert not scope_of(one).overlaps(scope_of(other))
