"""Copies inside the endpoint, on a server that holds to their conditions and verifies and keeps checksums."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from awscrt import checksums
from strict.conftest import head, moved
from support.corpus import EVERY_HEADER, CorpusObject, mixed
from support.fault_proxy import FaultProxy
from support.fault_rules import Reset, Rule, error
from support.operator import Operator
from support.oracle import FIELDS, Bucket, compare, fill

from schema.tiers import MIB

pytestmark = pytest.mark.soak
CHECKSUMS = ("ChecksumCRC32", "ChecksumCRC32C", "ChecksumCRC64NVME", "ChecksumSHA1", "ChecksumSHA256", "ChecksumType")


@pytest.fixture
def proxy(on_strict: Operator) -> Iterator[FaultProxy]:
    """Both sides are reached through this proxy, so they are one endpoint."""
    with FaultProxy(on_strict.source.endpoint_url) as between:
        on_strict.source_url = on_strict.destination_url = between.endpoint_url
        yield between


def objects(seed: int) -> list[CorpusObject]:
    return [
        *mixed(seed, 12, largest=2000),
        CorpusObject("all/of it", 100, seed, EVERY_HEADER, {"word": "two  words"}, {"tag": "a+b"}),
        CorpusObject("parts", 12 * MIB + 1, seed, EVERY_HEADER, {"m": "1"}, {"t": "1"}, part_size=5 * MIB),
    ]


def test_the_whole_and_its_parts_arrive_without_a_byte_sent(on_strict: Operator, proxy: FaultProxy, seed: int) -> None:
    fill(on_strict.source.client(), on_strict.source_bucket, objects(seed))
    on_strict.declare(policy={"transfer": "server-copy"}, preserve={"part_layout": True})
    assert on_strict.plan().code == 0
    proxy.rules = [Rule(error(403, "AccessDenied"), operations=("put", "part"))]
    before = proxy.count("part-copy", status=200), proxy.count("copy", status=200)
    on_strict.apply().ok()
    after = proxy.count("part-copy", status=200), proxy.count("copy", status=200)
    assert [now - then for now, then in zip(after, before, strict=True)] == [3, 13]
    proxy.rules = []
    moved(on_strict)
    assert compare(on_strict.source_side, on_strict.destination_side, fields=(*FIELDS, "StorageClass")) == []
    ours, theirs = (head(side, "parts")["ETag"] for side in (on_strict.source_side, on_strict.destination_side))
    assert ours == theirs
    assert on_strict.uploads() == []


@pytest.mark.parametrize("transfer", ["server-copy", "stream"])
@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksums_of_whole_objects(on_strict: Operator, seed: int, transfer: str, algorithm: str) -> None:
    """Kind and value are the source's; only SHA-1 and SHA-256 become a CRC64NVME where the bytes are streamed."""
    client, name = on_strict.source.client(), on_strict.source_bucket
    client.put_object(Bucket=name, Key="k", Body=CorpusObject("k", 999, seed).content(), ChecksumAlgorithm=algorithm)
    on_strict.declare(policy={"transfer": transfer})
    moved(on_strict)
    ours, theirs = (
        {n: v for n, v in head(side, "k", ChecksumMode="ENABLED").items() if n in CHECKSUMS}
        for side in (on_strict.source_side, on_strict.destination_side)
    )
    assert len(theirs) == 2
    assert theirs["ChecksumType"] == "FULL_OBJECT"
    if transfer == "server-copy" or not algorithm.startswith("SHA"):
        assert theirs == ours


def test_multipart_objects_end_with_a_checksum_of_the_whole(on_strict: Operator, seed: int) -> None:
    client, name = on_strict.source.client(), on_strict.source_bucket
    content = CorpusObject("k", 11 * MIB, seed).content()
    whole = base64.b64encode(checksums.crc64nvme(content).to_bytes(8, "big")).decode()
    for algorithm, kind in (("CRC32", "FULL_OBJECT"), ("CRC32", "COMPOSITE"), ("CRC64NVME", "FULL_OBJECT")):
        named: dict[str, Any] = {"Bucket": name, "Key": f"{algorithm} {kind}"}
        made = client.create_multipart_upload(ChecksumAlgorithm=algorithm, ChecksumType=kind, **named)
        parts = []
        for number in range(1, 4):
            piece = content[(number - 1) * 5 * MIB : number * 5 * MIB]
            told = client.upload_part(
                UploadId=made["UploadId"], PartNumber=number, Body=piece, ChecksumAlgorithm=algorithm, **named
            )
            parts.append({"PartNumber": number, **{n: told[n] for n in ("ETag", f"Checksum{algorithm}")}})
        client.complete_multipart_upload(UploadId=made["UploadId"], MultipartUpload={"Parts": parts}, **named)
    for transfer in ("server-copy", "stream"):
        on_strict.declare(policy={"transfer": transfer}, limits={"memory": "12MiB"}, preserve={"part_layout": True})
        moved(on_strict)
        assert compare(on_strict.source_side, on_strict.destination_side) == []
        for key in ("CRC32 FULL_OBJECT", "CRC32 COMPOSITE", "CRC64NVME FULL_OBJECT"):
            told = head(on_strict.destination_side, key, ChecksumMode="ENABLED")
            theirs = {name: value for name, value in told.items() if name in CHECKSUMS}
            assert theirs == {"ChecksumCRC64NVME": whole, "ChecksumType": "FULL_OBJECT"}
            on_strict.destination.client().delete_object(Bucket=on_strict.destination_bucket, Key=key)


def test_conditions_hold(on_strict: Operator, seed: int) -> None:
    """A source that changed and a destination that appeared between plan and copy are refused by the server itself."""
    small = [CorpusObject(f"k/{number}", 50 + number, seed + number) for number in range(4)]
    big = [CorpusObject(f"big/{number}", 7 * MIB, seed + number, part_size=5 * MIB) for number in range(3)]
    client, source, destination = on_strict.source.client(), on_strict.source_bucket, on_strict.destination_bucket
    fill(client, source, [*small, *big])
    on_strict.declare(policy={"transfer": "server-copy"}, preserve={"part_layout": True})
    assert on_strict.plan().code == 0
    foreign = [CorpusObject(key, 5, 77) for key in ("k/1", "big/1")]
    changed = [CorpusObject("k/2", 60, 78), CorpusObject("big/2", 7 * MIB, 78, part_size=5 * MIB)]
    fill(client, destination, foreign)
    fill(client, source, changed)
    ran = on_strict.apply()
    assert ran.code == 3, ran.err
    found = {(d.key, d.field) for d in compare(on_strict.source_side, on_strict.destination_side, fields=("bytes",))}
    assert found == {("k/1", "bytes"), ("big/1", "bytes"), ("k/2", "missing"), ("big/2", "missing")}
    assert on_strict.uploads() == []


def test_lost_answers_of_copies_are_recognised(on_strict: Operator, proxy: FaultProxy, seed: int) -> None:
    fill(on_strict.source.client(), on_strict.source_bucket, objects(seed))
    on_strict.declare(policy={"transfer": "server-copy"}, preserve={"part_layout": True})
    assert on_strict.plan().code == 0
    proxy.rules = [
        *(Rule(Reset(after=True), operations=("copy",), nth=nth) for nth in (1, 4)),
        *(Rule(Reset(after=True), operations=(operation,), nth=1) for operation in ("part-copy", "complete")),
    ]
    on_strict.apply().ok()
    assert sum(bool(seen.faults) for seen in proxy.history) == len(proxy.rules)
    assert compare(on_strict.source_side, on_strict.destination_side) == []


def test_a_plain_source_under_a_customers_key_at_the_destination(
    on_strict: Operator, sealed: dict[str | None, Any], seed: int
) -> None:
    """Both at one endpoint: with transfer: auto it arrives whichever way the plan takes."""
    fill(on_strict.source.client(), on_strict.source_bucket, objects(seed))
    on_strict.declare(policy={"transfer": "auto"}, destination={"sse_customer_key_env": "NEW_SSE_C"})
    moved(on_strict)
    theirs = Bucket(sealed["NEW_SSE_C"], on_strict.destination_bucket)
    assert compare(on_strict.source_side, theirs) == []
    assert "SSECustomerKeyMD5" in head(theirs, "parts")
