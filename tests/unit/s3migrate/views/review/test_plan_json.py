"""`show --format json` is as its schema says, and the policies we print ask for fields that are there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from support.planning import MemoryManifests, declare, listed, plan
from support.sample_plan import large_plan, sample_plan

from s3migrate.views.review.plan_json import FORMAT_VERSION, plan_json
from schema.formats.validation import schema_text
from schema.plan import Plan

SHOW = json.loads(schema_text("show-v1.schema.json"))
PLAN = json.loads(schema_text("plan-v1.schema.json"))
POLICIES = (Path(__file__).parents[5] / "docs" / "policies.md").read_text(encoding="utf-8")


def complaints(document: Any) -> list[str]:
    registry: Registry[Any] = Registry().with_resource(PLAN["$id"], Resource.from_contents(PLAN))
    return [error.message for error in Draft202012Validator(SHOW, registry=registry).iter_errors(document)]


@pytest.mark.parametrize("made", [sample_plan(), large_plan()])
def test_it_is_as_its_schema_says(made: Plan) -> None:
    shown = json.loads(json.dumps(plan_json(made)))
    assert complaints(shown) == []
    assert complaints({**shown, "verdict": {**shown["verdict"], "deletes": -1}}) != []
    assert complaints({**shown, "other": 1}) != []
    assert len(shown["batches"]) == len(made.batches)


def test_a_plan_just_made_has_its_figures(tmp_path: Path) -> None:
    made = plan(declare(), [listed("a", 7)], manifests=MemoryManifests(), staging=tmp_path)
    shown = json.loads(json.dumps(plan_json(made)))
    assert complaints(shown) == []
    verdict = shown["verdict"]
    assert (verdict["creates"], verdict["bytes"], verdict["deletes"], verdict["cost_usd"]) == (1, 7, 0, None)
    assert verdict["seconds"] == made.estimate["figures"]["seconds"] > 0


def test_the_schema_has_all_of_the_plans_and_the_version_of_the_code() -> None:
    assert set(SHOW["properties"]) == {*PLAN["properties"], "format_version", "verdict"}
    assert set(SHOW["required"]) == {*PLAN["required"], "format_version", "verdict", "batches"}
    assert SHOW["properties"]["format_version"] == {"const": FORMAT_VERSION}
    assert set(SHOW["$defs"]["verdict"]["required"]) == set(SHOW["$defs"]["verdict"]["properties"])


def test_the_policies_ask_for_fields_that_are_there() -> None:
    asked = set(re.findall(r"verdict\.(\w+)", POLICIES))
    assert len(asked) >= 8
    assert asked <= set(SHOW["$defs"]["verdict"]["properties"])
    assert set(re.findall(r"(?:input|plan)\.(\w+)", POLICIES)) - {"rego"} <= set(SHOW["properties"])
