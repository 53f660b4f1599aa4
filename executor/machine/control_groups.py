"""The control groups this process is in, which hold the limits of a container, a unit or a batch job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MOUNT = Path("sys/fs/cgroup")


class ControlGroup(NamedTuple):
    """The folder of one group."""

    unified: bool
    """Version 2; else version 1, where each controller has a tree of its own."""
    folder: Path


def groups(root: Path, controller: str) -> Iterator[ControlGroup]:
    """This process's groups for *controller* ("memory", "cpu") and all above them; files are read below *root*.

    Inside a container the path given may be the host's: then only the mount's own files exist, and they are the
    container's.
    """
    for line in lines(root / "proc/self/cgroup"):
        _number, controllers, path = line.split(":", 2)
        names = [part for part in path.split("/") if part not in {"", ".", ".."}]
        if not controllers:
            mounts = [root / MOUNT, root / MOUNT / "unified"]
        elif controller in controllers.split(","):
            mounts = [root / MOUNT / controller]
        else:
            continue
        for mount in mounts:
            for depth in range(len(names), -1, -1):
                yield ControlGroup(not controllers, mount.joinpath(*names[:depth]))


def lines(file: Path) -> list[str]:
    """Of *file*; none where it cannot be read."""
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
