"""The memory contract under a real control group: what it forbids is killed by the kernel, not measured by us."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.corpus import CorpusObject, mixed
from support.operator import ROOT, Operator
from support.oracle import RCLONE_FIELDS, compare, fill
from support.servers import scrubbed_environment

from schema.tiers import MIB

LIMIT = 256 * MIB
pytestmark = pytest.mark.soak


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group (v2, or v1's memory controller) of 256 MiB without swap."""
    for root, limits in (
        (Path("/sys/fs/cgroup"), ("memory.max",)),
        (Path("/sys/fs/cgroup/memory"), ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")),
    ):
        folder = root / f"s3migrate-test-{uuid.uuid4().hex[:8]}"
        try:
            folder.mkdir()
            if not (folder / limits[0]).exists():
                raise FileNotFoundError(limits[0])
            (folder / limits[0]).write_text(str(LIMIT))
        except OSError:
            if folder.exists():
                folder.rmdir()
            continue
        for further in limits[1:]:
            if (folder / further).exists():
                (folder / further).write_text(str(LIMIT))
        yield folder
        folder.rmdir()
        return
    pytest.skip("no control group can be made here")


def objects_of(mix: str, seed: int) -> list[CorpusObject]:
    small = mixed(seed, 1_500, largest=20_000, tags=False)
    middle = [CorpusObject(f"middle/{n}", 3 * MIB + n, seed + n) for n in range(40)]
    large = [CorpusObject(f"large/{n}", 40 * MIB + n, seed + n) for n in range(6)]
    return {"small": small, "large": large, "all": [*small[:500], *middle, *large[:3]]}[mix]


@pytest.mark.parametrize("mix", ["small", "large", "all"])
def test_a_quarter_of_a_gibibyte_is_enough_for_any_mix(on_rclone: Operator, group: Path, seed: int, mix: str) -> None:
    objects = objects_of(mix, seed)
    fill(on_rclone.source.client(), on_rclone.source_bucket, objects, threads=8)
    on_rclone.plan().ok()
    command = [sys.executable, "-m", "s3migrate", "apply", str(on_rclone.plan_path)]
    ran = subprocess.run(
        ["/bin/sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *command],
        cwd=on_rclone.folder,
        env=scrubbed_environment() | on_rclone.environment() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, (ran.returncode, ran.stderr[-2000:])
    peak = next(
        int((group / name).read_text())
        for name in ("memory.peak", "memory.max_usage_in_bytes")
        if (group / name).exists()
    )
    print(f"\n{mix}: peak of the group {peak / MIB:.0f} MiB")
    assert peak > 30 * MIB, "it ran inside"
    assert compare(on_rclone.source_side, on_rclone.destination_side, fields=RCLONE_FIELDS) == []
