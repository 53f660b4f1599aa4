"""What is moved: files made straight into a server's folder, where a folder is a bucket."""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

BUCKET = "bucket"
"""Where every source is; the lean server knows no other."""
COPY = "copy"
"""The destination inside the same server."""
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
        if scale == 1.0:
            return self
        groups = tuple(Group(max(1, round(g.objects * scale)), g.size) for g in self.groups)
        name = self.name if len(groups) > 1 else f"{groups[0].objects:,} x{self.name.partition(' x')[2]}"
        return Workload(name, groups)

    def make(self, folder: Path) -> None:
        """Write the files below *folder*/BUCKET. Random content, different in each file, the same each time."""
        pool = random.Random(7).randbytes(16 * MB)
        for number, group in enumerate(self.groups):
            for index in range(group.objects):
                path = folder / BUCKET / f"g{number}" / f"{index // FILES_PER_FOLDER:03d}" / f"{index:06d}.bin"
                path.parent.mkdir(parents=True, exist_ok=True)
                _write(path, group.size, pool, f"{self.name}/{number}/{index}/")


ONE_KB = Workload("20,000 x 1 KB", (Group(20_000, KB),))
SMALL = Workload("20,000 x 100 KB", (Group(20_000, 100 * KB),))
ONE_MB = Workload("3,000 x 1 MB", (Group(3_000, MB),))
MEDIUM = Workload("300 x 10 MB", (Group(300, 10 * MB),))
HUNDREDS = Workload("12 x 200 MB", (Group(12, 200 * MB),))
LARGE = Workload("3 x 1 GB", (Group(3, GB),))
MIX = Workload("mix", (Group(5_000, 100 * KB), Group(60, 10 * MB), Group(1, GB)))
"""5,000 x 100 KB, 60 x 10 MB, 1 x 1 GB."""


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
