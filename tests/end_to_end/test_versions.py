"""`versions: all`: whole histories arrive in order, and a kill in the middle of one repeats no version."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.corpus import CorpusObject
from support.fault_proxy import FaultProxy
from support.fault_rules import Reset, Rule, error, slow_down
from support.operator import Operator, moved
from support.oracle import RCLONE_FIELDS, Bucket, compare, fill, write
from support.servers import MotoServer
from support.stranger import verified

from schema.tiers import MIB

# moto lists all versions before all delete markers, with whole seconds: which came first cannot be told. S3 lists
# them interleaved; with the milliseconds that moto knows, the order can be told here as well.
_MILLISECONDS = """
import moto.s3.models as models
from moto.core.serialize import TimestampSerializer
exactly = lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
models.FakeKey.last_modified_ISO8601 = property(lambda self: exactly(self.last_modified))
models.FakeDeleteMarker.last_modified_ISO8601 = property(lambda self: exactly(self.last_modified))
TimestampSerializer._timestamp_iso8601_zeroed = lambda _self, moment: exactly(moment)
"""


class MillisecondMoto(MotoServer):
    """moto with the times of versions and markers in milliseconds."""

    corrections = _MILLISECONDS


@pytest.fixture(scope="module")
def versioning_server() -> Iterator[MillisecondMoto]:
    """One for all tests here."""
    with MillisecondMoto() as server:
        yield server


class Version(NamedTuple):
    """What the oracle compares of one version."""

    content: bytes | None
    """None: a delete marker."""
    tags: tuple[tuple[str, str], ...]
    metadata: tuple[tuple[str, str], ...]
    is_latest: bool


def history(bucket: Bucket) -> dict[str, list[Version]]:
    """Every key's versions, oldest first, read with boto3."""
    client, found = bucket.client, {}
    rows: list[tuple[str, Any, bool]] = []
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket.name):
        rows += [(row["Key"], row, False) for row in page.get("Versions", ())]
        rows += [(row["Key"], row, True) for row in page.get("DeleteMarkers", ())]
    for key, row, marker in sorted(rows, key=lambda r: (r[0], r[1]["LastModified"])):
        if marker:
            version = Version(None, (), (), row["IsLatest"])
        else:
            words = {"Bucket": bucket.name, "Key": key, "VersionId": row["VersionId"]}
            answer = client.get_object(**words)
            tags = client.get_object_tagging(**words)["TagSet"]
            version = Version(
                answer["Body"].read(),
                tuple(sorted((tag["Key"], tag["Value"]) for tag in tags)),
                tuple(sorted(answer["Metadata"].items())),
                row["IsLatest"],
            )
        found.setdefault(key, []).append(version)
    return found


def lay(operator: Operator, key: str, *steps: CorpusObject | None) -> None:
    """One version after the other; None lays a delete marker."""
    client = operator.source.client()
    for step in steps:
        if step is None:
            client.delete_object(Bucket=operator.source_bucket, Key=key)
        else:
            write(client, operator.source_bucket, step)


def version(key: str, number: int, size: int = 100) -> CorpusObject:
    return CorpusObject(key, size + number, number, {}, {"number": str(number)}, {"v": str(number)})


@pytest.fixture
def versioned(tmp_path: Path, ledger_url: str, versioning_server: MillisecondMoto) -> Operator:
    """Both buckets keep versions; four keys with four versions and two markers each, one written before versioning."""
    names = [versioning_server.create_bucket(f"{side}-{uuid.uuid4().hex[:12]}") for side in ("src", "dst")]
    on_moto = Operator(tmp_path, ledger_url, versioning_server, versioning_server, *names)
    lay(on_moto, "null-first", version("null-first", 1))
    for name in (on_moto.source_bucket, on_moto.destination_bucket):
        on_moto.source.client().put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    lay(on_moto, "null-first", version("null-first", 2), None)
    for key in ("a", "ab", "b/deep", "z"):
        lay(on_moto, key, version(key, 1), None, version(key, 2), version(key, 3), None, version(key, 4))
    lay(on_moto, "ends-deleted", version("ends-deleted", 1), None)
    lay(on_moto, "twice-the-same", *(version("twice-the-same", 7) for _ in range(3)))
    on_moto.declare(policy={"versions": "all"})
    return on_moto


def arrived(operator: Operator) -> None:
    ours, theirs = history(operator.source_side), history(operator.destination_side)
    assert theirs.keys() == ours.keys()
    for key in ours:
        assert theirs[key] == ours[key], key


def test_histories_arrive_oldest_to_newest_with_their_markers(versioned: Operator) -> None:
    versioned.plan().ok()
    applied = versioned.apply()
    assert applied.code == 0, applied.err + versioned.run("status").out
    arrived(versioned)
    for level in ("listing", "head", "content"):
        versioned.verify("--level", level).ok()
    versioned.plan("--detailed-exitcode").ok()


def test_a_certificate_holds_every_version_and_every_marker(versioned: Operator) -> None:
    """The bucket's own list of versions agrees with it."""
    versioned.plan().ok()
    versioned.apply().ok()
    (facts,) = versioned.run("certify", "--level", "content", "--json").ok().lines("certificate")
    answer = versioned.destination.client().list_object_versions(Bucket=versioned.destination_bucket)
    kinds = {kind: answer.get(kind, []) for kind in ("Versions", "DeleteMarkers")}
    path = versioned.folder / "versions.json"
    path.write_text(json.dumps(kinds, default=str))

    assert facts["size"] == sum(map(len, kinds.values())) and not facts["not_certified"]
    assert verified(versioned.folder / facts["path"] / facts["section"], path).stderr == ""
    assert versioned.run("prove", "a", "--json").ok().out.count('"type": "proof"') == 6


def test_verify_sees_a_version_laid_on_top(versioned: Operator) -> None:
    assert versioned.plan().code == 0
    assert versioned.apply().code == 0
    client, name = versioned.destination.client(), versioned.destination_bucket
    write(client, name, version("z", 9))
    client.delete_object(Bucket=name, Key="a")
    ran = versioned.verify("--level", "listing", "--json")
    assert ran.code != 0
    assert sorted(finding["key"] for finding in ran.lines("finding")) == ["a", "z"]


def test_verify_sees_what_became_of_versions_that_needed_no_copy(versioned: Operator) -> None:
    """A plan that leaves all as it is promises it too: one version removed, a whole history, one laid on top."""
    assert versioned.plan().code == 0
    assert versioned.apply().code == 0
    write(versioned.source.client(), versioned.source_bucket, version("b/deep", 5))
    assert versioned.plan().code == 0
    assert versioned.apply().code == 0
    assert versioned.verify("--level", "listing").code == 0
    client, name = versioned.destination.client(), versioned.destination_bucket
    rows = client.list_object_versions(Bucket=name)["Versions"]
    removed = [row for row in rows if row["Key"] == "twice-the-same"][1:2]
    removed += [row for row in rows if row["Key"] == "a" or (row["Key"], row["Size"]) == ("b/deep", 102)]
    for row in removed:
        client.delete_object(Bucket=name, Key=row["Key"], VersionId=row["VersionId"])
    write(client, name, version("z", 9))
    ran = versioned.verify("--level", "listing", "--json")
    assert ran.code == 8
    found = {finding["key"]: finding["verdict"] for finding in ran.lines("finding")}
    assert found == {"twice-the-same": "missing", "a": "missing", "b/deep": "missing", "z": "different"}


@pytest.mark.parametrize(
    ("fault", "every"),
    # Where a third is refused the run slows down to a few requests a second, as it should: that takes a minute.
    [("lost", 3), ("broken", 3), ("throttled", 16), pytest.param("throttled", 3, marks=pytest.mark.soak)],
)
def test_a_lost_answer_writes_no_version_twice(versioned: Operator, fault: str, every: int) -> None:
    """Of so many writes one fails: after it took effect, or before."""
    action = {"lost": Reset(after=True), "throttled": slow_down(), "broken": error(500, "InternalError")}[fault]
    with FaultProxy(versioned.destination.endpoint_url) as proxy:
        versioned.destination_url = proxy.endpoint_url
        versioned.declare(policy={"versions": "all"})
        assert versioned.plan().code == 0
        proxy.rules = [Rule(action, operations=("put", "delete"), nth=number) for number in range(2, 50, every)]
        applied = versioned.apply()
    applied.ok()
    arrived(versioned)


@pytest.mark.soak
@pytest.mark.parametrize("writes", [2, 11, *(pytest.param(n, marks=pytest.mark.soak) for n in (1, 4, 7, 16))])
def test_killed_after_some_writes_it_goes_on_in_the_middle_of_a_history(versioned: Operator, writes: int) -> None:
    with FaultProxy(versioned.destination.endpoint_url) as proxy:
        versioned.destination_url = proxy.endpoint_url
        versioned.declare(policy={"versions": "all"})
        assert versioned.plan().code == 0
        proxy.rules = [Rule(slow_down(retry_after=60), operations=("put", "delete"), skip=writes)]
        running = versioned.background("apply", versioned.plan_path)
        deadline = time.monotonic() + 60
        while proxy.count("put", "delete", status=503) == 0 and time.monotonic() < deadline:
            assert running.poll() is None
            time.sleep(0.02)
        running.kill()
        running.communicate()
        proxy.rules = []
        versioned.apply().ok()
        assert versioned.verify().code == 0
    arrived(versioned)


def test_versions_in_parts(versioned: Operator, seed: int) -> None:
    lay(
        versioned,
        "big",
        CorpusObject("big", 11 * MIB, seed),
        CorpusObject("big", 7 * MIB, seed + 1, {}, {"m": "2"}, part_size=5 * MIB),
        None,
        CorpusObject("big", 3, seed + 2),
    )
    with FaultProxy(versioned.destination.endpoint_url) as proxy:
        versioned.destination_url = proxy.endpoint_url
        versioned.declare(policy={"versions": "all"}, limits={"memory": "12MiB"})
        assert versioned.plan().code == 0
        proxy.rules = [Rule(Reset(after=True), operations=("complete",), nth=1)]
        applied = versioned.apply()
    applied.ok()
    arrived(versioned)
    assert versioned.uploads() == []


def test_endpoints_that_list_no_versions(on_rclone: Operator, seed: int) -> None:
    """rclone answers ListObjectVersions with 501: the objects it has are all the versions there are."""
    fill(on_rclone.source.client(), on_rclone.source_bucket, [CorpusObject(key, 9, seed) for key in ("a", "b/c")])
    on_rclone.declare(policy={"versions": "all"}, accept_loss=["versions"])
    moved(on_rclone)
    assert compare(on_rclone.source_side, on_rclone.destination_side, fields=RCLONE_FIELDS) == []


def test_a_destination_without_versions_gets_the_current_object_once_that_is_accepted(versioned: Operator) -> None:
    """Older versions and markers are unsupported by name, not written over each other; a second plan is empty."""
    versioned.destination_bucket = versioned.destination.create_bucket(f"plain-{uuid.uuid4().hex[:12]}")
    versioned.declare(policy={"versions": "all"})
    assert versioned.plan().code == 0
    refused = versioned.apply()
    assert (refused.code, "versions" in refused.err) == (7, True), refused.err
    versioned.declare(policy={"versions": "all"}, accept_loss=["versions"])
    assert versioned.plan().code == 0
    versioned.apply().ok()
    latest = {key: versions[-1] for key, versions in history(versioned.source_side).items()}
    there = history(versioned.destination_side)
    assert there == {key: [version] for key, version in latest.items() if version.content is not None}
    versioned.verify("--level", "content").ok()
    assert versioned.plan("--detailed-exitcode").code == 0
