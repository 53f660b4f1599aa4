"""An endpoint goes away in the middle of a run: the run waits, says so, and goes on by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import yaml
from support.corpus import mixed
from support.fault_proxy import FaultProxy
from support.fault_rules import Delay, Reset, Rule, internal_error
from support.json_process import PATIENCE, Lines, some_done
from support.operator import Operator
from support.oracle import RCLONE_FIELDS, compare, fill

Sql = Callable[..., list[tuple[object, ...]]]


@pytest.fixture
def proxies(on_rclone: Operator, seed: int) -> Iterator[tuple[FaultProxy, FaultProxy]]:
    """Two ways to the destination."""
    upstream = on_rclone.destination.endpoint_url
    with FaultProxy(upstream, seed=seed) as one, FaultProxy(upstream, seed=seed + 1) as two:
        yield one, two


def begun(operator: Operator, seed: int) -> None:
    """150 small objects at 20 a second, planned."""
    fill(operator.source.client(), operator.source_bucket, mixed(seed, 150, largest=2_000, tags=False))
    operator.declare(limits={"requests_per_second": 20})
    operator.plan().ok()


def lift(operator: Operator) -> None:
    """What was to be seen has been seen: on, as fast as it goes."""
    operator.run("limit", "1", "requests_per_second=5000").ok()


def arrived(operator: Operator, sql: Sql) -> None:
    """Everything, and the outage cost no object more than the attempt it was in."""
    assert compare(operator.source_side, operator.destination_side, fields=RCLONE_FIELDS) == []
    assert operator.run("ledger", "check").code == 0
    assert sql("SELECT count(*) FROM ledger.failure WHERE terminal") == [(0,)]
    assert sql("SELECT max(attempts) <= 3 FROM ledger.completion") == [(True,)]


@pytest.mark.parametrize(
    "fault",
    [pytest.param(Reset(), id="no connection"), pytest.param(internal_error(), id="500", marks=pytest.mark.soak)],
)
def test_the_run_waits_for_its_endpoint(
    on_rclone: Operator, proxies: tuple[FaultProxy, FaultProxy], seed: int, sql: Sql, fault: Reset
) -> None:
    proxy = proxies[0]
    on_rclone.destination_url = proxy.endpoint_url
    begun(on_rclone, seed)
    with on_rclone.background("apply", on_rclone.plan_path, "--json") as applying:
        lines = Lines(applying)
        lines.until(some_done)
        proxy.rules = [Rule(fault)]
        waiting = lines.until(lambda said: said["type"] == "waiting")
        assert not waiting["back"] and "continues when it does" in waiting["message"], waiting
        stood = lines.until(lambda said: said["type"] == "progress")["done"]
        status = on_rclone.run("status", "--json").lines("process")
        lines.until(
            lambda said: (
                said["type"] == "progress" and any(end["breaker"] != "closed" for end in said["endpoints"].values())
            )
        )
        proxy.rules = []
        back = lines.until(lambda said: said["type"] == "waiting")
        assert back["back"]
        lift(on_rclone)
        complete = lines.until(lambda said: said["type"] == "run_complete")
        assert applying.wait(PATIENCE) == 0
    assert (complete["done"], complete["failed"]) == (150, 0)
    assert stood < 150 and len(status) == 1
    arrived(on_rclone, sql)


@pytest.mark.soak
def test_the_run_moves_on_to_the_next_endpoint(
    on_rclone: Operator, proxies: tuple[FaultProxy, FaultProxy], seed: int, sql: Sql
) -> None:
    far, near = proxies
    far.rules = [Rule(Delay(0.05))]
    urls = [far.endpoint_url, near.endpoint_url]
    on_rclone.more = {
        "destination": {
            "bucket": on_rclone.destination_bucket,
            "endpoint_url": urls,
            "region": "us-east-1",
            "credentials": {"env": "NEW"},
        }
    }
    begun(on_rclone, seed)
    document = yaml.safe_load(on_rclone.plan_path.read_text())
    planned = document["sections"][0]["destination"]
    assert planned["endpoint_url"] == near.endpoint_url, "the nearer one is in use"
    assert planned["endpoint_candidates"] == [near.endpoint_url, far.endpoint_url]
    assert document["provenance"]["endpoints"][far.endpoint_url]["round_trip_us"] >= 50_000
    before = on_rclone.plan_path.read_bytes()
    assert on_rclone.plan().code == 0
    assert on_rclone.plan_path.read_bytes() == before, "planning again chooses the same"
    with on_rclone.background("apply", on_rclone.plan_path, "--json") as applying:
        lines = Lines(applying)
        lines.until(some_done)
        near.rules = [Rule(Reset())]
        near.break_connections()
        far.forget()
        waiting = lines.until(lambda said: said["type"] == "waiting")
        assert far.endpoint_url in waiting["message"], waiting
        on = lines.until(lambda said: said["type"] == "waiting")
        assert (on["back"], on["moved_to"]) == (True, far.endpoint_url), "the run has moved: nobody knows of the other"
        lift(on_rclone)
        complete = lines.until(lambda said: said["type"] == "run_complete")
        assert applying.wait(PATIENCE) == 0
    assert complete["done"] == 150
    assert far.count("put") > 30, "what was left went there"
    arrived(on_rclone, sql)


@pytest.mark.usefixtures("brief_waits")
def test_a_candidate_out_of_reach_is_not_chosen(
    on_rclone: Operator, proxies: tuple[FaultProxy, FaultProxy], seed: int
) -> None:
    dead, alive = proxies
    dead.rules = [Rule(Reset())]
    fill(on_rclone.source.client(), on_rclone.source_bucket, mixed(seed, 5, largest=2_000, tags=False))
    on_rclone.declare(destination={"endpoint_url": [dead.endpoint_url, alive.endpoint_url]})
    assert on_rclone.plan().code == 0
    document = yaml.safe_load(on_rclone.plan_path.read_text())
    assert document["sections"][0]["destination"]["endpoint_url"] == alive.endpoint_url
    alive.rules = [Rule(Reset())]
    on_rclone.plan_path.unlink()
    assert on_rclone.plan().code == 69
