"""The main job as an operator does it: plan, check, show, apply, status, verify, explain, plan again."""

from __future__ import annotations

import pytest
from support.corpus import ODD_KEYS, SLASHED_KEYS, CorpusObject, holdable_by_moto, holdable_by_rclone, mixed, odd
from support.operator import Operator, plan_id_of, tree
from support.oracle import RCLONE_FIELDS, compare, fill

from schema.tiers import MIB

SMALL_MEMORY = {"memory": "12MiB"}
"""Objects over 6 MiB travel in parts of 5 MiB."""


def parted(seed: int) -> list[CorpusObject]:
    """One object in three parts, and one that was written in parts at the source."""
    return [
        CorpusObject("big/three-parts", 11 * MIB, seed, {"ContentType": "video/mp4"}, {"take": "1"}, {"kind": "film"}),
        CorpusObject("big/two-parts-there", 7 * MIB, seed + 1, part_size=5 * MIB),
    ]


def test_everything_arrives_and_planning_again_finds_nothing(on_moto: Operator, seed: int) -> None:
    objects = mixed(seed, 20, largest=64 * 1024) + parted(seed)
    keys = [key for key in (*ODD_KEYS, *SLASHED_KEYS) if holdable_by_moto(key)]
    objects += odd(seed, keys)
    fill(on_moto.source.client(), on_moto.source_bucket, objects)
    on_moto.declare(limits=SMALL_MEMORY)

    planned = on_moto.plan("--detailed-exitcode")
    assert planned.code == 2, planned.err
    before = tree(on_moto.folder / "plans")
    again = on_moto.plan("--detailed-exitcode")
    assert (again.code, tree(on_moto.folder / "plans")) == (2, before), again.err
    assert on_moto.summary()["copy"]["objects"] == len(objects)

    on_moto.run("check", on_moto.plan_path).ok()
    for form in ("text", "json", "md"):
        shown = on_moto.run("show", on_moto.plan_path, "--format", form)
        assert (shown.code, "photos" in shown.out) == (0, True)
    applied = on_moto.apply("--json", "--expect-plan-id", plan_id_of(on_moto.plan_path)).ok()
    assert applied.lines("run_complete")[0]["done"] == len(objects)
    assert compare(on_moto.source_side, on_moto.destination_side) == []
    assert on_moto.uploads() == []

    status = on_moto.run("status", "--json")
    assert status.code == 0
    assert status.lines("status")[0]["state"] == "complete"
    explained = on_moto.run("explain", "big/three-parts", "--json").ok()
    assert explained.lines("explain")[0]["completion"]["outcome"] == "copied"
    for level in ("listing", "head", "content"):
        on_moto.verify("--level", level).ok()
    assert on_moto.run("ledger", "check").code == 0
    on_moto.plan("--detailed-exitcode").ok()
    assert on_moto.apply().code == 0


def test_everything_arrives_on_servers_that_ignore_conditions(on_rclone: Operator, seed: int) -> None:
    objects = mixed(seed, 60, largest=100_000, tags=False) + odd(
        seed, [key for key in ODD_KEYS if holdable_by_rclone(key)], tags=False, prefix="odd/"
    )
    objects += [CorpusObject("big/one", 11 * MIB, seed), CorpusObject("big/two", 9 * MIB, seed)]
    fill(on_rclone.source.client(), on_rclone.source_bucket, objects)
    on_rclone.declare(limits=SMALL_MEMORY)
    on_rclone.plan().ok()
    on_rclone.apply().ok()
    assert compare(on_rclone.source_side, on_rclone.destination_side, fields=RCLONE_FIELDS) == []
    on_rclone.verify("--level", "content").ok()
    assert on_rclone.plan("--detailed-exitcode").code == 0


@pytest.mark.parametrize("size", [0, 1])
def test_a_bucket_of_one_object(on_moto: Operator, size: int) -> None:
    fill(on_moto.source.client(), on_moto.source_bucket, [CorpusObject("only", size, 1)])
    assert on_moto.plan("--detailed-exitcode").code == 2
    assert on_moto.apply().code == 0
    assert compare(on_moto.source_side, on_moto.destination_side) == []


def test_an_empty_bucket(on_moto: Operator) -> None:
    assert on_moto.plan("--detailed-exitcode").code == 0
    on_moto.apply().ok()
    assert on_moto.verify().code == 0
