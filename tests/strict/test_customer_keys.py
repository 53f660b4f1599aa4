"""SSE-C on either side, on a server that holds to it: without the right key it answers 400, with a wrong one 403."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from strict.conftest import KEYS, everything_written, head, moved
from support.corpus import CorpusObject, mixed
from support.fault_proxy import FaultProxy
from support.fault_rules import FlipBit, Reset, Rule, slow_down
from support.operator import Operator
from support.oracle import FIELDS, Bucket, compare, fill, keys

from schema.tiers import MIB

pytestmark = pytest.mark.soak
Sql = Callable[..., list[tuple[object, ...]]]
SIDES = [("OLD_SSE_C", None), (None, "NEW_SSE_C"), ("OLD_SSE_C", "NEW_SSE_C")]
OTHER = base64.b64encode(b"another key of thirty-two bytes.").decode()


def objects(seed: int) -> list[CorpusObject]:
    """Small ones, an empty one, one in parts at both ends, and one that only its size puts into parts."""
    dressed = {"ContentType": "video/mp4"}
    return [
        *mixed(seed, 12, largest=70_000),
        CorpusObject("in parts", 12 * MIB + 5, seed, dressed, {"m": "1"}, {"t": "1"}, part_size=5 * MIB),
        CorpusObject("large", 9 * MIB, seed, dressed, {"m": "2"}),
    ]


def declared(operator: Operator, source: str | None, destination: str | None, **more: Any) -> None:
    for name, variable in (("source", source), ("destination", destination)):
        if variable is not None:
            more[name] = {**more.get(name, {}), "sse_customer_key_env": variable}
    operator.declare(limits={"memory": "12MiB"}, **more)


def both(operator: Operator, sealed: dict[str | None, Any], *names: str | None) -> tuple[Bucket, Bucket]:
    return Bucket(sealed[names[0]], operator.source_bucket), Bucket(sealed[names[1]], operator.destination_bucket)


@pytest.mark.parametrize(("source", "destination"), SIDES)
def test_everything_arrives_under_its_key(
    on_strict: Operator, sealed: dict[str | None, Any], seed: int, source: str | None, destination: str | None
) -> None:
    ours, theirs = both(on_strict, sealed, source, destination)
    fill(ours.client, ours.name, objects(seed))
    declared(on_strict, source, destination, preserve={"part_layout": True}, accept_loss=["part-layout"])
    moved(on_strict)
    assert compare(ours, theirs, fields=FIELDS) == []
    for key in keys(theirs):
        assert ("SSECustomerKeyMD5" in head(theirs, key)) == (destination is not None)
        if destination is not None:
            with pytest.raises(ClientError, match="400"):
                sealed[None].head_object(Bucket=theirs.name, Key=key)
            with pytest.raises(ClientError, match="403"):
                sealed["OLD_SSE_C"].head_object(Bucket=theirs.name, Key=key)
    assert on_strict.uploads() == []


@pytest.mark.parametrize("level", ["head", "content"])
@pytest.mark.parametrize(("source", "destination"), SIDES)
def test_verify_finds_a_changed_byte(
    on_strict: Operator,
    sealed: dict[str | None, Any],
    seed: int,
    source: str | None,
    destination: str | None,
    level: str,
) -> None:
    ours, theirs = both(on_strict, sealed, source, destination)
    fill(ours.client, ours.name, [CorpusObject(key, 1000, seed) for key in ("same", "changed")])
    declared(on_strict, source, destination)
    moved(on_strict, again=False)
    content = bytearray(CorpusObject("changed", 1000, seed).content())
    content[500] ^= 1
    theirs.client.put_object(Bucket=theirs.name, Key="changed", Body=bytes(content))
    ran = on_strict.verify("--level", level, "--json")
    assert ran.code == 8, ran.err
    assert {finding["key"] for finding in ran.lines("finding")} == {"changed"}


@pytest.mark.parametrize("fault", ["flipped on the way here", "flipped on the way there", "an answer lost"])
def test_faults_with_keys_on_both_sides(
    on_strict: Operator, sealed: dict[str | None, Any], seed: int, fault: str
) -> None:
    """ETags prove nothing here, so checksums must; a lost answer is recognised by a HEAD with the key."""
    rules = {
        "flipped on the way here": [Rule(FlipBit(), operations=("get",), nth=nth) for nth in (2, 5)],
        "flipped on the way there": [
            Rule(FlipBit(upload=True), operations=operations, nth=nth) for operations in (("put",), ("part",))
            for nth in (1, 2)
        ],
        "an answer lost": [
            Rule(Reset(after=True), operations=(operation,), nth=1) for operation in ("put", "part", "complete")
        ],
    }[fault]  # fmt: skip
    ours, theirs = both(on_strict, sealed, "OLD_SSE_C", "NEW_SSE_C")
    fill(ours.client, ours.name, objects(seed))
    with FaultProxy(on_strict.source.endpoint_url, seed=seed) as proxy:
        on_strict.source_url = on_strict.destination_url = proxy.endpoint_url
        declared(on_strict, "OLD_SSE_C", "NEW_SSE_C")
        assert on_strict.plan().code == 0
        proxy.rules = rules
        on_strict.apply().ok()
        assert sum(bool(seen.faults) for seen in proxy.history) == len(rules)
    assert compare(ours, theirs) == []


@pytest.mark.parametrize(("variable", "status"), [("OLD_SSE_C", 403), (None, 400)])
def test_a_source_whose_key_is_wrong_or_missing_is_no_plan(
    on_strict: Operator,
    sealed: dict[str | None, Any],
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
    variable: str | None,
    status: int,
) -> None:
    ours, theirs = both(on_strict, sealed, "OLD_SSE_C", "NEW_SSE_C")
    fill(ours.client, ours.name, objects(seed)[:4])
    declared(on_strict, variable, "NEW_SSE_C")
    monkeypatch.setenv("OLD_SSE_C", OTHER)
    ran = on_strict.plan()
    assert (ran.code, f"HTTP {status}" in ran.err, "sse_customer_key_env" in ran.err) == (77, True, True), ran.err
    doing, said = ran.err.splitlines()
    assert doing.strip().startswith("probing") and said.startswith("s3migrate: no object of "), ran.err
    assert not on_strict.plan_path.exists()
    assert keys(theirs) == []


@pytest.mark.parametrize("side", ["OLD_SSE_C", "NEW_SSE_C"])
def test_a_key_that_is_another_one_after_the_plan(
    on_strict: Operator, sealed: dict[str | None, Any], seed: int, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    """At the source: the canary fails, nothing is written. At the destination: verify proves nothing and says so."""
    ours, theirs = both(on_strict, sealed, "OLD_SSE_C", "NEW_SSE_C")
    fill(ours.client, ours.name, objects(seed)[:4])
    declared(on_strict, "OLD_SSE_C", "NEW_SSE_C")
    assert on_strict.plan().code == 0
    if side == "NEW_SSE_C":
        assert on_strict.apply().code == 0
        monkeypatch.setenv(side, OTHER)
        ran = on_strict.verify("--level", "head")
        assert (ran.code, ran.err.count("unreadable: "), ran.err.count("HTTP 403")) == (8, 4, 4), ran.err
        return
    monkeypatch.setenv(side, OTHER)
    ran = on_strict.apply()
    assert (ran.code, "HTTP 403" in ran.err) == (3, True), ran.err
    assert keys(theirs) == []


def test_one_bucket_with_and_without_keys(on_strict: Operator, sealed: dict[str | None, Any], seed: int) -> None:
    """S3 refuses a key for an object that has none (400), so such objects are asked for without it."""
    plain = [CorpusObject(f"plain/{n}", 10 + n, seed + n, {}, {"m": "1"}) for n in range(3)]
    fill(sealed["OLD_SSE_C"], on_strict.source_bucket, objects(seed))
    fill(sealed[None], on_strict.source_bucket, [*plain, CorpusObject("plain/large", 7 * MIB, seed)])
    declared(on_strict, "OLD_SSE_C", None)
    moved(on_strict)


@pytest.fixture
def rows(sql: Sql) -> Iterator[Callable[[], str]]:
    """Every row of the ledger as text."""

    def all_of_it() -> str:
        tables = sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'ledger'")
        assert len(tables) > 8
        return "\n".join(
            str(row)
            for (table,) in tables
            for (row,) in sql(f"SELECT t::text FROM ledger.{table} AS t")  # noqa: S608  names of our own tables
        )

    yield all_of_it


def test_no_key_is_left_anywhere(
    on_strict: Operator,
    sealed: dict[str | None, Any],
    seed: int,
    rows: Callable[[], str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither the keys nor their MD5s, which S3 sends back and tells apart who has which."""
    ours, theirs = both(on_strict, sealed, "OLD_SSE_C", "NEW_SSE_C")
    fill(ours.client, ours.name, objects(seed))
    declared(on_strict, "OLD_SSE_C", "NEW_SSE_C")
    with caplog.at_level(logging.DEBUG):  # of the product; boto3's own logs hold the key
        said = [on_strict.plan("--json"), on_strict.apply("--json"), on_strict.verify("--level", "content", "--json")]
    theirs.client.put_object(Bucket=theirs.name, Key="large", Body=b"other")
    with caplog.at_level(logging.DEBUG):
        said += [on_strict.verify("--json"), on_strict.run("status", "--json"), on_strict.run("explain", "large")]
    assert [ran.code for ran in said] == [0, 0, 0, 8, 0, 0]
    told = "".join(ran.out + ran.err for ran in said) + caplog.text + rows() + everything_written(on_strict.folder)
    for key in KEYS.values():
        digest = hashlib.md5(key).digest()
        for secret in (key.decode(), *(base64.b64encode(part).decode() for part in (key, digest)), key.hex()):
            assert secret not in told
    assert os.environ["OLD_SSE_C"] not in told


def test_killed_between_parts_it_goes_on_with_the_missing_ones(
    on_strict: Operator, sealed: dict[str | None, Any], seed: int
) -> None:
    ours, theirs = both(on_strict, sealed, "OLD_SSE_C", "NEW_SSE_C")
    fill(ours.client, ours.name, [CorpusObject("big", 41 * MIB, seed, {"ContentType": "video/mp4"}, {"m": "1"})])
    with FaultProxy(on_strict.source.endpoint_url, seed=seed) as proxy:
        on_strict.destination_url = proxy.endpoint_url
        declared(on_strict, "OLD_SSE_C", "NEW_SSE_C")
        assert on_strict.plan().code == 0
        sent = proxy.count("part", status=200)
        proxy.rules = [Rule(slow_down(retry_after=60), operations=("part",), skip=6)]
        running = on_strict.background("apply", on_strict.plan_path)
        deadline = time.monotonic() + 60
        while proxy.count("part", status=503) == 0 and time.monotonic() < deadline:
            assert running.poll() is None
            time.sleep(0.02)
        running.kill()
        running.communicate()
        proxy.rules = []
        on_strict.apply().ok()
        sent = proxy.count("part", status=200) - sent
    assert compare(ours, theirs) == []
    assert sent <= 11, "nine parts, and those of the two at once may not have been recorded"
    assert on_strict.uploads() == []


@pytest.mark.parametrize("transfer", ["stream", "auto"])
def test_what_changed_is_overwritten_and_what_went_is_deleted(
    on_strict: Operator, sealed: dict[str | None, Any], seed: int, transfer: str
) -> None:
    ours, theirs = both(on_strict, sealed, "OLD_SSE_C", "NEW_SSE_C")
    fill(ours.client, ours.name, objects(seed))
    policy = {"delete_extraneous": "after-verify", "transfer": transfer}
    declared(on_strict, "OLD_SSE_C", "NEW_SSE_C", policy=policy, guards={"max_deletes": 1})
    moved(on_strict)
    fill(ours.client, ours.name, [CorpusObject(key, 8 * MIB, seed + 1) for key in ("large", "in parts")])
    gone = next(item.key for item in objects(seed) if item.size > 1)
    ours.client.delete_object(Bucket=ours.name, Key=gone)
    moved(on_strict)
    assert compare(ours, theirs) == []
