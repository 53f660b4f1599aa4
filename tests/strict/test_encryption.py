"""SSE-S3 and SSE-KMS: kept, mapped, changed; where an ETag is no MD5, checksums prove the bytes."""

from __future__ import annotations

from typing import Any

import pytest
from strict.conftest import head, moved
from support.corpus import CorpusObject
from support.fault_proxy import FaultProxy
from support.fault_rules import FlipBit, Reset, Rule
from support.operator import Operator
from support.oracle import FIELDS, compare, fill, keys

from schema.tiers import MIB

pytestmark = pytest.mark.soak
OLD, OTHER, NEW = (f"arn:aws:kms:us-east-1:00000000000{n}:key/{n * 8}-1111-1111-1111-111111111111" for n in "123")
KMS: dict[str, Any] = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": OLD, "BucketKeyEnabled": True}
TOLD = ("ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled")


def objects(seed: int) -> list[CorpusObject]:
    """By KMS: small, empty, in parts at the source, in parts by its size; by S3's own; by KMS without a bucket key."""
    return [
        CorpusObject("kms/small", 1000, seed, KMS, {"m": "1"}, {"t": "1"}),
        CorpusObject("kms/empty", 0, seed, KMS),
        CorpusObject("kms/in parts", 11 * MIB, seed, KMS, {"m": "1"}, {"t": "1"}, part_size=5 * MIB),
        CorpusObject("kms/large", 9 * MIB, seed, KMS),
        CorpusObject("s3/small", 1000, seed, {"ServerSideEncryption": "AES256"}),
        CorpusObject("kms/without a bucket key", 10, seed, {**KMS, "BucketKeyEnabled": False}),
    ]


def told(operator: Operator) -> dict[str, tuple[Any, ...]]:
    side = operator.destination_side
    return {key: tuple(head(side, key).get(name) for name in TOLD) for key in keys(side)}


@pytest.mark.parametrize("transfer", ["stream", "server-copy"])
@pytest.mark.parametrize(
    ("encryption", "kms", "s3"),
    [
        ({"mode": "keep", "key_map": {OLD: NEW}}, ("aws:kms", NEW, True), ("AES256", None, None)),
        ({"mode": "keep", "key_map": {OLD: "same"}}, ("aws:kms", OLD, True), ("AES256", None, None)),
        ({"mode": "keep", "key": NEW}, ("aws:kms", NEW, True), ("AES256", None, None)),
        ({"mode": "sse-kms", "key": NEW}, ("aws:kms", NEW, None), ("aws:kms", NEW, None)),
        ({"mode": "sse-s3"}, ("AES256", None, None), ("AES256", None, None)),
    ],
)
def test_encryption_is_kept_mapped_or_changed(
    on_strict: Operator, seed: int, transfer: str, encryption: dict[str, Any], kms: Any, s3: Any
) -> None:
    fill(on_strict.source.client(), on_strict.source_bucket, objects(seed))
    on_strict.declare(preserve={"encryption": encryption}, policy={"transfer": transfer}, limits={"memory": "12MiB"})
    moved(on_strict)
    assert compare(on_strict.source_side, on_strict.destination_side, fields=FIELDS) == []
    wanted = {item.key: s3 if item.key.startswith("s3/") else kms for item in objects(seed)}
    if kms[2]:
        wanted["kms/without a bucket key"] = (*kms[:2], None)
    assert told(on_strict) == wanted
    assert on_strict.uploads() == []


def test_a_key_without_a_counterpart_is_refused_by_name(on_strict: Operator, seed: int) -> None:
    fill(on_strict.source.client(), on_strict.source_bucket, objects(seed)[:2])
    on_strict.declare(preserve={"encryption": {"mode": "keep", "key_map": {OTHER: NEW}}})
    assert on_strict.plan().code == 0
    ran = on_strict.apply()
    assert (ran.code, "encryption" in ran.err) == (7, True), ran.err
    assert keys(on_strict.destination_side) == []


@pytest.mark.parametrize("level", ["head", "content"])
@pytest.mark.parametrize("field", ["byte", "key", "kind"])
def test_verify_finds_what_changed(on_strict: Operator, seed: int, field: str, level: str) -> None:
    fill(on_strict.source.client(), on_strict.source_bucket, objects(seed)[:1])
    on_strict.declare(preserve={"encryption": {"mode": "keep", "key_map": {OLD: NEW}}})
    moved(on_strict, again=False)
    content = bytearray(objects(seed)[0].content())
    content[500] ^= field == "byte"
    encrypted = {
        "byte": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": NEW},
        "key": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": OTHER},
        "kind": {"ServerSideEncryption": "AES256"},
    }[field]
    on_strict.destination.client().put_object(
        Bucket=on_strict.destination_bucket, Key="kms/small", Body=bytes(content), Metadata={"m": "1"}, Tagging="t=1",
        BucketKeyEnabled=field != "kind", **encrypted,
    )  # fmt: skip
    ran = on_strict.verify("--level", level, "--json")
    assert ran.code == 8, ran.err
    (finding,) = ran.lines("finding")
    assert finding["key"] == "kms/small"


@pytest.mark.parametrize("fault", ["flipped on the way here", "flipped on the way there", "an answer lost"])
@pytest.mark.parametrize("mode", [{"mode": "keep", "key_map": {OLD: NEW}}, {"mode": "sse-kms", "key": NEW}])
def test_faults_where_no_etag_is_an_md5(on_strict: Operator, seed: int, mode: dict[str, Any], fault: str) -> None:
    """A lost answer is recognised as ours by its checksum, not taken for a stranger's object by its ETag."""
    rules = {
        "flipped on the way here": [Rule(FlipBit(), operations=("get",), nth=nth) for nth in (2, 5)],
        "flipped on the way there": [
            Rule(FlipBit(upload=True), operations=(operation,), nth=nth) for operation in ("put", "part")
            for nth in (1, 2)
        ],
        "an answer lost": [
            *(Rule(Reset(after=True), operations=("put",), key=key, nth=1) for key in ("kms/small", "s3/small")),
            *(Rule(Reset(after=True), operations=(operation,), nth=1) for operation in ("part", "complete")),
        ],
    }[fault]  # fmt: skip
    fill(on_strict.source.client(), on_strict.source_bucket, objects(seed))
    with FaultProxy(on_strict.source.endpoint_url, seed=seed) as proxy:
        on_strict.source_url = on_strict.destination_url = proxy.endpoint_url
        on_strict.declare(preserve={"encryption": mode}, limits={"memory": "12MiB"})
        assert on_strict.plan().code == 0
        proxy.rules = rules
        on_strict.apply().ok()
        assert sum(bool(seen.faults) for seen in proxy.history) == len(rules)
    assert compare(on_strict.source_side, on_strict.destination_side) == []


@pytest.mark.parametrize("transfer", ["stream", "server-copy"])
@pytest.mark.parametrize("versions", ["latest", "all"])
def test_a_destination_that_encrypts_by_default(on_strict: Operator, seed: int, transfer: str, versions: str) -> None:
    """Nothing is declared; objects are written, compared, overwritten and left alone under ETags that are no MD5."""
    client, name = on_strict.destination.client(), on_strict.destination_bucket
    by_default = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": NEW}}
    client.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [by_default]})
    if versions == "all":
        for bucket in (on_strict.source_bucket, name):
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    plain = [
        CorpusObject("small", 1000, seed, {}, {"m": "1"}),
        CorpusObject("in parts", 11 * MIB, seed, part_size=5 * MIB),
        CorpusObject("large", 9 * MIB, seed),
    ]
    fill(client, on_strict.source_bucket, plain)
    on_strict.declare(policy={"transfer": transfer, "versions": versions}, limits={"memory": "12MiB"})
    moved(on_strict)
    fill(client, on_strict.source_bucket, [CorpusObject(item.key, item.size, seed + 1) for item in plain])
    client.delete_object(Bucket=on_strict.source_bucket, Key="small")
    moved(on_strict)
    found = compare(on_strict.source_side, on_strict.destination_side)
    assert [(difference.key, difference.field) for difference in found] == (
        [("small", "extra")] if versions == "latest" else []
    )
    assert {row[0] for row in told(on_strict).values()} == {"aws:kms"}
