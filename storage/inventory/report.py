"""An S3 Inventory report: its manifest, and the rows of the files it names.

Of each file size and MD5 are compared with the manifest's before a row of it is used, and of the manifest the MD5 with
manifest.checksum beside it, which S3 writes last: a report without one is not complete. Rows come in no order.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Iterator
from csv import Error as CsvError
from csv import reader
from datetime import UTC, datetime
from enum import Enum
from typing import IO, Any, NamedTuple

from schema.errors import InputMissing, InventoryCorrupt
from storage.inventory.arrow_rows import orc_rows, parquet_rows
from storage.inventory.columns import Column, Row, column_named
from storage.inventory.files import FileSource, LocalPlace, md5_of, read_small

_MANIFEST = re.compile(r"(?:^|/)(\d{4}-\d\d-\d\dT\d\d-\d\dZ)/manifest\.json\Z")
_UNREADABLE = (OSError, EOFError, zlib.error, UnicodeDecodeError, CsvError)


class ReportFormat(Enum):
    """How the data files are written."""

    CSV = "CSV"
    ORC = "ORC"
    PARQUET = "Parquet"


_ARROW_ROWS = {ReportFormat.PARQUET: parquet_rows, ReportFormat.ORC: orc_rows}


class DataFile(NamedTuple):
    """One file of a report."""

    key: str
    size: int
    md5: str


class Report(NamedTuple):
    """What a manifest says."""

    name: str
    """Of the manifest."""
    bucket: str
    """Whose objects it lists."""
    created_ms: int
    format: ReportFormat
    columns: tuple[Column | None, ...]
    """Of CSV files, in order; None: a column not read. Other formats name theirs themselves."""
    files: tuple[DataFile, ...]


def newest_report(place: FileSource, named: str) -> str:
    """The manifest.json *named*, or the newest complete one under the folder *named*. Raises InputMissing."""
    if named.endswith(".json"):
        return named
    names = set(place.names(named))
    found = {
        match[1]: name
        for name in names
        if (match := _MANIFEST.search(name)) and name.removesuffix("json") + "checksum" in names
    }
    if not found:
        raise InputMissing(
            f"there is no complete report under {named}: no DATE/manifest.json with its manifest.checksum"
        )
    return found[max(found)]


def read_report(place: FileSource, name: str) -> Report:
    """The manifest *name*. Raises InventoryCorrupt, InputMissing, StoreErrors."""
    data = read_small(place, name)
    beside = name.removesuffix("json") + "checksum"
    try:
        told = read_small(place, beside).decode("ascii", "replace").strip().strip('"').lower()
    except InputMissing:
        raise InventoryCorrupt(f"{beside} is missing: the report is incomplete, or was not copied in full") from None
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if told != found:
        raise InventoryCorrupt(f"{name} has MD5 {found}, and {beside} says {told[:40]!r}; fetch the report again")
    try:
        return _report(name, json.loads(data))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InventoryCorrupt(f"{name} is not the manifest of an S3 Inventory report: {error!r}") from None


def _report(name: str, document: dict[str, Any]) -> Report:
    form = ReportFormat(document["fileFormat"])
    columns = [column_named(text) for text in document["fileSchema"].split(",")] if form is ReportFormat.CSV else []
    return Report(
        name,
        document["sourceBucket"],
        int(document["creationTimestamp"]),
        form,
        tuple(columns),
        tuple(DataFile(file["key"], int(file["size"]), file["MD5checksum"].lower()) for file in document["files"]),
    )


def created_text(created_ms: int) -> str:
    """'2026-11-20T01:00:00Z'."""
    return f"{datetime.fromtimestamp(created_ms // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def report_rows(place: FileSource, report: Report) -> Iterator[Row]:
    """The rows of every file. Raises InventoryCorrupt, InputMissing, LocalDiskError, UsageError, StoreErrors."""
    for file in report.files:
        with _verified(place, report, file) as data:
            if report.format is ReportFormat.CSV:
                yield from _csv_rows(data, report.columns, file.key)
            else:
                yield from _ARROW_ROWS[report.format](data, file.key)


def _verified(place: FileSource, report: Report, file: DataFile) -> IO[bytes]:
    data = place.open(_located(place, report, file.key))
    try:
        size, found = data.seek(0, 2), ""
        data.seek(0)
        if size == file.size:
            found = md5_of(data)
        if found != file.md5:
            said = f"MD5 {found}" if found else f"{size:,} bytes"
            told = file.md5 if found else f"{file.size:,}"
            raise InventoryCorrupt(f"{file.key} of the inventory has {said}, and its manifest says {told}")
    except BaseException:
        data.close()
        raise
    return data


def _located(place: FileSource, report: Report, key: str) -> str:
    """Where the file *key* is: in a bucket under its key; in folders wherever a copy of the report may have put it."""
    if not isinstance(place, LocalPlace):
        return key
    folder, _, _ = report.name.rpartition("/")
    above, _, _ = folder.rpartition("/")
    base = key.rpartition("/")[2]
    candidates = [f"{folder or '.'}/{base}", f"{folder or '.'}/data/{base}", f"{folder or '.'}/../data/{base}"]
    while above:
        candidates.append(f"{above}/{key}")
        above = above.rpartition("/")[0]
    return next((name for name in (*candidates, key) if place.has(name)), key)


def _csv_rows(data: IO[bytes], columns: tuple[Column | None, ...], name: str) -> Iterator[Row]:
    """Of a gzip file without a header."""
    line = 0
    try:
        with gzip.open(data) as unpacked, io.TextIOWrapper(unpacked, encoding="utf-8", newline="") as text:
            for line, fields in enumerate(reader(text), 1):
                if len(fields) != len(columns):
                    raise InventoryCorrupt(f"{name}, line {line} has {len(fields)} fields, not {len(columns)}")
                values = {column: field for column, field in zip(columns, fields, strict=True) if column is not None}
                yield Row(values, f"{name}, line {line}")
    except _UNREADABLE as error:
        raise InventoryCorrupt(f"{name} cannot be read after line {line}: {error}") from None
