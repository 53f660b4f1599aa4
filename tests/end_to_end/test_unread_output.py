"""Nobody reads what a command says, or stops reading: the work goes on, and the exit code is the truth."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.corpus import CorpusObject
from support.json_process import PATIENCE
from support.operator import ROOT, Operator
from support.oracle import fill, keys
from support.servers import scrubbed_environment

F_SETPIPE_SZ = 1031
PIPE = 4096
GONE = 100
"""As many as are told of one reason; with these keys more than the pipe of a worker process holds."""
Sql = Callable[..., list[tuple[object, ...]]]


@pytest.fixture
def planned(on_rclone: Operator) -> Operator:
    """Objects with long names and one more, planned; those with the long names are gone from the source since."""
    objects = [CorpusObject(f"{n:03d}-{'é' * 110}", 10, n) for n in range(GONE)]
    fill(on_rclone.source.client(), on_rclone.source_bucket, [*objects, CorpusObject("stays", 10, 1)])
    assert on_rclone.plan().code == 0
    client = on_rclone.source.client()
    for one in objects:
        client.delete_object(Bucket=on_rclone.source_bucket, Key=one.key)
    return on_rclone


def narrow(process: subprocess.Popen[str]) -> None:
    """Let its pipes hold one page each."""
    for pipe in (process.stdout, process.stderr):
        assert pipe is not None
        fcntl.fcntl(pipe, F_SETPIPE_SZ, PIPE)


@pytest.mark.parametrize("options", [["--json"], [], ["--processes", "2"]], ids=lambda words: " ".join(words) or "text")
def test_a_run_that_nobody_reads_ends_all_the_same(planned: Operator, options: list[str], sql: Sql) -> None:
    with planned.background("apply", planned.plan_path, *options) as process:
        try:
            narrow(process)
            deadline = time.monotonic() + PATIENCE
            ended = "SELECT count(*), count(*) FILTER (WHERE stopped_at IS NULL) FROM ledger.worker HAVING count(*) > 0"
            while not (found := sql(ended)) or found[0][1]:
                assert time.monotonic() < deadline, "the run stands still"
                assert process.poll() is None
                time.sleep(0.02)
            # Somebody comes back in time for the last words.
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 3, err
    assert keys(planned.destination_side) == ["stays"]
    assert f"finished with 0 failed, {GONE} drifted" in err.splitlines()[-1]
    assert len((out if options == ["--json"] else err).encode()) > PIPE, "it would not have filled the pipe"
    if options == ["--json"]:
        said = [json.loads(line) for line in out.splitlines()]
        assert [line["type"] for line in said].count("version") == 1
        assert [line["type"] for line in said[-2:]] == ["run_complete", "diagnostic"]
        assert sum(line["type"] == "object_error" for line in said) == GONE


@pytest.mark.parametrize(
    "options", [["--json"], pytest.param(["--processes", "2"], marks=pytest.mark.soak)], ids=" ".join
)
def test_a_run_outlives_its_reader(planned: Operator, options: list[str]) -> None:
    with planned.background("apply", planned.plan_path, *options) as process:
        assert process.stdout is not None and process.stderr is not None
        (process.stdout if options == ["--json"] else process.stderr).readline()
        process.stdout.close()
        process.stderr.close()
        assert process.wait(PATIENCE) == 3
    assert keys(planned.destination_side) == ["stays"]


def test_verify_outlives_its_reader(planned: Operator) -> None:
    """`verify --json PLAN | head -1`: every key of the plan is missing."""
    with planned.background("verify", planned.plan_path, "--json", "--level", "listing") as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(PATIENCE) == 8, err
    assert err.splitlines()[-1].startswith("s3migrate: verify (listing) found 201 keys"), err
    assert len(err.splitlines()) == 2, err


def test_show_ends_quietly_with_its_reader(planned: Operator) -> None:
    with planned.background("show", planned.plan_path, "--format", "json") as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(PATIENCE) == 0


def test_a_command_without_stdout_and_stderr_does_its_work(planned: Operator) -> None:
    """As a daemon may be started."""
    words = [sys.executable, "-m", "s3migrate", "apply", str(planned.plan_path), "--json"]
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *words],
        cwd=planned.folder,
        env=scrubbed_environment() | planned.environment() | {"PYTHONPATH": str(ROOT)},
        timeout=PATIENCE,
    )
    assert closed.returncode == 3
    assert keys(planned.destination_side) == ["stays"]


def test_a_refusal_that_nobody_reads_has_its_exit_code(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "s3migrate", "apply", "missing.plan.yaml", "--json", "--processes", "2"]
    words = scrubbed_environment() | {"PYTHONPATH": str(ROOT)}
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run(
        command, cwd=tmp_path, env=words, stdout=write, stderr=subprocess.PIPE, timeout=PATIENCE, check=False
    )
    os.close(write)
    assert ran.returncode == 66
    assert b"missing.plan.yaml" in ran.stderr
