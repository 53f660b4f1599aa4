"""Objects in an archive: reported, or restored first and copied then, over kills and days."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from dataclasses import fields

import pytest
import yaml
from support.corpus import CorpusObject, mixed
from support.fault_proxy import FaultProxy
from support.fault_rules import Respond, Rule, error
from support.operator import Operator
from support.oracle import compare, fill

from schema.tiers import MIB

COLD = {"StorageClass": "GLACIER"}
ONGOING = Respond(
    200, "", {"x-amz-restore": 'ongoing-request="true"', "x-amz-storage-class": "GLACIER", "ETag": '"00"'}
)


class Patient(Operator):
    """An operator who has objects looked at again after half a second."""

    def environment(self) -> dict[str, str]:
        return Operator.environment(self) | {"S3MIGRATE_RESTORE_POLL": "0.5"}


@pytest.fixture
def patient(on_moto: Operator, seed: int) -> Operator:
    """Five warm objects and three cold ones."""
    operator = Patient(*(getattr(on_moto, field.name) for field in fields(on_moto)))
    cold = [CorpusObject(f"cold/{n}", 100 + n, seed + n, COLD, {"n": str(n)}, {"t": "1"}) for n in range(3)]
    fill(operator.source.client(), operator.source_bucket, [*mixed(seed, 5, largest=1000), *cold])
    declare(operator)
    return operator


def declare(operator: Operator) -> None:
    preserve = {"storage_class": "map", "storage_class_map": {"GLACIER": "STANDARD"}}
    operator.declare(policy={"on_archived": "restore", "restore_days": 3}, preserve=preserve)


@pytest.fixture
def proxy(patient: Operator) -> Iterator[FaultProxy]:
    """In front of the source."""
    with FaultProxy(patient.source.endpoint_url) as between:
        patient.source_url = between.endpoint_url
        declare(patient)
        yield between


def test_restored_and_copied_in_a_stage_of_their_own(patient: Operator, proxy: FaultProxy) -> None:
    """moto restores at once: one request for each object, and then the copy."""
    assert patient.plan().code == 0
    document = yaml.safe_load(patient.plan_path.read_text())
    archived = [batch for batch in document["batches"] if batch["stage"] == "archived"]
    assert sum(batch["objects"] for batch in archived) == 3
    proxy.forget()
    patient.apply().ok()
    assert proxy.count("other") == 3
    assert compare(patient.source_side, patient.destination_side) == []
    patient.verify("--level", "content").ok()


def test_a_restore_that_takes_long_blocks_nobody_and_outlives_a_kill(patient: Operator, proxy: FaultProxy) -> None:
    assert patient.plan().code == 0
    proxy.forget()
    proxy.rules = [Rule(ONGOING, operations=("head",), key="cold/1", skip=1)]
    running = patient.background("apply", patient.plan_path)
    deadline = time.monotonic() + 60
    while proxy.count("put") + arrived(patient) < 7 and time.monotonic() < deadline:
        assert running.poll() is None
        time.sleep(0.05)
    looks = proxy.count("head")
    told = b"waiting for the archive: 1 object (next look in "
    stderr, said = running.stderr, b""
    assert stderr is not None
    while (told not in said or proxy.count("head") < looks + 2) and time.monotonic() < deadline:
        assert running.poll() is None  # it is looked at again and again, and nothing else is held up
        if select.select([stderr], [], [], 0.05)[0]:
            said += os.read(stderr.fileno(), 65_536)
    assert told in said, said
    running.kill()
    running.communicate()
    assert arrived(patient) == 7
    proxy.rules = []
    patient.apply().ok()
    assert proxy.count("other") == 3, "a restore was requested twice"
    assert compare(patient.source_side, patient.destination_side) == []


def test_a_restore_under_way_already_is_no_failure(patient: Operator, proxy: FaultProxy) -> None:
    """Somebody else asked first: 409 fails no object, it is looked at again later."""
    assert patient.plan().code == 0
    proxy.forget()
    proxy.rules = [Rule(error(409, "RestoreAlreadyInProgress"), operations=("other",), key="cold/1", nth=1)]
    applied = patient.apply("--json").ok()
    assert applied.lines("run_complete")[0]["failed"] == 0
    assert proxy.count("other") == 4
    assert compare(patient.source_side, patient.destination_side) == []


def test_a_refused_restore_fails_its_object_and_no_other(patient: Operator, proxy: FaultProxy) -> None:
    assert patient.plan().code == 0
    proxy.rules = [Rule(error(403, "AccessDenied"), operations=("other",), key="cold/1")]
    applied = patient.apply()
    assert (applied.code, "cold/1" in applied.err) == (3, True), applied.err
    found = compare(patient.source_side, patient.destination_side)
    assert [(difference.key, difference.field) for difference in found] == [("cold/1", "missing")]


@pytest.mark.parametrize(
    ("transfer", "same_parts", "proof"),
    [("stream", False, "proven by head only"), ("stream", True, "proven by checksum"),
     ("server-copy", True, "proven by checksum")],
)  # fmt: skip
def test_what_lands_in_an_archive_is_proven_without_reading_it(
    on_moto: Operator, seed: int, transfer: str, same_parts: bool, proof: str
) -> None:
    """The plan names it as a risk; canary and verify prove it by checksums and heads, and verify says so of each."""
    parted = CorpusObject("parted", 6 * MIB, seed, part_size=5 * MIB)
    fill(on_moto.source.client(), on_moto.source_bucket, [*mixed(seed, 4, largest=1000, tags=False), parted])
    on_moto.declare(
        preserve={"storage_class": "DEEP_ARCHIVE", "part_layout": same_parts},
        policy={"transfer": transfer},
        limits={"memory": "64MiB"},
    )
    assert on_moto.plan().code == 0
    risks = {risk["id"]: risk["text"] for risk in yaml.safe_load(on_moto.plan_path.read_text())["risks"]}
    assert "5 in DEEP_ARCHIVE" in risks["archived-destination"]
    on_moto.apply().ok()
    verified = on_moto.verify("--level", "content", "--json", "--report", "found.jsonl").ok()
    notes = {note["key"]: note["detail"] for note in verified.lines("note")}
    assert (len(notes), verified.lines("finding")) == (5, [])
    assert all("not readable in the archive: destination (DEEP_ARCHIVE)" in text for text in notes.values())
    assert proof in notes.pop("parted")
    assert all("proven by checksum" in text for text in notes.values())
    done = verified.lines("verify_complete")[0]
    assert (done["proven"], done["archived"], done["findings"]) == (5, 5, {})
    assert (on_moto.folder / "found.jsonl").read_text().count('"archived"') == 6, "five lines, and the count"
    assert "5 of them archived" in on_moto.verify("--level", "content").err
    named = {"Bucket": on_moto.destination_bucket, "Key": "parted"}
    on_moto.destination.client().put_object(Body=b"x" * (6 * MIB), StorageClass="DEEP_ARCHIVE", **named)
    assert on_moto.verify("--level", "content").code == 8, "other bytes show by their ETag"


def test_a_source_that_went_back_to_the_archive(patient: Operator, seed: int) -> None:
    """Its restored copies are gone when verify comes: what was read at the copy stands in for them.

    Without tags: moto refuses to tell those of an archived object, S3 does not.
    """
    cold = [CorpusObject(f"cold/{n}", 100 + n, seed + n, COLD, {"n": str(n)}) for n in range(3)]
    fill(patient.source.client(), patient.source_bucket, cold)
    assert patient.plan().code == 0
    assert patient.apply().code == 0
    client, bucket = patient.source.client(), patient.source_bucket
    for number in range(3):
        there = {"Bucket": bucket, "Key": f"cold/{number}"}
        client.copy_object(CopySource=there, StorageClass="GLACIER", **there)
        assert "Restore" not in client.head_object(**there)
    verified = patient.verify("--level", "content", "--json")
    assert verified.code == 0, verified.out
    notes = {note["key"]: note["detail"] for note in verified.lines("note")}
    assert sorted(notes) == ["cold/0", "cold/1", "cold/2"]
    assert all("source (GLACIER); the destination's content is what was read" in text for text in notes.values())
    patient.destination.client().put_object(Bucket=patient.destination_bucket, Key="cold/1", Body=b"x" * 101)
    assert patient.verify("--level", "content").code == 8


def arrived(operator: Operator) -> int:
    answer = operator.destination.client().list_objects_v2(Bucket=operator.destination_bucket)
    return int(answer["KeyCount"])


def test_reported_they_are_unsupported_and_never_asked_for(patient: Operator, proxy: FaultProxy) -> None:
    patient.declare(policy={"on_archived": "report"})
    assert patient.plan().code == 0
    assert patient.summary()["unsupported"]["objects"] == 3
    proxy.forget()
    patient.apply().ok()
    assert proxy.count("other") == 0
    found = compare(patient.source_side, patient.destination_side)
    assert [(difference.key, difference.field) for difference in found] == [
        (f"cold/{number}", "missing") for number in range(3)
    ]
    assert patient.verify("--level", "listing").code == 0
