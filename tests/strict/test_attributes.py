"""Everything an object may carry, there and back, on a server that refuses what S3 refuses; field by field."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from strict.conftest import head, moved
from support.corpus import ODD_KEYS, SLASHED_KEYS, CorpusObject, mixed, odd
from support.operator import Operator
from support.oracle import FIELDS, Bucket, compare, fill, keys, write

from schema.tiers import MIB

pytestmark = pytest.mark.soak
EVERY_FIELD = (*FIELDS, "StorageClass")
FRIEND = "http://acs.amazonaws.com/groups/global/AllUsers"
STRANGERS = [f"{letter}" * 64 for letter in "ab"]
CLASSES = ("STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "REDUCED_REDUNDANCY", "GLACIER_IR")
TAGS = {f"key {number} +/=é": f"value é+ {number}" * 10 for number in range(10)}
DRESSED: dict[str, Any] = {
    "ContentType": "text/x-odd",
    "CacheControl": "max-age=9, must-revalidate",
    "ContentDisposition": 'attachment; filename="a b"',
    "ContentEncoding": "gzip",
    "ContentLanguage": "de, en",
    "Expires": "Thu, 01 Dec 2044 16:00:00 GMT",
    "WebsiteRedirectLocation": "https://example.com/a?b=c#d",
}
METADATA = {"plain": "1", "spaces": "two  words", "rfc": "=?UTF-8?B?w6k=?=", "long": "x" * 1500}


def holdable(key: str) -> bool:
    """The server takes a path of slashes alone for the body of a request."""
    return key.strip("/") != ""


def corpus(seed: int) -> list[CorpusObject]:
    """Mixed and odd objects with some of everything, and both kinds of upload with all of it."""
    return [
        *mixed(seed, 20, largest=3000),
        *odd(seed, filter(holdable, (*ODD_KEYS, *SLASHED_KEYS))),
        CorpusObject("dressed", 1000, seed, DRESSED, METADATA, TAGS),
        CorpusObject("dressed, in parts", 7 * MIB, seed, DRESSED, METADATA, TAGS, part_size=5 * MIB),
        *(CorpusObject(f"class/{name}", 10, seed, {"StorageClass": name}) for name in CLASSES),
    ]


@pytest.mark.parametrize("transfer", ["stream", "server-copy"])
def test_there_and_back(on_strict: Operator, seed: int, transfer: str) -> None:
    fill(on_strict.source.client(), on_strict.source_bucket, corpus(seed))
    first = on_strict.source_side
    on_strict.declare(policy={"transfer": transfer}, preserve={"part_layout": True}, limits={"memory": "12MiB"})
    moved(on_strict)
    assert compare(first, on_strict.destination_side, fields=EVERY_FIELD) == []
    on_strict.source_bucket = on_strict.destination_bucket
    on_strict.destination_bucket = on_strict.source.create_bucket(f"{first.name}-back")
    on_strict.plan_path.unlink()
    on_strict.declare(policy={"transfer": transfer}, preserve={"part_layout": True}, limits={"memory": "12MiB"})
    moved(on_strict)
    back = on_strict.destination_side
    assert compare(first, back, fields=EVERY_FIELD) == []
    for key in keys(first):
        assert head(first, key)["ETag"] == head(back, key)["ETag"], key
    assert on_strict.uploads() == []


def grants(side: Bucket, key: str) -> set[tuple[str, str]]:
    """(grantee, permission) of all but the owner."""
    answer = side.client.get_object_acl(Bucket=side.name, Key=key)
    owner = answer["Owner"]["ID"]
    rows = {(g["Grantee"].get("ID") or g["Grantee"].get("URI"), g["Permission"]) for g in answer["Grants"]}
    return {row for row in rows if row[0] != owner}


@pytest.mark.parametrize("transfer", ["stream", "server-copy"])
def test_grants(on_strict: Operator, seed: int, transfer: str) -> None:
    client = on_strict.source.client()
    for name in (on_strict.source_bucket, on_strict.destination_bucket):  # as on AWS, a new bucket takes no grants
        client.put_bucket_ownership_controls(
            Bucket=name, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
        )
        client.delete_public_access_block(Bucket=name)
    fill(client, on_strict.source_bucket, [CorpusObject("private", 10, seed)])
    words: dict[str, Any] = {"Bucket": on_strict.source_bucket, "Body": b"x"}
    client.put_object(Key="public", ACL="public-read", **words)
    client.put_object(Key="granted", GrantRead=f'uri="{FRIEND}"', GrantFullControl=f'id="{STRANGERS[0]}"', **words)
    on_strict.declare(
        policy={"transfer": transfer},
        preserve={"acl": True, "acl_grantees": {STRANGERS[0]: STRANGERS[1], FRIEND: FRIEND}},
    )
    moved(on_strict)
    theirs = on_strict.destination_side
    assert grants(theirs, "private") == set()
    assert grants(theirs, "public") == {(FRIEND, "READ")}
    assert grants(theirs, "granted") == {(FRIEND, "READ"), (STRANGERS[1], "FULL_CONTROL")}


@pytest.mark.parametrize("transfer", ["stream", "server-copy"])
@pytest.mark.parametrize("versions", ["latest", "all"])
def test_retention_and_legal_hold(on_strict: Operator, seed: int, transfer: str, versions: str) -> None:
    client = on_strict.source.client()
    names = [f"{name}-locked" for name in (on_strict.source_bucket, on_strict.destination_bucket)]
    for name in names:
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    on_strict.source_bucket, on_strict.destination_bucket = names
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=400)
    lock = {"ObjectLockRetainUntilDate": until, "ObjectLockLegalHoldStatus": "ON"}
    for mode in ("GOVERNANCE", "COMPLIANCE"):
        client.put_object(Bucket=names[0], Key=mode, Body=b"x", ObjectLockMode=mode, **lock)
    held = {"ObjectLockMode": "GOVERNANCE", **lock}
    write(client, names[0], CorpusObject("in parts", 7 * MIB, seed, held, part_size=5 * MIB))  # type: ignore[arg-type]
    client.put_object(Bucket=names[0], Key="hold", Body=b"x", ObjectLockLegalHoldStatus="ON")
    client.put_object(Bucket=names[0], Key="free", Body=b"x")
    on_strict.declare(
        policy={"transfer": transfer, "versions": versions},
        preserve={"object_lock": "compliance", "legal_hold": True, "part_layout": True},
    )
    moved(on_strict)
    fields = ("ObjectLockMode", "ObjectLockRetainUntilDate", "ObjectLockLegalHoldStatus")
    for key in ("GOVERNANCE", "COMPLIANCE", "in parts", "hold", "free"):
        ours, theirs = (
            {name: head(side, key).get(name) for name in fields}
            for side in (on_strict.source_side, on_strict.destination_side)
        )
        assert theirs == ours, key


def test_headers_that_boto3_would_not_write(on_strict: Operator) -> None:
    """UTF-8 in metadata arrives as the bytes that were sent, or as words that say the same."""
    client = on_strict.source.client()
    client.put_object(
        Bucket=on_strict.source_bucket, Key="k", Body=b"x", Metadata={"t": "=?UTF-8?Q?h=C3=A9_=E6=96=87?="},
        Tagging=urlencode({"é": "ü"}), ContentType="text/plain; charset=utf-8",
    )  # fmt: skip
    moved(on_strict)
    assert compare(on_strict.source_side, on_strict.destination_side, fields=EVERY_FIELD) == []
