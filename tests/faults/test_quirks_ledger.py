"""The embedded ledger heals itself and does not outlive its use: rows `I` of the reference, each with a control."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs

import psycopg2
import pytest
from support.postgres import server_folder

from executor.ledger.embedded import postgres_process
from executor.ledger.embedded.postgres_process import DataFolder
from executor.ledger.embedded.server import EmbeddedPostgres, ServerState
from s3migrate.cli import cli
from s3migrate.console.failure import run_click
from s3migrate.settings import read_settings
from schema.errors import UsageError

PATIENCE = 30.0
SHORT = 0.2
"""Idle seconds of the tests that wait for the end."""


def until(true: Callable[[], object], what: str) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.02)


def ask(url: str, question: str) -> object:
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(question)
            row = cursor.fetchone() if cursor.description else None
            return row and row[0]
    finally:
        connection.close()


def alive(pid: int) -> bool:
    """Zombies of a container without an init are dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def watcher_of(folder: Path) -> int:
    """The pid of the process that watches over the server in *folder*, once it has written it."""
    until(lambda: (folder / "postgres.watch").read_text().strip(), "the watcher is there")
    return int((folder / "postgres.watch").read_text())


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A stopped cluster with a table in it, to be copied: making one takes a second."""
    path = server_folder()
    server = EmbeddedPostgres(path)
    try:
        ask(server.url(), "CREATE TABLE kept AS SELECT 42 AS n")
        server.stop()
        yield path
    finally:
        server.stop(immediate=True)
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def folder(made: Path) -> Iterator[Path]:
    """A folder with a cluster that does not run."""
    path = server_folder()
    subprocess.run(["cp", "-a", made / "postgres", path], check=True)
    yield path
    EmbeddedPostgres(path).stop(immediate=True)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def kept(folder: Path) -> EmbeddedPostgres:
    """The server, started."""
    server = EmbeddedPostgres(folder)
    server.url()
    return server


def holds_its_data(server: EmbeddedPostgres) -> bool:
    return ask(server.url(), "SELECT n FROM kept") == 42


def test_control_a_server_that_can_be_reached_is_left_alone(kept: EmbeddedPostgres) -> None:
    pid = kept.process()
    assert kept.state() is ServerState.RUNNING
    assert holds_its_data(EmbeddedPostgres(kept.folder))
    assert kept.process() == pid == kept.pid


def test_socket_gone(kept: EmbeddedPostgres) -> None:
    pid = kept.process()
    for socket in kept.data.glob("s-*"):
        shutil.rmtree(socket)
    assert kept.state() is ServerState.UNREACHABLE
    assert holds_its_data(EmbeddedPostgres(kept.folder))
    assert kept.process() not in {pid, None}
    assert pid is not None and not alive(pid)


def test_the_sockets_name_is_gone(kept: EmbeddedPostgres) -> None:
    (kept.data / "socket").unlink()
    assert holds_its_data(EmbeddedPostgres(kept.folder))


def test_pid_file_gone(kept: EmbeddedPostgres) -> None:
    (kept.data / "postmaster.pid").unlink()
    assert kept.state() is ServerState.UNREACHABLE
    assert holds_its_data(EmbeddedPostgres(kept.folder))
    assert kept.state() is ServerState.RUNNING


def test_a_stopped_process_is_ended_and_started_anew(kept: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes connections and never answers. The waiting is shortened, the silence is real."""
    connect = psycopg2.connect

    def impatient(*words: object, **more: object) -> object:
        return connect(*words, **more | ({"connect_timeout": 2} if "connect_timeout" in more else {}))

    monkeypatch.setattr(psycopg2, "connect", impatient)
    monkeypatch.setattr("executor.ledger.embedded.server.SILENCES", 1)
    monkeypatch.setattr(
        postgres_process, "ENDING", ((signal.SIGINT, 0.1), (signal.SIGQUIT, 0.1), (signal.SIGKILL, 5.0))
    )
    pid = kept.process()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    assert holds_its_data(EmbeddedPostgres(kept.folder))
    assert not alive(pid)


def test_folder_removed_and_made_anew_while_its_server_ran(folder: Path) -> None:
    """Within a minute the old server sees that its folder is gone, ends, and takes its socket's name with it."""
    old = EmbeddedPostgres(folder)
    ask(old.url(), "CHECKPOINT")  # else its WAL writer misses the folder within 0.2 s, and the server ends at once
    pid, data = old.process(), DataFolder.at(old.data)
    assert pid is not None and data is not None
    os.kill(watcher_of(folder), signal.SIGKILL)  # else it ends the orphan before we can see that it harms nobody
    shutil.rmtree(folder)
    folder.mkdir()
    fresh = EmbeddedPostgres(folder)
    url = fresh.url()
    assert alive(pid)
    assert postgres_process.end(pid, data, time.sleep)
    assert ask(url, "SELECT 1") == 1
    assert fresh.state() is ServerState.RUNNING


def test_folder_removed_an_orphan_is_ended(folder: Path) -> None:
    server = EmbeddedPostgres(folder, idle_seconds=SHORT)
    server.url()
    pid, watcher = server.process(), watcher_of(folder)
    shutil.rmtree(folder)
    assert pid is not None
    until(lambda: not alive(pid), "the server without a folder ends")
    until(lambda: not alive(watcher), "and who watched it")


def test_a_pid_of_before_the_last_boot_is_a_stranger(kept: EmbeddedPostgres) -> None:
    lines = (kept.data / "postmaster.pid").read_text().splitlines()
    kept.stop()
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as stranger:
        (kept.data / "postmaster.pid").write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        assert kept.state() is ServerState.STOPPED
        kept.stop()
        assert holds_its_data(EmbeddedPostgres(kept.folder))
        assert stranger.poll() is None
        stranger.communicate()


def test_idle_stop(folder: Path) -> None:
    """The server ends by itself once nobody uses it, its watcher after it; the next command finds all there was."""
    server = EmbeddedPostgres(folder, idle_seconds=SHORT)
    server.url()
    pid, watcher = server.process(), watcher_of(folder)
    assert pid is not None and alive(watcher)
    del server
    gc.collect()
    until(lambda: not alive(pid), "an idle server ends")
    until(lambda: not alive(watcher), "and its watcher")
    assert EmbeddedPostgres(folder).state() is ServerState.STOPPED
    assert holds_its_data(EmbeddedPostgres(folder))


def test_control_a_server_in_use_is_not_stopped(folder: Path) -> None:
    used = EmbeddedPostgres(folder, idle_seconds=0.01)
    url = used.url()
    pid = used.process()
    assert used.in_use()
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    del used
    gc.collect()
    try:  # nobody holds it now, but somebody is connected by hand
        assert EmbeddedPostgres(folder).in_use()
        with connection.cursor() as cursor:
            for _ in range(20):
                cursor.execute("SELECT pg_sleep(0.02)")
    finally:
        connection.close()
    assert pid is not None
    until(lambda: not alive(pid), "then it is")


def test_a_starter_that_is_killed_leaves_nothing_running(folder: Path) -> None:
    here = Path(__file__).parents[2]
    code = (
        "import sys; from pathlib import Path; from executor.ledger.embedded.server import EmbeddedPostgres as E;"
        f"e = E(Path(sys.argv[1]), idle_seconds={SHORT}); e.url(); print(e.pid, flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=here, env={"PYTHONPATH": str(here)}
    ) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        threading.Event().wait(3 * SHORT)
        assert alive(pid), "in use as long as its starter lives"
        starter.kill()
        starter.communicate()
    until(lambda: not alive(pid), "the kernel lets go of what the killed one held")


def test_commands_that_race_with_the_stop_never_see_it(folder: Path) -> None:
    """Idle for no time at all: each round meets another moment of the stop."""
    for _ in range(12):
        server = EmbeddedPostgres(folder, idle_seconds=0.001)
        assert ask(server.url(), "SELECT 1") == 1
        del server
        gc.collect()


def test_a_killed_watcher_has_a_successor(kept: EmbeddedPostgres) -> None:
    first = watcher_of(kept.folder)
    os.kill(first, signal.SIGKILL)
    until(lambda: not alive(first), "killed")
    EmbeddedPostgres(kept.folder).url()
    until(lambda: watcher_of(kept.folder) != first, "another watches")
    second = watcher_of(kept.folder)
    kept.stop()
    until(lambda: not alive(second), "a stop ends the watcher, too")


def test_a_stop_ends_no_stranger_that_has_the_watchers_pid(kept: EmbeddedPostgres) -> None:
    """The file's holder lives, and the number in it is another's: what a pid used again looks like."""
    watcher = watcher_of(kept.folder)
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as stranger:
        (kept.folder / "postgres.watch").write_text(str(stranger.pid))
        kept.stop()
        assert stranger.poll() is None
        stranger.communicate()
        assert stranger.returncode == 0
    (kept.folder / "postgres.watch").write_text(str(watcher))
    os.kill(watcher, signal.SIGTERM)
    until(lambda: not alive(watcher), "the test's own watcher ends")


def test_stop_and_status_tell_the_truth(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def say(word: str) -> str:
        assert run_click(cli, ["ledger", word]) == 0
        return capsys.readouterr().out

    monkeypatch.setenv("S3MIGRATE_HOME", str(folder))
    (folder / "postgres").rename(folder / "cluster")
    server = EmbeddedPostgres(folder / "postgres")
    assert "Not running" in say("status")
    assert not server.folder.exists(), "a look starts and makes nothing"
    server.folder.mkdir()
    (folder / "cluster").rename(server.data)
    try:
        host = parse_qs(say("url").strip().partition("?")[2])["host"][0]
        said = say("status")
        assert f"Running (pid {server.pid})" in said and "300 s" in said
        shutil.rmtree(Path(host).resolve())
        assert "cannot be reached" in say("status")
        assert say("stop") == "Stopped.\n"
        assert server.state() is ServerState.STOPPED
        assert say("stop") == "Not running.\n"
    finally:
        server.stop(immediate=True)


def test_the_idle_time_is_a_setting() -> None:
    assert read_settings({}).ledger_idle_seconds == 300.0
    assert read_settings({"S3MIGRATE_LEDGER_IDLE": "0"}).ledger_idle_seconds == 0.0
    for wrong in ("-1", "never", "1e9"):
        with pytest.raises(UsageError, match="S3MIGRATE_LEDGER_IDLE"):
            read_settings({"S3MIGRATE_LEDGER_IDLE": wrong})
