"""A PostgreSQL that answers late, or not at all for some seconds: copying waits for it, and fails nothing.

A relay in front of the real server keeps back what it answers; the runs are real ones, between real servers.
"""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Iterator

import pytest
from support.corpus import CorpusObject
from support.fault_proxy import FaultProxy
from support.fault_rules import Delay, Rule
from support.json_process import PATIENCE, Lines, some_done
from support.ledger_relay import LedgerRelay
from support.operator import Operator
from support.oracle import RCLONE_FIELDS, compare, fill
from support.processes import peak_resident, resident
from support.watched_run import Sql, ended, puts, recorded, until, written, written_twice

from executor.apply import workshop
from executor.apply.writer import Batching, LedgerWriter
from schema.tiers import MIB

WORKERS = 8
FLUSH_ROWS = 500
"""The writer's, and it queues four times as many."""


@pytest.fixture
def relay(on_rclone: Operator) -> Iterator[LedgerRelay]:
    """Between the operator and the ledger; not slow yet."""
    with LedgerRelay(on_rclone.ledger_url) as between:
        on_rclone.ledger_url = between.url
        yield between


@pytest.fixture
def proxy(on_rclone: Operator, seed: int) -> Iterator[FaultProxy]:
    """In front of the destination, to count what arrives."""
    with FaultProxy(on_rclone.destination.endpoint_url, seed=seed) as between:
        on_rclone.destination_url = between.endpoint_url
        yield between


def planned(operator: Operator, proxy: FaultProxy, objects: int, seed: int) -> None:
    """So many tiny objects, to be moved by WORKERS."""
    corpus = [CorpusObject(f"{n:05d}", 100, seed + n) for n in range(objects)]
    fill(operator.source.client(), operator.source_bucket, corpus, threads=8)
    operator.declare(limits={"workers": WORKERS})
    operator.plan().ok()
    proxy.forget()


def rows(sql: Sql) -> int:
    """Objects that are durable now."""
    (count,) = sql("SELECT count(*) FROM ledger.completion")[0]
    assert isinstance(count, int)
    return count


def behind(proxy: FaultProxy, sql: Sql) -> int:
    """Objects that have arrived and are not durable.

    What arrived is counted first, so that what is written down meanwhile is not held against the run.
    """
    return puts(proxy) - rows(sql)


def nothing_failed(operator: Operator, proxy: FaultProxy, sql: Sql, objects: int) -> None:
    """Every object arrived at its first attempt, once, and has its row."""
    assert sql("SELECT count(*), max(attempts) FROM ledger.completion") == [(objects, 1)]
    assert sql("SELECT count(*) FROM ledger.failure") == [(0,)]
    assert written_twice(proxy) == set()
    assert compare(operator.source_side, operator.destination_side, fields=RCLONE_FIELDS) == []
    assert operator.run("ledger", "check").code == 0


@pytest.mark.soak
def test_a_slow_ledger_fails_nothing_and_no_progress_is_ahead_of_it(
    on_rclone: Operator, relay: LedgerRelay, proxy: FaultProxy, seed: int, sql: Sql
) -> None:
    """Slow for 18 answers."""
    planned(on_rclone, proxy, 60, seed)
    with on_rclone.background("apply", on_rclone.plan_path, "--json") as applying:
        lines = Lines(applying)
        lines.until(lambda said: said["type"] == "run_accepted")
        relay.delay, relay.late_answers = 0.1, 18
        durable = [(0, 0)]
        while durable[-1][0] < 60:
            said = lines.until(lambda said: said["type"] in ("progress", "run_complete"))
            durable.append((said["done"], rows(sql)))
        assert applying.wait(PATIENCE) == 0
    assert relay.late_answers == 0
    assert [said for said, held in durable if said > held] == []
    assert [said for said in lines.seen if said["type"] == "waiting"] == [], "late is not away"
    nothing_failed(on_rclone, proxy, sql, 60)


@pytest.mark.soak
def test_after_a_kill_in_a_slow_ledgers_time_nothing_recorded_is_copied_again(
    on_rclone: Operator, relay: LedgerRelay, proxy: FaultProxy, seed: int, sql: Sql
) -> None:
    planned(on_rclone, proxy, 180, seed)
    proxy.rules = [Rule(Delay(0.1), operations=("put",))]
    with on_rclone.background("apply", on_rclone.plan_path, "--json") as first:
        Lines(first).until(some_done)
        relay.delay = 0.1
        until(lambda: rows(sql) > 20 and behind(proxy, sql) > 10, first)
        first.kill()
    mark, safe = len(proxy.history), recorded(on_rclone, sql)
    assert 20 < len(safe) < 180, "in the middle of a chunk"
    proxy.rules = []
    relay.delay = 0.0
    second = on_rclone.background("apply", on_rclone.plan_path, "--json")
    code, out, err = ended(second)
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["done"] == 180
    assert written(proxy, mark) & safe == set()
    assert compare(on_rclone.source_side, on_rclone.destination_side, fields=RCLONE_FIELDS) == []


def test_a_ledger_that_stands_still_holds_copying_back_and_then_goes_on(
    on_rclone: Operator,
    relay: LedgerRelay,
    proxy: FaultProxy,
    seed: int,
    sql: Sql,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a queue of 40 results, which 150 objects do not fit into."""
    monkeypatch.setattr(
        workshop, "LedgerWriter", functools.partial(LedgerWriter, batching=Batching(rows=10, seconds=1.0))
    )
    planned(on_rclone, proxy, 150, seed)
    seen: list[int] = []

    def watch() -> None:
        try:
            until(lambda: rows(sql) > 20)
            relay.stall()
            until(lambda: behind(proxy, sql) >= 40 + WORKERS)  # the queue is full and every worker waits
            end = time.monotonic() + 0.4
            until(lambda: seen.append(behind(proxy, sql)) or time.monotonic() > end)
        finally:
            relay.go_on()

    watching = threading.Thread(target=watch)
    watching.start()
    ran = on_rclone.apply("--json")
    watching.join()
    ran.ok()
    assert len(seen) > 1 and max(seen) <= 40 + 10 + WORKERS, "and what is being flushed"
    nothing_failed(on_rclone, proxy, sql, 150)


@pytest.mark.soak
def test_a_ledger_slow_all_the_time_bounds_what_is_not_durable_and_the_memory(
    on_rclone: Operator, relay: LedgerRelay, proxy: FaultProxy, seed: int, sql: Sql
) -> None:
    """300 ms before every answer, and once none for five seconds."""
    objects = 8_000
    planned(on_rclone, proxy, objects, seed)
    with on_rclone.background("apply", on_rclone.plan_path, "--json") as applying:
        lines = Lines(applying)
        lines.until(some_done)
        relay.delay = 0.3
        before = resident(applying.pid)
        most = peak = 0
        again = threading.Timer(5.0, relay.go_on)
        while (durable := rows(sql)) < objects:
            said = lines.until(lambda said: said["type"] in ("progress", "run_complete"))
            assert said["done"] <= rows(sql)
            most = max(most, behind(proxy, sql))
            peak = peak_resident(applying.pid) or peak
            if durable > objects // 2 and again.ident is None:
                relay.stall()
                again.start()
        assert applying.wait(PATIENCE) == 0
    assert again.ident is not None
    print(f"most not durable {most}, memory {before / MIB:.0f} to {peak / MIB:.0f} MiB")
    assert 3 * FLUSH_ROWS <= most <= 5 * FLUSH_ROWS + WORKERS
    assert peak < before + 64 * MIB
    relay.delay = 0.0
    nothing_failed(on_rclone, proxy, sql, objects)
