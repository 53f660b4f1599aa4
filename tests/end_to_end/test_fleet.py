"""What a fleet's scheduler does: workers that come too late or too many, and a plan that is on no machine's disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from shutil import rmtree

import pytest
from support.corpus import mixed
from support.json_process import PATIENCE, Lines
from support.operator import Operator
from support.oracle import RCLONE_FIELDS, compare, fill

from executor.ledger.ledger import Ledger
from executor.ledger.values import Chunk, Lane, Worker

Sql = Callable[..., list[tuple[object, ...]]]


def planned(operator: Operator, seed: int, objects: int = 12, **limits: object) -> None:
    fill(operator.source.client(), operator.source_bucket, mixed(seed, objects, largest=2_000, tags=False))
    operator.declare(limits=limits)
    operator.plan().ok()


def claimed(ledger: Ledger, worker: Worker, lane: Lane) -> Chunk | None:
    return ledger.leases.claim(worker, lane, lease_seconds=600)


def arrived(operator: Operator) -> bool:
    return compare(operator.source_side, operator.destination_side, fields=RCLONE_FIELDS) == []


def test_a_surplus_worker_writes_nothing_and_ends_with_0(on_rclone: Operator, seed: int, sql: Sql) -> None:
    planned(on_rclone, seed)
    on_rclone.run("apply", on_rclone.plan_path, "--only", "canary").ok()
    ledger = Ledger(on_rclone.ledger_url)
    run = ledger.runs.latest()
    assert run is not None
    other = ledger.workers.join(run, "elsewhere", 1, tool_version="0")
    held = [chunk for lane in Lane for chunk in iter(partial(claimed, ledger, other, lane), None)]
    assert held
    before = sql("SELECT (SELECT count(*) FROM ledger.worker), (SELECT count(*) FROM ledger.audit)")
    began = time.monotonic()
    on_rclone.run("apply", on_rclone.plan_path, "--leave-when-idle").ok()
    assert time.monotonic() - began < 3
    assert sql("SELECT (SELECT count(*) FROM ledger.worker), (SELECT count(*) FROM ledger.audit)") == before
    assert not arrived(on_rclone)
    ledger.leases.release(other, held)
    on_rclone.run("apply", on_rclone.plan_path, "--leave-when-idle").ok()
    assert arrived(on_rclone), "control: what is free is taken"
    on_rclone.run("apply", on_rclone.plan_path, "--leave-when-idle").ok()
    ledger.close()


def test_a_plan_in_a_bucket_needs_no_disk(on_rclone: Operator, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    planned(on_rclone, seed)
    monkeypatch.setenv("S3MIGRATE_PLAN_ENDPOINT", on_rclone.destination.endpoint_url)
    monkeypatch.setenv("S3MIGRATE_PLAN_CREDENTIALS", "NEW")
    bucket = f"{on_rclone.destination_bucket}-plans"
    on_rclone.destination.client().create_bucket(Bucket=bucket)
    published = on_rclone.run("publish", on_rclone.plan_path, f"s3://{bucket}/team/photos", "--json").ok()
    (said,) = published.lines("published")
    assert on_rclone.run("publish", on_rclone.plan_path, f"s3://{bucket}/team/photos").ok().out.startswith(said["url"])
    rmtree(on_rclone.plan_path.parent)
    assert said["url"] == f"s3://{bucket}/team/photos/{said['plan_id'].removeprefix('sha256:')}.plan.yaml"
    assert "12" in on_rclone.run("show", said["url"]).ok().out
    on_rclone.run("check", said["url"]).ok()
    on_rclone.run("apply", said["url"], "--processes", "2", "--expect-plan-id", said["plan_id"]).ok()
    assert arrived(on_rclone)
    on_rclone.run("verify", said["url"], "--level", "content").ok()
    missing = on_rclone.run("apply", f"s3://{bucket}/team/other.plan.yaml")
    assert missing.code == 66 and f"there is no plan at s3://{bucket}/team/other.plan.yaml" in missing.err
    assert on_rclone.run("apply", "s3://plans").code == 64


def test_a_plan_that_was_changed_in_its_bucket_is_refused(
    on_rclone: Operator, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned(on_rclone, seed, 3)
    monkeypatch.setenv("S3MIGRATE_PLAN_ENDPOINT", on_rclone.destination.endpoint_url)
    monkeypatch.setenv("S3MIGRATE_PLAN_CREDENTIALS", "NEW")
    client = on_rclone.destination.client()
    bucket = f"{on_rclone.destination_bucket}-plans"
    client.create_bucket(Bucket=bucket)
    (said,) = on_rclone.run("publish", on_rclone.plan_path, f"s3://{bucket}/p", "--json").ok().lines("published")
    key = said["url"].removeprefix(f"s3://{bucket}/")
    plan = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    client.put_object(Bucket=bucket, Key=key, Body=plan.replace(b"objects: 3", b"objects: 2"))
    refused = on_rclone.run("apply", said["url"])
    assert refused.code == 5 and said["url"] in refused.err


def test_a_paused_run_lets_nobody_begin_until_it_is_resumed(on_rclone: Operator, seed: int, sql: Sql) -> None:
    planned(on_rclone, seed, 60)
    on_rclone.run("apply", on_rclone.plan_path, "--only", "canary").ok()
    on_rclone.run("limit", "1", "requests_per_second=10").ok()
    with on_rclone.background("apply", on_rclone.plan_path, "--json") as worker:
        lines = Lines(worker)
        lines.until(lambda said: said["type"] == "progress" and said["done"] > 10)
        assert "is paused" in on_rclone.run("pause", "1").ok().out
        assert lines.until(lambda said: said["type"] == "diagnostic")["code"] == "RunPaused"
        assert worker.wait(PATIENCE) == 75
    (done,) = sql("SELECT count(*) FROM ledger.completion")
    assert sql("SELECT count(*) FROM ledger.chunk WHERE state = 2") == [(0,)]
    again = on_rclone.run("apply", on_rclone.plan_path)
    assert (again.code, "was paused by" in again.err) == (75, True)
    for more in (("--processes", "2"), ("--engine", "local")):
        assert on_rclone.run("apply", on_rclone.plan_path, *more).code == 75
    assert sql("SELECT count(*) FROM ledger.completion") == [done], "nobody has moved anything since"
    assert "paused by" in on_rclone.run("status").ok().out
    on_rclone.run("resume", "1").ok()
    on_rclone.run("limit", "1", "requests_per_second=plan").ok()
    on_rclone.run("apply", on_rclone.plan_path).ok()
    assert arrived(on_rclone)
    assert on_rclone.run("pause", "1").code == 64, "it has ended"


def test_while_its_calendar_is_closed_a_run_waits_and_a_worker_that_may_leave_does(
    on_rclone: Operator, seed: int, sql: Sql
) -> None:
    hours = [f"{(datetime.now(UTC) + timedelta(hours=n)):%H}:00" for n in (-6, 6)]
    row = f"mon-sun {hours[0]}-{hours[1]} UTC: closed"
    planned(on_rclone, seed, 60, calendar=[row], requests_per_second=15, workers=2)
    on_rclone.run("apply", on_rclone.plan_path, "--leave-when-idle").ok()
    assert sql("SELECT count(*) FROM ledger.worker") == [(0,)]
    status = on_rclone.run("status").ok().out
    assert "its calendar is closed until" in status and "`s3migrate limit 1 closed=none` opens it" in status
    assert "The calendar is closed until" in on_rclone.run("advise").ok().out

    on_rclone.run("limit", "1", "closed=none").ok()
    with on_rclone.background("apply", on_rclone.plan_path, "--json", "--leave-when-idle") as worker:
        Lines(worker).until(lambda said: said["type"] == "progress" and said["done"] > 10)
        on_rclone.run("limit", "1", "closed=plan").ok()
        assert worker.wait(PATIENCE) == 0
    done = sql("SELECT count(*) FROM ledger.completion")
    assert sql("SELECT count(*) FROM ledger.chunk WHERE state = 2") == [(0,)]

    on_rclone.run("limit", "1", "requests_per_second=none").ok()
    with on_rclone.background("apply", on_rclone.plan_path, "--json") as worker:
        lines = Lines(worker)
        assert not lines.until(lambda said: said["type"] == "waiting" and said["for"] == "calendar")["back"]
        lines.until(lambda said: said["type"] == "progress")
        assert sql("SELECT count(*) FROM ledger.completion") == done
        on_rclone.run("limit", "1", "closed=none").ok()
        assert lines.until(lambda said: said["type"] == "waiting" and said["for"] == "calendar")["back"]
        assert worker.wait(PATIENCE) == 0
    assert arrived(on_rclone)

    on_rclone.run("limit", "1", "closed=plan").ok()
    with (
        on_rclone.background("verify", on_rclone.plan_path, "--json") as verifying,
        on_rclone.background("certify", "1", "--json") as certifying,
    ):
        waits = [Lines(process).until(lambda said: said["type"] == "waiting") for process in (verifying, certifying)]
        assert [said["for"] for said in waits] == ["calendar", "calendar"] and "verify continues" in waits[0]["message"]
        certifying.terminate()
        assert certifying.wait(PATIENCE) == 75
        assert "verifies or certifies" in on_rclone.run("limit", "1", "closed=none").ok().out
        assert verifying.wait(PATIENCE) == 0
