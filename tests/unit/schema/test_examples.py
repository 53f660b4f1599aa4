"""Every example under plans/ is what this build reads, and the example plan is whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from schema.files.declaration_file import load_declaration
from schema.files.manifest import ManifestFolder, read_entries, verify_manifest
from schema.files.plan_checks import check_guards
from schema.files.plan_document import compute_plan_id
from schema.files.planfile import load_plan, read_document
from schema.formats.validation import schema_text
from schema.plan import Tally

PLANS = Path(__file__).parents[3] / "plans"
DECLARATIONS = sorted(PLANS.glob("*.migration.yaml"))
PLAN_FILES = sorted(PLANS.glob("*.plan.yaml"))


def test_there_are_examples_and_nothing_else() -> None:
    assert len(DECLARATIONS) >= 4
    assert PLAN_FILES
    assert sorted(PLANS.glob("*.yaml")) == sorted(DECLARATIONS + PLAN_FILES)


@pytest.mark.parametrize("path", DECLARATIONS, ids=lambda path: path.name)
def test_an_example_declaration_loads(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert load_declaration(path).pairs
    assert text.startswith("# yaml-language-server: $schema=../schema/json/migration-v1.schema.json\n")
    assert (path.parent / "../schema/json/migration-v1.schema.json").is_file()


def test_together_the_examples_show_every_top_level_key() -> None:
    shown = {line.partition(":")[0] for path in DECLARATIONS for line in path.read_text(encoding="utf-8").splitlines()}
    assert set(json.loads(schema_text("migration-v1.schema.json"))["properties"]) <= shown


@pytest.mark.parametrize("path", PLAN_FILES, ids=lambda path: path.name)
def test_an_example_plan_is_whole(path: Path) -> None:
    """Sums, names and stages; every manifest it names is there and is what it says; nothing else lies beside it."""
    plan = load_plan(path)
    store = ManifestFolder(path.parent / plan.manifest_store)

    check_guards(plan)
    assert compute_plan_id(read_document(path)[0]) == plan.plan_id
    for batch in plan.batches:
        verify_manifest(store, batch.manifest, objects=batch.objects, bytes=batch.bytes, keys=batch.keys)
    named = {batch.manifest for batch in plan.batches}
    for section in plan.sections:
        for action, digest in section.side_manifests.items():
            entries = [entry for _, entry in read_entries(store, digest)]
            assert Tally(len(entries), sum(entry.size for entry in entries)) == section.summary[action]
            assert all(entry.action == action and entry.reason for entry in entries)
            named.add(digest)
    assert {store.path_of(digest) for digest in named} == set(store.root.iterdir())


@pytest.mark.parametrize("path", PLAN_FILES, ids=lambda path: path.name)
def test_an_example_plan_is_of_its_declaration(path: Path) -> None:
    declaration = load_declaration(path.with_name(path.name.replace(".plan.", ".migration.")))
    plan = load_plan(path)

    assert (plan.name, plan.declaration_sha256) == (declaration.name, declaration.sha256)
    assert plan.policy == declaration.policy
    assert [section.source for section in plan.sections] == [pair.source for pair in declaration.pairs]


@pytest.mark.parametrize("name", ["plan-v1.schema.json", "migration-v1.schema.json"])
def test_the_published_schemas_are_schemas(name: str) -> None:
    Draft202012Validator.check_schema(json.loads(schema_text(name)))
