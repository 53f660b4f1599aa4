"""What the plan says a run will ask is what it asks."""

from __future__ import annotations

from collections import Counter

import pytest
import yaml
from support.corpus import CorpusObject, mixed
from support.fault_proxy import FaultProxy
from support.operator import Operator
from support.oracle import fill

from schema.tiers import MIB

GETS = ("get",)
PUT_CLASS = ("put", "create", "part", "complete", "copy", "part-copy")


@pytest.mark.parametrize("transfer", ["stream", pytest.param("server-copy", marks=pytest.mark.soak)])
def test_a_run_asks_what_its_plan_estimates(on_moto: Operator, seed: int, transfer: str) -> None:
    """Reads and writes within 5 %, with the canary, which is read back on both sides."""
    objects = mixed(seed, 60, largest=1000, tags=False)
    if transfer == "stream":
        objects.append(CorpusObject("big", 17 * MIB, seed))
    fill(on_moto.source.client(), on_moto.source_bucket, objects)
    with FaultProxy(on_moto.source.endpoint_url) as proxy:
        on_moto.source_url = on_moto.destination_url = proxy.endpoint_url
        on_moto.declare(policy={"transfer": transfer}, limits={"memory": "64MiB"})
        assert on_moto.plan().code == 0
        estimated = yaml.safe_load(on_moto.plan_path.read_text())["estimate"]["requests"]
        proxy.forget()
        assert on_moto.apply().code == 0
        asked = Counter(exchange.operation for exchange in proxy.history)
    reads, writes = (sum(asked[name] for name in names) for names in (GETS, PUT_CLASS))
    assert writes == pytest.approx(estimated["put"], rel=0.05)
    assert reads == pytest.approx(estimated["get"], rel=0.05, abs=2)
    assert estimated["put"] == len(objects) + (3 if transfer == "stream" else 0), "two parts, Create and Complete"
