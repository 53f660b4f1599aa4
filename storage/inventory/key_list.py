"""A list of keys: plain, CSV or JSON lines, also compressed by gzip. Lines come in any order."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from csv import Error as CsvError
from csv import reader
from typing import IO

from schema.declaration import DeclaredInventory, KeyListFormat
from schema.errors import InventoryCorrupt
from storage.inventory.columns import Column, Row, column_named, refuse_missing
from storage.inventory.files import FileSource

_GZIP = b"\x1f\x8b"
_UNREADABLE = (OSError, EOFError, zlib.error, UnicodeDecodeError, CsvError)


def format_of(inventory: DeclaredInventory) -> KeyListFormat:
    """As declared, or as the list's name ends."""
    if inventory.format is not None:
        return inventory.format
    name = inventory.place.lower().removesuffix(".gz")
    if name.endswith(".csv") or inventory.columns:
        return KeyListFormat.CSV
    return KeyListFormat.JSONL if name.endswith((".jsonl", ".ndjson")) else KeyListFormat.PLAIN


def key_list_rows(place: FileSource, name: str, inventory: DeclaredInventory) -> Iterator[Row]:
    """The rows of the list *name*. Raises InventoryCorrupt, InputMissing, LocalDiskError, StoreErrors."""
    rows = {KeyListFormat.PLAIN: _plain, KeyListFormat.CSV: _csv, KeyListFormat.JSONL: _json_lines}
    last = f"{name}, line 1"
    with place.open(name) as data:
        try:
            for row in rows[format_of(inventory)](_text(data), name, inventory.columns):
                last = row.place
                yield row
        except _UNREADABLE as error:
            raise InventoryCorrupt(f"{name} cannot be read after {last}: {error}") from None


def _text(data: IO[bytes]) -> Iterator[str]:
    """Its lines, with their ends: only a line feed ends one, since keys may hold what else Unicode ends lines with."""
    packed = data.read(2) == _GZIP
    data.seek(0)
    unpacked: Iterable[bytes] = gzip.GzipFile(fileobj=data) if packed else data
    first = True
    for line in unpacked:
        # A byte order mark is no part of the first key.
        yield (line.removeprefix(b"\xef\xbb\xbf") if first else line).decode("utf-8")
        first = False


def _plain(lines: Iterator[str], name: str, _columns: tuple[str, ...]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        key = line.removesuffix("\n").removesuffix("\r")
        if key:
            yield Row({Column.KEY: key}, f"{name}, line {number}")


def _csv(lines: Iterator[str], name: str, columns: tuple[str, ...]) -> Iterator[Row]:
    """The first row is the header, unless *columns* are declared."""
    rows = reader(lines)
    names = columns or tuple(next(rows, ()))
    known = tuple(map(column_named, names))
    refuse_missing(
        filter(None, known), (Column.KEY,), place=name, cure="write a header, or declare columns: [key, ...]"
    )
    for fields in rows:
        if not fields:
            continue
        place = f"{name}, line {rows.line_num}"
        if len(fields) != len(known):
            raise InventoryCorrupt(f"{place} has {len(fields)} fields, not {len(known)}")
        yield Row({column: field for column, field in zip(known, fields, strict=True) if column is not None}, place)


def _json_lines(lines: Iterator[str], name: str, _columns: tuple[str, ...]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{name}, line {number}"
        try:
            document = json.loads(line)
        except ValueError as error:
            raise InventoryCorrupt(f"{place} is not JSON: {error}") from None
        if isinstance(document, str):
            document = {"key": document}
        if not isinstance(document, dict):
            raise InventoryCorrupt(f"{place} is neither a JSON object nor a string")
        values = {column: value for text, value in document.items() if (column := column_named(text)) is not None}
        odd = next((v for v in values.values() if not isinstance(v, str | int | bool | None)), None)
        if odd is not None:
            raise InventoryCorrupt(f"{place}: {str(odd)[:40]!r} is neither text nor a number")
        yield Row(values, place)
