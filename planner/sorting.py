"""Sorting more rows than memory holds: runs on disk, then one merge."""

from __future__ import annotations

import heapq
import pickle
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Generic, Self, TypeVar

from schema.errors import LocalDiskError

Row = TypeVar("Row", bound="tuple[Any, ...]")

RUN_ROWS = 20_000
"""Rows sorted in memory at a time."""
FAN_IN = 64
"""Runs merged at a time; more are merged in rounds, so that open files stay bounded."""
_BLOCK_ROWS = 256

_first = itemgetter(0)


class DiskSorter(Generic[Row]):
    """Takes rows one by one, gives them back ascending by their first item; equal ones in the order they came.

    Holds *run_rows* rows, or FAN_IN blocks of 256, in memory; the rest lies in unnamed files in *staging*, which the
    operating system drops even when the process is killed. A context manager. Raises LocalDiskError when the disk
    refuses.
    """

    def __init__(self, staging: Path, *, run_rows: int = RUN_ROWS) -> None:
        self._staging = staging
        self._run_rows = run_rows
        self._held: list[Row] = []
        self._files = ExitStack()
        self._runs: list[IO[bytes]] = []

    def add(self, row: Row) -> None:
        """One more row."""
        self._held.append(row)
        if len(self._held) >= self._run_rows:
            self._spill()

    def ascending(self) -> Iterator[Row]:
        """All rows, once; nothing may be added any more."""
        self._held.sort(key=_first)
        yield from heapq.merge(*map(_read, self._runs), self._held, key=_first)

    def _spill(self) -> None:
        self._held.sort(key=_first)
        self._runs.append(self._write(self._held))
        self._held = []
        if len(self._runs) == FAN_IN:
            merged = self._write(heapq.merge(*map(_read, self._runs), key=_first))
            for run in self._runs:
                run.close()
            self._runs = [merged]

    def _write(self, rows: Iterable[Row]) -> IO[bytes]:
        try:
            self._staging.mkdir(parents=True, exist_ok=True)
            file: IO[bytes] = self._files.enter_context(tempfile.TemporaryFile(dir=self._staging))  # noqa: SIM115
            source = iter(rows)
            while block := list(islice(source, _BLOCK_ROWS)):
                pickle.dump(block, file, protocol=pickle.HIGHEST_PROTOCOL)
            file.flush()
        except OSError as error:
            raise LocalDiskError(
                f"cannot sort in {self._staging}: {error.strerror}; free some space there and run again"
            ) from error
        return file

    def close(self) -> None:
        """Give the disk back."""
        self._files.close()
        self._held = []
        self._runs = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _read(file: IO[bytes]) -> Iterator[Any]:
    """The rows of one run. The file is ours, unnamed and never leaves this process: unpickling it is safe."""
    file.seek(0)
    while True:
        try:
            block = pickle.load(file)  # noqa: S301
        except EOFError:
            return
        yield from block


def sort_on_disk(rows: Iterable[Row], staging: Path, *, run_rows: int = RUN_ROWS) -> Iterator[Row]:
    """*rows* through a DiskSorter."""
    with DiskSorter[Row](staging, run_rows=run_rows) as sorter:
        for row in rows:
            sorter.add(row)
        yield from sorter.ascending()
