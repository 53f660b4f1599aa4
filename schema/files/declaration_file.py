"""Reading migration.yaml: first its shape, then its meaning. All complaints at once, each as 'file:line: path: what to
do'.

No value of the file is ever echoed before the file has been searched for secrets, and a file that holds one is
refused with the line alone. Nothing here opens a connection or reads another file.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path as FilePath
from typing import Any

from schema.declaration import (
    Declaration,
    DeclaredInventory,
    Expect,
    ExpectedRange,
    Filters,
    Guards,
    MappingRule,
    Pair,
    Policy,
    Preserve,
    Side,
)
from schema.errors import DeclarationError, InputMissing
from schema.files import declaration_checks
from schema.files.declaration_checks import Complaints, instant_ms
from schema.formats import quantities, yaml_strict
from schema.formats.canonical import sha256_of
from schema.formats.plain import build
from schema.formats.validation import complaints
from schema.formats.yaml_strict import Path
from schema.limits import LIMITS, Limits, parse_row
from schema.timeouts import Timeouts, parse_timeout, timeouts_of

SCHEMA = "migration-v1.schema.json"


def load_declaration(path: FilePath) -> Declaration:
    """The declaration in the file *path*. Raises InputMissing, DeclarationError."""
    try:
        with path.open("rb") as file:
            data = file.read(yaml_strict.MAX_SIZE + 1)
    except OSError as error:
        raise InputMissing(
            f"cannot read the declaration {path}: {error.strerror}. `s3migrate init` writes one to start from"
        ) from None
    return parse_declaration(data, str(path))


def parse_declaration(data: bytes, source: str) -> Declaration:
    """The declaration in *data*; *source* is what messages call it. Raises DeclarationError with every complaint."""
    declaration_checks.refuse_secrets(data, source)
    document, lines = yaml_strict.load(data, source)
    if not isinstance(document, dict):
        raise DeclarationError(f"{source}:1: not a declaration: the document is not a map")
    if document.get("kind") == "MigrationPlan":
        raise DeclarationError(f"{source} is a plan, not a declaration: s3migrate apply {source}")
    found = complaints(SCHEMA, document, lines)
    if found:
        raise DeclarationError("\n".join(found))
    said = Complaints(lines)
    declaration = _declaration(_without_nulls(document), said, sha256_of(data))
    declaration_checks.check(declaration, said)
    said.raise_if_any()
    return declaration


def _without_nulls(value: Any) -> Any:
    """An empty value counts as an absent key."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _declaration(document: Mapping[str, Any], said: Complaints, digest: str) -> Declaration:
    return Declaration(
        name=document["name"],
        pairs=_pairs(document, said),
        filters=_filters(document.get("filters", {}), said),
        mapping=tuple(MappingRule(rule["pattern"], rule["replace"]) for rule in document.get("mapping", ())),
        policy=build(Policy, document.get("policy", {})),
        preserve=build(Preserve, document.get("preserve", {})),
        limits=_limits(document.get("limits", {}), said),
        timeouts=_timeouts(document.get("timeouts", {}), said),
        guards=_guards(document.get("guards", {}), said),
        expect=_expect(document.get("expect", {}), said),
        accept_loss=tuple(document.get("accept_loss", ())),
        manifests=document.get("manifests", "manifests"),
        sha256=digest,
    )


def _pairs(document: Mapping[str, Any], said: Complaints) -> tuple[Pair, ...]:
    if "buckets" not in document:
        return (_pair(document["name"], document, (), said=said),)
    given = {pair["id"] for pair in document["buckets"] if "id" in pair}
    pairs = []
    for index, entry in enumerate(document["buckets"]):
        name = entry.get("id") or _free_id(entry["source"]["bucket"], given)
        given.add(name)
        pairs.append(_pair(name, entry, ("buckets", index), said=said))
    return tuple(pairs)


def _pair(name: str, document: Mapping[str, Any], path: Path, *, said: Complaints) -> Pair:
    """The pair that *document*'s source and destination are; *path*: where they stand."""
    source, destination = document["source"], document["destination"]
    return Pair(
        name,
        _side(source),
        _side(destination),
        _inventory(source, (*path, "source", "inventory"), said),
        _inventory(destination, (*path, "destination", "inventory"), said),
    )


def _inventory(side: Mapping[str, Any], path: Path, said: Complaints) -> DeclaredInventory | None:
    if "inventory" not in side:
        return None
    fields = dict(side["inventory"])
    if "max_age" in fields:
        fields["max_age"] = said.parsed(quantities.parse_duration, fields["max_age"], (*path, "max_age"))
    return build(DeclaredInventory, fields)


def _free_id(bucket: str, taken: set[str]) -> str:
    """An id from the bucket's name that no other pair has."""
    safe = "".join(char if char.isalnum() and char.isascii() else "-" for char in bucket.lower())
    base = safe.strip("-")[:50] or "pair"
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name


def _side(document: Mapping[str, Any]) -> Side:
    fields = {name: value for name, value in document.items() if name != "inventory"}
    tls = fields.pop("tls", {})
    if "ca_bundle" in tls:
        fields["ca_bundle"] = tls["ca_bundle"]
    if isinstance(fields.get("endpoint_url"), list):
        fields["endpoint_candidates"] = fields["endpoint_url"]
        fields["endpoint_url"] = fields["endpoint_url"][0]
    return build(Side, fields)


def _filters(document: Mapping[str, Any], said: Complaints) -> Filters:
    fields = dict(document)
    for name in ("min_size", "max_size"):
        if name in fields:
            fields[name] = said.parsed(quantities.parse_size, fields[name], ("filters", name))
    for name in ("modified_after", "modified_before"):
        if name in fields:
            fields[f"{name}_ms"] = said.parsed(instant_ms, fields.pop(name), ("filters", name))
    return build(Filters, fields)


def _limits(document: Mapping[str, Any], said: Complaints) -> Limits:
    figures: dict[str, Any] = {
        name: said.parsed(limit.parse, document[name], ("limits", name))
        for name, limit in LIMITS.items()
        if name in document
    }
    if "memory" in document:
        figures["memory"] = said.parsed(quantities.parse_size, document["memory"], ("limits", "memory"))
    if document.get("workers") != "auto":
        figures["workers"] = document.get("workers")
    rows = [
        said.parsed(parse_row, row, ("limits", "calendar", index))
        for index, row in enumerate(document.get("calendar", ()))
    ]
    limits = Limits(calendar=tuple(row for row in rows if row is not None), **figures)
    if limits.always_closed:
        said.say(("limits", "calendar"), "is closed at every hour of the week: nothing could ever run")
    return limits


def _timeouts(document: Mapping[str, Any], said: Complaints) -> Timeouts:
    return timeouts_of(
        {name: said.parsed(parse_timeout, value, ("timeouts", name)) for name, value in document.items()}
    )


def _guards(document: Mapping[str, Any], said: Complaints) -> Guards:
    fields = dict(document)
    if "max_bytes" in fields:
        fields["max_bytes"] = said.parsed(quantities.parse_size, fields["max_bytes"], ("guards", "max_bytes"))
    return build(Guards, fields)


def _expect(document: Mapping[str, Any], said: Complaints) -> Expect:
    fields: dict[str, Any] = {}
    for name, parse in (("objects", quantities.parse_count), ("bytes", quantities.parse_size)):
        if name in document:
            found = said.parsed(partial(quantities.parse_around, parse=parse), document[name], ("expect", name))
            fields[name] = found and ExpectedRange(*found)
    if "max_cost_usd" in document:
        fields["max_cost_usd"] = Decimal(str(document["max_cost_usd"]))
    if "max_duration" in document:
        fields["max_duration"] = said.parsed(
            quantities.parse_duration, document["max_duration"], ("expect", "max_duration")
        )
    return Expect(**fields)
