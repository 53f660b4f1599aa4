"""Files that are there whole or not at all, and still there after a power cut."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


def stage(folder: Path, data: bytes) -> Path:
    """*data* in a new durable file of *folder* (made if need be), readable by all. OSError leaves nothing behind."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".staged-", suffix=".part", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(data)
            make_durable(file)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
    return Path(name)


def replace(path: Path, data: bytes) -> None:
    """*data* as the whole content of *path*. OSError leaves what was there."""
    staged = stage(path.parent, data)
    try:
        staged.replace(path)
    except OSError:
        with suppress(OSError):
            staged.unlink()
        raise
    sync_folder(path.parent)


def make_durable(file: BinaryIO) -> None:
    """What was written to *file* is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """A rename in *folder* is on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
