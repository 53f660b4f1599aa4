"""When a plan's listings may be gone on with by the next plan."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from support.listing_server import listed

from s3migrate.planning.checkpoints import CheckpointPlace, ListingCheckpoints, listing_checkpoints
from schema.declaration import Side
from schema.errors import DeclarationError, ListingUnordered, MigrationError, ServerFault, Unexpected
from schema.plan import ListingKind
from storage.listing.blocks import ListingBlock
from storage.listing.source import BucketSource

SIDE = Side("b", endpoint_url="http://one")


def opened(checkpoints: ListingCheckpoints, side: Side = SIDE, *, section: str = "photos") -> int:
    """Objects that an interrupted plan has listed."""
    store: Any = None
    bucket = BucketSource(store, side.prefix, ListingKind.OBJECTS, f"source bucket {side.bucket}")
    checkpoint = checkpoints.of(side, bucket, section=section)
    found = 0 if checkpoint.earlier is None else checkpoint.earlier.objects
    checkpoint.append(ListingBlock([listed("a"), listed("b")]))
    return found


def found(folder: Path, *, sha: str = "aa", fresh: bool = False, now: float = 60.0, **which: Any) -> int:
    checkpoints = ListingCheckpoints(CheckpointPlace(folder, sha, fresh), now)
    try:
        return opened(checkpoints, **which)
    finally:
        checkpoints.close()


def ended(folder: Path, how: BaseException | None) -> int:
    """What the next plan finds of one that ended by *how*."""
    try:
        with listing_checkpoints(CheckpointPlace(folder, "aa", fresh=False), 0.0) as checkpoints:
            opened(checkpoints)
            if how is not None:
                raise how
    except BaseException as error:
        if error is not how:
            raise
    return found(folder)


@pytest.mark.parametrize("how", [KeyboardInterrupt(), SystemExit(143), ServerFault("down", operation="LIST")])
def test_an_interrupted_plan_is_gone_on_with(tmp_path: Path, how: BaseException) -> None:
    assert ended(tmp_path, how) == 2


@pytest.mark.parametrize(
    "how", [None, DeclarationError("no"), Unexpected("no"), ListingUnordered("no", operation="LIST"), ValueError()]
)
def test_a_plan_that_was_made_or_refused_leaves_nothing(tmp_path: Path, how: MigrationError | None) -> None:
    assert ended(tmp_path, how) == 0


def test_only_the_same_declaration_side_and_endpoint_find_it(tmp_path: Path) -> None:
    assert found(tmp_path) == 0
    assert found(tmp_path, sha="bb") == 0
    assert found(tmp_path, section="films") == 0
    assert found(tmp_path, side=Side("b", prefix="p/", endpoint_url="http://one")) == 0
    assert found(tmp_path, side=Side("b", endpoint_url="http://two")) == 0
    assert found(tmp_path) == 2
    assert found(tmp_path, fresh=True) == 0


def test_what_was_found_is_told_with_its_age(tmp_path: Path) -> None:
    found(tmp_path, now=0.0)
    checkpoints = ListingCheckpoints(CheckpointPlace(tmp_path, "aa", fresh=False), 720.0)
    opened(checkpoints)
    checkpoints.close()
    assert checkpoints.resumed == {"photos: source bucket b": {"objects": 2, "age": "12 min"}}


def test_what_nobody_goes_on_with_any_more_is_removed(tmp_path: Path) -> None:
    found(tmp_path, now=0.0)
    [left] = tmp_path.iterdir()
    os.utime(left, (0, 0))
    with listing_checkpoints(CheckpointPlace(tmp_path, "bb", fresh=False), 3600.0):
        assert left.exists()
    with listing_checkpoints(CheckpointPlace(tmp_path, "bb", fresh=False), 90_000.0):
        assert not left.exists()
