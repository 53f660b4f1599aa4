"""Blocks of a listing come back from their bytes as they were, whatever their entries hold."""

from __future__ import annotations

import hashlib
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schema.objects import ListedEntry, ListedObject, UnsupportedEntry
from storage.listing.blocks import ListingBlock, OrderSeen, packed, unpacked

TEXTS = st.text(st.characters(), max_size=6) | st.sampled_from(
    ["", "\n", "a\nb", "\x00", "\udce9", "\ud83d\ude00", "\U0001f600"]
)
MD5S = st.binary(min_size=16, max_size=16).map(bytes.hex)
ETAGS = (
    MD5S | MD5S.map(str.upper) | MD5S.map(lambda md5: f"{md5}-12") | st.sampled_from(["", "0" * 31 + "\n", " " * 32])
)
OBJECTS = st.builds(
    ListedObject,
    key=TEXTS,
    size=st.integers(0, 2**63 - 1),
    etag=ETAGS,
    modified_ms=st.integers(-(2**40), 2**45),
    storage_class=st.sampled_from(["STANDARD", "GLACIER"]),
    checksum=st.sampled_from(["", "CRC32/COMPOSITE"]),
    version_id=st.none() | TEXTS,
    is_latest=st.booleans(),
    delete_marker=st.booleans(),
    restored=st.booleans(),
)
UNSUPPORTED = st.builds(
    UnsupportedEntry,
    key=TEXTS,
    size=st.none() | st.integers(0, 9),
    etag=st.none() | TEXTS,
    modified_ms=st.none() | st.integers(0, 9),
    version_id=st.none() | TEXTS,
    delete_marker=st.booleans(),
    reason=TEXTS,
)


@settings(max_examples=300, deadline=None)
@given(
    entries=st.lists(OBJECTS, max_size=5) | st.lists(OBJECTS | UNSUPPORTED, max_size=5),
    order=st.builds(OrderSeen, st.integers(0, 9), st.lists(TEXTS, max_size=2).map(tuple), st.booleans()),
    whole=st.booleans(),
)
def test_a_block_comes_back_as_it_was(entries: list[ListedEntry], order: OrderSeen, whole: bool) -> None:
    block = ListingBlock(entries, order, whole)
    back = unpacked(packed(block))

    assert back == block
    assert [*map(type, back.entries)] == [*map(type, entries)]
    assert [[*map(type, entry)] for entry in back.entries] == [[*map(type, entry)] for entry in entries]


def _md5(number: int) -> str:
    return hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("other", ["", "A" * 32, "0" * 31, "0" * 33, f"{_md5(0)}-2"])
def test_md5s_are_kept_as_bytes_only_where_every_etag_is_one(other: str) -> None:
    entries = [ListedObject(f"key-{number:04d}", 5, _md5(number), 0) for number in range(100)]
    mixed = [*entries[:50], entries[50]._replace(etag=other), *entries[51:]]

    assert unpacked(packed(ListingBlock(entries))).entries == entries
    assert unpacked(packed(ListingBlock(mixed))).entries == mixed
    assert zlib.decompressobj().decompress(packed(ListingBlock(entries))).count(_md5(7).encode()) == 0
    assert zlib.decompressobj().decompress(packed(ListingBlock(mixed))).count(_md5(7).encode()) == 1


@pytest.mark.parametrize("kept", [slice(-1), slice(-16), slice(40)])
def test_bytes_that_are_cut_short_are_refused(kept: slice) -> None:
    data = packed(ListingBlock([ListedObject(f"key-{number}", 5, _md5(number), 0) for number in range(20)]))
    assert len(unpacked(data).entries) == 20
    with pytest.raises((ValueError, zlib.error)):
        unpacked(data[kept])
