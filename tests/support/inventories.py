"""S3 Inventory reports as AWS writes them, of objects that a test makes up."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote_plus

from schema.objects import ListedObject
from storage.inventory.report import ReportFormat

MADE_MS = 1_790_000_000_000
CSV_NAMES = {
    "bucket": "Bucket",
    "key": "Key",
    "version_id": "VersionId",
    "is_latest": "IsLatest",
    "is_delete_marker": "IsDeleteMarker",
    "size": "Size",
    "last_modified_date": "LastModifiedDate",
    "e_tag": "ETag",
    "storage_class": "StorageClass",
    "encryption_status": "EncryptionStatus",
}
HISTORY = ("version_id", "is_latest", "is_delete_marker")
CURRENT = tuple(name for name in CSV_NAMES if name not in HISTORY)


class Written(NamedTuple):
    """A report as files: their names below the report's root, and their bytes."""

    manifest: str
    files: dict[str, bytes]

    def under(self, folder: Path) -> Path:
        """Write them all; the manifest's path."""
        for name, data in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return folder / self.manifest


def write_report(
    objects: Sequence[ListedObject],
    form: ReportFormat,
    *,
    bucket: str = "from",
    columns: Iterable[str] = CURRENT,
    files: int = 2,
) -> Written:
    """The *objects* spread over data *files* in the order given, as key number modulo files: no file is in order."""
    names = list(columns)
    root = f"{bucket}/all"
    data: dict[str, bytes] = {}
    for number in range(files):
        rows = [_row(item, bucket) for item in objects[number::files]]
        data[f"{root}/data/part-{number}.{form.value.lower()}"] = _WRITERS[form](rows, names)
    document = {
        "sourceBucket": bucket,
        "destinationBucket": "arn:aws:s3:::inventories",
        "version": "2016-11-30",
        "creationTimestamp": str(MADE_MS),
        "fileFormat": form.value,
        "fileSchema": ", ".join(CSV_NAMES[name] for name in names),
        "files": [
            {"key": key, "size": len(body), "MD5checksum": hashlib.md5(body).hexdigest()} for key, body in data.items()
        ],
    }
    manifest = f"{root}/2026-09-21T01-00Z/manifest.json"
    data[manifest] = json.dumps(document).encode()
    return signed(Written(manifest, data))


def signed(report: Written) -> Written:
    """The same with the manifest's checksum."""
    checksum = hashlib.md5(report.files[report.manifest]).hexdigest().encode()
    return report._replace(files={**report.files, report.manifest.removesuffix("json") + "checksum": checksum})


def _row(item: ListedObject, bucket: str) -> dict[str, Any]:
    marker = item.delete_marker
    return {
        "bucket": bucket,
        "key": item.key,
        "version_id": "" if item.version_id in (None, "null") else item.version_id,
        "is_latest": item.is_latest,
        "is_delete_marker": marker,
        "size": None if marker else item.size,
        "last_modified_date": datetime.fromtimestamp(item.modified_ms / 1000, UTC),
        "e_tag": None if marker else item.etag,
        "storage_class": None if marker else item.storage_class,
        "encryption_status": "SSE-S3",
    }


def _csv(rows: list[dict[str, Any]], names: list[str]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    for row in rows:
        shown = {
            **row,
            "key": quote_plus(row["key"], safe=""),
            "last_modified_date": row["last_modified_date"].isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "is_latest": str(row["is_latest"]).lower(),
            "is_delete_marker": str(row["is_delete_marker"]).lower(),
        }
        writer.writerow(["" if shown[name] is None else shown[name] for name in names])
    return gzip.compress(text.getvalue().encode())


def _table(rows: list[dict[str, Any]], names: list[str]) -> Any:
    import pyarrow as pa

    kinds = {
        "size": pa.int64(),
        "last_modified_date": pa.timestamp("ms", "UTC"),
        "is_latest": pa.bool_(),
        "is_delete_marker": pa.bool_(),
    }
    return pa.table({name: pa.array([row[name] for row in rows], kinds.get(name, pa.string())) for name in names})


def _parquet(rows: list[dict[str, Any]], names: list[str]) -> bytes:
    from pyarrow import parquet

    sink = io.BytesIO()
    parquet.write_table(_table(rows, names), sink, compression="snappy")
    return sink.getvalue()


def _orc(rows: list[dict[str, Any]], names: list[str]) -> bytes:
    from pyarrow import orc

    sink = io.BytesIO()
    orc.write_table(_table(rows, names), sink, compression="zlib")
    return sink.getvalue()


_WRITERS: dict[ReportFormat, Callable[[list[dict[str, Any]], list[str]], bytes]] = {
    ReportFormat.CSV: _csv,
    ReportFormat.PARQUET: _parquet,
    ReportFormat.ORC: _orc,
}
