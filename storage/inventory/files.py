"""Where the files of an inventory are kept: on this machine or in a bucket."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

from schema.errors import InputMissing, InventoryCorrupt, LocalDiskError, ObjectMissing
from storage.port import ObjectStore, Pin
from storage.retrying import Retry

CHUNK = 8 * 1024 * 1024
"""Bytes read at a time."""


class FileSource(Protocol):
    """A folder or a bucket that files are read from."""

    def open(self, name: str) -> IO[bytes]:
        """The file, at its start, to be closed by the caller. Raises InputMissing, LocalDiskError, StoreErrors."""

    def modified_ms(self, name: str) -> int:
        """When it was written, milliseconds since the epoch. Raises InputMissing."""

    def names(self, folder: str) -> list[str]:
        """Every file beneath *folder*, in no order. Raises InputMissing."""


class LocalPlace:
    """Files of this machine; relative names are beside *beside*."""

    def __init__(self, beside: Path) -> None:
        self._beside = beside

    def open(self, name: str) -> IO[bytes]:
        """See FileSource."""
        try:
            return (self._beside / name).open("rb")
        except OSError as error:
            raise _no_file(name, error) from None

    def modified_ms(self, name: str) -> int:
        """See FileSource."""
        try:
            return (self._beside / name).stat().st_mtime_ns // 1_000_000
        except OSError as error:
            raise _no_file(name, error) from None

    def names(self, folder: str) -> list[str]:
        """See FileSource."""
        root = self._beside / folder
        if not root.is_dir():
            raise InputMissing(f"{folder} is not a folder; name the folder over the report's dates, or a manifest.json")
        return [str(path) for path in root.rglob("*") if path.is_file()]

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self._beside / name).is_file()


class BucketPlace:
    """Files in a bucket. What is opened is copied to an unnamed temporary file, CHUNK bytes at a time."""

    def __init__(self, store: ObjectStore, retry: Retry | None = None) -> None:
        self._store = store
        self._retry = retry or Retry()

    def open(self, name: str) -> IO[bytes]:
        """See FileSource. An object that is replaced meanwhile is an ObjectChanged."""
        try:
            head = self._retry.call(lambda: self._store.head(name))
        except ObjectMissing:
            raise self._missing(name) from None
        file = tempfile.TemporaryFile(prefix="s3migrate-inventory-")  # noqa: SIM115  the caller closes it
        try:
            for start in range(0, head.size, CHUNK):
                into = memoryview(bytearray(min(CHUNK, head.size - start)))
                self._retry.call(self._range_of(name, into, start, pin=Pin(head.etag)))
                file.write(into)
            file.seek(0)
        except OSError as error:
            file.close()
            raise LocalDiskError(f"no room for {name} in {tempfile.gettempdir()}: {error}; set TMPDIR") from error
        except BaseException:
            file.close()
            raise
        return file

    def _range_of(self, name: str, into: memoryview, start: int, *, pin: Pin) -> Callable[[], object]:
        return lambda: self._store.get(name, into, pin=pin, start=start)

    def modified_ms(self, name: str) -> int:
        """See FileSource. An answer without a time counts as of 1970, which no max_age allows."""
        try:
            return (self._retry.call(lambda: self._store.head(name)).modified_seconds or 0) * 1000
        except ObjectMissing:
            raise self._missing(name) from None

    def names(self, folder: str) -> list[str]:
        """See FileSource."""
        return [entry.key for entry in self._store.list_objects(folder)]

    def _missing(self, name: str) -> InputMissing:
        return InputMissing(f"there is no s3://{self._store.bucket}/{name}")


def read_small(place: FileSource, name: str, most: int = 64 * 1024 * 1024) -> bytes:
    """The whole file. Raises InventoryCorrupt when it has more than *most* bytes."""
    with place.open(name) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise InventoryCorrupt(f"{name} has more than {most:,} bytes and is not a manifest")
    return data


def md5_of(file: IO[bytes]) -> str:
    """Hex, of the whole file, which is at its start again afterwards."""
    digest = hashlib.md5(usedforsecurity=False)
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    file.seek(0)
    return digest.hexdigest()


def _no_file(name: str, error: OSError) -> InputMissing:
    return InputMissing(f"cannot read {name}: {error.strerror}")
