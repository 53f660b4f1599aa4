"""What an object carries beside its bytes crosses whole, or is refused by name. boto3 is the judge."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from support.corpus import CorpusObject
from support.fault_proxy import FaultProxy
from support.fault_rules import Request, Respond, error
from support.operator import Operator, moved
from support.oracle import FIELDS, Bucket, compare, fill

from schema.tiers import MIB

OLD_KEY, NEW_KEY = "arn:aws:kms:us-east-1:1:key/old", "arn:aws:kms:us-east-1:2:key/new"
OLD_FRIEND, NEW_FRIEND = "a" * 64, "b" * 64
STRANGER = "c" * 64


def head(bucket: Bucket, key: str) -> dict[str, Any]:
    found: dict[str, Any] = bucket.client.head_object(Bucket=bucket.name, Key=key)
    return found


def grants(bucket: Bucket, key: str) -> set[tuple[str, str]]:
    """(grantee, permission) of all but the owner."""
    answer = bucket.client.get_object_acl(Bucket=bucket.name, Key=key)
    owner = answer["Owner"]["ID"]
    rows = [(g["Grantee"].get("ID") or g["Grantee"].get("URI"), g["Permission"]) for g in answer["Grants"]]
    return {row for row in rows if row[0] != owner}


@pytest.mark.parametrize("transfer", ["stream", "server-copy"])
def test_grants_keys_and_classes_are_mapped(on_moto: Operator, transfer: str) -> None:
    client, name = on_moto.source.client(), on_moto.source_bucket
    client.put_object(
        Bucket=name, Key="dressed", Body=b"x", GrantRead=f'id="{OLD_FRIEND}"', GrantReadACP=f'id="{OLD_FRIEND}"',
        ServerSideEncryption="aws:kms", SSEKMSKeyId=OLD_KEY, StorageClass="STANDARD_IA",
        WebsiteRedirectLocation="/there", Tagging="k=v",
    )  # fmt: skip
    on_moto.declare(
        policy={"transfer": transfer},
        preserve={
            "acl": True,
            "acl_grantees": {OLD_FRIEND: NEW_FRIEND},
            "encryption": {"mode": "keep", "key_map": {OLD_KEY: NEW_KEY}},
            "storage_class": "map",
            "storage_class_map": {"STANDARD_IA": "ONEZONE_IA"},
        },
    )
    moved(on_moto)
    assert compare(on_moto.source_side, on_moto.destination_side) == []
    arrived = head(on_moto.destination_side, "dressed")
    assert (arrived["ServerSideEncryption"], arrived["SSEKMSKeyId"]) == ("aws:kms", NEW_KEY)
    assert arrived["StorageClass"] == "ONEZONE_IA"
    assert grants(on_moto.destination_side, "dressed") == {(NEW_FRIEND, "READ"), (NEW_FRIEND, "READ_ACP")}


def test_verify_sees_a_grant_that_is_gone(on_moto: Operator) -> None:
    on_moto.source.client().put_object(
        Bucket=on_moto.source_bucket, Key="shared", Body=b"x", GrantRead=f'id="{OLD_FRIEND}"'
    )
    on_moto.declare(preserve={"acl": True, "acl_grantees": {OLD_FRIEND: NEW_FRIEND}})
    moved(on_moto, again=False)
    on_moto.destination.client().put_object_acl(Bucket=on_moto.destination_bucket, Key="shared", ACL="private")
    ran = on_moto.verify("--json")
    assert ran.code != 0
    assert [NEW_FRIEND in found["detail"] for found in ran.lines("finding")] == [True]


def test_a_grantee_without_a_counterpart_is_refused_until_given_up(on_moto: Operator) -> None:
    on_moto.source.client().put_object(
        Bucket=on_moto.source_bucket, Key="shared", Body=b"x", GrantRead=f'id="{STRANGER}"'
    )
    on_moto.declare(preserve={"acl": True})
    assert on_moto.plan().code == 0
    ran = on_moto.apply()
    assert (ran.code, "acl" in ran.err) == (7, True), ran.err
    assert on_moto.destination.client().list_objects_v2(Bucket=on_moto.destination_bucket)["KeyCount"] == 0
    on_moto.declare(preserve={"acl": True}, accept_loss=["acl"])
    moved(on_moto)
    assert grants(on_moto.destination_side, "shared") == set()


@pytest.mark.soak
def test_a_loss_that_the_sample_did_not_show_fails_its_object(on_moto: Operator, seed: int) -> None:
    """The survey looks at two dozen objects of several key ranges; the stranger is granted between them."""
    client, unlooked = on_moto.source.client(), "0137-shared"
    fill(client, on_moto.source_bucket, [CorpusObject(f"{n:04}", 1, seed) for n in range(125)])
    client.put_object(Bucket=on_moto.source_bucket, Key=unlooked, Body=b"x", GrantRead=f'id="{STRANGER}"')
    fill(client, on_moto.source_bucket, [CorpusObject(f"{n:04}", 1, seed) for n in range(125, 250)])
    on_moto.declare(preserve={"acl": True})
    assert on_moto.plan().code == 0
    ran = on_moto.apply()
    assert (ran.code, unlooked in ran.err, STRANGER in ran.err) == (3, True, True), ran.err
    missing = compare(on_moto.source_side, on_moto.destination_side, fields=("bytes",))
    assert [(difference.key, difference.field) for difference in missing] == [(unlooked, "missing")]


def test_an_encryption_key_without_a_counterpart_is_refused(on_moto: Operator) -> None:
    on_moto.source.client().put_object(
        Bucket=on_moto.source_bucket, Key="locked", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=OLD_KEY
    )
    on_moto.declare(preserve={"encryption": {"mode": "keep"}})
    assert on_moto.plan().code == 0
    ran = on_moto.apply()
    assert (ran.code, "encryption" in ran.err) == (7, True), ran.err


def use_locked_buckets(operator: Operator) -> None:
    """Others instead of the operator's, with object lock."""
    names = [f"{operator.source_bucket}-locked", f"{operator.destination_bucket}-locked"]
    for name in names:
        operator.source.client().create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    operator.source_bucket, operator.destination_bucket = names


def test_retention_and_legal_hold_on_request(on_moto: Operator) -> None:
    """COMPLIANCE becomes GOVERNANCE unless the declaration says the word; the loss is named first."""
    client = on_moto.source.client()
    use_locked_buckets(on_moto)
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=400)
    for mode in ("GOVERNANCE", "COMPLIANCE"):
        client.put_object(
            Bucket=on_moto.source_bucket, Key=mode, Body=b"x", ObjectLockMode=mode, ObjectLockRetainUntilDate=until,
            ObjectLockLegalHoldStatus="ON",
        )  # fmt: skip
    on_moto.declare(preserve={"object_lock": "governance", "legal_hold": True})
    assert on_moto.plan().code == 0
    assert on_moto.apply().code == 7
    on_moto.declare(preserve={"object_lock": "compliance", "legal_hold": True})
    moved(on_moto)
    for mode in ("GOVERNANCE", "COMPLIANCE"):
        arrived = head(on_moto.destination_side, mode)
        assert arrived["ObjectLockMode"] == mode
        assert arrived["ObjectLockRetainUntilDate"] == until
        assert arrived["ObjectLockLegalHoldStatus"] == "ON"


@pytest.mark.parametrize(("versions", "lost"), [("all", ["object-lock"]), ("latest", [])])
def test_the_retention_of_an_older_version_is_a_loss_of_the_plan(
    on_moto: Operator, versions: str, lost: list[str]
) -> None:
    """Only where older versions travel: the current object has no retention."""
    client = on_moto.source.client()
    use_locked_buckets(on_moto)
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=400)
    client.put_object(
        Bucket=on_moto.source_bucket, Key="k", Body=b"1", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until
    )
    client.put_object(Bucket=on_moto.source_bucket, Key="k", Body=b"2")
    on_moto.declare(preserve={"object_lock": "governance"}, policy={"versions": versions})
    assert on_moto.plan().code == 0
    losses = yaml.safe_load(on_moto.plan_path.read_text())["sections"][0]["losses"]
    assert [loss["id"] for loss in losses if loss["id"] == "object-lock"] == lost


def test_the_part_layout_is_kept_on_request(on_moto: Operator, seed: int) -> None:
    """Uneven cuts, some that add up as even ones would, even ones, one part: the ETags of both sides are equal."""
    client, name = on_moto.source.client(), on_moto.source_bucket
    even = CorpusObject("even", 13 * MIB, seed, {"ContentType": "video/mp4"}, {"m": "1"}, {"t": "1"}, part_size=5 * MIB)
    fill(client, name, [even, CorpusObject("single", 6 * MIB, seed, part_size=6 * MIB), CorpusObject("plain", 5, seed)])
    for key, sizes in (("uneven", (5 * MIB, 7 * MIB, 6 * MIB, 9)), ("seems even", (6 * MIB, 5 * MIB, 7 * MIB, 9))):
        upload = client.create_multipart_upload(Bucket=name, Key=key)["UploadId"]
        named, parts = {"Bucket": name, "Key": key, "UploadId": upload}, []
        for number, size in enumerate(sizes, 1):
            etag = client.upload_part(PartNumber=number, Body=bytes([number]) * size, **named)["ETag"]
            parts.append({"PartNumber": number, "ETag": etag})
        client.complete_multipart_upload(MultipartUpload={"Parts": parts}, **named)
    on_moto.declare(preserve={"part_layout": True}, limits={"memory": "64MiB"})
    moved(on_moto)
    assert compare(on_moto.source_side, on_moto.destination_side, fields=FIELDS) == []
    for key in ("even", "single", "uneven", "seems even", "plain"):
        assert head(on_moto.source_side, key)["ETag"] == head(on_moto.destination_side, key)["ETag"], key


@pytest.mark.soak
def test_kept_parts_larger_than_the_memory_go_through_a_window(on_moto: Operator, seed: int) -> None:
    big = CorpusObject("big", 33 * MIB + 7, seed, part_size=13 * MIB + 3)
    fill(on_moto.source.client(), on_moto.source_bucket, [big])
    on_moto.declare(preserve={"part_layout": True}, limits={"memory": "12MiB"})
    moved(on_moto)
    assert compare(on_moto.source_side, on_moto.destination_side) == []
    assert head(on_moto.source_side, "big")["ETag"] == head(on_moto.destination_side, "big")["ETag"]


class DemandsKey(FaultProxy):
    """Like an endpoint whose objects are sealed with one customer key: no data call without exactly that key.

    *plain* objects are not, and S3 refuses a key for such.
    """

    def __init__(self, upstream: str, key: bytes, plain: tuple[str, ...] = ()) -> None:
        super().__init__(upstream)
        self.plain = plain
        self.sealed = {
            "x-amz-server-side-encryption-customer-algorithm": "AES256",
            "x-amz-server-side-encryption-customer-key": base64.b64encode(key).decode(),
            "x-amz-server-side-encryption-customer-key-md5": base64.b64encode(hashlib.md5(key).digest()).decode(),
        }
        self.asked: set[str] = set()

    def intercept(self, request: Request) -> Respond | None:
        if request.operation not in ("get", "head", "put", "create", "part"):
            return None
        self.asked.add(request.operation)
        found = {name: request.headers.get(name, "") for name in self.sealed}
        wanted = dict.fromkeys(found, "") if request.key in self.plain else self.sealed
        return None if found == wanted else error(400, "InvalidRequest", f"{request.operation}: {found}")


def test_customer_keys_on_both_sides(on_moto: Operator, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Another key for each side, small and in the source's parts; objects without a key are asked for without one."""
    old, new = b"0123456789abcdef0123456789abcdef", b"fedcba9876543210fedcba9876543210"
    monkeypatch.setenv("OLD_SSE_C", base64.b64encode(old).decode())
    monkeypatch.setenv("NEW_SSE_C", base64.b64encode(new).decode())
    client, bucket = on_moto.source.client(), on_moto.source_bucket
    client.put_object(Bucket=bucket, Key="sealed", Body=b"secret", Metadata={"m": "1"})
    fill(client, bucket, [CorpusObject("sealed, in parts", 7 * MIB, seed, part_size=5 * MIB)])
    fill(client, bucket, [CorpusObject("plain", 10, seed), CorpusObject("plain, large", 7 * MIB, seed)])
    plain = ("plain", "plain, large")
    with DemandsKey(on_moto.source.endpoint_url, old, plain) as source, DemandsKey(source.upstream, new) as destination:
        ends = {
            "source": {"sse_customer_key_env": "OLD_SSE_C", "endpoint_url": source.endpoint_url},
            "destination": {"sse_customer_key_env": "NEW_SSE_C", "endpoint_url": destination.endpoint_url},
        }
        on_moto.declare(**ends, policy={"transfer": "auto"}, limits={"memory": "12MiB"}, preserve={"part_layout": True})
        moved(on_moto)
    assert (source.asked, destination.asked) == ({"get", "head"}, {"get", "head", "put", "create", "part"})
    assert "MDEyMz" not in on_moto.plan_path.read_text()
    assert compare(on_moto.source_side, on_moto.destination_side) == []


def test_a_source_of_sealed_objects_and_no_key_is_refused_before_any_plan(on_moto: Operator) -> None:
    on_moto.source.client().put_object(Bucket=on_moto.source_bucket, Key="sealed", Body=b"secret")
    with DemandsKey(on_moto.source.endpoint_url, b"0" * 32) as source:
        on_moto.source_url = source.endpoint_url
        ran = on_moto.plan()
    assert (ran.code, "sse_customer_key_env" in ran.err) == (77, True), ran.err
    assert not on_moto.plan_path.exists()


def test_a_customer_key_at_the_source_rules_out_copies_by_the_endpoint(
    on_moto: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLD_SSE_C", base64.b64encode(b"0" * 32).decode())
    on_moto.source.client().put_object(Bucket=on_moto.source_bucket, Key="sealed", Body=b"secret")
    on_moto.declare(source={"sse_customer_key_env": "OLD_SSE_C"}, policy={"transfer": "auto"})
    assert on_moto.plan().code == 0
    document = yaml.safe_load(on_moto.plan_path.read_text())
    assert "customer's key" in document["sections"][0]["methods"]["stream"]


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.soak)])
def test_verify_by_heads_finds_one_changed_field_of_each_kind(on_moto: Operator, seed: int, count: int) -> None:
    metadata, tagged, classed = count // 8, count // 2, count - 7
    objects = [
        CorpusObject(f"{n:04}", 1 + n % 7, seed + n, {}, {"m": str(n)}, {"t": str(n)} if n % 50 == 0 else {})
        for n in range(count)
    ]
    fill(on_moto.source.client(), on_moto.source_bucket, objects)
    on_moto.plan().ok()
    assert on_moto.apply().code == 0
    client, name = on_moto.destination.client(), on_moto.destination_bucket
    tags = {"TagSet": [{"Key": "t", "Value": "other"}]}
    client.put_object_tagging(Bucket=name, Key=f"{tagged:04}", Tagging=tags)
    same = {"Bucket": name, "Body": objects[metadata].content()}
    client.put_object(Key=f"{metadata:04}", Metadata={"m": "other"}, **same)
    client.put_object(
        Bucket=name, Key=f"{classed:04}", Body=objects[classed].content(), Metadata={"m": str(classed)},
        StorageClass="STANDARD_IA",
    )  # fmt: skip
    assert on_moto.verify("--level", "listing").code == 0, "none of it shows in a listing"
    ran = on_moto.verify("--level", "head", "--json")
    assert ran.code != 0
    found = {finding["key"]: finding["detail"] for finding in ran.lines("finding")}
    wrong = {metadata: "x-amz-meta-m", tagged: "tag:t", classed: "storage-class"}
    assert sorted(found) == sorted(f"{number:04}" for number in wrong)
    for number, field in wrong.items():
        assert field in found[f"{number:04}"]
