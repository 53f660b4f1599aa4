"""Everything an object can carry, in the oddest dress a server holds, there and back; the oracle shares no code."""

from __future__ import annotations

import contextlib
import http.client
from email.header import decode_header, make_header
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from support.corpus import CorpusObject
from support.operator import Operator, moved
from support.oracle import FIELDS, RCLONE_FIELDS, Bucket, compare, fill, keys
from support.servers import ACCESS_KEY, S3Server

from schema.tiers import MIB

AS_SENT: dict[str, dict[str, bytes]] = {
    "expires, a word": {"Expires": b"tomorrow"},
    "expires, zero": {"Expires": b"0"},
    "expires, an old form": {"Expires": b"Sunday, 06-Nov-94 08:49:37 GMT"},
    "words": {"x-amz-meta-t": b"=?UTF-8?B?w6k=?= plain =?ISO-8859-1?Q?caf=E9?="},
    "utf-8": {"x-amz-meta-t": "hé 文".encode(), "Content-Disposition": 'attachment; filename="é.txt"'.encode()},
    "latin-1": {"x-amz-meta-t": b"caf\xe9", "Content-Disposition": b'attachment; filename="\xe9.txt"'},
    "utf-8 that looks garbled": {"x-amz-meta-t": "hÃ©".encode()},
    "inner spaces": {"x-amz-meta-t": b"two  words"},
    "an empty value": {"x-amz-meta-t": b""},
    "a redirect": {"x-amz-website-redirect-location": b"https://example.com/a?b=c#d"},
    "an encoding": {"Content-Encoding": b"gzip"},
    "lists": {"Content-Language": b"de, en", "Cache-Control": b"max-age=1, must-revalidate"},
    "no type": {},
}
"""boto3 cannot write these: it wants ASCII and a date that is one."""
LONG_TAGS = [{"Key": f"key-{number}", "Value": "é" * 200} for number in range(10)]
"""Longer than the header that would carry them."""
DRESSED: dict[str, Any] = {
    "ContentType": "text/x-odd",
    "CacheControl": "max-age=9",
    "ContentDisposition": 'attachment; filename="a b"',
    "ContentLanguage": "de",
    "StorageClass": "STANDARD_IA",
    "WebsiteRedirectLocation": "/elsewhere",
}


def ask(server: S3Server, method: str, bucket: str, key: str, headers: dict[str, bytes] | None = None) -> Any:
    """One request with exactly these header bytes; moto wants a key id and checks no signature."""
    where = urlsplit(server.endpoint_url)
    connection = http.client.HTTPConnection(str(where.hostname), where.port)
    scope = f"Credential={ACCESS_KEY}/20260101/us-east-1/s3/aws4_request"
    body = key.encode() if method == "PUT" else b""
    connection.putrequest(method, f"/{bucket}/{quote(key)}")
    connection.putheader("Authorization", f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0")
    connection.putheader("Content-Length", str(len(body)))
    for name, value in (headers or {}).items():
        connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    assert answer.status == 200
    connection.close()
    return answer


def text_of(value: str) -> str:
    """What a header's value says, whichever way it was written: UTF-8 or latin-1, plain or in RFC 2047 words."""
    with contextlib.suppress(UnicodeDecodeError):  # then it is latin-1
        value = value.encode("latin-1").decode("utf-8")
    return str(make_header(decode_header(value)))


def told(server: S3Server, bucket: str, key: str) -> dict[str, str]:
    """All headers of a HEAD that belong to the object, decoded."""
    kept = ("x-amz-meta-", "content-", "expires", "cache-control", "x-amz-website")
    found = ask(server, "HEAD", bucket, key).getheaders()
    return {n.lower(): text_of(v) for n, v in found if n.lower().startswith(kept)}


@pytest.fixture
def dressed(on_moto: Operator, seed: int) -> Operator:
    """A source of all of it, small and in parts."""
    source, client = on_moto.source_side, on_moto.source.client()
    for key, headers in AS_SENT.items():
        ask(on_moto.source, "PUT", source.name, key, headers)
    parts = CorpusObject("dressed, in parts", 7 * MIB, seed, DRESSED, {"m": "1"}, part_size=5 * MIB)
    whole = CorpusObject("dressed", 100, seed, DRESSED, {"m": "1"})
    fill(client, source.name, [parts, whole])
    for item in (parts, whole):
        client.put_object_tagging(Bucket=source.name, Key=item.key, Tagging={"TagSet": LONG_TAGS})
    on_moto.more = {"limits": {"memory": "12MiB"}, "preserve": {"part_layout": True}}
    return on_moto


def test_there_and_back_on_moto(dressed: Operator) -> None:
    moved(dressed)
    same_on_both_sides(dressed)
    first = dressed.source_bucket
    dressed.source_bucket = dressed.destination_bucket
    dressed.destination_bucket = dressed.source.create_bucket(f"{first}-back")
    dressed.plan_path.unlink()
    dressed.declare()
    assert dressed.plan().code == 0
    assert dressed.apply().code == 0
    same_on_both_sides(dressed)
    for key in AS_SENT:
        assert told(dressed.source, dressed.destination_bucket, key) == told(dressed.source, first, key), key


def test_copied_by_the_endpoint_itself(dressed: Operator) -> None:
    dressed.declare(policy={"transfer": "server-copy"})
    moved(dressed)
    same_on_both_sides(dressed)


def same_on_both_sides(operator: Operator) -> None:
    """Raw values where boto3 can compare them, decoded ones of the others."""
    found = compare(operator.source_side, operator.destination_side, fields=(*FIELDS, "StorageClass"))
    assert [f for f in found if f.key not in AS_SENT or f.field in ("bytes", "missing", "extra")] == []
    for key in AS_SENT:
        ours = told(operator.source, operator.source_bucket, key)
        assert told(operator.destination, operator.destination_bucket, key) == ours, key


def test_all_that_rclone_holds(on_rclone: Operator, seed: int) -> None:
    """Class and redirect too; what it does not hold (Expires, tags) is another test's loss."""
    small = CorpusObject("dressed", 100, seed, DRESSED, {"m": "two  words", "rfc": "=?UTF-8?B?w6k=?="})
    fill(on_rclone.source.client(), on_rclone.source_bucket, [small, CorpusObject("big", 7 * MIB, seed, DRESSED)])
    on_rclone.declare(limits={"memory": "12MiB"})
    moved(on_rclone)
    fields = (*RCLONE_FIELDS, "StorageClass", "WebsiteRedirectLocation")
    assert compare(on_rclone.source_side, on_rclone.destination_side, fields=fields) == []
    arrived = head(on_rclone.destination_side, "big")
    assert {name: arrived[name] for name in DRESSED} == DRESSED


def test_what_rclone_does_not_hold_is_a_loss_by_name(on_rclone: Operator, on_moto: Operator) -> None:
    """Moto to rclone: tags and Expires; refused, then accepted, then everything else arrives."""
    words = {"Tagging": "t=1", "Expires": "Thu, 01 Dec 2044 16:00:00 GMT", "Metadata": {"m": "1"}}
    on_moto.source.client().put_object(Bucket=on_moto.source_bucket, Key="k", Body=b"x", **words)
    on_moto.destination, on_moto.destination_bucket = on_rclone.destination, on_rclone.destination_bucket
    assert on_moto.plan().code == 0
    refused = on_moto.apply()
    assert refused.code == 7
    assert all(name in refused.err for name in ("tags", "system-headers"))
    assert keys(on_moto.destination_side) == []
    on_moto.declare(accept_loss=["tags"])
    assert on_moto.plan().code == 0
    assert on_moto.apply().code == 7, "one of two is not both"
    on_moto.declare(accept_loss=["tags", "system-headers"])
    moved(on_moto)
    assert head(on_moto.destination_side, "k")["Metadata"] == {"m": "1"}


def head(side: Bucket, key: str) -> dict[str, Any]:
    found: dict[str, Any] = side.client.head_object(Bucket=side.name, Key=key)
    found["Metadata"] = {name.lower(): value for name, value in found["Metadata"].items()}
    return found
