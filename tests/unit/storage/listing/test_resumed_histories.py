"""A listing of versions that was killed goes on where it was, with the same doubts as one that was not."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.listing_server import START_MS, ListingServer, bucket_of

from schema.errors import FeatureUnsupported, ListingRefused, StoreError
from schema.objects import ListedEntry, ListedObject
from schema.plan import ListingKind
from storage.listing.asking import ListedBucket
from storage.listing.checkpoint import ListedEarlier, ListingCheckpoint, ResumedSource, goes_on
from storage.listing.source import BucketSource
from storage.s3.store import S3Store

BLOCK = 5
IDENTITY = {"declaration": "aa"}
Seen = tuple[list[ListedEntry], int, list[str]]
"""The entries, the number of keys whose order is unclear, examples of them."""


def version(key: str, number: int, *, time: int, latest: bool = False, marker: bool = False) -> ListedObject:
    etag = "" if marker else f"{number:032x}"
    return ListedObject(
        key, 0 if marker else 1, etag, START_MS + 1000 * time, version_id=f"v{number}", is_latest=latest,
        delete_marker=marker,
    )  # fmt: skip


CLEAR, UNCLEAR, INTERLEAVED = "clear", "unclear", "interleaved"


def history(key: str, kind: str, count: int) -> list[ListedObject]:
    """*count* versions, newest first; besides the latest a version and a marker of the same time where *kind* says."""
    latest = version(key, 99, time=50, latest=True)
    if kind == UNCLEAR:
        return [latest, version(key, 2, time=1), version(key, 1, time=1, marker=True)]
    if kind == INTERLEAVED:
        return [
            latest,
            version(key, 3, time=3, marker=True),
            version(key, 2, time=2),
            version(key, 1, time=1, marker=True),
        ]
    return [latest, *(version(key, number, time=number) for number in range(count, 0, -1))]


def source(bucket: ListedBucket, checkpoint: ListingCheckpoint) -> ResumedSource:
    class Store:
        def list_versions(self, prefix: str, **how: Any) -> Any:
            return S3Store.list_versions(self, prefix, **how)  # type: ignore[arg-type]

        _listed = bucket

    store: Any = Store()
    return ResumedSource(BucketSource(store, "", ListingKind.VERSIONS, "source bucket b"), checkpoint, BLOCK)


def whole(server: ListingServer, path: Path) -> Seen:
    """What is seen where *path* may have something of before."""
    with closing(ListingCheckpoint(path, IDENTITY, now=60.0)) as checkpoint:
        listing = source(bucket_of(server), checkpoint).listing()
        entries = list(listing)
        assert listing.tally.due == len(entries)
        return entries, listing.tally.unclear_keys, listing.tally.unclear_examples


def killed(server: ListingServer, path: Path, after: int) -> ListedEarlier | None:
    """Take *after* entries and no more; what is left in the file."""
    checkpoint = ListingCheckpoint(path, IDENTITY, now=0.0)
    under_way = source(bucket_of(server), checkpoint).listing()
    list(islice(under_way, after))
    checkpoint.close()
    under_way.close()
    with closing(ListingCheckpoint(path, IDENTITY, now=60.0)) as again:
        return again.earlier


def tried(server: ListingServer, earlier: ListedEarlier, path: Path) -> bool:
    """Whether a plan would go on there."""
    with closing(ListingCheckpoint(path, IDENTITY, now=0.0)) as checkpoint:
        return goes_on(source(bucket_of(server), checkpoint).bucket, earlier)


HISTORIES = st.lists(
    st.tuples(st.sampled_from([CLEAR, CLEAR, UNCLEAR, INTERLEAVED]), st.integers(0, 12)), min_size=1, max_size=12
)


@given(HISTORIES, st.lists(st.integers(0, 60), min_size=1, max_size=3), st.integers(1, 9), st.booleans())
def test_however_often_it_is_killed_it_gives_the_same(
    kinds: list[tuple[str, int]], kills: list[int], page_size: int, ignores: bool
) -> None:
    entries = [entry for number, (kind, count) in enumerate(kinds) for entry in history(f"k{number:02}", kind, count)]
    with TemporaryDirectory() as folder:
        expected = whole(ListingServer(entries, page_size=page_size), Path(folder) / "control")
        assert {(each.key, each.version_id) for each in expected[0]} == {
            (each.key, each.version_id) for each in entries
        }
        assert len(expected[0]) == len(entries)
        path = Path(folder) / "killed"
        for after in kills:
            killed(ListingServer(entries, page_size=page_size, ignores_start_after=ignores), path, after)
        assert whole(ListingServer(entries, page_size=page_size, ignores_start_after=ignores), path) == expected


def test_it_asks_for_nothing_that_it_has(tmp_path: Path) -> None:
    """Control of the test above: it does resume, at the key of which it may not have every version."""
    entries = [entry for number in range(10) for entry in history(f"k{number}", CLEAR, 3)]
    earlier = killed(ListingServer(entries), tmp_path / "one", 3 * BLOCK)
    assert earlier is not None
    assert (earlier.objects, earlier.last_key, earlier.key_before) == (12, "k2", "k1"), "of k3 not all was written"
    server = ListingServer(entries)
    assert len(whole(server, tmp_path / "one")[0]) == len(entries)
    assert [query["key-marker"] for query in server.queries] == ["k2"]


@pytest.mark.parametrize(("kind", "unclear"), [(UNCLEAR, 2), (INTERLEAVED, 0)])
def test_doubts_and_what_settles_them_are_kept(tmp_path: Path, kind: str, unclear: int) -> None:
    """A marker between versions, seen before the kill, says how the server lists; unclear keys are told once each."""
    entries = [*history("a", kind, 0), *history("b", UNCLEAR, 0), *history("c", CLEAR, 9)]
    earlier = killed(ListingServer(entries, page_size=3), tmp_path / "one", 2 * BLOCK)
    assert earlier is not None and earlier.end.order.interleaves is (kind == INTERLEAVED)
    found = whole(ListingServer(entries, page_size=3), tmp_path / "one")
    assert found[1:] == (unclear, ["a", "b"][:unclear])


class LeavesOutTheNewest(ListingServer):
    """After a key marker that names no key it leaves out the first version that comes (as moto does)."""

    def __call__(self, pairs: list[tuple[str, str]]) -> bytes:
        query = dict(pairs)
        marker = query.get("key-marker", "")
        if marker and "version-id-marker" not in query and marker not in {entry.key for entry in self.entries}:
            first = next(entry for entry in self.entries if entry.key > marker)
            self.entries = [entry for entry in self.entries if entry is not first]
        return super().__call__(pairs)


@pytest.mark.parametrize("kind", [ListingServer, LeavesOutTheNewest])
@pytest.mark.parametrize("gone", ["", "k1", "k2"])
def test_it_goes_on_only_where_the_server_is_seen_to(tmp_path: Path, kind: type[ListingServer], gone: str) -> None:
    """Where the key to begin after was removed meanwhile, what such a server gives is not believed."""
    entries = [entry for number in range(10) for entry in history(f"k{number}", CLEAR, 3)]
    earlier = killed(ListingServer(entries), tmp_path / "one", 3 * BLOCK)
    assert earlier is not None
    left = kind([entry for entry in entries if entry.key != gone])
    expected = gone == "" or (gone == "k1" and kind is ListingServer)
    assert tried(left, earlier, tmp_path / "two") is expected


@pytest.mark.parametrize("refused", [FeatureUnsupported("501"), ListingRefused("an endless listing")])
def test_a_server_that_knows_no_marker_of_a_key_alone_is_listed_anew(tmp_path: Path, refused: StoreError) -> None:
    def refuse(_number: int, query: dict[str, str]) -> None:
        if "key-marker" in query and "version-id-marker" not in query:
            raise refused

    entries = [entry for number in range(10) for entry in history(f"k{number}", CLEAR, 3)]
    earlier = killed(ListingServer(entries), tmp_path / "one", 3 * BLOCK)
    assert earlier is not None
    assert not tried(ListingServer(entries, before=refuse), earlier, tmp_path / "two")
    assert tried(ListingServer(entries), earlier, tmp_path / "three"), "control"


def test_of_one_key_alone_nothing_can_be_tried(tmp_path: Path) -> None:
    entries = [*history("a", CLEAR, 5), *history("b", CLEAR, 12)]
    earlier = killed(ListingServer(entries), tmp_path / "one", 2 * BLOCK)
    assert earlier is not None and (earlier.last_key, earlier.key_before) == ("a", "")
    assert not tried(ListingServer(entries), earlier, tmp_path / "two")
