"""Bytes of objects beyond 5 GiB, moved for real: killed in mid-run, and copied by the endpoint itself."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.fault_process import FaultProxyProcess
from support.fault_proxy import FaultProxy
from support.operator import Operator
from support.oracle import Bucket
from support.processes import peak_resident
from support.servers import MotoServer, s3_client

from schema.tiers import MIB

GIB = 1 << 30
SIX_GIGABYTES = 6 * GIB
BUDGET = 256 * MIB
BLOCK = 16 * MIB
KILLS = 2
SLACK = 150 * MIB
"""What a worker process may hold beside its budget; the plan's estimate says the same."""

HEADERS = {
    "ContentType": "video/mp4",
    "CacheControl": "max-age=9",
    "ContentDisposition": 'attachment; filename="a b"',
    "ContentLanguage": "de",
    "StorageClass": "STANDARD_IA",
    "WebsiteRedirectLocation": "/elsewhere",
}
"""UploadPartCopy carries none of them, nor metadata, nor tags."""

pytestmark = pytest.mark.soak


def blocks(size: int) -> Iterator[bytes]:
    """The object's bytes, no two blocks alike, so that parts in each other's place are seen."""
    block = random.Random(1).randbytes(BLOCK)
    for number, start in enumerate(range(0, size, BLOCK)):
        yield (number.to_bytes(8, "big") + block[8:])[: size - start]


def parts_sent(proxy: FaultProxyProcess) -> list[int]:
    """Bytes of each UploadPart so far, those cut off in the middle too."""
    return [exchange.request_bytes for exchange in proxy.history() if exchange.operation == "part"]


def same(side: Bucket, key: str, size: int) -> bool:
    """Read by boto3 block by block; moto and rclone alike hold no whole object in memory for that."""
    assert side.client.head_object(Bucket=side.name, Key=key)["ContentLength"] == size
    start = 0
    for block in blocks(size):
        wanted = f"bytes={start}-{start + len(block) - 1}"
        if side.client.get_object(Bucket=side.name, Key=key, Range=wanted)["Body"].read() != block:
            return False
        start += len(block)
    return True


# moto holds an object three times over while it completes it, and reads all of it for each part it copies: 18 GB and
# more for 5 GiB. So large values are read through a map of moto's own file, and parts are joined on the disk.
_FRUGAL = """
import hashlib, mmap, tempfile
import moto.s3.models as models
LARGE = 1 << 26
read, write = models.FakeKey.value.fget, models.FakeKey.value.fset
def mapped(key):
    if key.contentsize < LARGE:
        return read(key)
    key._value_buffer.flush()
    return mmap.mmap(key._value_buffer.fileno(), 0, access=mmap.ACCESS_READ)
def kept(key, value):
    if len(value) >= LARGE:
        key._value_buffer.rollover()
    write(key, value)
    key._value_buffer.flush()
models.FakeKey.value = property(mapped, kept)
def joined(upload, body):
    file, digests, count = tempfile.TemporaryFile(), b"", 0
    for number, etag in body:
        part = upload.parts.get(number)
        if part is None or part.etag.strip('"') != etag.strip('"'):
            raise models.InvalidPart()
        file.write(part.value)
        digests += bytes.fromhex(etag.strip('"'))
        count += 1
    file.flush()
    whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return whole, f"{hashlib.md5(digests).hexdigest()}-{count}", None
models.FakeMultipart.complete = joined
"""


class FrugalMoto(MotoServer):
    """moto that can hold an object larger than its memory."""

    corrections = _FRUGAL


@pytest.fixture
def to_moto(on_rclone: Operator) -> Iterator[Operator]:
    """Its destination is a moto: rclone lets one of 192 parts hang and then refuses Complete (docs/test-bed.md)."""
    with FrugalMoto() as server:
        server.create_bucket(on_rclone.destination_bucket)
        on_rclone.destination = server
        yield on_rclone


def test_six_gigabytes_killed_twice_resend_at_most_a_budget_each_time(to_moto: Operator) -> None:
    path: Path = to_moto.source.folder / to_moto.source_bucket / "huge"  # type: ignore[attr-defined]
    with path.open("wb") as file:
        file.writelines(blocks(SIX_GIGABYTES))
    try:
        with FaultProxyProcess(to_moto.destination.endpoint_url) as proxy:
            to_moto.destination_url = proxy.endpoint_url
            to_moto.declare(limits={"memory": "256MiB"})
            to_moto.plan().ok()
            before = len(parts_sent(proxy))  # the probe's
            peak = 0
            for share in (*range(1, KILLS + 1), None):
                process = to_moto.background("apply", to_moto.plan_path)
                while process.poll() is None:
                    peak = max(peak, peak_resident(process.pid))
                    if share is not None and sum(parts_sent(proxy)[before:]) > SIX_GIGABYTES * share // (KILLS + 1):
                        process.kill()
                    time.sleep(0.05)
                out, err = process.communicate()
                assert process.returncode == (0 if share is None else -9), (out[-2000:], err)
            again = sum(parts_sent(proxy)[before:]) - SIX_GIGABYTES
            print(f"sent again after {KILLS} kills: {again / MIB:.0f} MiB; peak resident: {peak / MIB:.0f} MiB")
            assert 0 <= again <= KILLS * BUDGET
            assert peak <= BUDGET + SLACK
            to_moto.verify("--level", "content").ok()
        assert same(to_moto.destination_side, "huge", SIX_GIGABYTES)
    finally:
        path.unlink()


def written_in_parts(side: Bucket, key: str, size: int) -> None:
    """With everything an object can carry."""
    named: dict[str, Any] = {"Bucket": side.name, "Key": key}
    words = {**HEADERS, "Metadata": {"word": "two  words"}, "Tagging": "t=a%2Bb"}
    named["UploadId"] = side.client.create_multipart_upload(**named, **words)["UploadId"]
    parts: list[dict[str, Any]] = []
    for number, body in enumerate(blocks(size), 1):
        etag = side.client.upload_part(PartNumber=number, Body=body, **named)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    side.client.complete_multipart_upload(MultipartUpload={"Parts": parts}, **named)


def carried(side: Bucket, key: str) -> dict[str, Any]:
    """What it carries, without reading it."""
    head = side.client.head_object(Bucket=side.name, Key=key)
    tags = side.client.get_object_tagging(Bucket=side.name, Key=key)["TagSet"]
    return {name: head[name] for name in (*HEADERS, "ContentLength", "Metadata")} | {"tags": tags}


def test_the_endpoint_copies_one_byte_more_than_five_gibibytes(tmp_path: Path, ledger_url: str) -> None:
    size = 5 * GIB + 1
    with FrugalMoto() as moto:
        buckets = [moto.create_bucket(name) for name in ("source", "destination")]
        operator = Operator(tmp_path, ledger_url, moto, moto, *buckets)
        with closing(s3_client(moto.endpoint_url, read_timeout=600)) as client:
            written_in_parts(Bucket(client, operator.source_bucket), "huge", size)
        with FaultProxy(moto.endpoint_url) as proxy:
            operator.source_url = operator.destination_url = proxy.endpoint_url
            operator.declare(policy={"transfer": "auto"}, limits={"memory": "64MiB"})
            operator.plan().ok()
            proxy.forget()
            operator.apply().ok()
            copied = proxy.count("part-copy", status=200)
            moved = [e for e in proxy.history if e.operation in ("put", "part")]
            print(f"{copied} parts copied by the endpoint")
            assert (copied, moved) == (-(-size // (64 * MIB)), [])
            operator.verify("--level", "content").ok()
            assert operator.plan("--detailed-exitcode").code == 0
        assert carried(operator.source_side, "huge") == carried(operator.destination_side, "huge")
        assert same(operator.destination_side, "huge", size)
