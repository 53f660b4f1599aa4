"""What is moved: files made straight into a server's folder, where a folder is a bucket."""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

BUCKET = "bench"
KB = 1_000
MB = 1_000 * KB
GB = 1_000 * MB
FILES_PER_FOLDER = 1_000


class Group(NamedTuple):
    """Objects of one size."""

    objects: int
    size: int


class Workload(NamedTuple):
    """A named mix of groups."""

    name: str
    groups: tuple[Group, ...]

    @property
    def objects(self) -> int:
        """How many."""
        return sum(group.objects for group in self.groups)

    @property
    def bytes(self) -> int:
        """How much."""
        return sum(group.objects * group.size for group in self.groups)

    def scaled(self, scale: float) -> Workload:
        """Fewer objects of the same sizes; at least one of each."""
        return self._replace(groups=tuple(Group(max(1, round(g.objects * scale)), g.size) for g in self.groups))

    def make(self, folder: Path) -> None:
        """Write the files below *folder*/BUCKET. Random content, different in each file, the same each time."""
        pool = random.Random(7).randbytes(16 * MB)
        for number, group in enumerate(self.groups):
            for index in range(group.objects):
                path = folder / BUCKET / f"g{number}" / f"{index // FILES_PER_FOLDER:03d}" / f"{index:06d}.bin"
                path.parent.mkdir(parents=True, exist_ok=True)
                _write(path, group.size, pool, f"{self.name}/{number}/{index}/")


WORKLOADS = (
    Workload("small", (Group(20_000, 100 * KB),)),
    Workload("medium", (Group(300, 10 * MB),)),
    Workload("large", (Group(3, 1 * GB),)),
    Workload("mix", (Group(5_000, 100 * KB), Group(60, 10 * MB), Group(1, 1 * GB))),
)


def _write(path: Path, size: int, pool: bytes, label: str) -> None:
    head = label.encode()[:size]
    offset = random.Random(label).randrange(len(pool) // 2)
    with path.open("wb") as sink:
        sink.write(head)
        left = size - len(head)
        while left:
            block = pool[offset : offset + min(left, len(pool) - offset)]
            sink.write(block)
            left -= len(block)
            offset = 0


def arrived(folder: Path) -> tuple[int, int]:
    """Objects and bytes in the bucket below *folder*."""
    sizes = [path.stat().st_size for path in (folder / BUCKET).rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)
