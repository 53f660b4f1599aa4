"""The outcome of every single object, streamed from manifests and ledger in the order of the destination's keys.

Three shapes: our own rows (JSON lines or CSV), the completion report of S3 Batch Operations, and the lists of a
DataSync task report, for tools that read those.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import quote

from executor.ledger.ledger import Ledger
from executor.ledger.values import FailedObject, Outcome
from executor.verify.expectation import Expectations, Expected
from schema.checksums import text_of
from schema.errors import LocalDiskError, UsageError
from schema.files.manifest import ManifestStore
from schema.formats.durable_file import written_whole
from schema.formats.escape import csv_cell
from schema.plan import WRITE_ACTIONS, Action, Plan, Section

REASONS_KNOWN = 100_000
"""Failures whose reasons are kept in memory; objects beyond that are reported without a reason."""
BATCH_COLUMNS = ("Bucket", "Key", "VersionId", "TaskStatus", "ErrorCode", "HTTPStatusCode", "ResultMessage")
ARRIVED = frozenset({Outcome.COPIED, Outcome.ALREADY_THERE, Outcome.MARKER_LAID, Outcome.DELETED})


class Shape(StrEnum):
    """How objects are written."""

    ROWS = "rows"
    """A file, .jsonl or .csv."""
    BATCH_OPERATIONS = "batch-operations"
    """A folder: manifest.json and results/*.csv, as S3 Batch Operations leaves them."""
    DATASYNC = "datasync"
    """A folder: files-transferred.json, files-skipped.json and files-deleted.json."""


class ObjectRow(NamedTuple):
    """One line of the plan and its outcome."""

    section: str
    batch: str
    """'' for what the plan does not move."""
    line: int
    key: str
    """At the source; at the destination if only that has the object."""
    destination_key: str
    version: str | None
    """The source's."""
    size: int
    modified_ms: int
    action: str
    outcome: str
    """An Outcome's name, failed, or left (not finished); the action for what the plan does not move."""
    attempts: int | None
    destination_etag: str
    destination_version: str | None
    crc64nvme: str
    error_code: str
    http_status: int | None
    message: str

    @property
    def arrived(self) -> bool:
        """Whether the destination is as the plan wants it."""
        return self.outcome in _ARRIVED_NAMES


_ARRIVED_NAMES = frozenset(outcome.name.lower() for outcome in ARRIVED)


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of one run."""

    plan: Plan
    manifests: ManifestStore
    ledger: Ledger
    run_id: int

    def write(self, path: Path, shape: Shape) -> int:
        """Write all of them to *path*; returns how many. Raises UsageError for an unknown suffix, LocalDiskError."""
        try:
            if shape is Shape.BATCH_OPERATIONS:
                return _write_batch_operations(self, path)
            if shape is Shape.DATASYNC:
                return _write_datasync(self, path)
            if path.suffix not in (".jsonl", ".csv"):
                raise UsageError(f"--objects {path}: the name must end in .jsonl or .csv")
            with written_whole(path) as file:
                return (_write_csv if path.suffix == ".csv" else _write_lines)(self.rows(), file)
        except OSError as error:
            raise LocalDiskError(f"the objects cannot be written at {path}: {error.strerror}") from error

    def rows(self) -> Iterator[ObjectRow]:
        """Every line, in each section ascending by destination key."""
        failures = self.ledger.reports.failures(self.run_id, REASONS_KNOWN)
        reasons = {(failed.batch_no, failed.ord): failed for failed in failures}
        for section in self.plan.sections:
            for line in self._lines(section):
                yield self._row(section, line, reasons.get((line.batch_no, line.ord)))

    def _lines(self, section: Section) -> Iterator[Expected]:
        return Expectations(self.plan, section, self.manifests, ledger=self.ledger, run_id=self.run_id).by_target()

    def _row(self, section: Section, line: Expected, failed: FailedObject | None) -> ObjectRow:
        entry, done, moves = line.entry, line.completion, line.batch_no >= 0
        left = "left" if failed is None else "failed"
        return ObjectRow(
            section=section.id,
            batch=self.plan.batches[line.batch_no].id if moves else "",
            line=line.ord,
            key=entry.key,
            destination_key=entry.target,
            version=entry.version_id,
            size=entry.size,
            modified_ms=entry.modified_ms,
            action=entry.action.value,
            outcome=done.outcome.name.lower() if done is not None else left if moves else entry.action.value,
            attempts=None if done is None else done.attempts,
            destination_etag="" if done is None else done.destination_etag,
            destination_version=None if done is None else done.destination_version,
            crc64nvme="" if done is None or not done.checksum else text_of(done.checksum),
            error_code="" if failed is None else failed.error_code,
            http_status=None if failed is None else failed.http_status,
            message=entry.reason if failed is None else failed.message,
        )


def _write_lines(rows: Iterable[ObjectRow], file: IO[str]) -> int:
    count = 0
    for row in rows:
        file.write(json.dumps(row._asdict()) + "\n")
        count += 1
    return count


def _write_csv(rows: Iterable[ObjectRow], file: IO[str]) -> int:
    writer, count = csv.writer(file), 0
    writer.writerow(ObjectRow._fields)
    for row in rows:
        writer.writerow(["" if cell is None else csv_cell(str(cell)) for cell in row])
        count += 1
    return count


def _write_batch_operations(objects: Objects, folder: Path) -> int:
    """As AWS documents a completion report: keys URL-encoded, no header line, an MD5 of each file."""
    buckets = {section.id: section.source.bucket for section in objects.plan.sections}
    count = 0
    paths = {status: folder / "results" / f"{status}.csv" for status in ("succeeded", "failed")}
    with ExitStack() as files:
        writers = {status: csv.writer(files.enter_context(written_whole(path))) for status, path in paths.items()}
        for row in objects.rows():
            if not row.batch:
                continue
            count += 1
            status = "succeeded" if row.arrived else "failed"
            code, http, said = _result(row)
            key = quote(row.key, safe="/", errors="surrogateescape")
            writers[status].writerow((buckets[row.section], key, row.version or "", status, code, http, csv_cell(said)))
    results = [
        {"TaskExecutionStatus": status, "Bucket": "", "MD5Checksum": _md5(path), "Key": f"results/{path.name}"}
        for status, path in paths.items()
    ]
    made = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
    manifest = {"Format": "Report_CSV_20180820", "ReportCreationDate": made, "Results": results,
                "ReportSchema": ", ".join(BATCH_COLUMNS)}  # fmt: skip
    with written_whole(folder / "manifest.json") as file:
        json.dump(manifest, file, indent=4)
    return count


def _result(row: ObjectRow) -> tuple[str, int, str]:
    """Error code, HTTP status and message of one task."""
    if row.arrived:
        return "", 200, "Successful"
    if row.error_code:
        return row.error_code, row.http_status or 0, row.message
    return row.outcome, 0, "not moved: see s3migrate explain"


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _write_datasync(objects: Objects, folder: Path) -> int:
    lists: Mapping[str, Callable[[ObjectRow], bool]] = {
        "Transferred": lambda row: row.action in WRITE_ACTIONS,
        "Skipped": lambda row: row.action in (Action.SKIP, Action.EXCLUDED, Action.CONFLICT, Action.UNSUPPORTED),
        "Deleted": lambda row: row.action == Action.DELETE,
    }
    count = 0
    with ExitStack() as files:
        opened = {}
        for name in lists:
            file = files.enter_context(written_whole(folder / f"files-{name.lower()}.json"))
            file.write(f'{{"TaskExecutionId": "run-{objects.run_id}", "{name}": [')
            opened[name] = file
        begun: set[str] = set()
        for row in objects.rows():
            for name, belongs in lists.items():
                if belongs(row):
                    opened[name].write((",\n" if name in begun else "\n") + json.dumps(_datasync(name, row)))
                    begun.add(name)
                    count += 1
        for file in opened.values():
            file.write("\n]}\n")
    return count


def _datasync(name: str, row: ObjectRow) -> dict[str, Any]:
    """One item of a list, without the times of the single transfers."""
    modified = f"{datetime.fromtimestamp(row.modified_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
    metadata = {"Type": "Regular", "ContentSize": row.size, "Mtime": modified}
    found: dict[str, Any] = {"RelativePath": f"/{row.key}"}
    if name == "Deleted":
        return {**found, "DstMetadata": metadata, "DeletionStatus": "SUCCESS" if row.arrived else "FAILED"}
    found["SrcMetadata"] = metadata
    if name == "Transferred":
        found |= {
            "Overwrite": str(row.action == Action.OVERWRITE),
            "DstS3VersionId": row.destination_version or "",
            "TransferType": "CONTENT_AND_METADATA",
            "TransferStatus": "SUCCESS" if row.arrived else "FAILED",
        }
    return found
