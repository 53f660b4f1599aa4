"""Real processes: killed, told to stop, two at once; and a ledger that is taken away in mid-run."""

from __future__ import annotations

import json
import random
import signal
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.corpus import CorpusObject, mixed
from support.fault_proxy import FaultProxy
from support.fault_rules import Delay, Rule
from support.memory_run import expire_leases
from support.operator import Operator
from support.oracle import fill, keys
from support.postgres import PostgresServer
from support.processes import resident
from support.servers import MotoServer, RcloneServer
from support.watched_run import Sql, completed, ended, puts, recorded, until, written, written_twice

from schema.tiers import MIB


@pytest.fixture
def slowed(on_rclone: Operator, seed: int) -> Iterator[tuple[Operator, FaultProxy]]:
    """Eighty small objects and a big one, planned, before a destination that takes its time."""
    objects = mixed(seed, 80, largest=2000, tags=False)
    objects.append(CorpusObject("big", 16 * MIB, seed))
    fill(on_rclone.source.client(), on_rclone.source_bucket, objects)
    with FaultProxy(on_rclone.destination.endpoint_url, seed=seed) as proxy:
        on_rclone.destination_url = proxy.endpoint_url
        on_rclone.declare(limits={"memory": "12MiB", "workers": 4})
        on_rclone.plan().ok()
        proxy.rules = [Rule(Delay(0.08), operations=("put", "part"))]
        proxy.forget()
        yield on_rclone, proxy


def test_sigterm_drains_exits_75_and_nothing_is_adopted_afterwards(slowed: tuple[Operator, FaultProxy]) -> None:
    operator, proxy = slowed
    process = operator.background("apply", operator.plan_path, "--json")
    until(lambda: puts(proxy) >= 20, process)
    process.send_signal(signal.SIGTERM)
    code, _, err = ended(process)
    assert code == 75, err
    assert len(keys(operator.destination_side)) < 81
    proxy.rules = []
    ran = operator.apply("--json").ok()
    assert "already_there" not in str(ran.lines("run_complete")[0]["outcomes"])
    assert written_twice(proxy) == set()
    completed(operator)


def test_a_second_sigint_lets_go_at_once(slowed: tuple[Operator, FaultProxy]) -> None:
    operator, proxy = slowed
    proxy.rules = [Rule(Delay(30), operations=("put",), skip=10)]
    process = operator.background("apply", operator.plan_path)
    until(lambda: puts(proxy) >= 10, process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None, "objects in flight are waited for"
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    code, _, err = ended(process)
    assert code == 75, err
    assert time.monotonic() - started < 10
    proxy.rules = []
    assert operator.apply().code == 0
    completed(operator)


def killed_at_random(
    operator: Operator, proxy: FaultProxy, rng: random.Random, sql: Sql, kills: int, objects: int
) -> int:
    """SIGKILL *kills* times after a random number of further writes, then an apply that is left alone.

    What was recorded when a process died is not written again by any that came after it; how many objects were
    recorded when the last one died.
    """
    checkpoints: list[tuple[int, set[str]]] = []
    for _ in range(kills):
        process = operator.background("apply", operator.plan_path)
        aim = puts(proxy) + rng.randrange(1, max(2, objects // (kills + 1)))
        until(lambda aim=aim, process=process: puts(proxy) >= aim or process.poll() is not None)  # type: ignore[misc]
        process.kill()
        ended(process)
        checkpoints.append((len(proxy.history), recorded(operator, sql)))
    proxy.rules = []
    ran = operator.apply("--json").ok()
    done = ran.lines("run_complete")[0]
    assert (done["done"], done["failed"]) == (objects, 0)
    for mark, safe in checkpoints:
        assert written(proxy, mark) & safe == set()
    return len(checkpoints[-1][1])


def test_sigkill_at_random_points(slowed: tuple[Operator, FaultProxy], rng: random.Random, sql: Sql) -> None:
    operator, proxy = slowed
    killed_at_random(operator, proxy, rng, sql, 2, 81)
    completed(operator)
    assert operator.run("ledger", "check").code == 0


@pytest.mark.soak
def test_two_processes_share_the_work(slowed: tuple[Operator, FaultProxy]) -> None:
    operator, proxy = slowed
    both = [operator.background("apply", operator.plan_path, "--json") for _ in range(2)]
    for code, _, err in [ended(process) for process in both]:
        assert code == 0, err
    assert written_twice(proxy) == set()
    assert Counter(e.operation for e in proxy.history)["complete"] == 1
    completed(operator)


@pytest.mark.soak
def test_a_paused_process_that_wakes_late_writes_nothing_down(slowed: tuple[Operator, FaultProxy], sql: Sql) -> None:
    operator, proxy = slowed
    paused = operator.background("apply", operator.plan_path, "--json")
    until(lambda: puts(proxy) >= 10, paused)
    paused.send_signal(signal.SIGSTOP)
    expire_leases(operator.ledger_url)
    operator.apply("--json").ok()
    written = sql("SELECT * FROM ledger.completion ORDER BY batch_no, ord")
    before = puts(proxy)
    paused.send_signal(signal.SIGCONT)
    code, _, err = ended(paused)
    assert code == 0, err
    assert puts(proxy) - before <= 4, "no more than was in its workers' hands"
    assert sql("SELECT * FROM ledger.completion ORDER BY batch_no, ord") == written
    completed(operator)
    assert operator.run("ledger", "check").code == 0


@pytest.mark.soak
def test_a_ledger_that_goes_and_comes_back_loses_nothing(slowed: tuple[Operator, FaultProxy]) -> None:
    operator, proxy = slowed
    server = PostgresServer()
    try:
        operator.ledger_url = server.url_of(server.clone())
        process = operator.background("apply", operator.plan_path, "--json")
        until(lambda: puts(proxy) >= 20, process)
        server.embedded.stop(immediate=True)
        until(lambda: puts(proxy) >= 25 or not _moving(proxy), process)
        assert process.poll() is None
        server.embedded.url()  # starts it again, on the same folder
        code, out, err = ended(process)
        assert code == 0, err
        last = [json.loads(line) for line in out.splitlines()][-1]
        assert (last["type"], last["done"], last["failed"]) == ("run_complete", 81, 0)
        assert any(json.loads(line)["type"] == "waiting" for line in out.splitlines())
        assert written_twice(proxy) == set()
        completed(operator)
    finally:
        server.close()


def _moving(proxy: FaultProxy) -> bool:
    before = puts(proxy)
    time.sleep(0.5)
    return puts(proxy) > before


@pytest.mark.soak
def test_sigkill_at_twenty_points_of_twenty_thousand_objects(
    tmp_path: Path,
    ledger_url: str,
    rclone_servers: tuple[RcloneServer, RcloneServer],
    rng: random.Random,
    seed: int,
    sql: Sql,
) -> None:
    source, destination = rclone_servers
    name = uuid.uuid4().hex[:12]
    source.create_bucket(f"src-{name}")
    destination.create_bucket(f"dst-{name}")
    operator = Operator(tmp_path, ledger_url, source, destination, f"src-{name}", f"dst-{name}")
    fill(source.client(), operator.source_bucket, mixed(seed, 20_000, largest=20_000, tags=False), threads=16)
    with FaultProxy(destination.endpoint_url, seed=seed) as proxy:
        operator.destination_url = proxy.endpoint_url
        assert operator.plan().code == 0
        proxy.forget()
        assert killed_at_random(operator, proxy, rng, sql, 20, 20_000) > 1_000
        completed(operator)


@pytest.mark.soak
def test_three_gigabytes_in_sixty_four_mebibytes(on_rclone: Operator, moto_server: MotoServer) -> None:
    """From rclone to moto: as a destination `rclone serve s3` 1.75.2 lets one part of 192 hang, and then refuses
    Complete with InvalidPart; boto3 alone with four threads meets the same.
    """
    on_rclone.destination = moto_server
    moto_server.create_bucket(on_rclone.destination_bucket)
    path = on_rclone.source.folder / on_rclone.source_bucket / "huge"  # type: ignore[attr-defined]
    block = random.Random(1).randbytes(16 * MIB)
    with path.open("wb") as file:
        for number in range((3 << 30) // len(block)):
            file.write(number.to_bytes(8, "big") + block[8:])
    on_rclone.declare(limits={"memory": "64MiB"})
    try:
        on_rclone.plan().ok()
        process = on_rclone.background("apply", on_rclone.plan_path)
        peak = 0
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(0.05)
        out, err = process.communicate()
        assert process.returncode == 0, (out[-2000:], err)
        print(f"peak resident: {peak / MIB:.0f} MiB")
        assert peak < (64 + 150) * MIB
        # Read in one go: moto reads the whole object anew for each range that verify would ask for.
        there = moto_server.client().get_object(Bucket=on_rclone.destination_bucket, Key="huge")["Body"]
        with path.open("rb") as file:
            while piece := file.read(16 * MIB):
                assert there.read(len(piece)) == piece
        assert there.read(1) == b""
    finally:
        path.unlink()
        moto_server.client().delete_object(Bucket=on_rclone.destination_bucket, Key="huge")
