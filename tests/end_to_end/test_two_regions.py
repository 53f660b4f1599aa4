"""Two workers of one run in two regions, one bucket with an endpoint in each: each worker takes the one near to it.

A region is a mount namespace with an /etc/hosts of its own, as names lead elsewhere in each of them: both workers know
the same two names, and reach them by ways of their own, of which one adds 3 ms and the other 250.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from support.corpus import CorpusObject
from support.json_process import PATIENCE, Lines
from support.operator import Operator
from support.oracle import RCLONE_FIELDS, compare, fill
from support.slurm import free_port

from bench.beds import CountedServer, FarServer

Sql = Callable[..., list[tuple[object, ...]]]
REGIONS = ("east", "west")
"""Of workers, and of endpoints."""
NEAR, FAR = 0.003, 0.250
OBJECTS = 2_400
WORKERS = 8
TRIED = 16
"""Transfers of a trial, twice."""


UNSHARED = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))
"""Root stays who it is: mapped into a namespace of its own it could not open the ledger's socket, another user's."""


def namespaces() -> bool:
    return (
        shutil.which("unshare") is not None and subprocess.run([*UNSHARED, "true"], capture_output=True).returncode == 0
    )


class Ways(NamedTuple):
    """How workers (first) reach endpoints (second)."""

    urls: list[str]
    """Of the endpoints, as everybody knows them."""
    lines: Mapping[tuple[str, str], FarServer]
    counters: Mapping[tuple[str, str], CountedServer]

    def writes(self) -> dict[tuple[str, str], int]:
        return {way: counter.writes()["writes"] for way, counter in self.counters.items()}


@contextmanager
def ways_to(operator: Operator) -> Iterator[Ways]:
    port, lines, counters = free_port(), {}, {}
    with ExitStack() as stack:
        for number, worker in enumerate(REGIONS, 1):
            for place, endpoint in enumerate(REGIONS, 1):
                counters[worker, endpoint] = counter = stack.enter_context(CountedServer(operator.destination))
                delay = NEAR if worker == endpoint else FAR
                line = FarServer(counter, delay, listen=f"127.0.{number}.{place}:{port}")
                lines[worker, endpoint] = stack.enter_context(line)
        yield Ways([f"http://{endpoint}.region.test:{port}" for endpoint in REGIONS], lines, counters)


def in_region(region: str, folder: Path) -> tuple[str, ...]:
    """What a command is run through to be in *region*."""
    number, hosts = REGIONS.index(region) + 1, folder / f"hosts-{region}"
    names = [f"127.0.{number}.{place} {endpoint}.region.test" for place, endpoint in enumerate(REGIONS, 1)]
    hosts.write_text("\n".join(["127.0.0.1 localhost", *names, ""]))
    script = f'mount --bind {shlex.quote(str(hosts))} /etc/hosts && exec "$@"'
    return (*UNSHARED, "sh", "-c", script, "sh")


def said_of(operator: Operator, pid: int) -> str:
    """What status says of one process."""
    said = [part for part in operator.run("status").ok().out.split("process ") if part.startswith(f"{pid} on")]
    return said[0]


@pytest.mark.soak
@pytest.mark.skipif(not namespaces(), reason="no mount namespaces here")
def test_each_worker_takes_what_is_near_to_it_and_moves_on_when_that_dies(
    on_rclone: Operator, seed: int, sql: Sql
) -> None:
    corpus = [CorpusObject(f"k{n:04}", 500 + n % 7, seed + n) for n in range(OBJECTS)]
    fill(on_rclone.source.client(), on_rclone.source_bucket, corpus)
    there = {region: in_region(region, on_rclone.folder) for region in REGIONS}
    with ways_to(on_rclone) as ways:
        east, west = ways.urls
        on_rclone.declare(destination={"endpoint_url": ways.urls}, limits={"workers": WORKERS})
        with on_rclone.background("plan", "migration.yaml", through=there["east"]) as planning:
            assert planning.wait(PATIENCE) == 0, planning.stderr and planning.stderr.read()
        (section,) = yaml.safe_load(on_rclone.plan_path.read_text())["sections"]
        assert section["destination"]["endpoint_url"] == east, "what is near to whoever plans"

        apply = ("apply", on_rclone.plan_path, "--json", "--processes", "1")
        with (
            on_rclone.background(*apply, through=there["east"]) as at_home,
            on_rclone.background(*apply, through=there["west"]) as abroad,
        ):
            first, second = Lines(at_home), Lines(abroad)
            chosen = second.until(lambda said: said["type"] == "waiting")
            assert chosen["moved_to"] == west
            before = ways.writes()
            assert before["east", "east"] > TRIED
            assert before["east", "west"] <= TRIED, "one trial, in vain"
            for _ in range(3):  # what status shows is written now and then
                second.until(lambda said: said["type"] == "progress")
            assert f"requests go to {west}" in said_of(on_rclone, abroad.pid)
            assert "requests go to" not in said_of(on_rclone, at_home.pid)

            ways.lines["east", "east"].stop()
            assert first.until(lambda said: bool(said.get("moved_to")))["moved_to"] == west
            ends = [(process.communicate(timeout=PATIENCE)[1], process.returncode) for process in (at_home, abroad)]
            assert [code for _, code in ends] == [0, 0], ends
        after = ways.writes()
        told = [counter.writes() for counter in ways.counters.values()]
    assert after["east", "west"] > before["east", "west"] + TRIED, "the worker in the east goes on in the west"
    assert after["west", "west"] > before["west", "west"] + TRIED
    assert after["west", "east"] <= before["west", "east"] + TRIED, "the one in the west does not go back"
    # This server ignores If-None-Match: what it wrote and could not say any more, as that way died, is written again.
    assert OBJECTS <= sum(after.values()) <= OBJECTS + WORKERS and not any(each["written_twice"] for each in told)
    assert sql("SELECT count(*), count(DISTINCT (batch_no, ord)) FROM ledger.completion") == [(OBJECTS, OBJECTS)]
    assert compare(on_rclone.source_side, on_rclone.destination_side, fields=RCLONE_FIELDS) == []
