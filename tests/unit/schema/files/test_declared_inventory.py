"""What a declaration says of inventories, and what it must not."""

from __future__ import annotations

import pytest

from schema.declaration import DeclaredInventory, KeyListFormat, MissingValues
from schema.errors import DeclarationError
from schema.files.declaration_file import parse_declaration

HEAD = "apiVersion: s3migrate/v1\nkind: Migration\nname: photos\ndestination: {bucket: new}\n"


def declared(inventory: str, more: str = "") -> DeclaredInventory | None:
    text = f"{HEAD}source: {{bucket: old, inventory: {inventory}}}\n{more}"
    (pair,) = parse_declaration(text.encode(), "m.yaml").pairs
    assert pair.destination_inventory is None
    return pair.source_inventory


def test_everything_arrives() -> None:
    found = declared(
        "{keys: k.csv, format: csv, columns: [key], url_encoded: true, missing_values: refuse, max_age: 48h}"
    )
    assert found == DeclaredInventory(
        None, "k.csv", KeyListFormat.CSV, ("key",), True, MissingValues.REFUSE, max_age=48 * 3600
    )
    assert declared("{report: 's3://b/all/', top_up: [a/, b/]}") == DeclaredInventory(
        "s3://b/all/", top_up=("a/", "b/")
    )


def test_each_pair_has_its_own() -> None:
    text = (
        "apiVersion: s3migrate/v1\nkind: Migration\nname: many\nbuckets:\n"
        "- {source: {bucket: a}, destination: {bucket: b, inventory: {keys: k}}}\n"
        "- {source: {bucket: c, inventory: {report: r.json}}, destination: {bucket: d}}\n"
    )
    one, two = parse_declaration(text.encode(), "m.yaml").pairs
    assert (one.source_inventory, one.destination_inventory) == (None, DeclaredInventory(keys="k"))
    assert (two.source_inventory, two.destination_inventory) == (DeclaredInventory(report="r.json"), None)
    assert (one.id, two.id) == ("a", "c")


@pytest.mark.parametrize(
    ("inventory", "more", "says"),
    [
        ("{}", "", "m.yaml:5: source.inventory: name either report or keys"),
        ("{report: a.json, keys: b}", "", "name either report or keys"),
        ("{keys: 's3:///k'}", "", "name a bucket: s3://bucket/key"),
        ("{report: a.json, format: csv}", "", "format is of key lists"),
        ("{keys: a, columns: [key], format: jsonl}", "", "columns are of CSV, and format is jsonl"),
        ("{keys: a, max_age: soon}", "", "inventory.max_age: 'soon' is not a duration"),
        ("{keys: a, format: xml}", "", "inventory.format: must be"),
        ("{keys: a, key: b}", "", "inventory.key: unknown key"),
        ("{keys: a, missing_values: head}", "policy: {versions: all}", "asks about current objects only"),
        ("{keys: a}", "policy: {delete_extraneous: after-verify}", "delete_extraneous needs a listing of the source"),
    ],
)
def test_a_contradiction_is_named(inventory: str, more: str, says: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        declared(inventory, more)
    assert says in str(refused.value)
