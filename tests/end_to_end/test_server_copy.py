"""Copies that the endpoint makes by itself: chosen with a reason, complete, pinned, resumable."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from support.corpus import EVERY_HEADER, CorpusObject, mixed
from support.fault_proxy import FaultProxy
from support.fault_rules import Reset, Rule, error, lying_empty, lying_error
from support.operator import Operator
from support.oracle import FIELDS, RCLONE_FIELDS, compare, fill

from schema.tiers import MIB

FIELDS_AND_CLASS = (*FIELDS, "StorageClass")


@pytest.fixture
def proxy(on_moto: Operator) -> Iterator[FaultProxy]:
    """Both sides of `on_moto` are reached through this proxy, so they are one endpoint."""
    with FaultProxy(on_moto.source.endpoint_url) as between:
        on_moto.source_url = on_moto.destination_url = between.endpoint_url
        yield between


def dressed(seed: int) -> list[CorpusObject]:
    """Small objects with EVERY_HEADER, and one that was written in two parts."""
    return [
        *mixed(seed, 10, largest=2000),
        CorpusObject("all/of it", 100, seed, EVERY_HEADER, {"word": "two  words"}, {"tag": "a+b"}),
        CorpusObject("parts", 7 * MIB, seed, {"ContentType": "video/mp4"}, {"m": "1"}, {"t": "1"}, part_size=5 * MIB),
    ]


def section_of(operator: Operator) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(operator.plan_path.read_text())["sections"][0]
    return found


@pytest.mark.parametrize("transfer", ["auto", "server-copy"])
def test_everything_arrives_without_a_byte_sent(on_moto: Operator, proxy: FaultProxy, seed: int, transfer: str) -> None:
    fill(on_moto.source.client(), on_moto.source_bucket, dressed(seed))
    on_moto.declare(policy={"transfer": transfer}, preserve={"part_layout": True})
    on_moto.plan().ok()
    assert list(section_of(on_moto)["methods"]) == ["server-copy"]
    proxy.rules = [Rule(error(403, "AccessDenied"), operations=("put", "part"))]
    on_moto.apply().ok()
    proxy.rules = []
    assert compare(on_moto.source_side, on_moto.destination_side, fields=FIELDS_AND_CLASS) == []
    ends = [side.client.head_object(Bucket=side.name, Key="parts") for side in sides(on_moto)]
    assert ends[0]["ETag"] == ends[1]["ETag"]
    assert ends[0]["ETag"].endswith('-2"')
    assert on_moto.uploads() == []
    on_moto.verify("--level", "content").ok()
    assert on_moto.plan("--detailed-exitcode").code == 0


NO_PART_COPY = Rule(error(501, "NotImplemented"), operations=("part-copy",))


def test_an_endpoint_without_part_copies_copies_the_rest(on_moto: Operator, proxy: FaultProxy, seed: int) -> None:
    """One section, two methods, a canary of each; what went by whom is read off the requests."""
    fill(on_moto.source.client(), on_moto.source_bucket, dressed(seed))
    on_moto.declare(policy={"transfer": "auto"}, preserve={"part_layout": True})
    proxy.rules = [NO_PART_COPY]
    on_moto.plan().ok()
    reasons = section_of(on_moto)["methods"]
    assert reasons["stream"].startswith("the endpoint refuses UploadPartCopy, which objects above 5.0 GiB and ")
    assert reasons["server-copy"].endswith("which copies on its own")
    batches = yaml.safe_load(on_moto.plan_path.read_text())["batches"]
    assert {(b["stage"], b["method"]) for b in batches} >= {("canary", "stream"), ("canary", "server-copy")}
    assert [b["keys"] for b in batches if b["method"] == "stream"] == [["parts", "parts"]]
    told_by_show(on_moto, {batch["id"]: batch["method"] for batch in batches}, reasons)
    proxy.forget()
    on_moto.apply().ok()
    done = proxy.history
    assert compare(on_moto.source_side, on_moto.destination_side, fields=FIELDS_AND_CLASS) == []
    wrote = {operation: {seen.key for seen in done if seen.operation == operation} for operation in
             ("copy", "put", "part", "part-copy", "create", "complete")}  # fmt: skip
    assert wrote["part"] == wrote["create"] == wrote["complete"] == {"parts"}
    assert wrote["copy"] == {item.key for item in dressed(seed)} - {"parts"}
    assert wrote["put"] == wrote["part-copy"] == set()
    ends = [side.client.head_object(Bucket=side.name, Key="parts")["ETag"] for side in sides(on_moto)]
    assert ends[0] == ends[1]
    assert on_moto.verify("--level", "content").code == 0
    assert on_moto.plan("--detailed-exitcode").code == 0


def told_by_show(operator: Operator, methods: dict[str, str], reasons: dict[str, str]) -> None:
    """Text, markdown, JSON and the view of one batch: every batch's method and why."""
    shown = {form: operator.run("show", operator.plan_path, "--format", form).out for form in ("text", "md", "json")}
    document = json.loads(shown["json"])
    assert {batch["id"]: batch["method"] for batch in document["batches"]} == methods
    assert document["sections"][0]["methods"] == reasons
    for method, why in reasons.items():
        assert f"by {method}: {why}" in shown["text"]
        assert f"by **{method}**: `{why}`" in shown["md"]
    for name, method in methods.items():
        assert any(name in line and f"by {method}," in line for line in shown["text"].splitlines())
        assert any(name in line and f"| {method} |" in line for line in shown["md"].splitlines())
    for method, name in {method: name for name, method in methods.items()}.items():
        one = operator.run("show", operator.plan_path, "--batch", name)
        assert one.out.splitlines()[1] == f"by {method}: {reasons[method]}"
        lines = operator.run("show", operator.plan_path, "--batch", name, "--format", "json").lines()
        assert {(line["method"], line["method_reason"]) for line in lines} == {(method, reasons[method])}
    explained = operator.run("explain", "parts", "--json").lines("explain")
    assert [(line["method"], line["method_reason"]) for line in explained] == [("stream", reasons["stream"])]


def test_who_insists_on_copies_is_told_which_object_cannot_be(on_moto: Operator, proxy: FaultProxy, seed: int) -> None:
    fill(on_moto.source.client(), on_moto.source_bucket, dressed(seed))
    proxy.rules = [NO_PART_COPY]
    on_moto.declare(policy={"transfer": "server-copy"}, preserve={"part_layout": True})
    ran = on_moto.plan()
    assert (ran.code, "'parts' of 7.0 MiB" in ran.err, "refuses UploadPartCopy" in ran.err) == (65, True, True), ran.err
    on_moto.declare(policy={"transfer": "server-copy"})
    assert on_moto.plan().code == 0
    assert list(section_of(on_moto)["methods"]) == ["server-copy"]


def sides(operator: Operator) -> tuple[Any, Any]:
    return operator.source_side, operator.destination_side


def test_the_reason_is_in_the_plan(on_moto: Operator, seed: int) -> None:
    fill(on_moto.source.client(), on_moto.source_bucket, mixed(seed, 3, largest=100))
    on_moto.declare(policy={"transfer": "stream"})
    assert on_moto.plan().code == 0
    assert section_of(on_moto)["methods"] == {"stream": "policy.transfer is stream"}
    with FaultProxy(on_moto.source.endpoint_url) as other:
        on_moto.plan_path.unlink()
        on_moto.source_url = other.endpoint_url
        on_moto.declare(policy={"transfer": "auto"})
        assert on_moto.plan().code == 0
        assert "different endpoints" in section_of(on_moto)["methods"]["stream"]
        on_moto.declare(policy={"transfer": "server-copy"})
        ran = on_moto.plan()
        assert (ran.code, "different endpoints" in ran.err) == (65, True), ran.err


def test_credentials_that_may_not_read_the_source_stream(on_moto: Operator, proxy: FaultProxy, seed: int) -> None:
    """The destination's credentials are tried on the source's first object, by a HEAD and the GET in its place."""
    fill(on_moto.source.client(), on_moto.source_bucket, [CorpusObject("only", 10, seed)])
    proxy.rules = [Rule(error(403, "AccessDenied"), operations=("head", "get"), key="only", times=2)]
    on_moto.declare(policy={"transfer": "auto"})
    assert on_moto.plan().code == 0
    assert "may not read" in section_of(on_moto)["methods"]["stream"]


def test_a_copy_answered_by_an_error_in_a_200_or_by_nothing_is_made_again(
    on_moto: Operator, proxy: FaultProxy, seed: int
) -> None:
    fill(on_moto.source.client(), on_moto.source_bucket, mixed(seed, 6, largest=1000))
    on_moto.declare(policy={"transfer": "server-copy"})
    assert on_moto.plan().code == 0
    proxy.rules = [
        Rule(lying_empty(), operations=("copy",), nth=1),
        Rule(lying_error(), operations=("copy",), nth=2),
        Rule(Reset(after=True), operations=("copy",), nth=3),
    ]
    on_moto.apply().ok()
    assert compare(on_moto.source_side, on_moto.destination_side) == []


@pytest.mark.usefixtures("proxy")
def test_a_source_that_changed_since_the_plan_is_not_copied(on_moto: Operator, seed: int) -> None:
    fill(on_moto.source.client(), on_moto.source_bucket, mixed(seed, 3, largest=100))
    on_moto.declare(policy={"transfer": "server-copy"})
    assert on_moto.plan().code == 0
    fill(on_moto.source.client(), on_moto.source_bucket, [CorpusObject(mixed(seed, 3, largest=100)[0].key, 50, 77)])
    assert on_moto.apply().code != 0
    found = compare(on_moto.source_side, on_moto.destination_side)
    assert [difference.field for difference in found] == ["missing"]


@pytest.mark.usefixtures("proxy")
def test_a_destination_that_appeared_since_the_plan_is_not_overwritten(on_moto: Operator, seed: int) -> None:
    """moto ignores If-None-Match on copies, so the chunk's targets are looked at first."""
    objects = mixed(seed, 3, largest=100)
    fill(on_moto.source.client(), on_moto.source_bucket, objects)
    on_moto.declare(policy={"transfer": "server-copy"})
    assert on_moto.plan().code == 0
    foreign = CorpusObject(max(item.key for item in objects), 50, 77)
    fill(on_moto.destination.client(), on_moto.destination_bucket, [foreign])
    assert on_moto.apply().code != 0
    found = compare(on_moto.source_side, on_moto.destination_side, fields=("bytes",))
    assert [difference.key for difference in found] == [foreign.key]


@pytest.mark.soak
@pytest.mark.parametrize("by", ["part-copy", "part"])
def test_killed_between_parts_it_resumes_and_repeats_none(
    on_moto: Operator, proxy: FaultProxy, seed: int, by: str
) -> None:
    """By the endpoint, or streamed beside copies because the endpoint copies no parts."""
    big = CorpusObject("parts", 26 * MIB, seed, {"ContentType": "video/mp4"}, {"m": "1"}, part_size=5 * MIB)
    fill(on_moto.source.client(), on_moto.source_bucket, [big, CorpusObject("whole", 100, seed)])
    lacking = [NO_PART_COPY] if by == "part" else []
    proxy.rules = lacking
    on_moto.declare(preserve={"part_layout": True}, limits={"workers": 1}, policy={"transfer": "auto"})
    assert on_moto.plan().code == 0
    assert len(section_of(on_moto)["methods"]) == 1 + len(lacking)
    proxy.forget()
    proxy.rules = [*lacking, Rule(error(503, "SlowDown", retry_after=30), operations=(by,), skip=3)]
    running = on_moto.background("apply", on_moto.plan_path)
    deadline = time.monotonic() + 60
    while proxy.count(by) < 4 and time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.05)
    running.kill()
    running.communicate()
    assert len(parts_sent(proxy, by)) == 3
    proxy.rules = lacking
    on_moto.apply().ok()
    assert compare(on_moto.source_side, on_moto.destination_side) == []
    assert len(parts_sent(proxy, by)) <= 7  # six parts, and the third may not have been recorded
    assert on_moto.uploads() == []


def parts_sent(proxy: FaultProxy, operation: str) -> list[str]:
    """One item for each part the server has taken so far."""
    return [seen.key for seen in proxy.history if seen.operation == operation and seen.upstream_status == 200]


def test_on_rclone(on_rclone: Operator, seed: int) -> None:
    """One rclone server: its copies add metadata of their own, so the probe lets the plan stream."""
    on_rclone.destination = on_rclone.source
    on_rclone.source.create_bucket(on_rclone.destination_bucket)
    fill(on_rclone.source.client(), on_rclone.source_bucket, mixed(seed, 8, largest=1000, tags=False))
    on_rclone.declare(policy={"transfer": "auto"})
    on_rclone.plan().ok()
    assert "metadata" in section_of(on_rclone)["methods"]["stream"]
    applied = on_rclone.apply()
    assert applied.code == 0, applied.err + on_rclone.run("status").out
    assert compare(on_rclone.source_side, on_rclone.destination_side, fields=RCLONE_FIELDS) == []
    assert on_rclone.verify("--level", "content").code == 0
