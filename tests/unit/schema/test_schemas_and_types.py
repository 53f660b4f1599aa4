"""The JSON Schemas say of every field what its type says: the same names, kinds, words, and what must be there."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import pytest

from schema import calendar, declaration, limits, plan, timeouts
from schema.formats.plain import TextValue
from schema.formats.validation import schema_text

PLAN = json.loads(schema_text("plan-v1.schema.json"))
MIGRATION = json.loads(schema_text("migration-v1.schema.json"))

IN_THE_PLAN: Mapping[str, type] = {
    "": plan.Plan,
    "side": declaration.Side,
    "filters": declaration.Filters,
    "policy": declaration.Policy,
    "preserve": declaration.Preserve,
    "limits": limits.Limits,
    "calendar_row": limits.CalendarRow,
    "timeouts": timeouts.Timeouts,
    "guards": declaration.Guards,
    "inventory": plan.Inventory,
    "tally": plan.Tally,
    "section": plan.Section,
    "loss": plan.Loss,
    "risk": plan.Risk,
    "stage": plan.Stage,
    "batch": plan.Batch,
    "overview": plan.Overview,
    "place": plan.Place,
    "share": plan.Share,
    "sized_key": plan.SizedKey,
}
"""Definition in the plan's schema -> the type whose values are written so."""
OF_THE_DOCUMENT = {"apiVersion", "kind", "batch_index"}
"""Fields of the plan document that no value of Plan holds: batch_index stands for `batches` in a large plan."""
LEFT_OUT_WHEN_EMPTY = {("side", "endpoint_candidates"), ("", "batches"), ("", "provenance")}
ADDED_LATER = {("side", "signed_payload"), ("", "timeouts")}
"""Always written now; a plan made before there was such a field is read as if it said the default."""
WRITTEN_AS_A_MAP = {plan.Capabilities}
WRITTEN_AS_TEXT = {calendar.Hours}

IN_THE_DECLARATION: Mapping[str, type] = {
    "side": declaration.Side,
    "inventory": declaration.DeclaredInventory,
    "filters": declaration.Filters,
    "mapping": declaration.MappingRule,
    "policy": declaration.Policy,
    "preserve": declaration.Preserve,
    "limits": limits.Limits,
    "timeouts": timeouts.Timeouts,
    "guards": declaration.Guards,
    "expect": declaration.Expect,
}
SAID_OTHERWISE = {
    ("side", "ca_bundle"): "tls",
    ("side", "endpoint_candidates"): "endpoint_url",
    ("filters", "modified_after_ms"): "modified_after",
    ("filters", "modified_before_ms"): "modified_before",
}
"""(block, field) -> the key of the declaration that gives it."""
SAID_OF_THE_PAIR = {"side": {"inventory"}}
"""Declared in the block, and kept beside it: how a side is read is no part of the side."""
SAID_IN_TEXT = {"max_age", "min_size", "max_size", "max_bytes", "memory", "bandwidth"}
SAID_IN_TEXT |= {"modified_after", "modified_before", "objects", "bytes", "max_cost_usd", "max_duration"}
"""Quantities and times that people write as text."""
SAID_IN_MORE_WAYS = {"tls", "endpoint_url", "calendar", "workers"}


class Field(NamedTuple):
    """What a type says of one of its fields."""

    name: str
    kind: Any
    optional: bool
    has_default: bool


def fields_of(kind: type) -> Iterator[Field]:
    """The fields of a dataclass or a named tuple."""
    hints = get_type_hints(kind)
    if dataclasses.is_dataclass(kind):
        missing = dataclasses.MISSING
        defaults = {f.name for f in dataclasses.fields(kind) if not f.default is f.default_factory is missing}
        names = [field.name for field in dataclasses.fields(kind)]
    else:
        names, defaults = list(kind._fields), set(kind._field_defaults)  # type: ignore[attr-defined]
    for name in names:
        arguments = get_args(hints[name]) if get_origin(hints[name]) in (Union, UnionType) else (hints[name],)
        present = [argument for argument in arguments if argument is not NoneType]
        assert len(present) == 1, "one kind, or none"
        yield Field(name, present[0], NoneType in arguments, name in defaults)


def resolved(root: Mapping[str, Any], said: Mapping[str, Any]) -> Mapping[str, Any]:
    """*said*, or what it refers to."""
    return root["$defs"][said["$ref"].rpartition("/")[2]] if "$ref" in said else said


def definition(root: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object that *name* is, of the definitions or of the document's own properties."""
    found: Mapping[str, Any] = root if not name else root["$defs"].get(name) or root["properties"][name]
    found = resolved(root, found)
    return resolved(root, found["items"]) if found.get("type") == "array" else found


def kinds_said(root: Mapping[str, Any], said: Mapping[str, Any]) -> set[str]:
    """The JSON types a property may have, null aside."""
    said = resolved(root, said)
    if "const" in said or "enum" in said:
        words = [said["const"]] if "const" in said else said["enum"]
        return {{str: "string", int: "integer", bool: "boolean"}[type(word)] for word in words if word is not None}
    branches = [*said.get("oneOf", ()), *said.get("anyOf", ())]
    if branches and "type" not in said:
        return set().union(*(kinds_said(root, branch) for branch in branches))
    types = said["type"]
    return {types} - {"null"} if isinstance(types, str) else set(types) - {"null"}


def kinds_meant(kind: Any) -> set[str]:
    """The JSON types in which a value of *kind* is written (schema.formats.plain)."""
    origin = get_origin(kind)
    if origin is tuple:
        return {"array"}
    if (isinstance(origin, type) and issubclass(origin, Mapping)) or hasattr(kind, "_fields"):
        return {"object"}
    if isinstance(kind, type) and issubclass(kind, TextValue):
        return {"string"}
    if dataclasses.is_dataclass(kind):
        return {"object"}
    if kind is float:
        return {"integer", "string"}
    return {{bool: "boolean", int: "integer"}.get(kind, "string")}


def words_said(root: Mapping[str, Any], said: Mapping[str, Any]) -> set[str] | None:
    """The words a property may be; None: any."""
    said = resolved(root, said)
    if "items" in said:
        return words_said(root, said["items"])
    return set(said["enum"]) - {None} if "enum" in said else None


def words_meant(kind: Any) -> set[str] | None:
    """The words of an enum, or of a list of them."""
    if get_origin(kind) is tuple:
        return words_meant(get_args(kind)[0])
    return {str(word) for word in kind} if isinstance(kind, type) and issubclass(kind, StrEnum) else None


@pytest.mark.parametrize("name", IN_THE_PLAN)
def test_the_plans_schema_has_every_field_and_no_other(name: str) -> None:
    properties = set(definition(PLAN, name)["properties"]) - (OF_THE_DOCUMENT if not name else set())
    assert properties == {field.name for field in fields_of(IN_THE_PLAN[name])}
    assert definition(PLAN, name)["additionalProperties"] is False


@pytest.mark.parametrize("name", IN_THE_PLAN)
def test_what_is_never_left_out_of_a_plan_is_required(name: str) -> None:
    written = {field.name for field in fields_of(IN_THE_PLAN[name]) if not field.optional}
    written -= {field for block, field in LEFT_OUT_WHEN_EMPTY | ADDED_LATER if block == name}
    required = set(definition(PLAN, name)["required"])
    assert (required if name else required - OF_THE_DOCUMENT) == written


@pytest.mark.parametrize("name", IN_THE_PLAN)
def test_the_plans_schema_has_the_kinds_and_words_of_the_types(name: str) -> None:
    properties = definition(PLAN, name)["properties"]
    for field in fields_of(IN_THE_PLAN[name]):
        said = properties[field.name]
        assert kinds_said(PLAN, said) == kinds_meant(field.kind), (name, field.name)
        if words_meant(field.kind) is not None:
            assert words_said(PLAN, said) == words_meant(field.kind), (name, field.name)
        if dataclasses.is_dataclass(field.kind) and field.kind not in WRITTEN_AS_A_MAP | WRITTEN_AS_TEXT:
            assert IN_THE_PLAN[said["$ref"].rpartition("/")[2]] is field.kind, (name, field.name)


@pytest.mark.parametrize("name", IN_THE_DECLARATION)
def test_the_declarations_schema_has_every_field_and_no_other(name: str) -> None:
    meant = {SAID_OTHERWISE.get((name, field.name), field.name) for field in fields_of(IN_THE_DECLARATION[name])}
    assert set(definition(MIGRATION, name)["properties"]) == meant | SAID_OF_THE_PAIR.get(name, set())
    assert definition(MIGRATION, name)["additionalProperties"] is False


@pytest.mark.parametrize("name", IN_THE_DECLARATION)
def test_what_has_no_default_must_be_declared(name: str) -> None:
    needed = {field.name for field in fields_of(IN_THE_DECLARATION[name]) if not field.has_default}
    assert set(definition(MIGRATION, name).get("required", ())) == needed


@pytest.mark.parametrize("name", IN_THE_DECLARATION)
def test_the_declarations_schema_has_the_kinds_and_words_of_the_types(name: str) -> None:
    properties = definition(MIGRATION, name)["properties"]
    for field in fields_of(IN_THE_DECLARATION[name]):
        key = SAID_OTHERWISE.get((name, field.name), field.name)
        if key in SAID_IN_MORE_WAYS:
            continue
        meant = {"string"} if key in SAID_IN_TEXT else kinds_meant(field.kind)
        assert kinds_said(MIGRATION, properties[key]) >= meant - ({"string"} if field.kind is float else set()), key
        if words_meant(field.kind) is not None:
            assert words_said(MIGRATION, properties[key]) == words_meant(field.kind), key


def test_the_words_of_the_declaration_are_those_of_the_plan() -> None:
    for name in ("policy", "preserve"):
        ours, theirs = definition(PLAN, name)["properties"], definition(MIGRATION, name)["properties"]
        for key in ours.keys() & theirs.keys():
            assert words_said(PLAN, ours[key]) == words_said(MIGRATION, theirs[key]), (name, key)


def test_the_declarations_own_keys_are_known() -> None:
    meant = {field.name for field in fields_of(declaration.Declaration)} - {"pairs", "sha256"}
    assert set(MIGRATION["properties"]) == meant | {"apiVersion", "kind", "source", "destination", "buckets"}
