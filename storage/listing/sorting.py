"""External merge sort of listed objects: for listings that do not come in order. Memory is bounded, disk is not.

Runs are sorted in memory, written one behind the other into an unnamed temporary file (the kernel removes it with
the process, however that ends) as compressed blocks, and merged. Costs about 40 bytes of disk per object.
"""

from __future__ import annotations

import heapq
import pickle
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

from schema.errors import LocalDiskError

_BLOCK = 256
"""Objects in one compressed block: what a run being merged holds in memory."""
_FAN_IN = 64
"""Runs merged at once. 64 blocks of 256 objects are about 10 MB."""
_OBJECT_OVERHEAD = 560
"""Bytes in memory of one object beside its key: two tuples, three strings, four numbers, measured."""
_LENGTH = struct.Struct("<I")

Positioned = tuple[int, Any]
"""An object and its place in the listing it came from."""
SortKey = Callable[[Positioned], Any]


class _Run(NamedTuple):
    """Where a sorted run lies in the file."""

    start: int
    end: int


class ExternalSort:
    """Takes objects one by one, gives them back sorted. Use as a context manager, so that the file goes away.

    *key* maps (position, object) to what is compared; positions count from 0 in the order of `add`.
    About *memory* bytes are held, and 10 MB while merging. Raises LocalDiskError when the disk is full or broken.
    """

    def __init__(
        self, key: SortKey, memory: int, *, folder: Path | None = None, block: int = _BLOCK, fan_in: int = _FAN_IN
    ) -> None:
        if block < 1 or fan_in < 2:
            raise ValueError("a merge needs blocks of at least one object and at least two runs at once")
        self._key = key
        self._memory = memory
        self._folder = folder
        self._block = block
        self._fan_in = fan_in
        self._held: list[Positioned] = []
        self._held_bytes = 0
        self._count = 0
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
        """How many runs lie on disk."""
        return len(self._runs)

    def add(self, listed: Any) -> None:
        """Take one object."""
        self._held.append((self._count, listed))
        self._count += 1
        self._held_bytes += len(listed.key) + _OBJECT_OVERHEAD
        if self._held_bytes >= self._memory:
            self._spill()

    def sorted(self) -> Iterator[Positioned]:
        """Everything taken, in order, once. Nothing may be added afterwards."""
        self._held.sort(key=self._key)
        if not self._runs:
            held, self._held = self._held, []
            yield from held
            return
        if self._held:
            self._spill()
        while len(self._runs) > self._fan_in:
            oldest, self._runs = self._runs[: self._fan_in], self._runs[self._fan_in :]
            self._runs.append(self._write(self._merged(oldest)))
        yield from self._merged(self._runs)

    def close(self) -> None:
        """Drop everything."""
        self._held = []
        if self._file is not None:
            # After a failed write the rest of its buffer fails again here; nobody wants it any more.
            with suppress(OSError):
                self._file.close()
            self._file = None

    def _spill(self) -> None:
        self._held.sort(key=self._key)
        self._runs.append(self._write(self._held))
        self._held = []
        self._held_bytes = 0

    def _merged(self, runs: Iterable[_Run]) -> Iterator[Positioned]:
        return heapq.merge(*map(self._read, runs), key=self._key)

    def _write(self, objects: Iterable[Positioned]) -> _Run:
        """Append one sorted run."""
        remaining = iter(objects)
        try:
            file = self._opened()
            start = end = file.seek(0, 2)
            while block := list(islice(remaining, self._block)):
                data = _encoded(block)
                # Merging reads between these writes, from the same file.
                file.seek(end)
                file.write(_LENGTH.pack(len(data)))
                file.write(data)
                end += _LENGTH.size + len(data)
            file.flush()
        except OSError as error:
            raise _disk_error(error) from error
        return _Run(start, end)

    def _read(self, run: _Run) -> Iterator[Positioned]:
        """The objects of one run, a block at a time."""
        at = run.start
        while at < run.end:
            try:
                file = self._opened()
                file.seek(at)
                (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
                block = _decoded(file.read(length))
            except (OSError, struct.error, zlib.error) as error:
                raise _disk_error(error) from error
            at += _LENGTH.size + length
            yield from block

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="s3migrate-sort-", dir=self._folder)  # noqa: SIM115
        return self._file


def by_key(positioned: Positioned) -> tuple[str, int, int]:
    """Keys ascending; of one key the newest last, then the one listed last."""
    position, listed = positioned
    return listed.key, listed.modified_ms or 0, position


def by_age(positioned: Positioned) -> tuple[str, bool, int, int]:
    """Keys ascending; of one key the oldest version first, the latest last.

    Servers list the newest first, so among versions of the same millisecond the one listed last is the oldest.
    """
    position, listed = positioned
    return listed.key, bool(listed.is_latest), listed.modified_ms or 0, -position


_listed_object = itemgetter(1)


def without_positions(objects: Iterable[Positioned]) -> Iterator[Any]:
    """Only the objects."""
    return map(_listed_object, objects)


def _encoded(block: list[Positioned]) -> bytes:
    return zlib.compress(pickle.dumps(block, pickle.HIGHEST_PROTOCOL), 1)


def _decoded(data: bytes) -> list[Positioned]:
    found: list[Positioned] = pickle.loads(zlib.decompress(data))  # noqa: S301  our own unnamed file
    return found


def _disk_error(error: Exception) -> LocalDiskError:
    return LocalDiskError(
        f"the temporary file that sorts an unordered listing failed: {error}. "
        f"Make room in {tempfile.gettempdir()} or set TMPDIR to a larger disk, then run again"
    )
