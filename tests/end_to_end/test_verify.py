"""verify finds whatever is not as it should be, says what, and names it in every kind of report."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from typing import Any

import pytest
from support.corpus import CorpusObject, mixed
from support.fault_proxy import FaultProxy
from support.fault_rules import FlipBit, Respond, Rule, clock_skewed, error, expired_token
from support.operator import Operator
from support.oracle import fill

FILES = [
    CorpusObject("a", 100, 1, {"ContentType": "text/plain"}, {"word": "one"}, {"tag": "x"}),
    CorpusObject("b,=1+1", 200, 2, {}, {"word": "two"}),
    CorpusObject("c", 300, 3),
]


@pytest.fixture
def applied(on_moto: Operator) -> Operator:
    """Three objects, copied and proven."""
    fill(on_moto.source.client(), on_moto.source_bucket, FILES)
    assert on_moto.plan().code == 0
    on_moto.apply().ok()
    for level in ("listing", "head", "content"):
        assert on_moto.verify("--level", level).code == 0
    return on_moto


def rewrite(operator: Operator, item: CorpusObject, **changes: Any) -> None:
    """Write *item* at the destination again, with something else than it had."""
    words: dict[str, Any] = {"Body": item.content(), **item.headers, "Metadata": dict(item.metadata)}
    if item.tags:
        words["Tagging"] = "&".join(f"{k}={v}" for k, v in item.tags.items())
    words |= changes
    operator.destination.client().put_object(Bucket=operator.destination_bucket, Key=item.key, **words)


def flip(operator: Operator) -> None:
    body = bytearray(FILES[0].content())
    body[50] ^= 1
    rewrite(operator, FILES[0], Body=bytes(body))


def change_metadata(operator: Operator) -> None:
    rewrite(operator, FILES[0], Metadata={"word": "won"})


def change_type(operator: Operator) -> None:
    rewrite(operator, FILES[0], ContentType="text/html")


def change_tag(operator: Operator) -> None:
    operator.destination.client().put_object_tagging(
        Bucket=operator.destination_bucket, Key="a", Tagging={"TagSet": [{"Key": "tag", "Value": "y"}]}
    )


def remove(operator: Operator) -> None:
    operator.destination.client().delete_object(Bucket=operator.destination_bucket, Key="a")


def add(operator: Operator) -> None:
    operator.destination.client().put_object(Bucket=operator.destination_bucket, Key="extra", Body=b"")


@pytest.mark.parametrize(
    ("harm", "level", "key", "word"),
    [
        (flip, "content", "a", ""),
        (flip, "listing", "a", "etag"),
        (change_metadata, "head", "a", "word"),
        (change_type, "head", "a", "content-type"),
        (change_tag, "head", "a", "tag"),
        (remove, "listing", "a", "not at the destination"),
        (add, "listing", "extra", "in no manifest"),
    ],
)
def test_each_harm_is_found_and_named(
    applied: Operator, harm: Callable[[Operator], None], level: str, key: str, word: str
) -> None:
    harm(applied)
    ran = applied.verify("--level", level, "--json", "--report", "found.jsonl")
    assert ran.code == 8, ran.err
    findings = ran.lines("finding")
    assert [finding["key"] for finding in findings] == [key]
    assert word in findings[0]["detail"].lower()
    lines = [json.loads(line) for line in (applied.folder / "found.jsonl").read_text().splitlines()]
    assert lines[0]["key"] == key
    assert sum(lines[-1]["findings"].values()) == 1


def test_all_harms_at_once_in_every_report(applied: Operator) -> None:
    change_metadata(applied)
    applied.destination.client().delete_object(Bucket=applied.destination_bucket, Key="b,=1+1")
    add(applied)
    for ending in ("jsonl", "csv", "md", "html"):
        ran = applied.verify("--report", f"found.{ending}")
        assert ran.code == 8, ran.err
        text = (applied.folder / f"found.{ending}").read_text()
        assert all(key in text for key in ("a", "b,=1+1", "extra"))
    rows = list(csv.reader((applied.folder / "found.csv").read_text().splitlines()))
    assert {row[1] for row in rows[1:]} == {"different", "missing", "unaccounted"}
    assert [c for row in rows for c in row if c.startswith(("=", "+", "-", "@"))] == []


def test_what_it_says_to_do_next_mends_it(applied: Operator) -> None:
    """Metadata that changed behind an ETag that did not: another plan alone leaves it as it is."""
    change_metadata(applied)
    found = applied.verify("--level", "head")
    assert found.code == 8 and "remove what is different at the destination" in found.err
    assert applied.plan().code == 0
    assert "0 planned objects" in applied.verify("--level", "head").err
    remove(applied)
    assert applied.plan().code == 0
    applied.apply().ok()
    assert applied.verify("--level", "head").code == 0


def test_a_source_key_that_appeared_is_not_in_the_plan(applied: Operator) -> None:
    fill(applied.source.client(), applied.source_bucket, [CorpusObject("later", 1, 1)])
    ran = applied.verify("--level", "listing", "--json")
    assert ran.code == 8
    assert [(f["key"], f["verdict"]) for f in ran.lines("finding")] == [("later", "not-in-plan")]


def test_a_plan_never_applied_is_not_proven(on_moto: Operator) -> None:
    fill(on_moto.source.client(), on_moto.source_bucket, FILES)
    assert on_moto.plan().code == 0
    ran = on_moto.verify("--json")
    assert ran.code == 8
    assert {f["verdict"] for f in ran.lines("finding")} == {"not-copied"}
    assert len(ran.lines("finding")) == len(FILES)


@pytest.mark.parametrize("fault", [expired_token(), clock_skewed()], ids=["expired", "skewed"])
def test_credentials_that_end_in_mid_verify_end_it_with_one_message(on_moto: Operator, fault: Respond) -> None:
    """The answer to HEAD names no reason; nothing that could not be asked is called different."""
    fill(on_moto.source.client(), on_moto.source_bucket, FILES)
    with FaultProxy(on_moto.destination.endpoint_url) as proxy:
        on_moto.destination_url = proxy.endpoint_url
        assert on_moto.plan().code == 0
        assert on_moto.apply().code == 0
        proxy.forget()
        assert on_moto.verify().code == 0
        listings = proxy.count("list")
        asked = Rule(fault, operations=("head", "get"))  # a HEAD that is refused is asked again as a GET
        proxy.rules = [asked, Rule(fault, operations=("list",), skip=listings)]
        ran = on_moto.verify("--json")
        assert ran.code == 77, ran.err
        assert ran.err.count("s3migrate:") == 1, ran.err
        assert ran.lines("finding") == []
        proxy.rules = [asked]
        refused = on_moto.verify("--json")
        assert refused.code == 8, "listing works, so it is these objects that are refused"
        assert {finding["verdict"] for finding in refused.lines("finding")} == {"unreadable"}


def test_object_after_object_refused_ends_verify_early(on_moto: Operator, seed: int) -> None:
    fill(on_moto.source.client(), on_moto.source_bucket, mixed(seed, 30, largest=100, tags=False))
    with FaultProxy(on_moto.destination.endpoint_url) as proxy:
        on_moto.destination_url = proxy.endpoint_url
        assert on_moto.plan().code == 0
        assert on_moto.apply().code == 0
        proxy.rules = [Rule(error(403, "AccessDenied"), operations=("head", "get"))]
        ran = on_moto.verify("--json")
    assert ran.code == 77, ran.err
    assert "25 objects in a row were refused" in ran.err


def test_a_bit_flipped_on_the_way_to_verify_or_the_canary_is_no_difference(on_moto: Operator) -> None:
    """Every object's first reading is spoiled, by both sides in turn; a real difference is found all the same."""
    fill(on_moto.source.client(), on_moto.source_bucket, FILES)
    with FaultProxy(on_moto.source.endpoint_url) as ours, FaultProxy(on_moto.destination.endpoint_url) as theirs:
        on_moto.source_url, on_moto.destination_url = ours.endpoint_url, theirs.endpoint_url
        assert on_moto.plan().code == 0
        for proxy in (ours, theirs):
            proxy.rules = [Rule(FlipBit(), operations=("get",), times=1, per_key=True)]
        on_moto.apply("--json").ok()
        for proxy in (ours, theirs):
            proxy.rules = [Rule(FlipBit(), operations=("get",), times=1, per_key=True)]
        proven = on_moto.verify("--level", "content")
        assert proven.code == 0, proven.out + proven.err
        flip(on_moto)
        for proxy in (ours, theirs):
            proxy.rules = [Rule(FlipBit(), operations=("get",), times=1, per_key=True)]
        found = on_moto.verify("--level", "content", "--json").lines("finding")
        assert [finding["key"] for finding in found] == ["a"]


def test_content_of_a_small_object_takes_one_request_a_side(on_moto: Operator) -> None:
    fill(on_moto.source.client(), on_moto.source_bucket, FILES)
    with FaultProxy(on_moto.source.endpoint_url) as ours, FaultProxy(on_moto.destination.endpoint_url) as theirs:
        on_moto.source_url, on_moto.destination_url = ours.endpoint_url, theirs.endpoint_url
        assert (on_moto.plan().code, on_moto.apply().code) == (0, 0)
        for proxy in (ours, theirs):
            proxy.forget()
        on_moto.verify("--level", "content").ok()
        assert [(proxy.count("get"), proxy.count("head")) for proxy in (ours, theirs)] == [(3, 0), (3, 0)]


def test_a_sample_still_accounts_for_every_key(applied: Operator) -> None:
    ran = applied.verify("--level", "content", "--sample", "1", "--json")
    assert ran.code == 0
    assert ran.lines("verify_complete")[0]["proven"] == 1
    add(applied)
    assert applied.verify("--level", "content", "--sample", "1").code == 8
