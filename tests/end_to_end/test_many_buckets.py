"""Several pairs of buckets in one declaration: one plan with a section each, one run, one verification."""

from __future__ import annotations

import json
import uuid

import pytest
import yaml
from support.corpus import CorpusObject, mixed
from support.operator import Operator
from support.oracle import Bucket, compare, fill


def pairs_of(operator: Operator, seed: int, count: int = 3) -> list[tuple[Bucket, Bucket]]:
    """*count* pairs; the first is the operator's own. All hold the same keys with other bytes."""
    found = [(operator.source_side, operator.destination_side)]
    for _ in range(count - 1):
        names = [operator.source.create_bucket(f"{side}-{uuid.uuid4().hex[:12]}") for side in ("src", "dst")]
        found.append((Bucket(operator.source.client(), names[0]), Bucket(operator.source.client(), names[1])))
    for number, (source, _) in enumerate(found):
        objects = [*mixed(seed, 4 + number, largest=500), CorpusObject("same/key", 10 + number, seed + number)]
        fill(source.client, source.name, objects)
    return found


def declare(operator: Operator, pairs: list[tuple[Bucket, Bucket]], **more: object) -> None:
    operator.declare()
    document = yaml.safe_load(operator.declaration_path.read_text())
    source, destination = document.pop("source"), document.pop("destination")
    document["buckets"] = [
        {
            "id": f"pair-{number}",
            "source": {**source, "bucket": ours.name},
            "destination": {**destination, "bucket": theirs.name},
        }
        for number, (ours, theirs) in enumerate(pairs)
    ]
    # json is YAML without anchors, which the loader refuses
    operator.declaration_path.write_text(json.dumps({**document, **more}, indent=1))


def test_all_pairs_cross_in_one_run(on_moto: Operator, seed: int) -> None:
    pairs = pairs_of(on_moto, seed)
    declare(on_moto, pairs)
    on_moto.plan().ok()
    document = yaml.safe_load(on_moto.plan_path.read_text())
    assert [section["id"] for section in document["sections"]] == ["pair-0", "pair-1", "pair-2"]
    assert len({stage["id"] for stage in document["stages"]}) == len(document["stages"])
    applied = on_moto.apply("--json").ok()
    assert applied.lines("run_complete")[0]["done"] == 5 + 6 + 7
    for source, destination in pairs:
        assert compare(source, destination) == []
    on_moto.verify("--level", "content").ok()
    on_moto.plan("--detailed-exitcode").ok()


def test_harm_is_told_with_its_section(on_moto: Operator, seed: int) -> None:
    pairs = pairs_of(on_moto, seed)
    declare(on_moto, pairs)
    assert on_moto.plan().code == 0
    fill(pairs[2][0].client, pairs[2][0].name, [CorpusObject("same/key", 12, 999)])
    applied = on_moto.apply()
    assert applied.code == 3
    assert "\npair-2: same/key: source_changed: " in applied.err
    fill(pairs[1][1].client, pairs[1][1].name, [CorpusObject("same/key", 11, 999)])
    ran = on_moto.verify("--level", "listing", "--json")
    assert ran.code != 0
    assert [(f["section"], f["verdict"], f["key"]) for f in ran.lines("finding")] == [
        ("pair-1", "different", "same/key"),
        ("pair-2", "changed-since-plan", "same/key"),
        ("pair-2", "drifted", "same/key"),
    ]
    report = on_moto.folder / "report.md"
    assert "\ndifferent: pair-1: same/key: " in "\n" + on_moto.verify("--level", "listing", "--report", report).err
    assert "| pair-1 | different | `same/key` |" in report.read_text()


@pytest.mark.soak
@pytest.mark.parametrize("as_json", [False, True])
def test_harm_in_another_process_is_told_with_its_section(on_moto: Operator, seed: int, as_json: bool) -> None:
    pairs = pairs_of(on_moto, seed, 2)
    declare(on_moto, pairs)
    assert on_moto.plan().code == 0
    fill(pairs[1][0].client, pairs[1][0].name, [CorpusObject("same/key", 11, 999)])
    applied = on_moto.apply("--processes", "2", *(["--json"] if as_json else []))
    assert applied.code == 3, applied.err
    if as_json:
        assert [(e["section"], e["key"]) for e in applied.lines("object_error")] == [("pair-1", "same/key")]
    else:
        assert "\npair-1: same/key: source_changed: " in applied.err


def test_two_pairs_into_one_place_are_refused(on_moto: Operator, seed: int) -> None:
    pairs = pairs_of(on_moto, seed, 2)
    declare(on_moto, [pairs[0], (pairs[1][0], pairs[0][1])])
    ran = on_moto.plan()
    assert ran.code == 65, ran.err
    assert not on_moto.plan_path.exists()
