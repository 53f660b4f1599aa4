"""Is scarce processor time recognised, whoever uses it?"""

from __future__ import annotations

from pathlib import Path

from executor.machine.processor import ProcessorLoad, waited_seconds


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
