"""The external sort: right, bounded, and tidy."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.listing_server import listed

from schema.errors import LocalDiskError
from schema.objects import ListedObject
from storage.disk_sort import DiskSort, SortBounds, size_in_memory, sort_on_disk
from storage.listing.order import Positioned, by_age, by_key, sorted_listing

objects = st.builds(
    ListedObject,
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
    size=st.integers(0, 2**45),
    etag=st.text("0123456789abcdef-", max_size=34),
    modified_ms=st.integers(-(2**40), 2**42),
    storage_class=st.sampled_from(["STANDARD", "GLACIER"]),
    checksum=st.sampled_from(["", "CRC64NVME/FULL_OBJECT"]),
    version_id=st.none() | st.text(max_size=4),
    is_latest=st.booleans(),
    delete_marker=st.booleans(),
    restored=st.booleans(),
)


nested = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(
    entries=st.lists(objects, max_size=60),
    memory=st.integers(1, 20_000),
    block=st.integers(1, 5),
    fan_in=st.integers(2, 5),
    order=st.sampled_from([by_key, by_age]),
)
def test_any_input_comes_back_sorted_and_unchanged(
    entries: list[ListedObject], memory: int, block: int, fan_in: int, order: Callable[[Positioned], Any]
) -> None:
    with DiskSort(order, bounds=SortBounds(memory, block, fan_in)) as sorter:
        for positioned in enumerate(entries):
            sorter.add(positioned)
        got = list(sorter.ascending())

    assert got == sorted(enumerate(entries), key=order)
    assert all(type(entry) is ListedObject for _position, entry in got)


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(max_size=2), nested)), st.integers(1, 2_000), st.integers(1, 3), st.integers(2, 3))
def test_rows_of_any_shape_come_back_and_equal_ones_keep_their_order(
    rows: list[tuple[str, Any]], memory: int, block: int, fan_in: int
) -> None:
    first = itemgetter(0)
    assert list(sort_on_disk(rows, first, bounds=SortBounds(memory, block, fan_in))) == sorted(rows, key=first)


@pytest.mark.parametrize("memory", [1, 1 << 20])
@given(entries=st.lists(objects, max_size=20))
def test_a_listing_is_sorted_with_and_without_disk(entries: list[ListedObject], memory: int) -> None:
    assert list(sorted_listing(entries, by_key, memory)) == [
        entry for _position, entry in sorted(enumerate(entries), key=by_key)
    ]


def test_little_is_sorted_without_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", _no_space)
    assert [entry.key for entry in sorted_listing(map(listed, "cab"), by_key, 1 << 20)] == ["a", "b", "c"]


def test_runs_are_as_many_as_the_memory_asks_for() -> None:
    """The bound itself: ten times the memory of one row holds about ten rows."""
    rows = [(n, listed(f"{n:05d}")) for n in range(1000)]
    with DiskSort(by_key, bounds=SortBounds(10 * size_in_memory(rows[999]))) as sorter:
        for row in rows:
            sorter.add(row)
        assert 90 <= sorter.runs <= 110


def test_a_large_row_counts_for_what_it_holds() -> None:
    """Many versions of one key are one row: its list counts."""
    with DiskSort(_first, bounds=SortBounds(1 << 20)) as sorter:
        for n in range(4):
            sorter.add((f"{n}", [f"{m:0100}" for m in range(10_000)]))
        assert sorter.runs == 4
        assert [len(versions) for _key, versions in sorter.ascending()] == [10_000] * 4


def _first(row: tuple[Any, ...]) -> Any:
    return row[0]


def _no_space(*_arguments: object, **_named: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", _no_space)
    sorter = DiskSort(_first, bounds=SortBounds(1))
    with pytest.raises(LocalDiskError, match=r"No space left on device.*TMPDIR"):
        sorter.add(("a",))


def test_a_disk_that_fills_up_on_writing_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_named: Path("/dev/full").open("w+b"))  # noqa: SIM115
    with DiskSort(_first, bounds=SortBounds(1)) as sorter, pytest.raises(LocalDiskError, match="No space left"):
        sorter.add(("a",))


def test_a_damaged_temporary_file_is_a_broken_disk() -> None:
    with DiskSort(_first, bounds=SortBounds(1)) as sorter:
        for key in "ba":
            sorter.add((key,))
        assert sorter._file is not None
        sorter._file.truncate(10)
        with pytest.raises(LocalDiskError):
            list(sorter.ascending())


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalDiskError, match="file"):
        list(sort_on_disk([("a", 1)] * 3, _first, folder=tmp_path / "file", bounds=SortBounds(1)))


def test_nothing_is_left_in_the_folder(tmp_path: Path) -> None:
    with DiskSort(_first, folder=tmp_path / "made", bounds=SortBounds(1)) as sorter:
        sorter.add(("a",))
        sorter.add(("b",))
        assert sorter.runs == 2
        assert list((tmp_path / "made").iterdir()) == []
        next(sorter.ascending())
    assert list((tmp_path / "made").iterdir()) == []


def test_more_runs_than_are_merged_at_once() -> None:
    rows = [(f"{n * 7919 % 1000:04d}", n) for n in range(SortBounds().fan_in * 3 + 1)]
    with DiskSort(_first, bounds=SortBounds(1)) as sorter:
        for row in rows:
            sorter.add(row)
        assert sorter.runs == len(rows)
        assert list(sorter.ascending()) == sorted(rows)
