"""Objects in an archive: reported, or restored first and copied then, over kills and days."""

from __future__ import annotations

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
    applied = patient.apply()
    assert applied.code == 0, applied.err
    assert proxy.count("other") == 3
    assert compare(patient.source_side, patient.destination_side) == []
    verified = patient.verify("--level", "content")
    assert verified.code == 0, verified.err


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
    while proxy.count("head") < looks + 2 and time.monotonic() < deadline:
        time.sleep(0.05)  # it is looked at again and again, and nothing else is held up
    running.kill()
    running.communicate()
    assert arrived(patient) == 7
    proxy.rules = []
    applied = patient.apply()
    assert applied.code == 0, applied.err
    assert proxy.count("other") == 3, "a restore was requested twice"
    assert compare(patient.source_side, patient.destination_side) == []


def test_a_restore_under_way_already_is_no_failure(patient: Operator, proxy: FaultProxy) -> None:
    """Somebody else asked first: 409 fails no object, it is looked at again later."""
    assert patient.plan().code == 0
    proxy.forget()
    proxy.rules = [Rule(error(409, "RestoreAlreadyInProgress"), operations=("other",), key="cold/1", nth=1)]
    applied = patient.apply("--json")
    assert applied.code == 0, applied.err
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


def arrived(operator: Operator) -> int:
    answer = operator.destination.client().list_objects_v2(Bucket=operator.destination_bucket)
    return int(answer["KeyCount"])


def test_reported_they_are_unsupported_and_never_asked_for(patient: Operator, proxy: FaultProxy) -> None:
    patient.declare(policy={"on_archived": "report"})
    assert patient.plan().code == 0
    assert patient.summary()["unsupported"]["objects"] == 3
    proxy.forget()
    applied = patient.apply()
    assert applied.code == 0, applied.err
    assert proxy.count("other") == 0
    found = compare(patient.source_side, patient.destination_side)
    assert [(difference.key, difference.field) for difference in found] == [
        (f"cold/{number}", "missing") for number in range(3)
    ]
    assert patient.verify("--level", "listing").code == 0
