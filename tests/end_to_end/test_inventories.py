"""A plan from an S3 Inventory report in a bucket: the sections of a listed one, applied and verified; refusals."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

import yaml
from support.corpus import mixed
from support.inventories import MADE_MS, write_report
from support.operator import Operator
from support.oracle import compare, fill

from schema.objects import ListedObject
from storage.inventory.report import ReportFormat


def sections_and_batches(path: Path) -> tuple[Any, Any]:
    document = yaml.safe_load(path.read_text())
    return document["sections"], document["batches"]


def listed(operator: Operator) -> list[ListedObject]:
    """The source as boto3 lists it."""
    pages = operator.source.client().get_paginator("list_objects_v2").paginate(Bucket=operator.source_bucket)
    return [
        ListedObject(row["Key"], row["Size"], row["ETag"].strip('"'), int(row["LastModified"].timestamp() * 1000))
        for page in pages
        for row in page["Contents"]
    ]


def test_a_report_in_a_bucket_is_planned_applied_and_verified(on_moto: Operator, seed: int) -> None:
    client = on_moto.source.client()
    fill(client, on_moto.source_bucket, mixed(seed, 12, largest=4096))
    kept_in = on_moto.source.create_bucket(f"inventories-{uuid.uuid4().hex[:12]}")
    written = write_report(listed(on_moto)[::-1], ReportFormat.CSV, bucket=on_moto.source_bucket)
    for name, data in written.files.items():
        client.put_object(Bucket=kept_in, Key=name, Body=data)
    on_moto.plan().ok()
    by_listing = sections_and_batches(on_moto.plan_path)
    on_moto.plan_path.unlink()
    there = f"s3://{kept_in}/{on_moto.source_bucket}/all/"
    source = {"inventory": {"report": there}}

    on_moto.declare(source=source)
    told = on_moto.plan().ok().err
    assert sections_and_batches(on_moto.plan_path) == by_listing
    assert "made 2026-09-21T14:13:20Z" in told and " old\n" in told

    late = {"report": there, "max_age": f"{int(time.time() - MADE_MS / 1000) // 60 - 60}min"}
    on_moto.declare(source={"inventory": late})
    assert (stale := on_moto.plan()).code == 4, stale.err
    data = next(name for name in written.files if "/data/" in name)
    client.put_object(Bucket=kept_in, Key=data, Body=b"x" * len(written.files[data]))
    on_moto.declare(source=source)
    assert (damaged := on_moto.plan()).code == 5, damaged.err
    assert "its manifest says" in damaged.err

    on_moto.apply().ok()
    assert compare(on_moto.source_side, on_moto.destination_side) == []
    on_moto.verify("--level", "head").ok()
    client.put_object(Bucket=on_moto.source_bucket, Key="zz-younger", Body=b"1")
    assert (younger := on_moto.verify("--level", "listing")).code == 8
    assert "not-in-plan: zz-younger" in younger.err
