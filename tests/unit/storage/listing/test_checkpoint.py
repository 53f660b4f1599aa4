"""A listing that was killed goes on where it was: the same entries, each once, or everything anew."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.listing_server import ListingServer, bucket_of, listed, server_of

from schema.errors import ListingUnordered, LocalDiskError
from schema.objects import ListedObject, UnsupportedEntry
from schema.plan import ListingKind
from storage.listing import listing
from storage.listing.blocks import ListingBlock
from storage.listing.checkpoint import BLOCK_ENTRIES, MOST_AGE, ListingCheckpoint, ResumedSource
from storage.listing.source import BucketSource
from storage.port import Listing, PageTally

NAMES = [f"flat/{number:04d}-\u00e9" for number in range(400)]
BLOCK = 50
IDENTITY = {"declaration": "aa", "prefix": ""}


def source(server: ListingServer, checkpoint: ListingCheckpoint, *, parallel: int = 1) -> ResumedSource:
    bucket = bucket_of(server)

    def list_objects(prefix: str, **how: Any) -> listing.Listing:
        return listing.list_objects(bucket, prefix, **how)

    store: Any = SimpleNamespace(list_objects=list_objects)
    return ResumedSource(BucketSource(store, "", ListingKind.OBJECTS, "source bucket b", parallel), checkpoint, BLOCK)


def looked(path: Path, *, now: float = 1060.0, **identity: str) -> tuple[int, str, float] | None:
    """What the next listing would find."""
    with closing(ListingCheckpoint(path, {**IDENTITY, **identity}, now=now)) as checkpoint:
        found = checkpoint.earlier
        return None if found is None else (found.objects, found.last_key, found.began)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "listings" / "one.listing"


@pytest.fixture
def interrupted(path: Path) -> Path:
    """Three blocks are in the file when the process dies in the fourth."""
    checkpoint = ListingCheckpoint(path, IDENTITY, now=1000.0)
    under_way = source(server_of(NAMES, page_size=40), checkpoint).listing()
    assert len(list(islice(under_way, 3 * BLOCK - 1))) == 3 * BLOCK - 1
    checkpoint.close()
    under_way.close()
    return path


def resumed(path: Path, server: ListingServer, *, parallel: int = 1) -> list[str]:
    checkpoint = ListingCheckpoint(path, IDENTITY, now=1060.0)
    taken = source(server, checkpoint, parallel=parallel).listing()
    keys = [entry.key for entry in taken]
    assert taken.tally.due == len(keys)
    checkpoint.close()
    return keys


@pytest.mark.parametrize("parallel", [1, 4])
def test_it_goes_on_behind_the_last_whole_block(interrupted: Path, parallel: int) -> None:
    server = server_of(NAMES, page_size=40)
    assert resumed(interrupted, server, parallel=parallel) == NAMES
    assert all(query.get("start-after", "x") >= NAMES[3 * BLOCK - 1] for query in server.queries)


def test_a_resumed_listing_can_be_interrupted_again(interrupted: Path) -> None:
    checkpoint = ListingCheckpoint(interrupted, IDENTITY, now=1060.0)
    under_way = source(server_of(NAMES), checkpoint).listing()
    list(islice(under_way, 5 * BLOCK))
    checkpoint.close()
    under_way.close()
    assert looked(interrupted) == (5 * BLOCK, NAMES[5 * BLOCK - 1], 1000.0), "its age is that of its oldest part"
    assert resumed(interrupted, server_of(NAMES)) == NAMES


def test_a_server_that_ignores_start_after_gives_the_same(interrupted: Path) -> None:
    assert resumed(interrupted, server_of(NAMES, page_size=40, ignores_start_after=True)) == NAMES


def test_every_entry_comes_back_as_it_was(path: Path) -> None:
    entries = [
        listed("a\udce9\x00", version_id="v", storage_class="GLACIER", restored=True),
        UnsupportedEntry("b\n", None, None, None, None, False, "why"),
        ListedObject("\U0001f600", 5 << 40, "", -1),
    ]
    first = ListingCheckpoint(path, IDENTITY, now=0.0)
    first.append(ListingBlock(entries))
    first.close()
    with closing(ListingCheckpoint(path, IDENTITY, now=0.0)) as again:
        back = [entry for block in again.blocks() for entry in block]
    assert back == entries
    assert [*map(type, back)] == [*map(type, entries)]


@pytest.mark.parametrize("cut", [1, 39, 41, 100])
def test_a_torn_end_counts_as_not_written(interrupted: Path, cut: int) -> None:
    whole = interrupted.read_bytes()
    interrupted.write_bytes(whole[:-cut])
    assert looked(interrupted) == (2 * BLOCK, NAMES[2 * BLOCK - 1], 1000.0)
    assert resumed(interrupted, server_of(NAMES)) == NAMES


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)


HARMS: list[Callable[[Path], object]] = [
    _flip,
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(b"x" * 500),
]


@pytest.mark.parametrize("harm", HARMS)
def test_a_file_that_is_not_whole_at_its_beginning_is_ignored(
    interrupted: Path, harm: Callable[[Path], object]
) -> None:
    harm(interrupted)
    assert looked(interrupted) is None
    assert resumed(interrupted, server_of(NAMES)) == NAMES


def test_of_another_declaration_or_too_old_it_does_not_count(interrupted: Path) -> None:
    assert looked(interrupted, declaration="bb") is None
    assert looked(interrupted, now=1001.0 + MOST_AGE) is None
    assert looked(interrupted, now=999.0) is None, "from the future"
    assert looked(interrupted) is not None


def test_two_at_once_do_not_share_a_file(interrupted: Path) -> None:
    first = ListingCheckpoint(interrupted, IDENTITY, now=1060.0)
    second = ListingCheckpoint(interrupted, IDENTITY, now=1060.0)
    assert (first.earlier is None, second.earlier) == (False, None)
    size = interrupted.stat().st_size
    assert [entry.key for entry in source(server_of(NAMES), second).listing()] == NAMES
    second.drop()
    assert interrupted.stat().st_size == size
    first.close()


def test_disorder_behind_an_earlier_part_begins_anew(interrupted: Path) -> None:
    """What came before may lack keys: the planner asks for a second listing, and nothing of before counts."""
    disordered = ListingServer([*map(listed, NAMES[:300]), listed("flat/0000"), *map(listed, NAMES[300:])], page_size=9)
    disordered.ignores_start_after = True
    checkpoint = ListingCheckpoint(interrupted, IDENTITY, now=1060.0)
    bucket = source(disordered, checkpoint, parallel=4)
    with pytest.raises(ListingUnordered, match="cannot be resumed"):
        list(bucket.listing())
    assert [entry.key for entry in bucket.listing()] == sorted(["flat/0000", *NAMES])
    assert not interrupted.exists()


def test_a_server_without_order_leaves_no_file(path: Path) -> None:
    """Its listing is sorted here, and nobody can go on behind a key of it."""
    names = [f"a/{number:03}" for number in range(100)] + [f"a-{number:03}" for number in range(200)]
    walking = ListingServer([*map(listed, names)], page_size=40)
    checkpoint = ListingCheckpoint(path, IDENTITY, now=1000.0)
    under_way = source(walking, checkpoint).listing()
    assert [entry.key for entry in islice(under_way, 250)] == sorted(names)[:250]
    checkpoint.close()
    under_way.close()
    assert looked(path) is None
    assert resumed(path, walking) == sorted(names)


def test_a_short_listing_leaves_no_file(path: Path) -> None:
    checkpoint = ListingCheckpoint(path, IDENTITY, now=0.0)
    assert len(list(source(server_of(NAMES[: BLOCK - 1]), checkpoint).listing())) == BLOCK - 1
    assert not path.parent.exists()


def test_a_page_is_handed_on_before_its_block_is_whole(path: Path) -> None:
    """A block at once would empty what is read ahead, and the threads that read would guess at ranges to fill it."""
    came: list[str] = []

    def entries() -> Generator[ListedObject, None, None]:
        for number in range(2 * BLOCK_ENTRIES):
            came.append(f"{number:06d}")
            yield listed(came[-1])

    store: Any = SimpleNamespace(list_objects=lambda *_, **__: Listing(entries(), PageTally()))
    with closing(ListingCheckpoint(path, IDENTITY, now=0.0)) as checkpoint:
        under_way = ResumedSource(BucketSource(store, "", ListingKind.OBJECTS, "bucket b"), checkpoint).listing()
        assert next(under_way).key == came[0]
        assert len(came) == 1000
        assert [entry.key for entry in islice(under_way, BLOCK_ENTRIES - 1)] == came[1:BLOCK_ENTRIES]
        under_way.close()
    assert looked(path, now=1.0) == (BLOCK_ENTRIES, came[BLOCK_ENTRIES - 1], 0.0)


def test_a_disk_that_cannot_be_written_costs_only_the_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "listings").write_text("a file where the folder should be")
    checkpoint = ListingCheckpoint(tmp_path / "listings" / "one.listing", IDENTITY, now=0.0)
    assert [entry.key for entry in source(server_of(NAMES), checkpoint).listing()] == NAMES


def test_a_file_that_changes_while_it_is_read_is_named(interrupted: Path) -> None:
    with closing(ListingCheckpoint(interrupted, IDENTITY, now=1060.0)) as checkpoint:
        interrupted.write_bytes(interrupted.read_bytes()[:100])
        with pytest.raises(LocalDiskError, match="--fresh"):
            list(checkpoint.blocks())
