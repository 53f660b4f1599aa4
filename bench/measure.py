"""Run a command and measure it: wall time, CPU, peak memory; and the CPU of an embedded PostgreSQL beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

TICK = os.sysconf("SC_CLK_TCK")
SAMPLE_SECONDS = 0.05
TREE_SAMPLE_SECONDS = 0.25
"""Of several processes, for which the kernel walks their page tables."""


class Measured(NamedTuple):
    """What one run took."""

    exit_code: int
    wall: float
    """Seconds."""
    cpu: float
    """Seconds of user and system time: the process and the children it waited for."""
    peak_rss: int
    """Bytes: the most the process and its descendants held together, sampled 20 times a second (several: 4 times)."""


class CommandFailed(RuntimeError):
    """A contestant ended badly; the message carries the end of its output."""


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> Measured:
    """Run *command* in *folder* to its end, its output into *log*."""
    with log.open("wb") as sink:
        started = time.perf_counter()
        process = subprocess.Popen(
            list(command), cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
        )
        memory = MemoryWatch(process.pid)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            memory.stop()
        wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    return Measured(process.returncode, wall, usage.ru_utime + usage.ru_stime, memory.peak)


def run_or_fail(command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> Measured:
    """As `run`; raises CommandFailed unless the exit code is 0."""
    measured = run(command, folder, environment, log)
    if measured.exit_code != 0:
        raise CommandFailed(f"{' '.join(command)} exited {measured.exit_code}:\n{log.read_text()[-3000:]}")
    return measured


class MemoryWatch:
    """Samples the resident memory of a process tree. ru_maxrss will not do: it survives fork and exec.

    A page that processes of the tree share counts once, as a container's limit counts it (Pss of smaps_rollup(5)).
    """

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        children: list[int] = []
        while not self._ended.wait(TREE_SAMPLE_SECONDS if children else SAMPLE_SECONDS):
            children = _descendants(self._pid)
            self.peak = max(self.peak, _peak_of(self._pid, children))

    def stop(self) -> None:
        """Sample no more; `peak` stays."""
        self._ended.set()
        self._thread.join()


def _peak_of(pid: int, children: Sequence[int]) -> int:
    """The most the process has held, while it is alone; what it and its *children* hold now."""
    if not children:
        return _field(pid, "status", "VmHWM")
    return sum(_field(each, "smaps_rollup", "Pss") for each in (pid, *children))


def _field(pid: int, file: str, field: str) -> int:
    try:
        text = Path(f"/proc/{pid}/{file}").read_text()
    except OSError:
        return 0
    found = next((line for line in text.splitlines() if line.startswith(field + ":")), None)
    return int(found.split()[1]) * 1024 if found else 0


def _descendants(pid: int) -> list[int]:
    """The children of *pid* and theirs; none of one that has ended meanwhile."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, task.read_text().split()):
                found += [child, *_descendants(child)]
    return found


class EmbeddedLedger:
    """The PostgreSQL that `s3migrate` started under *state_folder*, seen from outside through /proc."""

    def __init__(self, state_folder: Path) -> None:
        self._folder = state_folder

    def _postmaster(self) -> int | None:
        for file in self._folder.glob("**/postmaster.pid"):
            try:
                return int(file.read_text().splitlines()[0])
            except (OSError, ValueError, IndexError):
                continue
        return None

    def cpu(self) -> float:
        """Seconds so far: the server's own, its backends', and those of backends that have ended."""
        postmaster = self._postmaster()
        if postmaster is None:
            return 0.0
        living = sum(_cpu_ticks(child, reaped=False) for child in _descendants(postmaster))
        return (_cpu_ticks(postmaster, reaped=True) + living) / TICK

    def stop(self) -> None:
        """Fast shutdown, waited for."""
        postmaster = self._postmaster()
        if postmaster is None:
            return
        try:
            os.kill(postmaster, signal.SIGINT)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + 30
        while Path(f"/proc/{postmaster}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)


def cpu_of(pid: int) -> float:
    """CPU seconds of a process so far, without its children."""
    return _cpu_ticks(pid, reaped=False) / TICK


def tree_cpu_of(pid: int) -> float:
    """CPU seconds of a process so far: its own, its living descendants' and those of children it has waited for."""
    return _cpu_ticks(pid, reaped=True) / TICK + sum(cpu_of(each) for each in _descendants(pid))


def _cpu_ticks(pid: int, *, reaped: bool) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return 0
    return sum(int(word) for word in fields[11 : 15 if reaped else 13])
