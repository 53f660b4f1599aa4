"""The plan document: round trips, its name, what is refused, and the file on disk."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.ledger_plan import ledger_plan
from support.sample_plan import check_plan, digest, large_plan, sample_plan

from schema.declaration import Filters, Guards, Policy, Preserve, Side
from schema.errors import (
    GuardExceeded,
    InputMissing,
    IntegrityRefused,
    LocalDiskError,
    ManifestCorrupt,
    ManifestMissing,
    PlanCorrupt,
)
from schema.files import plan_checks, plan_document, planfile
from schema.files.manifest import ManifestFolder
from schema.formats import yaml_strict
from schema.formats.canonical import canonical_json
from schema.formats.validation import schema_text
from schema.limits import CalendarRow, Limits
from schema.plan import Batch, Inventory, Loss, Plan, Section, Stage, Tally

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def test_a_plan_survives_the_file(tmp_path: Path) -> None:
    plan = sample_plan()

    assert planfile.write_plan(tmp_path / "plans" / "photos.plan.yaml", plan)

    assert planfile.load_plan(tmp_path / "plans" / "photos.plan.yaml") == plan
    assert plan_document.from_document(plan_document.to_document(plan)) == plan


@given(keys=st.tuples(TEXT, TEXT).map(sorted), text=TEXT, prefix=TEXT, rate=st.floats(1e-6, 1e9))
def test_other_peoples_text_survives(keys: list[str], text: str, prefix: str, rate: float) -> None:
    plan = sample_plan()
    batch = dataclasses.replace(plan.batches[0], keys=(keys[0], keys[1]))
    section = dataclasses.replace(
        plan.sections[0],
        source=dataclasses.replace(plan.sections[0].source, prefix=prefix),
        losses=(dataclasses.replace(plan.sections[0].losses[0], text=text, examples=(text,)),),
        mapping_examples=((text, prefix),),
    )
    plan = sample_plan(
        batches=(batch, *plan.batches[1:]),
        sections=(section, plan.sections[1]),
        limits=dataclasses.replace(plan.limits, requests_per_second=rate),
    )

    document, lines = yaml_strict.load(planfile.dumps(plan).encode("utf-8"), "plan")

    again = plan_document.from_document(document)
    check_plan(document, again, lines)
    assert again == plan


def test_the_plan_id_is_over_all_but_itself_and_provenance() -> None:
    plan = sample_plan()

    assert sample_plan(provenance={"generated_at": "later"}).plan_id == plan.plan_id
    document = plan_document.to_document(plan)
    assert plan_document.compute_plan_id({**document, "plan_id": "x", "provenance": 1}) == plan.plan_id
    assert sample_plan(serial=4).plan_id != plan.plan_id
    assert plan_document.compute_plan_id({**document, "x-note": "mine"}) != plan.plan_id


def test_the_plan_id_does_not_move_between_versions() -> None:
    """A plan approved yesterday must have the same name today: change this only with the apiVersion."""
    assert plan_document.compute_plan_id({"b": [1, None, True], "a": {"é": "x"}, "plan_id": "?"}) == (
        "sha256:643b5b5de9009a69c643c94390a264a4c4a704f65473f92e2f906ed91e1dc940"
    )


def test_the_text_is_for_reviewers_and_every_yaml_reader() -> None:
    text = planfile.dumps(sample_plan())

    assert text.startswith("# yaml-language-server: $schema=")
    assert "Do not edit by hand" in text
    assert yaml.safe_load(text) == plan_document.to_document(sample_plan())
    assert max(map(len, text.splitlines())) <= 160
    assert len(text.splitlines()) < 200


def test_documents_hold_no_floats() -> None:
    assert '"1.5"' in planfile.dumps(sample_plan(estimate={"rate": 1.5}))
    with pytest.raises(TypeError, match=r"\$\.a\[0\]: float"):
        canonical_json({"a": [1.5]})
    with pytest.raises(TypeError, match="must be a string"):
        canonical_json({1: 2})


@given(st.dictionaries(TEXT, st.integers() | TEXT | st.none() | st.booleans(), max_size=8))
def test_canonical_json_ignores_order_and_is_json(document: dict[str, Any]) -> None:
    backwards = dict(reversed(document.items()))

    assert canonical_json(backwards) == canonical_json(document)
    assert json.loads(canonical_json(document)) == document


def test_an_equal_plan_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "p.plan.yaml"
    planfile.write_plan(path, sample_plan())
    before = (path.read_bytes(), path.stat().st_ino)

    assert not planfile.write_plan(path, sample_plan(provenance={"generated_at": "later"}))
    assert (path.read_bytes(), path.stat().st_ino) == before
    assert planfile.write_plan(path, sample_plan(serial=4))
    assert planfile.load_plan(path).serial == 4


def test_a_broken_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "p.plan.yaml"
    path.write_text("a: [")
    assert planfile.write_plan(path, sample_plan())
    assert planfile.load_plan(path) == sample_plan()


def test_a_full_disk_leaves_the_old_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.plan.yaml"
    planfile.write_plan(path, sample_plan())

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LocalDiskError, match="No space left"):
        planfile.write_plan(path, sample_plan(serial=4))
    assert planfile.load_plan(path) == sample_plan()
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_plan_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="nowhere"):
        planfile.load_plan(tmp_path / "nowhere.plan.yaml")


Edit = Callable[[dict[str, Any]], None]


def _set(*path: str | int, to: Any) -> Edit:
    def edit(document: dict[str, Any]) -> None:
        node: Any = document
        for step in path[:-1]:
            node = node[step]
        node[path[-1]] = to

    return edit


def _deletes_by_stream(document: dict[str, Any]) -> None:
    document["stages"][2]["id"] = document["batches"][0]["stage"] = "deletes"


SKIP = ("sections", 0, "summary", "skip")
TAMPERED: list[tuple[Edit, str]] = [
    (_set("name", to="other"), "plan_id is sha256:"),
    (_set("batches", 0, "manifest", to=digest("9")), "plan_id is sha256:"),
    (_set("plan_id", to=digest("0")), "plan_id is sha256:"),
    (_set("guards", "max_deletes", to=5), "plan_id is sha256:"),
    (_set("batches", 0, "method", to="server-copy"), "plan_id is sha256:"),
    (_set("sections", 0, "methods", "stream", to="because"), "plan_id is sha256:"),
    (_set("x-note", to="mine"), "plan_id is sha256:"),
]
UNSOUND: list[tuple[Edit, str]] = [
    (_set(*SKIP, "objects", to=3), "section photos listed 9 objects of 750 bytes, but"),
    (_set(*SKIP, "bytes", to=151), "but copy, overwrite, delete-marker, skip"),
    (_set("sections", 1, "source_inventory", "objects", to=8), "section logs listed 9 objects"),
    (_set("sections", 0, "summary", "transfer", "bytes", to=601), "its actions sum to 6 objects of 600 bytes"),
    (_set("batches", 0, "objects", to=4), "its batches sum to 7 objects of 600 bytes"),
    (_set("batches", 0, "section", to="logs"), "section photos transfers 6 objects"),
    (_set("sections", 0, "side_manifests", to={}), "2 objects under skip, and no side manifest"),
    (_set("sections", 0, "side_manifests", "conflict", to=digest("8")), "yet a side manifest"),
    (_set("batches", 0, "section", to="other"), "unknown section 'other'"),
    (_set("batches", 0, "stage", to="other"), "unknown stage 'other'"),
    (_set("batches", 0, "tier", to="other"), "unknown tier 'other'"),
    (_set("batches", 0, "id", to="tiny-l1"), "batch 'tiny-l1' is there twice"),
    (_set("batches", 0, "keys", to=["b", "a"]), "ends before it begins"),
    (_set("sections", 1, "id", to="photos"), "section 'photos' is there twice"),
    (_set("stages", 1, "id", to="canary"), "stage 'canary' is there twice"),
    (_set("stages", 0, "depends_on", to=["nowhere"]), "waits for 'nowhere'"),
    (_set("stages", 0, "depends_on", to=["markers"]), "in a ring"),
    (_set("stages", 0, "depends_on", to=["canary"]), "in a ring"),
    (_set("batches", 0, "method", to="server-copy"), "tiny-p0 travels by server-copy; section photos does not say"),
    (lambda document: document["batches"][0].pop("method"), "batch tiny-p0 does not say how its objects travel"),
    (_deletes_by_stream, "batch tiny-p0 deletes by stream"),
    (_set("sections", 0, "methods", "server-copy", to="x"), "says why batches travel by server-copy, but none does"),
    (_set("manifest_store", to="../elsewhere"), "manifest_store must be a folder beside"),
    (_set("manifest_store", to="/etc"), "manifest_store must be a folder beside"),
]
MISSHAPEN: list[tuple[Edit, str]] = [
    (_set("gaurds", to={}), "gaurds: unknown key; did you mean guards?"),
    (_set("apiVersion", to="s3migrate/v2"), "apiVersion: must be s3migrate/v1"),
    (_set("serial", to="1"), "serial: must be an integer"),
    (_set("serial", to=True), "serial: must be an integer"),
    (_set("sections", to=[]), "sections: must have at least 1 item"),
    (_set("sections", 0, "source", "secret_key", to="hunter2hunter2"), "sections[0].source.secret_key: unknown key"),
    (_set("batches", 0, "manifest", to="sha256:../../x"), "batches[0].manifest: must be sha256: and 64 hex digits"),
    (_set("batches", 0, "manifest", to=digest("a") + "\n"), "batches[0].manifest: must be sha256:"),
    (_set("batches", to=None), "batches: must be a list"),
    (_set("batch_index", to={"sha256": digest("1"), "count": 500}), "give either batches, or batch_index, not both"),
    (_set("batches", 0, "method", to="strem"), "method: must be one of stream, server-copy; did you mean stream?"),
    (_set("sections", 0, "methods", "stream", to=""), "sections[0].methods.stream: must not be empty"),
    (_set("stages", 0, "gate", to="copid"), "stages[0].gate: must be one of copied, verified; did you mean copied?"),
    (_set("limits", "calendar", 0, "bandwith", to=1), "calendar[0].bandwith: unknown key; did you mean bandwidth?"),
    (_set("limits", "calendar", 1, "concurrent_requests", to=0), "calendar[1].concurrent_requests: must be at least 1"),
    (_set("policy", "compare", to=[]), "policy.compare: must have at least 1 item"),
]


def _written(path: Path, edit: Edit, *, renamed: bool) -> None:
    document = json.loads(json.dumps(plan_document.to_document(sample_plan())))
    edit(document)
    if renamed:
        document["plan_id"] = plan_document.compute_plan_id(document)
    path.write_text(yaml_strict.dump(document), encoding="utf-8")


@pytest.mark.parametrize(("edit", "what"), TAMPERED)
def test_an_edited_plan_is_noticed(tmp_path: Path, edit: Edit, what: str) -> None:
    _written(tmp_path / "p.yaml", edit, renamed=False)
    with pytest.raises(PlanCorrupt) as error:
        planfile.load_plan(tmp_path / "p.yaml")
    assert what in str(error.value)
    assert f"{tmp_path}/p.yaml:3: " in str(error.value)


@pytest.mark.parametrize(("edit", "what"), UNSOUND)
def test_a_plan_that_does_not_add_up_is_refused_under_any_name(tmp_path: Path, edit: Edit, what: str) -> None:
    _written(tmp_path / "p.yaml", edit, renamed=True)
    with pytest.raises(PlanCorrupt) as error:
        planfile.load_plan(tmp_path / "p.yaml")
    assert what in str(error.value)
    assert "plan again" in str(error.value)


@pytest.mark.parametrize(("edit", "what"), MISSHAPEN)
def test_a_misshapen_plan_is_refused_at_its_line(tmp_path: Path, edit: Edit, what: str) -> None:
    _written(tmp_path / "p.yaml", edit, renamed=True)
    with pytest.raises(PlanCorrupt) as error:
        planfile.load_plan(tmp_path / "p.yaml")
    assert what in str(error.value)
    assert str(error.value).startswith(f"{tmp_path}/p.yaml:")
    assert "hunter2" not in str(error.value)


def test_a_sound_plan_passes(tmp_path: Path) -> None:
    """The edits above are refused for what they change, not for being rewritten."""
    _written(tmp_path / "p.yaml", lambda _document: None, renamed=True)
    assert planfile.load_plan(tmp_path / "p.yaml") == sample_plan()


def test_a_plan_without_work_is_a_plan(tmp_path: Path) -> None:
    section = sample_plan().sections[0]
    idle = dataclasses.replace(
        section,
        summary={"listed": section.summary["listed"], "skip": section.summary["listed"], "transfer": Tally()},
        side_manifests={"skip": digest("1")},
        methods={},
    )
    planfile.write_plan(tmp_path / "p.yaml", sample_plan(sections=(idle,), batches=(), stages=(), tiers=()))
    assert planfile.load_plan(tmp_path / "p.yaml").transfer == (0, 0)


def test_guards_name_all_that_is_exceeded() -> None:
    plan = sample_plan()
    plan_checks.check_guards(plan)

    guards = dataclasses.replace(plan.guards, max_objects=11, max_bytes=1199, max_overwrites=1)
    with pytest.raises(GuardExceeded) as error:
        plan_checks.check_guards(sample_plan(guards=guards))
    for name in ("12 objects", "guards.max_objects", "guards.max_bytes", "2 overwrites", "raise the guard"):
        assert name in str(error.value)


def test_deletes_are_guarded_by_zero_unless_said() -> None:
    section = sample_plan().sections[0]
    deleting = dataclasses.replace(section, summary={**section.summary, "delete": section.summary["overwrite"]})
    with pytest.raises(GuardExceeded, match=r"1 deletes, and guards.max_deletes allows 0"):
        plan_checks.check_guards(sample_plan(sections=(deleting,)))


def test_very_many_batches_stand_beside_the_plan(tmp_path: Path) -> None:
    plan = large_plan()
    path = tmp_path / "p.yaml"

    assert planfile.write_plan(path, plan)
    assert not planfile.write_plan(path, plan)

    assert len(path.read_text(encoding="utf-8").splitlines()) < 120
    assert planfile.load_plan(path) == plan
    assert planfile.load_plan(path) == plan


def test_very_many_batches_stand_in_another_store(tmp_path: Path) -> None:
    plan = plan_document.with_plan_id(dataclasses.replace(large_plan(), manifest_store="s3://plans/photos"))
    path, store = tmp_path / "p.yaml", ManifestFolder(tmp_path / "elsewhere")

    def open_store(name: str, destination: Side) -> ManifestFolder:
        assert (name, destination) == ("s3://plans/photos", plan.sections[0].destination)
        return store

    planfile.write_plan(path, plan, store)

    assert planfile.load_plan(path, open_store) == plan
    with pytest.raises(PlanCorrupt, match="open that store"):
        planfile.load_plan(path)


def test_a_large_plan_leaves_nothing_else_behind(tmp_path: Path) -> None:
    planfile.write_plan(tmp_path / "p.yaml", large_plan())
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["manifests", "p.yaml"]


def test_a_batch_index_that_is_gone_or_changed_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    planfile.write_plan(path, large_plan())
    other = dataclasses.replace(large_plan(), batches=large_plan().batches[:-1] + large_plan().batches[:1])
    planfile.write_plan(tmp_path / "other.yaml", plan_document.with_plan_id(other))
    wanted = planfile.read_document(path)[0]["batch_index"]["sha256"].removeprefix("sha256:")
    wrong = planfile.read_document(tmp_path / "other.yaml")[0]["batch_index"]["sha256"].removeprefix("sha256:")
    index = tmp_path / "manifests" / f"{wanted}.jsonl.gz"
    (tmp_path / "manifests" / f"{wrong}.jsonl.gz").replace(index)

    with pytest.raises(ManifestCorrupt, match="holds other bytes"):
        planfile.load_plan(path)
    index.unlink()
    with pytest.raises(ManifestMissing, match=wanted):
        planfile.load_plan(path)


SOUND = planfile.dumps(sample_plan()).encode("utf-8")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(st.data())
def test_whatever_the_bytes_only_our_errors_come_out(tmp_path: Path, data: st.DataObject) -> None:
    """Garbage, and a sound plan with a hole, an insertion or a repetition in it."""
    lo = data.draw(st.integers(0, len(SOUND)))
    hi = data.draw(st.integers(lo, min(len(SOUND), lo + 80)))
    middle = data.draw(st.binary(max_size=20) | st.sampled_from([b"", SOUND[lo:hi] * 2, b"null", b"[]", b"{}", b"-1"]))
    raw = data.draw(st.sampled_from([SOUND[:lo] + middle + SOUND[hi:], middle]))
    path = tmp_path / "p.yaml"
    path.write_bytes(raw)
    try:
        plan = planfile.load_plan(path)
    except IntegrityRefused:
        return
    assert dataclasses.replace(plan, provenance={}) == dataclasses.replace(sample_plan(), provenance={})


@pytest.mark.parametrize(
    ("definition", "kind"),
    [
        ("side", Side),
        ("filters", Filters),
        ("policy", Policy),
        ("preserve", Preserve),
        ("limits", Limits),
        ("calendar_row", CalendarRow),
        ("guards", Guards),
        ("inventory", Inventory),
        ("section", Section),
        ("loss", Loss),
        ("stage", Stage),
        ("batch", Batch),
    ],
)
def test_the_schema_knows_every_field(definition: str, kind: type) -> None:
    """A field added to a type must be added to the published schema too, or plans that hold it are refused."""
    schema = json.loads(schema_text("plan-v1.schema.json"))
    fields = {field.name for field in dataclasses.fields(kind)}

    assert set(schema["$defs"][definition]["properties"]) == fields
    assert set(schema["properties"]) - {"apiVersion", "kind", "batch_index"} == {
        field.name for field in dataclasses.fields(Plan)
    }


@pytest.mark.parametrize("batches", [1, plan_document.MAX_INLINE_BATCHES, plan_document.MAX_INLINE_BATCHES + 1, 3_000])
def test_the_document_stays_short_whatever_the_plan_moves(tmp_path: Path, batches: int) -> None:
    plan = plan_document.with_plan_id(ledger_plan([("bulk", 10)] * batches))
    planfile.write_plan(tmp_path / "p.yaml", plan, ManifestFolder(tmp_path / "manifests"))
    lines = (tmp_path / "p.yaml").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 300 - 40, "40 lines are left to risks and losses"
