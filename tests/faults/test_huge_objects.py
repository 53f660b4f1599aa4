"""Bytes of objects beyond 5 GiB, moved for real: killed in mid-run, and copied by the endpoint itself."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.corpus import MIB
from support.fault_process import FaultProxyProcess
from support.fault_proxy import FaultProxy
from support.operator import Operator
from support.oracle import Bucket
from support.processes import peak_resident
from support.servers import MotoServer, RcloneServer

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
    """One plain GET, compared block by block."""
    there = side.client.get_object(Bucket=side.name, Key=key)["Body"]
    return all(there.read(len(block)) == block for block in blocks(size)) and there.read(1) == b""


@pytest.fixture
def patient_rclone(on_rclone: Operator, tmp_path: Path) -> Iterator[Operator]:
    """A destination that takes parts into its cache: streaming them, it lets one of 192 hang (docs/test-bed.md)."""
    folder = tmp_path / "destination"
    folder.mkdir()
    cached = ("--vfs-cache-mode", "writes", "--cache-dir", str(tmp_path / "cache"), "--vfs-write-back", "0")
    with RcloneServer(folder, flags=cached) as server:
        server.create_bucket(on_rclone.destination_bucket)
        on_rclone.destination = server
        yield on_rclone
    shutil.rmtree(folder)
    shutil.rmtree(tmp_path / "cache")


def test_six_gigabytes_killed_twice_resend_at_most_a_budget_each_time(patient_rclone: Operator) -> None:
    on_rclone = patient_rclone
    path: Path = on_rclone.source.folder / on_rclone.source_bucket / "huge"  # type: ignore[attr-defined]
    with path.open("wb") as file:
        file.writelines(blocks(SIX_GIGABYTES))
    try:
        with FaultProxyProcess(on_rclone.destination.endpoint_url) as proxy:
            on_rclone.destination_url = proxy.endpoint_url
            on_rclone.declare(limits={"memory": "256MiB"})
            planned = on_rclone.plan()
            assert planned.code == 0, planned.err
            before = len(parts_sent(proxy))  # the probe's
            peak = 0
            for share in (*range(1, KILLS + 1), None):
                process = on_rclone.background("apply", on_rclone.plan_path)
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
            verified = on_rclone.verify("--level", "content")
            assert verified.code == 0, verified.err
        assert same(on_rclone.destination_side, "huge", SIX_GIGABYTES)
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
    """One at a time: for each UploadPartCopy moto reads the whole source into its memory.

    For the same reason verify reads no contents here (each of its windows would be 5 GiB of moto's work): one plain
    GET by boto3 compares every byte.
    """
    size = 5 * GIB + 1
    with MotoServer() as moto:
        buckets = [moto.create_bucket(name) for name in ("source", "destination")]
        operator = Operator(tmp_path, ledger_url, moto, moto, *buckets)
        written_in_parts(operator.source_side, "huge", size)
        with FaultProxy(moto.endpoint_url) as proxy:
            operator.source_url = operator.destination_url = proxy.endpoint_url
            operator.declare(policy={"transfer": "auto"}, limits={"workers": 1})
            planned = operator.plan()
            assert planned.code == 0, planned.err
            proxy.forget()
            applied = operator.apply()
            assert applied.code == 0, applied.err
            assert proxy.count("get", "part", "put") == 0, "no byte went through us"
            assert proxy.count("part-copy", status=200) == -(-size // (64 * MIB))
        verified = operator.verify("--level", "head")
        assert verified.code == 0, verified.err
        assert carried(operator.source_side, "huge") == carried(operator.destination_side, "huge")
        assert same(operator.destination_side, "huge", size)
        assert operator.plan("--detailed-exitcode").code == 0
