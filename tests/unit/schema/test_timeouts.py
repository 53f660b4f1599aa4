"""The table of timeouts: declared, checked, planned, and what they mean for each operation."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from s3migrate.commands.init import example
from schema.errors import DeclarationError
from schema.files.declaration_file import parse_declaration
from schema.formats.plain import build, plain
from schema.formats.validation import schema_text
from schema.timeouts import NAMES, Timeouts, parse_timeout
from storage.wire.deadlines import STREAMED_LEAST_SECONDS, Deadlines

DECLARATION = (
    "apiVersion: s3migrate/v1\nkind: Migration\nname: n\nsource: {bucket: a}\ndestination: {bucket: b}\ntimeouts: %s\n"
)
KINDS = {
    "list": ("ListObjectsV2", "ListObjects", "ListObjectVersions", "ListMultipartUploads", "ListParts"),
    "head": ("HeadObject",),
    "get": ("GetObject",),
    "put": ("PutObject", "UploadPart"),
    "complete": ("CompleteMultipartUpload",),
    "copy": ("CopyObject", "UploadPartCopy"),
    "other": ("CreateMultipartUpload", "AbortMultipartUpload", "DeleteObject", "GetObjectTagging", "GET ?acl"),
}
WHOLE = ("complete", "copy")


def test_the_published_schemas_and_the_example_know_each_timeout_and_its_default() -> None:
    declared = json.loads(schema_text("migration-v1.schema.json"))["properties"]["timeouts"]["properties"]
    planned = json.loads(schema_text("plan-v1.schema.json"))["$defs"]["timeouts"]["properties"]
    defaults = dataclasses.asdict(Timeouts())

    assert {name: said["default"] for name, said in declared.items()} == defaults
    assert set(planned) == set(NAMES)
    assert re.findall(r"^#   ([a-z]+): (\d+)s$", example(), re.MULTILINE) == [(n, str(s)) for n, s in defaults.items()]


def test_what_is_not_declared_is_as_by_default() -> None:
    declared = parse_declaration((DECLARATION % "{list: 10min, get: }").encode(), "m.yaml").timeouts

    assert declared == dataclasses.replace(Timeouts(), list=600)
    assert build(Timeouts, plain(declared)) == declared


@pytest.mark.parametrize(
    ("value", "seconds"), [("45s", 45), ("5min", 300), ("5 min", 300), ("1h", 3600), ("90", 90), (1, 1), ("24h", 86400)]
)
def test_durations_are_read(value: str | int, seconds: int) -> None:
    assert parse_timeout(value) == seconds
    text = DECLARATION % f"{{head: {json.dumps(value)}}}"
    assert parse_declaration(text.encode(), "m.yaml").timeouts.head == seconds


@pytest.mark.parametrize("value", ["0", "0s", 0, "25h", "86401", "-1s", "1.5s", "5 parsecs", "soon", "[]", "true"])
def test_what_is_no_timeout_is_refused_with_its_place(value: object) -> None:
    with pytest.raises(DeclarationError, match=r"m.yaml:6: timeouts.list: .*(second|must be)"):
        parse_declaration((DECLARATION % f"{{list: {value}}}").encode(), "m.yaml")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"timeouts.lists: unknown key; did you mean list\?"):
        parse_declaration((DECLARATION % "{lists: 5s}").encode(), "m.yaml")


@pytest.mark.parametrize("kind", KINDS)
def test_each_operation_has_the_timeout_of_its_kind(kind: str) -> None:
    deadlines = Deadlines(dataclasses.replace(Timeouts(), connect=3, **{kind: 7777}))

    for operation in KINDS[kind]:
        allowed = deadlines.of(operation, streamed=False)
        bounds = (allowed.slow_seconds, allowed.seconds, allowed.connect_seconds)
        assert bounds == ((0, 7777, 3) if kind in WHOLE else (7777, 0, 3)), operation
        assert deadlines.of(operation, streamed=False) is allowed, "the same object: nothing is set anew"
    others = [name for other, names in KINDS.items() if other != kind for name in names]
    assert all(7777 not in dataclasses.astuple(deadlines.of(name, streamed=False)) for name in others)


def test_a_body_from_another_request_may_stand_still_as_long_as_that_one() -> None:
    assert Deadlines(Timeouts()).of("UploadPart", streamed=True).slow_seconds == STREAMED_LEAST_SECONDS
    patient = Timeouts(get=1000, put=500)
    assert Deadlines(patient).of("UploadPart", streamed=True).slow_seconds == 1500
