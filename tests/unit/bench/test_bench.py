"""The bench measures what it says it measures."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from support.servers import RcloneServer

from bench.contestants import RCLONE_BEST, Boto3Pool, Contestant, losses_of
from bench.latency import FarServer
from bench.listing_server import Keys, ListingServer
from bench.measure import CommandFailed, run, run_or_fail
from bench.run import one_run, summary, table
from bench.workloads import BUCKET, Group, Workload, arrived

TINY = Workload("tiny", (Group(5, 1_000), Group(2, 0)))


def test_a_command_is_measured_with_its_children(tmp_path: Path) -> None:
    burn = "import time\nend = time.process_time() + 0.15\nwhile time.process_time() < end: pass\n"
    hold = "block = bytearray(60_000_000)\ntime.sleep(0.2)\n"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn + hold!r}])"

    measured = run_or_fail([sys.executable, "-c", parent], tmp_path, {}, tmp_path / "log")

    assert measured.wall > 0.3
    assert 0.15 <= measured.cpu < 5
    assert 60_000_000 < measured.peak_rss < 200_000_000


def test_a_failed_command_shows_what_it_said(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such thing')"]
    assert run(command, tmp_path, {}, tmp_path / "log").exit_code == 1
    with pytest.raises(CommandFailed, match="no such thing"):
        run_or_fail(command, tmp_path, {}, tmp_path / "log")


def test_a_workload_is_the_same_each_time_and_different_in_each_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        TINY.make(tmp_path / name)
    first, second = (sorted((tmp_path / name / BUCKET).rglob("*.bin")) for name in ("one", "two"))

    assert arrived(tmp_path / "one") == (TINY.objects, TINY.bytes) == (7, 5_000)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert len({p.read_bytes() for p in first}) == 6


@pytest.mark.parametrize("runner", [RCLONE_BEST, Boto3Pool()], ids=lambda runner: runner.name)
def test_the_others_copy_everything(tmp_path: Path, runner: Contestant) -> None:
    TINY.make(tmp_path)

    result = one_run(TINY, runner, tmp_path)

    found = summary(TINY, {RCLONE_BEST.name: [result]})
    assert found["contestants"]["rclone best"]["wall_ratio"] == 1.0
    assert "rclone best" in table(TINY, found)


def test_made_up_keys_ascend_and_pages_join_without_gap() -> None:
    keys = Keys(2_500)
    assert list(keys) == sorted(keys)
    with ListingServer("http://127.0.0.1:9", 2_500, differ_every=2) as server:
        found: list[str] = []
        token = ""
        while token is not None:
            url = f"{server.endpoint_url}/{BUCKET}?list-type=2&encoding-type=url&continuation-token={token}"
            with urlopen(url) as answer:  # noqa: S310 - our own server
                text = answer.read().decode()
            found += [part.partition("</Key>")[0] for part in text.split("<Key>")[1:]]
            token = text.partition("<NextContinuationToken>")[2].partition("<")[0] or None  # type: ignore[assignment]
    assert found == list(keys)


def test_a_far_server_takes_longer(rclone_server: RcloneServer, bucket_name: str) -> None:
    with FarServer(rclone_server, 0.05) as far:
        client = far.client()
        client.create_bucket(Bucket=bucket_name)
        body = bytes(300_000)
        client.put_object(Bucket=bucket_name, Key="k", Body=body)
        started = time.perf_counter()
        assert client.get_object(Bucket=bucket_name, Key="k")["Body"].read() == body
        assert time.perf_counter() - started >= 0.05


def test_losses_are_found_wherever_they_stand(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("sections: [{losses: [{id: tags}, {id: acl}]}, {losses: [{id: tags}]}]\n")
    assert losses_of(plan) == ["acl", "tags"]
