"""Whole histories as S3 keeps and lists them: null versions anywhere, markers between, times in whole seconds."""

from __future__ import annotations

import urllib.request
import uuid
from typing import Any, NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree as ET

import pytest
from strict.conftest import moved
from support.corpus import CorpusObject
from support.fault_proxy import FaultProxy
from support.fault_rules import Reset, Rule
from support.operator import Operator
from support.oracle import Bucket, write

from schema.tiers import MIB

pytestmark = pytest.mark.soak
NEW = "arn:aws:kms:us-east-1:000000000003:key/31111111-1111-1111-1111-111111111111"
XMLNS = "{http://s3.amazonaws.com/doc/2006-03-01/}"


class Version(NamedTuple):
    """What is compared of one version, the ids apart."""

    content: bytes | None
    """None: a delete marker."""
    tags: tuple[tuple[str, str], ...]
    metadata: tuple[tuple[str, str], ...]
    is_latest: bool


class Listed(NamedTuple):
    """One entry of the listing, in the server's order."""

    key: str
    version_id: str
    is_latest: bool
    marker: bool


def listed(operator: Operator, bucket: str, prefix: str = "") -> list[Listed]:
    """Read without boto3, which tells markers apart from versions and so loses their order."""
    url = f"{operator.source.endpoint_url}/{bucket}?versions&prefix={quote(prefix)}"
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - our own server
        root = ET.fromstring(answer.read())
    assert root.findtext(f"{XMLNS}IsTruncated") == "false"
    rows = [row for row in root if row.tag in (f"{XMLNS}Version", f"{XMLNS}DeleteMarker")]
    assert all(str(row.findtext(f"{XMLNS}LastModified")).endswith(".000Z") for row in rows)
    return [
        Listed(
            str(row.findtext(f"{XMLNS}Key")),
            str(row.findtext(f"{XMLNS}VersionId")),
            row.findtext(f"{XMLNS}IsLatest") == "true",
            row.tag.endswith("DeleteMarker"),
        )
        for row in rows
    ]


def history(operator: Operator, side: Bucket) -> dict[str, list[Version]]:
    """Every key's versions, the newest first."""
    found: dict[str, list[Version]] = {}
    for row in listed(operator, side.name):
        words = {"Bucket": side.name, "Key": row.key, "VersionId": row.version_id}
        version = Version(None, (), (), row.is_latest)
        if not row.marker:
            answer = side.client.get_object(**words)
            tags = side.client.get_object_tagging(**words)["TagSet"]
            labels = tuple(sorted((tag["Key"], tag["Value"]) for tag in tags))
            metadata = tuple(sorted(answer["Metadata"].items()))
            version = Version(answer["Body"].read(), labels, metadata, row.is_latest)
        found.setdefault(row.key, []).append(version)
    return found


class Scribe:
    """Writes histories at the source: a number is a version, None a marker, a word the bucket's versioning."""

    def __init__(self, operator: Operator) -> None:
        self.client, self.bucket = operator.source.client(), operator.source_bucket

    def versioning(self, status: str) -> None:
        self.client.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": status})

    def lay(self, key: str, *steps: int | str | None) -> None:
        for step in steps:
            if isinstance(step, str):
                self.versioning(step)
            elif step is None:
                self.client.delete_object(Bucket=self.bucket, Key=key)
            else:
                write(self.client, self.bucket, version(key, step))


def version(key: str, number: int, size: int = 100) -> CorpusObject:
    return CorpusObject(key, size + number, number, {}, {"number": str(number)}, {"v": str(number)})


@pytest.fixture
def versioned(on_strict: Operator) -> Operator:
    """Histories of every shape; the destination keeps versions."""
    scribe = Scribe(on_strict)
    scribe.lay("null, oldest", 1)
    on_strict.destination.client().put_bucket_versioning(
        Bucket=on_strict.destination_bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    scribe.versioning("Enabled")
    scribe.lay("null, oldest", 2, None, 3)
    scribe.lay("null between", 1, 2, "Suspended", 3, "Enabled", 4, None, 5)
    scribe.lay("null marker between", 1, "Suspended", None, "Enabled", 2, 3)
    scribe.lay("null, latest", 1, None, 2, "Suspended", 3, "Enabled")
    scribe.lay("null marker, latest", 1, 2, "Suspended", None, "Enabled")
    scribe.lay("null written twice", 1, "Suspended", 2, "Enabled", 3, "Suspended", 4, "Enabled", 5)
    scribe.lay("markers only", None, None)
    scribe.lay("deleted", 1, None)
    scribe.lay("twice the same", 7, 7, "Suspended", 7, "Enabled", 7)
    on_strict.declare(policy={"versions": "all"})
    return on_strict


def arrived(operator: Operator, destination: Bucket | None = None) -> None:
    ours, theirs = history(operator, operator.source_side), history(operator, destination or operator.destination_side)
    assert theirs.keys() == ours.keys()
    for key in ours:
        assert theirs[key] == ours[key], key


def test_the_server_keeps_null_versions_where_they_were_written(versioned: Operator) -> None:
    """Else the tests below prove nothing."""
    rows = listed(versioned, versioned.source_bucket)
    places = {
        key: [("null" if row.version_id == "null" else "v") + "d" * row.marker for row in rows if row.key == key]
        for key in ("null between", "null marker between", "null marker, latest", "null written twice")
    }
    assert places == {
        "null between": ["v", "vd", "v", "null", "v", "v"],
        "null marker between": ["v", "v", "nulld", "v"],
        "null marker, latest": ["nulld", "v", "v"],
        "null written twice": ["v", "null", "v", "v"],
    }


@pytest.mark.parametrize("transfer", ["stream", "server-copy"])
def test_every_history_arrives_in_order(versioned: Operator, transfer: str) -> None:
    versioned.declare(policy={"versions": "all", "transfer": transfer})
    moved(versioned)
    arrived(versioned)


@pytest.mark.parametrize("transfer", ["stream", "server-copy"])
def test_versions_in_parts_between_null_ones(versioned: Operator, seed: int, transfer: str) -> None:
    scribe = Scribe(versioned)
    for number, (size, part_size) in enumerate([(11 * MIB, None), (7 * MIB, 5 * MIB), (9 * MIB, 5 * MIB), (3, None)]):
        scribe.versioning("Suspended" if number == 1 else "Enabled")
        write(scribe.client, scribe.bucket, CorpusObject("big", size, seed + number, {}, {"m": "1"}, {}, part_size))
    scribe.lay("big", None)
    versioned.declare(
        policy={"versions": "all", "transfer": transfer}, limits={"memory": "12MiB"}, preserve={"part_layout": True}
    )
    moved(versioned)
    arrived(versioned)
    assert versioned.uploads() == []


def test_versions_under_customer_keys(versioned: Operator, sealed: dict[str | None, Any], seed: int) -> None:
    """A version may have a key of its own time: some were written before the bucket's objects had one."""
    client, name = sealed["OLD_SSE_C"], versioned.source_bucket
    for number in range(2):
        write(client, name, CorpusObject("null between", 50, seed + number, {}, {"m": str(number)}))
    sides = {"source": {"sse_customer_key_env": "OLD_SSE_C"}, "destination": {"sse_customer_key_env": "NEW_SSE_C"}}
    versioned.declare(policy={"versions": "all"}, **sides)
    moved(versioned)
    rows = [row for row in listed(versioned, versioned.destination_bucket) if row.key == "null between"]
    assert len(rows) == 8
    newest = sealed["NEW_SSE_C"].get_object(
        Bucket=versioned.destination_bucket, Key="null between", VersionId=rows[0].version_id
    )
    assert newest["Body"].read() == CorpusObject("null between", 50, seed + 1).content()


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"preserve": {"encryption": {"mode": "sse-kms", "key": NEW}}},
        {"destination": {"sse_customer_key_env": "NEW_SSE_C"}},
    ],
)
def test_a_lost_answer_writes_no_version_twice(
    versioned: Operator, sealed: dict[str | None, Any], more: dict[str, Any]
) -> None:
    """Also where the destination's ETags are no MD5s, so that a version cannot be known by its ETag."""
    with FaultProxy(versioned.destination.endpoint_url) as proxy:
        destination = {**more.get("destination", {}), "endpoint_url": proxy.endpoint_url}
        versioned.declare(**{**more, "policy": {"versions": "all"}, "destination": destination})
        assert versioned.plan().code == 0
        proxy.rules = [Rule(Reset(after=True), operations=("put", "delete"), nth=number) for number in range(2, 40, 3)]
        versioned.apply().ok()
        assert sum(bool(seen.faults) for seen in proxy.history) >= 9
        assert versioned.verify("--level", "content").code == 0
    client = sealed["NEW_SSE_C" if "destination" in more else None]
    arrived(versioned, Bucket(client, versioned.destination_bucket))


def test_verify_sees_a_null_version_laid_on_top(versioned: Operator) -> None:
    moved(versioned, again=False)
    client, name = versioned.destination.client(), versioned.destination_bucket
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"})
    write(client, name, version("deleted", 9))
    client.delete_object(Bucket=name, Key="null between")
    ran = versioned.verify("--level", "listing", "--json")
    assert ran.code == 8
    assert sorted(finding["key"] for finding in ran.lines("finding")) == ["deleted", "null between"]


def test_verify_sees_what_became_of_versions_that_needed_no_copy(versioned: Operator) -> None:
    """A plan that leaves all as it is promises it too: one version removed, a whole history, one laid on top."""
    moved(versioned)
    assert versioned.summary().keys() >= {"skip"}
    client, name = versioned.destination.client(), versioned.destination_bucket
    for level in ("listing", "head", "content"):
        versioned.verify("--level", level).ok()
    rows = listed(versioned, name)
    removed = [row for row in rows if row.key == "twice the same"][2:3]
    removed += [row for row in rows if row.key == "null, oldest"]
    for row in removed:
        client.delete_object(Bucket=name, Key=row.key, VersionId=row.version_id)
    write(client, name, version("null between", 9))
    ran = versioned.verify("--level", "listing", "--json")
    assert ran.code == 8
    found = {finding["key"]: finding["verdict"] for finding in ran.lines("finding")}
    assert found == {"twice the same": "missing", "null, oldest": "missing", "null between": "different"}


def test_only_the_latest_of_each_key(versioned: Operator) -> None:
    versioned.destination_bucket = versioned.destination.create_bucket(f"plain-{uuid.uuid4().hex[:12]}")
    versioned.declare(policy={"versions": "latest"})
    moved(versioned)
    latest = {key: rows[0] for key, rows in history(versioned, versioned.source_side).items()}
    there = history(versioned, versioned.destination_side)
    assert there == {key: [row] for key, row in latest.items() if row.content is not None}
