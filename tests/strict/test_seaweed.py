"""SeaweedFS, what many move to from MinIO: there and back, versions, attributes, conditions, keys it cannot hold."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.corpus import MIB, ODD_KEYS, SLASHED_KEYS, CorpusObject, holdable_by_moto, mixed, odd
from support.operator import Operator, moved
from support.oracle import compare, compare_versions, fill, keys
from support.seaweed_server import SeaweedServer

pytestmark = pytest.mark.soak
ENABLED = {"Status": "Enabled"}
PARTED = {"memory": "12MiB"}
TAGS = {f"key {number} +/=é": f"value é+ {number}" for number in range(10)}
METADATA = {"plain": "1", "low_line": "2", "dot.ted": "3", "spaces": "two  words", "rfc": "=?UTF-8?B?w6k=?="}
DRESSED = {
    "ContentType": "text/x-odd",
    "CacheControl": "max-age=9",
    "ContentDisposition": 'attachment; filename="a b"',
    "ContentEncoding": "gzip",
    "ContentLanguage": "de, en",
    "Expires": "Thu, 01 Dec 2044 16:00:00 GMT",
}


def unusual(key: str) -> bool:
    """What SeaweedFS, a file system below, cannot hold as it is."""
    segments = key.split("/")
    return key.endswith("/") or "\\" in key or not {"", ".", ".."}.isdisjoint(segments)


def corpus(seed: int) -> list[CorpusObject]:
    """Mixed and odd objects, and both kinds of upload with some of everything."""
    plain = [key for key in (*ODD_KEYS, *SLASHED_KEYS) if holdable_by_moto(key) and not unusual(key)]
    return [
        *mixed(seed, 200, largest=3000),
        *odd(seed, [key for key in plain if key not in ("clash", "x" * 1024, "é" * 512)]),
        CorpusObject("dressed", 1000, seed, DRESSED, METADATA, TAGS),
        CorpusObject("dressed, in parts", 7 * MIB, seed, DRESSED, METADATA, TAGS, part_size=5 * MIB),
        CorpusObject("large", 13 * MIB, seed),
    ]


def facts(operator: Operator) -> dict[str, str]:
    """What the plan says of the destination."""
    document = yaml.safe_load(operator.plan_path.read_text())
    found: dict[str, str] = document["sections"][0]["destination_capabilities"]
    return found


def test_there_and_back(to_seaweed: Operator, seed: int, tmp_path: Path) -> None:
    fill(to_seaweed.source.client(), to_seaweed.source_bucket, corpus(seed))
    to_seaweed.declare(limits=PARTED)
    moved(to_seaweed, levels=("listing", "head", "content"))
    assert compare(to_seaweed.source_side, to_seaweed.destination_side) == []
    (tmp_path / "back").mkdir()
    back = Operator(
        tmp_path / "back",
        to_seaweed.ledger_url,
        to_seaweed.destination,
        to_seaweed.source,
        to_seaweed.destination_bucket,
        to_seaweed.source.create_bucket(f"back-{uuid.uuid4().hex[:12]}"),
    )
    back.declare(name="back", limits=PARTED)
    back.declare(limits=PARTED)
    moved(back, levels=("head", "content"))
    assert compare(to_seaweed.source_side, back.destination_side) == []
    assert to_seaweed.uploads() == []


@pytest.mark.parametrize("transfer", ["stream", "server-copy"])
def test_histories(to_seaweed: Operator, seaweed_server: SeaweedServer, seed: int, transfer: str) -> None:
    """Versions and markers of a bucket, streamed from moto, or copied inside SeaweedFS."""
    if transfer == "server-copy":
        to_seaweed.source = seaweed_server
        seaweed_server.create_bucket(to_seaweed.source_bucket)
    for side in (to_seaweed.source_side, to_seaweed.destination_side):
        side.client.put_bucket_versioning(Bucket=side.name, VersioningConfiguration=ENABLED)
    client, name = to_seaweed.source.client(), to_seaweed.source_bucket
    for number in range(3):
        some = [CorpusObject(f"k{n}", 100 * n + number, seed + n, {}, {"m": str(number)}) for n in range(3)]
        fill(client, name, some, threads=1)
        if number == 1 and transfer == "server-copy":  # moto lists markers apart: one between cannot be placed
            client.delete_object(Bucket=name, Key="k1")
    client.delete_object(Bucket=name, Key="k2")
    to_seaweed.declare(policy={"versions": "all", "transfer": transfer})
    moved(to_seaweed)
    assert compare_versions(to_seaweed.source_side, to_seaweed.destination_side) == []


def test_inside_by_server_copy(to_seaweed: Operator, seaweed_server: SeaweedServer, seed: int) -> None:
    to_seaweed.source = seaweed_server
    seaweed_server.create_bucket(to_seaweed.source_bucket)
    fill(to_seaweed.source.client(), to_seaweed.source_bucket, corpus(seed)[-40:])
    to_seaweed.declare(policy={"transfer": "server-copy"}, limits=PARTED)
    moved(to_seaweed)
    assert compare(to_seaweed.source_side, to_seaweed.destination_side) == []


def test_what_it_enforces(to_seaweed: Operator, seed: int) -> None:
    """Docs/services.md says so; and a probe leaves nothing behind."""
    fill(to_seaweed.source.client(), to_seaweed.source_bucket, mixed(seed, 5, largest=300))
    to_seaweed.plan().ok()
    found = facts(to_seaweed)
    enforced = ("if_none_match", "if_match", "multipart", "tagging", "user_metadata", "system_headers")
    assert {name: found[name] for name in enforced} == dict.fromkeys(enforced, "enforced")
    assert keys(to_seaweed.destination_side) == []
    assert to_seaweed.uploads() == []


@pytest.mark.parametrize("accepted", [False, True])
def test_keys_that_it_cannot_hold(to_seaweed: Operator, accepted: bool) -> None:
    """A loss in the plan, by kind; accepted, each is unsupported or fails by name and all others arrive."""
    put: Any = to_seaweed.source.client().put_object
    for key in ("a/", "folder/", "b//c", "/d", "e/../f", "x\\y", "plain", "e/g"):
        put(Bucket=to_seaweed.source_bucket, Key=key, Body=b"" if key == "folder/" else b"content", Tagging="t=1")
    to_seaweed.declare(**({"accept_loss": ["odd-keys"]} if accepted else {}))
    to_seaweed.plan().ok()
    text = to_seaweed.plan_path.read_text()
    assert "odd-keys" in text
    applied = to_seaweed.apply()
    if not accepted:
        assert applied.code == 7, applied.err
        return
    assert applied.code in (0, 3), applied.err
    found = compare(to_seaweed.source_side, to_seaweed.destination_side)
    differing = {each.key for each in found}
    assert {"plain", "e/g"}.isdisjoint(differing)
    verified = to_seaweed.verify("--level", "content")
    told = text + applied.err + applied.out + verified.err + verified.out + to_seaweed.run("status", "--json").out
    told += "".join(to_seaweed.run("show", to_seaweed.plan_path, "--batch", name).out for name in ("unsupported",))
    for each in differing:
        assert each in told or each.replace("\\", "\\\\") in told, each
