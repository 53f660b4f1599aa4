"""`delete_extraneous: after-verify`: an own stage, guarded, pinned, and never after a listing that failed."""

from __future__ import annotations

import pytest
import yaml
from sqlalchemy import create_engine, text
from support.corpus import CorpusObject, mixed
from support.fault_proxy import FaultProxy
from support.fault_rules import Rule, error, lying_empty
from support.operator import Operator
from support.oracle import compare, fill, keys

EXTRA = ("aaa-extra", "photos/extra", "zzz-extra")


@pytest.fixture
def with_extras(on_moto: Operator, seed: int) -> Operator:
    """Eight objects at the source, three at the destination that the source does not have; not planned."""
    fill(on_moto.source.client(), on_moto.source_bucket, mixed(seed, 8, largest=1000))
    extras = [CorpusObject(key, 10, number) for number, key in enumerate(EXTRA)]
    fill(on_moto.destination.client(), on_moto.destination_bucket, extras)
    declare(on_moto)
    return on_moto


def declare(operator: Operator, **guards: int) -> None:
    operator.declare(policy={"delete_extraneous": "after-verify"}, guards=guards or {"max_deletes": 3})


def extras_left(operator: Operator) -> list[str]:
    return [key for key in keys(operator.destination_side) if key in EXTRA]


def test_extraneous_keys_go_last_and_planning_again_finds_nothing(with_extras: Operator) -> None:
    assert with_extras.plan().code == 0
    document = yaml.safe_load(with_extras.plan_path.read_text())
    deleting = next(stage for stage in document["stages"] if stage["id"] == "deletes")
    others = [stage for stage in document["stages"] if stage["id"] != "deletes"]
    assert set(deleting["depends_on"]) == {stage["id"] for stage in others}
    assert {stage["gate"] for stage in others} == {"verified"}

    with_extras.apply("--json").ok()
    assert compare(with_extras.source_side, with_extras.destination_side) == []
    with_extras.verify("--level", "content").ok()
    assert with_extras.plan("--detailed-exitcode").code == 0


def test_without_a_guard_apply_is_refused_and_touches_nothing(with_extras: Operator) -> None:
    declare(with_extras, max_objects=1000)
    assert with_extras.plan().code == 0
    before = keys(with_extras.destination_side)
    ran = with_extras.apply()
    assert (ran.code, "max_deletes" in ran.err) == (7, True), ran.err
    assert keys(with_extras.destination_side) == before
    declare(with_extras, max_deletes=2)
    assert with_extras.plan().code == 0
    assert with_extras.apply().code == 7
    assert keys(with_extras.destination_side) == before


def test_never_is_the_default(with_extras: Operator) -> None:
    with_extras.declare()
    assert with_extras.plan().code == 0
    assert with_extras.apply().code == 0
    assert extras_left(with_extras) == list(EXTRA)
    assert with_extras.verify().code == 0


def test_a_key_that_changed_since_the_plan_is_left_alone(with_extras: Operator) -> None:
    assert with_extras.plan().code == 0
    fill(with_extras.destination.client(), with_extras.destination_bucket, [CorpusObject(EXTRA[1], 11, 99)])
    ran = with_extras.apply()
    assert ran.code != 0, ran.err
    assert extras_left(with_extras) == [EXTRA[1]]
    verified = with_extras.verify("--json")
    assert verified.code != 0
    found = [(f["verdict"], f["key"]) for f in verified.lines("finding")]
    assert found == [("not-deleted", EXTRA[1])]


def test_nothing_is_deleted_while_anything_is_unproven(with_extras: Operator) -> None:
    """An object that cannot be copied keeps the stage of deletes shut."""
    victim = keys(with_extras.source_side)[-1]
    with FaultProxy(with_extras.source.endpoint_url) as proxy:
        with_extras.source_url = proxy.endpoint_url
        declare(with_extras)
        assert with_extras.plan().code == 0
        proxy.rules = [Rule(error(403, "AccessDenied"), operations=("get", "head"), key=victim)]
        ran = with_extras.apply()
        assert ran.code != 0, ran.err
        assert extras_left(with_extras) == list(EXTRA)


def test_nothing_is_deleted_when_a_source_object_drifted(with_extras: Operator) -> None:
    """An extraneous key may be all that is left of an object that was renamed and then changed or removed."""
    victim = keys(with_extras.source_side)[-1]
    assert with_extras.plan().code == 0
    with_extras.source.client().delete_object(Bucket=with_extras.source_bucket, Key=victim)
    ran = with_extras.apply()
    assert ran.code == 3, ran.err
    assert "not deleted: 1 object did not arrive as planned" in ran.err
    assert extras_left(with_extras) == list(EXTRA)
    assert with_extras.plan().code == 0
    assert with_extras.apply().code == 0
    assert extras_left(with_extras) == []


def test_a_listing_that_failed_never_leads_to_a_delete(with_extras: Operator) -> None:
    """An empty 200 for the source would make every destination key extraneous."""
    for lie in (lying_empty(), error(500, "InternalError")):
        with FaultProxy(with_extras.source.endpoint_url) as proxy:
            with_extras.source_url = proxy.endpoint_url
            declare(with_extras, max_deletes=1000)
            proxy.rules = [Rule(lie, operations=("list",))]
            ran = with_extras.plan()
        assert ran.code not in (0, 2), (ran.code, ran.err)
        assert not with_extras.plan_path.exists()
        assert extras_left(with_extras) == list(EXTRA)


def test_the_intent_is_recorded_before_the_request(with_extras: Operator) -> None:
    """A delete whose request was refused has left its intent in the ledger."""
    with FaultProxy(with_extras.destination.endpoint_url) as proxy:
        with_extras.destination_url = proxy.endpoint_url
        declare(with_extras)
        assert with_extras.plan().code == 0
        proxy.rules = [Rule(error(403, "AccessDenied"), operations=("delete",), key=EXTRA[0])]
        assert with_extras.apply().code != 0
    assert extras_left(with_extras) == [EXTRA[0]]
    engine = create_engine(with_extras.ledger_url)
    with engine.connect() as connection:
        intents = list(connection.execute(text("SELECT what FROM ledger.intent ORDER BY ord")).scalars())
    engine.dispose()
    assert [key for key in EXTRA if any(repr(key) in intent for intent in intents)] == list(EXTRA)


def test_f7_a_key_that_appears_at_the_source_after_the_plan_is_not_deleted(with_extras: Operator) -> None:
    """Control: the other two, which did not appear, go."""
    assert with_extras.plan().code == 0
    fill(with_extras.source.client(), with_extras.source_bucket, [CorpusObject(EXTRA[1], 20, 7)])
    applied = with_extras.apply()

    assert applied.code == 3, applied.err
    assert "has appeared at the source since the plan; not deleted" in applied.err
    assert extras_left(with_extras) == [EXTRA[1]]
