"""Sort more rows than memory holds: sorted runs on disk, then one merge. Memory is bounded, disk is not.

The runs lie one after the other, as compressed blocks, in an unnamed temporary file, which the kernel removes when the
process ends in any way. A million listed objects take about 50 MB of disk.
"""

from __future__ import annotations

import heapq
import pickle
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from sys import getsizeof
from types import TracebackType
from typing import IO, Any, Generic, NamedTuple, Self, TypeVar

from schema.errors import LocalDiskError

Row = TypeVar("Row", bound="tuple[Any, ...]")

BLOCK_BYTES = 256 * 1024
"""Approximate bytes of rows in one block: large rows make short blocks."""
_LENGTH = struct.Struct("<I")
_NESTED = (tuple, list)


class SortBounds(NamedTuple):
    """How much a sort holds in memory."""

    memory: int = 32 * 1024 * 1024
    """Bytes of rows sorted at a time."""
    block: int = 256
    """Rows in one compressed block at most: what a run being merged holds."""
    fan_in: int = 64
    """Runs merged at a time; more are merged in rounds. 64 blocks hold about 16 MB."""


DEFAULT_BOUNDS = SortBounds()


class _Run(NamedTuple):
    """Where a sorted run lies in the file."""

    start: int
    end: int
    block: int
    """Rows in each of its blocks."""


class DiskSort(Generic[Row]):
    """Takes rows one by one, gives them back ascending by *key*; equal ones in the order they came.

    A row is a tuple of anything that can be pickled. *size_of* says how many bytes a row takes in memory; by default
    each row is measured, at 5 us for ten items. Use it as a context manager, so that the file in *folder* (created if
    need be; None: the system's folder for temporary files) goes away. Raises LocalDiskError when the disk is full or
    broken.
    """

    def __init__(
        self,
        key: Callable[[Row], Any],
        *,
        folder: Path | None = None,
        bounds: SortBounds = DEFAULT_BOUNDS,
        size_of: Callable[[Row], int] | None = None,
    ) -> None:
        if bounds.block < 1 or bounds.fan_in < 2:
            raise ValueError("a merge needs blocks of at least one row and at least two runs at a time")
        self._key = key
        self._folder = folder
        self._bounds = bounds
        self._size_of = size_of or size_in_memory
        self._held: list[Row] = []
        self._held_bytes = 0
        self._file: IO[bytes] | None = None
        self._runs: list[_Run] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def runs(self) -> int:
        """The number of runs on disk."""
        return len(self._runs)

    def add(self, row: Row) -> None:
        """One more row."""
        self._held.append(row)
        self._held_bytes += self._size_of(row)
        if self._held_bytes >= self._bounds.memory:
            self._spill()

    def ascending(self) -> Iterator[Row]:
        """All rows, once; nothing may be added afterwards."""
        self._held.sort(key=self._key)
        while len(self._runs) > self._bounds.fan_in:
            oldest, rest = self._runs[: self._bounds.fan_in], self._runs[self._bounds.fan_in :]
            # In front of the others: equal rows keep their order.
            self._runs = [self._write(self._merged(oldest), min(run.block for run in oldest)), *rest]
        if not self._runs:
            held, self._held = self._held, []
            yield from held
            return
        yield from heapq.merge(*map(self._read, self._runs), self._held, key=self._key)

    def close(self) -> None:
        """Drop everything."""
        self._held = []
        self._runs = []
        if self._file is not None:
            # After a failed write the rest of its buffer fails again here, and is no longer needed.
            with suppress(OSError):
                self._file.close()
            self._file = None

    def _spill(self) -> None:
        self._held.sort(key=self._key)
        block = len(self._held) * BLOCK_BYTES // max(1, self._held_bytes)
        self._runs.append(self._write(self._held, max(1, min(self._bounds.block, block))))
        self._held = []
        self._held_bytes = 0

    def _merged(self, runs: Iterable[_Run]) -> Iterator[Row]:
        return heapq.merge(*map(self._read, runs), key=self._key)

    def _write(self, rows: Iterable[Row], block: int) -> _Run:
        """Append one sorted run."""
        remaining = iter(rows)
        try:
            file = self._opened()
            start = end = file.seek(0, 2)
            while some := list(islice(remaining, block)):
                data = zlib.compress(pickle.dumps(some, pickle.HIGHEST_PROTOCOL), 1)
                # Merging reads between these writes, from the same file.
                file.seek(end)
                file.write(_LENGTH.pack(len(data)))
                file.write(data)
                end += _LENGTH.size + len(data)
            file.flush()
        except OSError as error:
            raise self._failed(error) from error
        return _Run(start, end, block)

    def _read(self, run: _Run) -> Iterator[Row]:
        """The rows of one run, a block at a time. The file is ours and has no name: unpickling it is safe."""
        at = run.start
        while at < run.end:
            try:
                file = self._opened()
                file.seek(at)
                (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
                rows: list[Row] = pickle.loads(zlib.decompress(file.read(length)))  # noqa: S301
            except (OSError, struct.error, zlib.error, pickle.UnpicklingError, EOFError) as error:
                raise self._failed(error) from error
            at += _LENGTH.size + length
            yield from rows

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(prefix="s3migrate-sort-", dir=self._folder)  # noqa: SIM115
        return self._file

    def _failed(self, error: Exception) -> LocalDiskError:
        folder = self._folder or tempfile.gettempdir()
        elsewhere = "" if self._folder else " or set TMPDIR to a larger disk"
        return LocalDiskError(
            f"sorting on disk failed in {folder}: {error}. Make room there{elsewhere}, then run again"
        )


def size_in_memory(row: Sequence[Any]) -> int:
    """Bytes that *row* takes: its items, and those of tuples and lists within, each counted in full."""
    size = getsizeof(row) + sum(map(getsizeof, row))
    for item in row:
        if isinstance(item, _NESTED):
            size += size_in_memory(item) - getsizeof(item)
    return size


def sort_on_disk(
    rows: Iterable[Row],
    key: Callable[[Row], Any],
    *,
    folder: Path | None = None,
    bounds: SortBounds = DEFAULT_BOUNDS,
    size_of: Callable[[Row], int] | None = None,
) -> Iterator[Row]:
    """*rows* sorted by a DiskSort; see there for the arguments."""
    with DiskSort(key, folder=folder, bounds=bounds, size_of=size_of) as sorter:
        for row in rows:
            sorter.add(row)
        yield from sorter.ascending()
