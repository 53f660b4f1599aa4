"""How many local processes `apply --processes` means."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from executor.events import ObjectTrouble
from executor.machine.memory import default_budget, memory_limit
from executor.machine.processor import usable_cores
from s3migrate.applying.crew import trouble_of
from s3migrate.commands.apply import asked_for
from s3migrate.views.run_view import JsonRun
from schema.limits import Limits
from schema.processes import MEMORY_EACH, MOST, OBJECTS_EACH, processes_for


@pytest.mark.parametrize(
    ("objects", "cores", "count"),
    [
        (0, 8, 1),
        (2 * OBJECTS_EACH - 1, 8, 1),
        (2 * OBJECTS_EACH, 8, 2),
        (10**9, 8, 8),
        (10**9, 1, 1),
        (10**9, 256, MOST),
    ],
)
def test_auto_is_one_for_each_core_that_is_worth_it(objects: int, cores: int, count: int) -> None:
    assert processes_for(objects, Limits(), cores=cores, memory=10**12) == count


@pytest.mark.parametrize(("memory", "count"), [(0, 1), (2 * MEMORY_EACH - 1, 1), (2 * MEMORY_EACH, 2)])
def test_auto_starts_no_process_that_the_memory_does_not_hold(memory: int, count: int) -> None:
    assert processes_for(10**9, Limits(), cores=8, memory=memory) == count


@pytest.mark.parametrize(
    ("limits", "count"), [(Limits(workers=4), 1), (Limits(memory=1 << 30), 1), (Limits(bandwidth=1), 8)]
)
def test_auto_is_one_process_where_the_declaration_bounds_a_process(limits: Limits, count: int) -> None:
    assert processes_for(10**9, limits, cores=8, memory=10**12) == count


@pytest.mark.parametrize(("times", "processes"), [(1, 1), (4, 4)])
def test_the_limits_of_a_container_decide_processes_and_buffers(tmp_path: Path, times: int, processes: int) -> None:
    """Of a machine with 64 cores and 256 GiB: four times the limits are four times of both."""
    files = {
        "proc/self/cgroup": "0::/pod\n",
        "sys/fs/cgroup/pod/cpu.max": f"{times * 100_000} 100000\n",
        "sys/fs/cgroup/pod/memory.max": f"{times * (512 << 20)}\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    memory = memory_limit(tmp_path, 256 << 30, 256 << 30).bytes
    assert processes_for(10**9, Limits(), cores=usable_cores(tmp_path, 64), memory=memory) == processes
    assert default_budget(tmp_path, 256 << 30, 256 << 30) == pytest.approx(times * 0.6 * (512 << 20), rel=0.01)


@pytest.mark.parametrize(("text", "meant"), [("1", 1), ("64", 64), ("auto", None)])
def test_a_number_or_auto(text: str, meant: int | None) -> None:
    assert asked_for(None, None, text) == meant


@pytest.mark.parametrize("text", ["0", "65", "-1", "many", "1.5", "", "\u0661"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="neither a number"):
        asked_for(None, None, text)


def test_a_trouble_comes_through_the_json_line_as_it_was() -> None:
    trouble = ObjectTrouble("pair-2", "tiny-0a1b2c", 7, "k\n", "Throttled", "slow down", 503, 3, final=True)
    lines: list[dict[str, object]] = []
    JsonRun(lines.append).object_trouble(trouble)
    assert [trouble_of(line) for line in lines] == [trouble]
