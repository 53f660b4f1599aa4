"""The merge of two ascending streams, and the memory walked beside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.planning import Bucket, listed, listing_of

from planner.march import AscendingMemory, march
from planner.stocktaking import Stocktaker
from schema.errors import ListingRefused
from schema.plan import ListingKind
from storage.listing.source import BucketSource

keys = st.sets(st.text(min_size=1, max_size=3))


@given(keys, keys)
def test_the_merge_is_set_algebra_and_keeps_order(left: set[str], right: set[str]) -> None:
    pairs = list(march(iter([(k, "l") for k in sorted(left)]), iter([(k, "r") for k in sorted(right)])))
    seen = [(one or two or ("",))[0] for one, two in pairs]
    assert seen == sorted(left | right)
    assert {one[0] for one, two in pairs if one and two} == left & right
    assert {one[0] for one, two in pairs if one and not two} == left - right
    assert {two[0] for one, two in pairs if two and not one} == right - left


def test_both_streams_are_read_lazily() -> None:
    def endless(step: int):
        number = 0
        while True:
            yield (f"{number:09d}",)
            number += step

    pairs = march(endless(2), endless(3))
    assert [next(pairs) for _ in range(4)] == [
        (("000000000",), ("000000000",)),
        (("000000002",), None),
        (None, ("000000003",)),
        (("000000004",), None),
    ]


def test_memory_gives_all_rows_of_a_key_and_skips_the_others() -> None:
    memory = AscendingMemory(iter([("a", "s1", "d1"), ("c", "s2", "d2"), ("c", "s3", "d3"), ("e", "s4", "d4")]))
    assert memory.at("b") == ()
    assert memory.at("c") == (("s2", "d2"), ("s3", "d3"))
    assert memory.at("d") == ()
    assert memory.at("e") == (("s4", "d4"),)
    assert memory.at("f") == ()


def test_memory_that_does_not_ascend_is_refused() -> None:
    memory = AscendingMemory(iter([("b", "", ""), ("a", "", "")]))
    with pytest.raises(ListingRefused, match="'a' after 'b'"):
        memory.at("c")


def given(kind: ListingKind) -> BucketSource:
    return BucketSource(Bucket(), "", kind, "source bucket b")


def take(kind: ListingKind, prefix: str, *objects):
    taker = Stocktaker(given(kind), prefix)
    return taker, list(taker.take(listing_of(objects)))


@pytest.mark.parametrize("second", ["a", "b"])
def test_an_unordered_or_repeated_listing_is_refused(second: str) -> None:
    with pytest.raises(ListingRefused, match="keys must ascend"):
        take(ListingKind.OBJECTS, "", listed("b"), listed(second))


def test_disorder_between_two_blocks_is_seen() -> None:
    objects = [listed(f"{number:05d}") for number in range(512)]
    with pytest.raises(ListingRefused):
        take(ListingKind.OBJECTS, "", *objects, listed("00000"))


def test_versions_of_one_key_may_repeat_it() -> None:
    taker, _ = take(ListingKind.VERSIONS, "", listed("a", version_id="1"), listed("a", version_id="2"))
    assert taker.finished().objects == 2


def test_a_key_outside_the_prefix_is_refused() -> None:
    with pytest.raises(ListingRefused, match="not under 'p/'"):
        take(ListingKind.OBJECTS, "p/", listed("p/a"), listed("q"))


def test_an_unfinished_listing_has_no_inventory() -> None:
    taker = Stocktaker(given(ListingKind.OBJECTS), "")
    next(taker.take(listing_of([listed("a"), listed("b")])))
    with pytest.raises(ListingRefused, match="not read to its end"):
        taker.finished()


def test_the_digest_tells_any_two_listings_apart() -> None:
    base = listed("a\n1:b", 1)
    others = [
        [base],
        [base._replace(key="a")],
        [base._replace(size=2)],
        [base._replace(etag="x")],
        [base._replace(modified_ms=2)],
        [base._replace(storage_class="GLACIER")],
        [base._replace(restored=True)],
        [base._replace(version_id="v")],
        [listed("a"), listed("b")],
        [],
    ]
    digests = [take(ListingKind.OBJECTS, "", *objects)[0].finished().sha256 for objects in others]
    assert len(set(digests)) == len(others)
    assert take(ListingKind.OBJECTS, "", base)[0].finished().sha256 == digests[0]
