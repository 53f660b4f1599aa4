"""Keys mapped by prefix and by regular expressions: examples in the plan, the right places, collisions refused."""

from __future__ import annotations

import re

import pytest
import yaml
from support.corpus import CorpusObject
from support.operator import Operator
from support.oracle import compare, fill, keys

SOURCE_PREFIX, DESTINATION_PREFIX = "photos/", "archive/"
RULES = [
    {"pattern": r"^(\d{4})-(\d{2})-(\d{2})/", "replace": r"\1/\2/\3/"},
    {"pattern": r"\.jpeg$", "replace": ".jpg"},
]
NAMES = ("2024-01-31/a.jpeg", "2024-02-01/b.jpg", "2023-12-31/z.jpeg", "zz/unchanged", "2024-01-31/é +%2F.jpeg")


def mapped(key: str) -> str:
    """What the oracle expects, written without the product."""
    rest = re.sub(r"^(\d{4})-(\d{2})-(\d{2})/", r"\1/\2/\3/", key.removeprefix(SOURCE_PREFIX))
    return DESTINATION_PREFIX + re.sub(r"\.jpeg$", ".jpg", rest)


@pytest.fixture
def mapping(on_moto: Operator, seed: int) -> Operator:
    objects = [CorpusObject(SOURCE_PREFIX + name, 50, seed + n, {}, {"n": str(n)}) for n, name in enumerate(NAMES)]
    fill(on_moto.source.client(), on_moto.source_bucket, [*objects, CorpusObject("elsewhere", 5, seed)])
    declare(on_moto)
    return on_moto


def declare(operator: Operator) -> None:
    operator.declare(source={"prefix": SOURCE_PREFIX}, destination={"prefix": DESTINATION_PREFIX}, mapping=RULES)


def test_keys_arrive_where_the_rules_say(mapping: Operator) -> None:
    mapping.plan().ok()
    section = yaml.safe_load(mapping.plan_path.read_text())["sections"][0]
    examples = [tuple(example.values()) if isinstance(example, dict) else tuple(example)
                for example in section["mapping_examples"]]  # fmt: skip
    assert examples
    assert all(mapped(source) == target for source, target in examples)
    mapping.apply().ok()
    ours = mapping.source_side._replace(prefix=SOURCE_PREFIX)
    theirs = mapping.destination_side._replace(prefix=DESTINATION_PREFIX)
    assert compare(ours, theirs, mapped=mapped) == []
    for level in ("listing", "head", "content"):
        mapping.verify("--level", level).ok()
    mapping.plan("--detailed-exitcode").ok()
    explained = mapping.run("explain", SOURCE_PREFIX + NAMES[0], "--json")
    assert (explained.code, mapped(SOURCE_PREFIX + NAMES[0]) in explained.out) == (0, True), explained.err


def test_verify_names_source_and_destination_of_a_mapped_key(mapping: Operator) -> None:
    assert mapping.plan().code == 0
    assert mapping.apply().code == 0
    harmed = SOURCE_PREFIX + NAMES[1]
    fill(mapping.destination.client(), mapping.destination_bucket, [CorpusObject(mapped(harmed), 50, 999)])
    ran = mapping.verify("--level", "listing", "--json")
    assert ran.code != 0
    assert [(f["verdict"], f["key"], f["target"]) for f in ran.lines("finding")] == [
        ("different", harmed, mapped(harmed))
    ]


def test_two_keys_with_one_target_are_refused_naming_both(mapping: Operator, seed: int) -> None:
    twins = ("photos/2024-01-31/same.jpeg", "photos/2024-01-31/same.jpg")
    fill(mapping.source.client(), mapping.source_bucket, [CorpusObject(key, 5, seed) for key in twins])
    ran = mapping.plan()
    assert ran.code == 65, ran.err
    assert all(key in ran.err for key in twins)
    assert not mapping.plan_path.exists()
    assert keys(mapping.destination_side) == []


def test_a_rule_that_is_no_expression_is_refused(mapping: Operator) -> None:
    mapping.declare(mapping=[{"pattern": "(", "replace": "x"}])
    ran = mapping.plan()
    assert (ran.code, "mapping[0]" in ran.err) == (65, True), ran.err
