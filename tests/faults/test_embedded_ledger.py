"""The ledger's own server dies or its disk fills up: a run waits and goes on by itself, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
from support.corpus import mixed
from support.json_process import PATIENCE, Lines, some_done
from support.operator import Operator
from support.oracle import RCLONE_FIELDS, compare, fill

from executor.ledger.embedded.server import EmbeddedPostgres

OBJECTS = 300


@pytest.fixture
def embedded(on_rclone: Operator, seed: int) -> Iterator[Operator]:
    """Some seconds of work with the ledger in a server of the operator's own, which is not started yet."""
    on_rclone.ledger_url = ""
    fill(on_rclone.source.client(), on_rclone.source_bucket, mixed(seed, OBJECTS, largest=2_000, tags=False))
    on_rclone.declare(limits={"requests_per_second": 150})
    yield on_rclone
    server_of(on_rclone).stop(immediate=True)


def server_of(operator: Operator) -> EmbeddedPostgres:
    return EmbeddedPostgres(operator.folder / ".s3migrate" / "postgres")


def mount(operator: Operator, size: str) -> Path:
    """A small file system for the ledger; only root can make one."""
    place = operator.folder / ".s3migrate"
    place.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", place]).returncode:
        pytest.skip("mounting a small file system needs root")
    return place


@pytest.fixture
def unmounted(on_rclone: Operator) -> Iterator[None]:
    """Whatever the test mounts is gone afterwards. Asked for before `embedded`, it comes after its server's end."""
    yield
    subprocess.run(["umount", "--lazy", on_rclone.folder / ".s3migrate"], capture_output=True, check=False)


def arrives_although(operator: Operator, harm: Callable[[], None], mend: Callable[[], None]) -> None:
    """A run in which *harm* is done to the ledger, and *mend* once the run has said that it waits."""
    assert operator.plan().code == 0
    with operator.background("apply", operator.plan_path, "--json") as process:
        try:
            lines = Lines(process)
            lines.until(some_done)
            harm()
            lines.until(lambda said: said["type"] == "waiting" and said["for"] == "ledger")
            mend()
            done = lines.until(lambda said: said["type"] == "run_complete")
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
    assert (done["done"], done["failed"]) == (OBJECTS, 0)
    assert compare(operator.source_side, operator.destination_side, fields=RCLONE_FIELDS) == []
    assert operator.run("ledger", "check").code == 0
    assert operator.verify("--level", "listing").code == 0


@pytest.mark.soak
def test_a_killed_server_is_started_again_by_the_run_that_misses_it(embedded: Operator) -> None:
    def kill() -> None:
        pid = server_of(embedded).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    arrives_although(embedded, kill, lambda: None)


@pytest.mark.soak
@pytest.mark.usefixtures("unmounted")
def test_a_full_disk_that_stops_the_server_is_waited_out(embedded: Operator) -> None:
    place = mount(embedded, "160m")
    filler = place / "filler"

    def harm() -> None:
        """No room for a write-ahead log: the server gives up, and cannot start again."""
        connection = psycopg2.connect(server_of(embedded).url().replace("+psycopg2", ""))
        connection.autocommit = True
        with pytest.raises(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
        with pytest.raises(psycopg2.Error), connection.cursor() as cursor:
            for _ in range(100):
                cursor.execute("SELECT pg_switch_wal(), pg_logical_emit_message(true, 'some', 'log')")
        connection.close()

    arrives_although(embedded, harm, filler.unlink)


@pytest.mark.usefixtures("unmounted")
def test_a_disk_without_room_for_the_ledger_is_74_and_says_so(embedded: Operator) -> None:
    assert embedded.plan().code == 0
    place = mount(embedded, "1m")
    ran = embedded.apply()
    assert ran.code == 74, ran.err
    assert str(place) in ran.err and "is full" in ran.err and "free some space" in ran.err
    assert not embedded.destination_side.client.list_objects_v2(Bucket=embedded.destination_bucket).get("Contents")
