"""One contract for every engine: workers die at random, and everything arrives once; what runs the workers is theirs.

`make soak` tries them; Dask, Ray and Slurm where they are installed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support.clusters import dask_cluster, local, ray_cluster
from support.corpus import mixed
from support.json_process import PATIENCE, Lines
from support.operator import Operator
from support.oracle import RCLONE_FIELDS, compare, fill
from support.slurm import slurm_cluster

from s3migrate.applying.engines.choice import engine_of
from s3migrate.applying.engines.engine import Engine, WorkerEnd
from schema.errors import ConnectionFailed, UsageError

Sql = Callable[..., list[tuple[object, ...]]]


def there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def missing(absent: bool, name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(absent, reason=f"no {name} here")


ENGINES = [
    pytest.param(local, id="local", marks=pytest.mark.soak),
    pytest.param(
        dask_cluster,
        id="dask",
        marks=[pytest.mark.soak, pytest.mark.skipif(not there("distributed"), reason="no Dask")],
    ),
    pytest.param(
        ray_cluster, id="ray", marks=[pytest.mark.soak, pytest.mark.skipif(not there("ray"), reason="no Ray")]
    ),
    pytest.param(
        slurm_cluster,
        id="slurm",
        marks=[pytest.mark.soak, pytest.mark.skipif(shutil.which("slurmctld") is None, reason="no Slurm")],
    ),
]


@pytest.mark.parametrize("cluster", ENGINES)
def test_workers_die_and_everything_arrives_once(
    on_rclone: Operator,
    seed: int,
    sql: Sql,
    cluster: Callable[[dict[str, str]], contextlib.AbstractContextManager[str]],
) -> None:
    fill(on_rclone.source.client(), on_rclone.source_bucket, mixed(seed, 120, largest=2_000, tags=False))
    on_rclone.declare(limits={"requests_per_second": 15, "workers": 2})
    on_rclone.plan().ok()
    sql("SELECT 1")
    with cluster(on_rclone.environment()) as engine:
        words = ("apply", on_rclone.plan_path, "--json", "--engine", engine, "--processes", "2")
        with on_rclone.background(*words) as fleet:
            lines = Lines(fleet)
            for _ in range(2):
                lines.until(lambda said: said["type"] == "progress" and bool(alive(sql)))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(alive(sql)[-1], signal.SIGKILL)
                lines.until(lambda said: said["type"] == "progress" and len(joined(sql)) >= 2)
            on_rclone.run("limit", "1", "requests_per_second=5000").ok()
            complete = lines.until(lambda said: said["type"] == "run_complete")
            assert fleet.wait(PATIENCE) == 0
    assert complete["done"] == 120
    assert compare(on_rclone.source_side, on_rclone.destination_side, fields=RCLONE_FIELDS) == []
    assert sql("SELECT count(*), count(DISTINCT (batch_no, ord)) FROM ledger.completion") == [(120, 120)]
    on_rclone.run("ledger", "check").ok()


def joined(sql: Sql) -> list[tuple[object, ...]]:
    return sql("SELECT pid FROM ledger.worker")


def alive(sql: Sql) -> list[int]:
    """Workers that have joined and not left, newest last."""
    pids = [
        int(str(row[0])) for row in sql("SELECT pid FROM ledger.worker WHERE stopped_at IS NULL ORDER BY worker_id")
    ]
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


class Scripted:
    """An engine whose workers end as they are told to."""

    def __init__(self, *ends: WorkerEnd) -> None:
        self.ends = list(ends)
        self.placed_words: list[list[str]] = []
        self.stopped = 0
        self._waiting = 0

    def place(self, words: list[str]) -> None:
        self.placed_words.append(list(words))
        self._waiting += 1

    def placed(self) -> int:
        return self._waiting

    def ended(self) -> list[WorkerEnd]:
        found = [self.ends.pop(0) for _ in range(min(self._waiting, len(self.ends)))]
        self._waiting -= len(found)
        return found

    def stop(self) -> None:
        self.stopped += 1
        self._waiting = 0

    def close(self) -> None:
        pass


@pytest.mark.soak
def test_a_refused_worker_ends_the_fleet_with_its_code(
    on_rclone: Operator, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(on_rclone.source.client(), on_rclone.source_bucket, mixed(seed, 3, largest=100, tags=False))
    on_rclone.declare()
    on_rclone.plan().ok()
    engine = Scripted(WorkerEnd(77, "s3migrate: the credentials were refused"))
    monkeypatch.setattr("s3migrate.commands.apply.engine_of", lambda _name, _most: engine)
    refused = on_rclone.run("apply", on_rclone.plan_path, "--engine", "scripted")
    assert (refused.code, engine.stopped) == (77, 1)
    assert "a worker was refused: s3migrate: the credentials were refused" in refused.err
    engine = Scripted(*[WorkerEnd(-9)] * 4)
    monkeypatch.setattr("s3migrate.commands.apply.engine_of", lambda _name, _most: engine)
    assert on_rclone.run("apply", on_rclone.plan_path, "--engine", "scripted", "--processes", "1").code == 1
    assert len(engine.placed_words) == 4, "one, and three in place of dead ones"


@pytest.mark.parametrize("name", ["", "dask", "dask://", "kubernetes", "ssh://host"])
def test_an_engine_nobody_knows_is_a_word_too_many(name: str) -> None:
    with pytest.raises(UsageError, match="use local, dask://HOST:PORT, ray://HOST:PORT or slurm"):
        engine_of(name, 1)


@pytest.mark.skipif(shutil.which("scontrol") is not None, reason="Slurm is here")
def test_without_slurm_the_program_that_is_missing_is_named() -> None:
    with pytest.raises(ConnectionFailed, match="cannot run scontrol"):
        engine_of("slurm", 1)


def test_the_local_engine_keeps_the_protocol() -> None:
    engine: Engine = engine_of("local", 1)
    engine.place(["--version"])
    ends: list[WorkerEnd] = []
    while not ends:
        ends = engine.ended()
    assert (ends[0].code, engine.placed()) == (64, 0), "--version takes no --one-of"
    assert "one-of" in ends[0].said
    engine.close()
