"""Seven bottlenecks, each injected for real, and the sentence that `status` says of each afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.corpus import CorpusObject
from support.fault_proxy import FaultProxy
from support.fault_rules import Delay, RateLimit, Rule
from support.ledger_relay import LedgerRelay
from support.operator import Operator
from support.oracle import fill
from support.watched_run import ended

from s3migrate.views.why import Bottleneck

KIB = 1024
MIB = 1024 * KIB


@dataclass
class Ground:
    """A run between two servers, each behind a proxy, with the ledger behind a relay; nothing is slow yet."""

    operator: Operator
    source: FaultProxy
    destination: FaultProxy
    relay: LedgerRelay
    objects: int = 150
    size: int = 1000
    limits: dict[str, Any] = field(default_factory=dict)
    one_core: bool = False


@pytest.fixture
def ground(on_rclone: Operator, seed: int) -> Iterator[Ground]:
    with (
        FaultProxy(on_rclone.source.endpoint_url, seed=seed) as source,
        FaultProxy(on_rclone.destination.endpoint_url, seed=seed) as destination,
        LedgerRelay(on_rclone.ledger_url) as relay,
    ):
        on_rclone.source_url, on_rclone.destination_url = source.endpoint_url, destination.endpoint_url
        yield Ground(on_rclone, source, destination, relay)


def slow_source(ground: Ground) -> None:
    ground.source.rules = [Rule(Delay(1.0), operations=("get",))]


def slow_destination(ground: Ground) -> None:
    ground.destination.rules = [Rule(Delay(1.0), operations=("put",))]


def throttled(ground: Ground) -> None:
    ground.objects = 200
    ground.destination.rules = [Rule(RateLimit(10.0), operations=("put",))]


def limited(ground: Ground) -> None:
    ground.limits = {"requests_per_second": 20}


def held_to_few(ground: Ground) -> None:
    ground.limits = {"concurrent_requests": 2}


def short_of_memory(ground: Ground) -> None:
    ground.objects, ground.size = 60, 3 * MIB
    ground.limits = {"memory": "12MiB", "workers": 16}
    ground.destination.rules = [Rule(Delay(0.5), operations=("put",))]


def slow_ledger(ground: Ground) -> None:
    ground.objects = 300
    ground.relay.delay = 0.15


def one_core(ground: Ground) -> None:
    """The run and both its servers have one core between them, and the servers' proxies are left out."""
    ground.objects, ground.one_core = 4000, True
    ground.operator.source_url = ground.operator.destination_url = ""


CASES: dict[Bottleneck, list[Callable[[Ground], None]]] = {
    Bottleneck.SOURCE: [slow_source],
    Bottleneck.DESTINATION: [slow_destination],
    Bottleneck.THROTTLING: [throttled],
    Bottleneck.LIMIT: [limited, held_to_few],
    Bottleneck.MEMORY: [short_of_memory],
    Bottleneck.LEDGER: [slow_ledger],
    Bottleneck.PROCESSOR: [one_core],
}


@pytest.mark.soak
@pytest.mark.parametrize(
    ("inject", "expected"),
    [pytest.param(case, cause, id=case.__name__) for cause, cases in CASES.items() for case in cases],
)
def test_the_bottleneck_is_named(
    ground: Ground, inject: Callable[[Ground], None], expected: Bottleneck, seed: int
) -> None:
    operator = ground.operator
    inject(ground)
    rules = ground.source.rules, ground.destination.rules
    ground.source.rules = ground.destination.rules = []
    corpus = [CorpusObject(f"{n:05}", ground.size, seed + n) for n in range(ground.objects)]
    fill(operator.source.client(), operator.source_bucket, corpus, threads=8)
    operator.declare(limits=ground.limits)
    operator.plan().ok()
    ground.source.rules, ground.destination.rules = rules
    operator.ledger_url, direct = ground.relay.url, operator.ledger_url
    with operator.background("apply", operator.plan_path, "--json") as applying:
        if ground.one_core:
            os.sched_setaffinity(applying.pid, {min(os.sched_getaffinity(0))})
        code, _, err = ended(applying)
        assert code == 0, err
    operator.ledger_url = direct
    why = operator.run("status", "--json").ok().lines("why")[0]
    print(why["text"])
    assert why["bottleneck"] == expected.value, why
    shown = operator.run("status").out
    assert f"why not faster: {why['text']}" in shown
