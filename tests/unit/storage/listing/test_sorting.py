"""The external sort: right, bounded, and tidy."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.listing_server import listed

from schema.errors import LocalDiskError
from schema.objects import ListedObject
from storage.listing.sorting import ExternalSort, by_age, by_key, without_positions

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


@settings(max_examples=150, deadline=None)
@given(
    entries=st.lists(objects, max_size=60),
    memory=st.integers(1, 20_000),
    block=st.integers(1, 5),
    fan_in=st.integers(2, 5),
    order=st.sampled_from([by_key, by_age]),
)
def test_any_input_comes_back_sorted_and_unchanged(
    entries: list[ListedObject], memory: int, block: int, fan_in: int, order: object
) -> None:
    with ExternalSort(order, memory, block=block, fan_in=fan_in) as sorter:  # type: ignore[arg-type]
        for entry in entries:
            sorter.add(entry)
        got = list(sorter.sorted())

    assert got == sorted(enumerate(entries), key=order)  # type: ignore[arg-type]
    assert all(type(entry) is ListedObject for _position, entry in got)


def test_little_is_sorted_without_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", _no_space)
    with ExternalSort(by_key, 1 << 20) as sorter:
        for key in "cab":
            sorter.add(listed(key))
        assert [entry.key for entry in without_positions(sorter.sorted())] == ["a", "b", "c"]


def test_runs_are_as_many_as_the_memory_asks_for() -> None:
    """The bound itself: ten times the memory of one object holds about ten objects."""
    with ExternalSort(by_key, 10 * 560) as sorter:
        for number in range(1000):
            sorter.add(listed(f"{number:05d}"))
        assert 90 <= sorter.runs <= 110


def _no_space(*_arguments: object, **_named: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", _no_space)
    sorter = ExternalSort(by_key, 1)
    with pytest.raises(LocalDiskError, match=r"No space left on device.*TMPDIR"):
        sorter.add(listed("a"))


def test_a_disk_that_fills_up_on_writing_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_named: Path("/dev/full").open("w+b"))  # noqa: SIM115
    with ExternalSort(by_key, 1) as sorter, pytest.raises(LocalDiskError, match="No space left"):
        sorter.add(listed("a"))


def test_a_damaged_temporary_file_is_a_broken_disk() -> None:
    with ExternalSort(by_key, 1) as sorter:
        for key in "ba":
            sorter.add(listed(key))
        assert sorter._file is not None
        sorter._file.truncate(10)
        with pytest.raises(LocalDiskError):
            list(sorter.sorted())


def test_nothing_is_left_in_the_folder(tmp_path: Path) -> None:
    with ExternalSort(by_key, 1, folder=tmp_path) as sorter:
        sorter.add(listed("a"))
        sorter.add(listed("b"))
        assert sorter.runs == 2
        assert list(tmp_path.iterdir()) == []
        next(sorter.sorted())
    assert list(tmp_path.iterdir()) == []
