"""The history of a run says what the servers say: each request, by side and priced class, and every object and byte."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from support.corpus import CorpusObject
from support.fault_proxy import FaultProxy
from support.fault_rules import Rule, slow_down
from support.operator import Operator
from support.oracle import fill
from support.request_classes import requests_in

from executor.ledger.ledger import Ledger
from schema.errors import WhichSide
from schema.flow.samples import FlowCounts
from schema.tiers import MIB


@pytest.fixture
def proxies(on_rclone: Operator, seed: int) -> Iterator[tuple[FaultProxy, FaultProxy]]:
    """In front of both ends, to count what arrives there."""
    with (
        FaultProxy(on_rclone.source.endpoint_url, seed=seed) as source,
        FaultProxy(on_rclone.destination.endpoint_url, seed=seed) as destination,
    ):
        on_rclone.source_url, on_rclone.destination_url = source.endpoint_url, destination.endpoint_url
        yield source, destination


def history(operator: Operator, run_id: int = 1) -> FlowCounts:
    ledger = Ledger(operator.ledger_url)
    try:
        return ledger.samples.total(run_id)
    finally:
        ledger.close()


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_requests_are_counted_as_the_servers_count_them(
    on_rclone: Operator, proxies: tuple[FaultProxy, FaultProxy], seed: int, share: float
) -> None:
    """With a share of the writes throttled, and without."""
    source, destination = proxies
    objects = [CorpusObject(f"{n:03}", 1000 + n, seed + n) for n in range(20)] + [CorpusObject("big", 11 * MIB, seed)]
    fill(on_rclone.source.client(), on_rclone.source_bucket, objects)
    on_rclone.declare(limits={"memory": "12MiB"})
    on_rclone.plan().ok()
    source.forget()
    destination.forget()
    destination.rules = [Rule(slow_down(), operations=("put", "part"), probability=share)]

    began = time.monotonic()
    on_rclone.apply().ok()
    took = time.monotonic() - began

    counts = history(on_rclone)
    assert (counts.objects, counts.bytes, counts.failed) == (21, sum(o.size for o in objects), 0)
    assert counts.of(WhichSide.SOURCE).requests == requests_in(source.history)
    assert counts.of(WhichSide.DESTINATION).requests == requests_in(destination.history)
    assert counts.of(WhichSide.DESTINATION).throttled == destination.count(status=503)
    assert (destination.count(status=503) > 0) is (share > 0)
    assert 0 < counts.seconds <= took
