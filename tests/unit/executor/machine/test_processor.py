"""Is scarce processor time recognised, whoever uses it?"""

from __future__ import annotations

from pathlib import Path

import pytest

from executor.machine.processor import ProcessorLoad, usable_cores, waited_seconds


class Bed:
    def __init__(self, folder: Path) -> None:
        self.stat = folder / "stat"
        self.now = self.used = 0.0
        self.user = self.idle = 0
        self.write()
        self.load = ProcessorLoad(self.stat, lambda: self.used, lambda: self.now)

    def write(self) -> None:
        self.stat.write_text(f"cpu  {self.user} 0 0 {self.idle} 0 0 0 0 0 0\ncpu0 1 2 3\n")

    def passes(self, *, user: int, idle: int, used: float) -> bool:
        self.now += 1.0
        self.user += user
        self.idle += idle
        self.used += used
        self.write()
        return self.load.saturated()


def test_a_machine_without_idle_time_and_a_process_on_one_core(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    assert not bed.passes(user=100, idle=100, used=0.5)
    assert bed.passes(user=198, idle=2, used=0.5)
    assert not bed.passes(user=100, idle=100, used=0.5)
    assert bed.passes(user=100, idle=100, used=0.97)


def test_without_proc_the_process_alone_decides(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    bed.stat.unlink()
    load = ProcessorLoad(bed.stat, lambda: bed.used, lambda: bed.now)
    bed.now, bed.used = 1.0, 0.2
    assert not load.saturated()
    bed.now, bed.used = 2.0, 1.2
    assert load.saturated()


def test_the_waits_of_all_threads_are_added_up_and_ended_ones_are_left_out(tmp_path: Path) -> None:
    for name, said in (("1", "5 1500000000 3"), ("2", "5 500000000 3"), ("3", "nonsense")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "schedstat").write_text(said)
    (tmp_path / "4").mkdir()
    assert waited_seconds(tmp_path) == 2.0
    assert waited_seconds(tmp_path / "nowhere") == 0.0


def written(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 16),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 16),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"}, 4),
        ({"proc/self/cgroup": "0::/pod/own\n", "sys/fs/cgroup/pod/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/pod/own\n", "sys/fs/cgroup/cpu.max": "10000 100000\n"}, 1),
        (
            {
                "proc/self/cgroup": "4:cpuset:/x\n3:cpu,cpuacct:/pod\n",
                "sys/fs/cgroup/cpu/pod/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu/pod/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/pod\n",
                "sys/fs/cgroup/cpu/pod/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/pod/cpu.cfs_period_us": "100000\n",
            },
            16,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "what?\n"}, 16),
    ],
    ids=["no groups", "no quota", "four", "one and a half, above", "a tenth", "version 1", "v1 without", "odd"],
)
def test_a_container_has_as_many_cores_as_its_quota(tmp_path: Path, files: dict[str, str], cores: int) -> None:
    assert usable_cores(written(tmp_path, files), cores=16) == cores


def test_processes_that_share_a_machine_share_its_cores() -> None:
    assert ProcessorLoad(processes=2).cores == ProcessorLoad().cores / 2 == usable_cores() / 2
