"""The embedded server: started once, found by everybody, outliving whoever started it, stopped only on request."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import pytest
from support.postgres import server_folder

from executor.ledger.embedded.server import EmbeddedPostgres
from schema.errors import LedgerUnavailable, LocalDiskError

STARTER = "import sys; from pathlib import Path; from executor.ledger.embedded.server import EmbeddedPostgres as E; "


@pytest.fixture
def folder() -> Iterator[Path]:
    path = server_folder()
    yield path
    EmbeddedPostgres(path).stop(immediate=True)
    shutil.rmtree(path, ignore_errors=True)


def ask(url: str, question: str) -> object:
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    try:
        with connection.cursor() as cursor:
            cursor.execute(question)
            row = cursor.fetchone()
            return row and row[0]
    finally:
        connection.close()


def in_process(folder: Path, code: str) -> subprocess.Popen[str]:
    here = Path(__file__).parents[2]
    words = [sys.executable, "-c", STARTER + code, str(folder)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=here, env={"PYTHONPATH": str(here)})


def test_the_server_starts_once_for_many_and_outlives_its_starter(folder: Path) -> None:
    code = "e = E(Path(sys.argv[1])); e.url(); print(e.pid, flush=True); sys.stdin.read()"
    starters = [in_process(folder, code) for _ in range(3)]
    pids = {int(process.stdout.readline()) for process in starters if process.stdout}
    assert len(pids) == 1
    starters[0].send_signal(signal.SIGKILL)
    for process in starters:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()
    server = EmbeddedPostgres(folder)
    assert server.running()
    assert server.pid == pids.pop()
    assert ask(server.url(), "SELECT current_setting('server_encoding')") == "UTF8"
    assert ask(server.url(), "SELECT current_setting('listen_addresses')") == ""
    assert ask(server.url(), "SELECT datcollate FROM pg_database WHERE datname = 'postgres'") == "C"
    assert ask(server.url(), "SELECT current_setting('fsync')") == "on"
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: EmbeddedPostgres(folder).url(), range(4)))) == 1
    server.stop()
    assert not server.running()
    assert server.pid is None
    server.stop()


def test_what_was_committed_survives_kill_9_of_the_server(folder: Path) -> None:
    server = EmbeddedPostgres(folder)
    url = server.url()
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept AS SELECT 42 AS n")
    killed = server.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    connection.close()
    assert ask(server.url(), "SELECT n FROM kept") == 42
    assert server.pid != killed


def test_nothing_runs_before_it_is_asked_for(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "new")
    assert not server.running()
    assert server.pid is None
    server.stop()
    assert not (tmp_path / "new").exists()


def test_a_half_made_cluster_of_a_killed_starter_is_swept_away(folder: Path) -> None:
    (folder / "postgres.new-1").mkdir()
    (folder / "postgres.new-1" / "PG_VERSION").write_text("18")
    EmbeddedPostgres(folder).url()
    assert not list(folder.glob("postgres.new-*"))


def test_data_of_an_unknown_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("9")
    with pytest.raises(LedgerUnavailable, match="PostgreSQL 9"):
        EmbeddedPostgres(tmp_path).url()


def test_a_folder_that_cannot_be_written_is_a_local_disk_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalDiskError, match="file"):
        EmbeddedPostgres(tmp_path / "file").url()


def test_a_long_and_odd_path_serves(folder: Path) -> None:
    odd = folder / ("a b'\"$`,é" + "x" * 80)
    server = EmbeddedPostgres(odd)
    try:
        assert ask(server.url(), "SELECT 1") == 1
    finally:
        server.stop(immediate=True)
