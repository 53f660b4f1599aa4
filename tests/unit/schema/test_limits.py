"""The table of limits, and that whatever else must know a limit knows it as the table does."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from executor.flow.limits import AS_PLANNED, LIFTED
from s3migrate.commands.init import example
from s3migrate.commands.steering.limit import limit_of
from schema.errors import DeclarationError, UsageError
from schema.files.declaration_file import parse_declaration
from schema.formats.plain import plain
from schema.formats.validation import schema_text
from schema.limits import LIMITS, CalendarRow, Limit, Limits, RunLimits

MIGRATION = json.loads(schema_text("migration-v1.schema.json"))
PLAN = json.loads(schema_text("plan-v1.schema.json"))
DECLARATION = (
    "apiVersion: s3migrate/v1\nkind: Migration\nname: n\nsource: {bucket: a}\ndestination: {bucket: b}\nlimits: %s\n"
)
VALUES = [*("1", "0", "-1", "1.5", "0.0", "1e3", "nan", "inf", "", "many", "5MiB", "5MiB/s", "5 parsecs", "100001"),
          *(1, 0, -1, 1.5, 100_001, True)]  # fmt: skip

every_limit = pytest.mark.parametrize("limit", LIMITS.values(), ids=list(LIMITS))


def of(definition: str, schema: dict[str, Any]) -> Draft202012Validator:
    """A validator of one definition."""
    return Draft202012Validator({**schema["$defs"][definition]})


def test_declaration_plan_and_calendar_rows_have_a_field_for_each_limit_and_no_other() -> None:
    row = {field.name for field in dataclasses.fields(CalendarRow)} - {"when", "closed"}
    run = {field.name for field in dataclasses.fields(Limits)} - {"memory", "workers", "calendar"}
    declared = MIGRATION["properties"]["limits"]["properties"]
    planned = PLAN["$defs"]["limits"]["properties"]
    declared_row = declared["calendar"]["items"]["additionalProperties"]["properties"]
    planned_row = PLAN["$defs"]["calendar_row"]["properties"]

    assert row == run == set(LIMITS)
    assert set(declared_row) == set(planned_row) - {"when", "closed"} == set(LIMITS)
    for name in LIMITS:
        places = [places[name] for places in (declared, declared_row, planned, planned_row)]
        assert places == 4 * [{"$ref": f"#/$defs/{name}"}]


@every_limit
def test_the_schema_says_what_the_table_says(limit: Limit) -> None:
    definition = MIGRATION["$defs"][limit.name]

    assert (definition["description"], definition["x-expected"]) == (limit.says, limit.expected)


@every_limit
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_is_a_limit_for_the_declaration_exactly_when_the_table_can_read_it(
    limit: Limit, value: str | float
) -> None:
    try:
        figure = limit.parse(str(value) if isinstance(value, float) else value)  # as the loader reads it
    except ValueError:
        figure = None
    text = DECLARATION % f"{{{limit.name}: {json.dumps(value)}}}"
    try:
        read = parse_declaration(text.encode(), "m.yaml").limits
    except DeclarationError:
        assert figure is None or (isinstance(value, str) and limit.name == "concurrent_requests")
    else:
        assert getattr(read, limit.name) == figure is not None
        assert of(limit.name, PLAN).is_valid(plain(figure)), "what is declared can be planned"


@every_limit
def test_the_example_is_a_value_and_stands_in_the_example_declaration(limit: Limit) -> None:
    figure = limit.parse(limit.example)

    assert limit_of(f"{limit.name}={limit.example}") == (limit.name, figure)
    assert limit.text(figure)
    assert f"#   {limit.name}: {limit.example}" in example()
    assert "@LIMITS@" not in example()


@every_limit
@pytest.mark.parametrize("value", ["0", "-1", "nan", "", "fast"])
def test_what_bounds_nothing_is_refused_while_running_too(limit: Limit, value: str) -> None:
    with pytest.raises(UsageError, match=f"`{limit.name}=none` lifts"):
        limit_of(f"{limit.name}={value}")


@pytest.mark.parametrize("figure", ["0", "0.0", 0, "-1.5", "1e3"])
def test_a_plan_that_would_allow_nothing_is_no_plan(figure: object) -> None:
    assert not of("requests_per_second", PLAN).is_valid(figure)
    assert of("requests_per_second", PLAN).is_valid("0.25")


def test_limits_of_a_run_come_back_from_json() -> None:
    why = {"bandwidth": "calendar", "requests_per_second": "plan"}
    limits = RunLimits({"bandwidth": 5.0}, why, datetime(2026, 11, 30, 18, tzinfo=UTC))

    said = json.loads(json.dumps(limits.to_json()))

    assert said == {
        **dict.fromkeys(LIMITS),
        "bandwidth": 5.0,
        "why": limits.why,
        "closed_until": "2026-11-30T18:00:00+00:00",
    }
    assert RunLimits.from_json({**said, "of_a_newer_version": 3}) == limits
    assert RunLimits.from_json({"bandwidth": 5.0, "why": why}).closed_until is None, "of an older version"


def test_a_calendar_may_be_opened_but_not_closed_while_running() -> None:
    assert [limit_of(f"closed={word}") for word in ("none", "plan")] == [("closed", LIFTED), ("closed", AS_PLANNED)]
    with pytest.raises(UsageError, match="s3migrate pause"):
        limit_of("closed=true")
