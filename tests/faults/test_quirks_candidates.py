"""Several endpoints of one bucket (F6): the one in use is lost after the plan, or they are different stores."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml
from support.corpus import CorpusObject
from support.fault_proxy import FaultProxy
from support.fault_rules import Reset, Rule
from support.operator import Operator
from support.oracle import compare, fill
from support.servers import MotoServer


@pytest.fixture
def ways(on_moto: Operator, seed: int) -> Iterator[tuple[FaultProxy, FaultProxy]]:
    """Two ways to the operator's destination, declared in this order; three objects at the source."""
    fill(on_moto.source.client(), on_moto.source_bucket, [CorpusObject(key, 10, seed) for key in "abc"])
    upstream = on_moto.destination.endpoint_url
    with FaultProxy(upstream, seed=seed) as one, FaultProxy(upstream, seed=seed) as two:
        on_moto.declare(destination={"endpoint_url": [one.endpoint_url, two.endpoint_url]})
        yield one, two


def in_use_first(operator: Operator, ways: tuple[FaultProxy, FaultProxy]) -> tuple[FaultProxy, FaultProxy]:
    """*ways*, the one that the plan chose first."""
    planned = yaml.safe_load(operator.plan_path.read_text())["sections"][0]["destination"]["endpoint_url"]
    one, two = ways
    return (one, two) if planned == one.endpoint_url else (two, one)


@pytest.mark.parametrize("lost", [True, False], ids=["lost", "control"])
def test_the_endpoint_in_use_is_lost_after_the_plan(
    on_moto: Operator, ways: tuple[FaultProxy, FaultProxy], lost: bool
) -> None:
    on_moto.plan().ok()
    gone, other = in_use_first(on_moto, ways)
    gone.rules = [Rule(Reset())] if lost else []
    for ran in (on_moto.apply(), on_moto.verify("--level", "content")):
        assert ran.code == 0, ran.err
        assert (f"{other.endpoint_url} is used instead" in ran.err) is lost, ran.err
    assert compare(on_moto.source_side, on_moto.destination_side) == []


@pytest.mark.parametrize("lost", [True, False], ids=["lost", "control"])
def test_the_endpoint_in_use_is_lost_while_verify_reads(
    on_moto: Operator, ways: tuple[FaultProxy, FaultProxy], lost: bool
) -> None:
    """After the LISTs: each object is read through the other one, and counts as proven."""
    on_moto.plan().ok()
    gone, other = in_use_first(on_moto, ways)
    on_moto.apply().ok()
    gone.rules = [Rule(Reset(), operations=("head", "get"))] if lost else []
    ran = on_moto.verify("--level", "content").ok()
    assert "3 proven by content" in ran.err
    assert (f"{other.endpoint_url} is used instead" in ran.err) is lost, ran.err


@pytest.mark.soak
@pytest.mark.parametrize("side", ["source", "destination"])
def test_candidates_that_are_different_stores_are_refused(
    on_moto: Operator, ways: tuple[FaultProxy, FaultProxy], side: str
) -> None:
    """Nothing is planned, so nothing is split over two stores."""
    one, _ = ways
    with MotoServer() as elsewhere:
        elsewhere.create_bucket(getattr(on_moto, f"{side}_bucket"))
        upstream = one.endpoint_url if side == "destination" else on_moto.source.endpoint_url
        on_moto.declare(**{side: {"endpoint_url": [upstream, elsewhere.endpoint_url]}})
        ran = on_moto.plan()
    assert ran.code == 65 and "not lead to the same bucket" in ran.err, ran.err
    assert not on_moto.plan_path.exists()
