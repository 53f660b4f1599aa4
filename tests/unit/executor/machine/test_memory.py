"""Where memory limits are found, and malloc kept in hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from executor.machine.memory import (
    FLOOR,
    MIB,
    PLENTY,
    budget_of,
    default_budget,
    memory_limit,
    set_malloc_arenas,
    trim,
    undeclared_budget,
)

GIB = 1024 * MIB
UNLIMITED_V1 = "9223372036854771712\n"
ROOT = Path(__file__).parents[4]
V2 = "sys/fs/cgroup"
V1 = "sys/fs/cgroup/memory"


def machine(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": cgroup, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("cgroup", "files", "limit"),
    [
        ("0::/a/b\n", {f"{V2}/a/b/memory.max": f"{GIB}\n", f"{V2}/a/memory.max": "max\n"}, GIB),
        ("0::/a/b\n", {f"{V2}/a/b/memory.max": "max\n", f"{V2}/a/memory.max": f"{2 * GIB}\n"}, 2 * GIB),
        ("0::/a/b\n", {f"{V2}/a/b/memory.max": f"{3 * GIB}\n", f"{V2}/a/memory.max": f"{GIB}\n"}, GIB),
        ("0::/\n", {f"{V2}/memory.max": f"{GIB}\n"}, GIB),
        ("0::/docker/from-the-host\n", {f"{V2}/memory.max": f"{GIB}\n"}, GIB),
        ("0::/../../outside\n", {f"{V2}/memory.max": f"{GIB}\n"}, GIB),
        ("0::/a\n", {f"{V2}/a/memory.max": "max\n"}, 8 * GIB),
        ("4:memory:/job\n", {f"{V1}/job/memory.limit_in_bytes": f"{GIB}\n"}, GIB),
        ("4:cpu,memory:/job\n", {f"{V1}/memory.limit_in_bytes": f"{GIB}\n"}, GIB),
        ("4:memory:/job\n", {f"{V1}/job/memory.limit_in_bytes": UNLIMITED_V1}, 8 * GIB),
        (
            "4:memory:/j\n0::/\n",
            {f"{V1}/j/memory.limit_in_bytes": f"{2 * GIB}\n", f"{V2}/unified/memory.max": f"{GIB}\n"},
            GIB,
        ),
        ("4:cpu:/job\n", {f"{V1}/job/memory.limit_in_bytes": f"{GIB}\n"}, 8 * GIB),
        ("", {}, 8 * GIB),
    ],
)
def test_the_smallest_limit_of_group_and_ancestors_holds(
    tmp_path: Path, cgroup: str, files: dict[str, str], limit: int
) -> None:
    root = machine(tmp_path, cgroup, files)

    assert memory_limit(root, 8 * GIB, 64 * GIB).bytes == limit


def test_a_system_without_proc_has_the_machines_memory(tmp_path: Path) -> None:
    found = memory_limit(tmp_path, 8 * GIB, 64 * GIB)

    assert (found.bytes, found.source) == (8 * GIB, "the machine's memory")


def test_the_address_space_limit_counts_and_is_named(tmp_path: Path) -> None:
    found = memory_limit(tmp_path, 8 * GIB, 512 * MIB)

    assert found.bytes == 512 * MIB and "ulimit -v" in found.source


@pytest.mark.parametrize(
    ("limit", "budget"),
    [(10 * GIB, 6 * GIB), (GIB, 614 * MIB), (256 * MIB, 106 * MIB), (160 * MIB, FLOOR), (64 * MIB, FLOOR)],
)
def test_the_budget_leaves_room_for_the_rest_of_the_process(limit: int, budget: int) -> None:
    assert budget_of(limit) == budget


def test_a_small_container_gets_a_small_budget(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/\n", {f"{V2}/memory.max": f"{256 * MIB}\n"})

    assert default_budget(root, 64 * GIB, 64 * GIB) == 106 * MIB


def test_this_machine_has_an_answer() -> None:
    assert FLOOR <= default_budget() <= memory_limit().bytes


def test_what_nobody_declared_is_what_speed_needs_and_shared_by_the_processes() -> None:
    alone = undeclared_budget(1)
    assert alone == min(default_budget(), PLENTY)
    assert undeclared_budget(4) == max(FLOOR, alone // 4)
    assert undeclared_budget(1000) == FLOOR


ARENAS = """
import sys, threading
from executor.machine.memory import set_malloc_arenas
if sys.argv[1] == "2":
    assert set_malloc_arenas()
go, kept = threading.Barrier(17), []
def work():
    kept.append([bytes(1000) for _ in range(50)])
    go.wait()
    go.wait()
threads = [threading.Thread(target=work) for _ in range(16)]
[t.start() for t in threads]
go.wait()
with open("/proc/self/maps") as maps:
    rows = [line.split() for line in maps]
go.wait()
# An arena's heap starts at a multiple of 64 MiB and is anonymous.
print(sum(int(row[0].split("-")[0], 16) % (64 << 20) == 0 and len(row) == 5 for row in rows))
"""


def arenas(setting: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", ARENAS, setting], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return int(done.stdout)


@pytest.mark.skipif(not set_malloc_arenas(2), reason="no mallopt here (musl or macOS)")
def test_sixteen_threads_share_two_arenas() -> None:
    assert arenas("default") > 2, "otherwise this test proves nothing"
    assert arenas("2") <= 2


def test_trim_answers() -> None:
    assert trim() in {True, False}
