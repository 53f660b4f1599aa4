"""The file of verify --report: JSON lines, CSV, markdown or HTML by its ending, written as findings come."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from executor.verify.listing import Mismatch
from executor.verify.run import Tallies
from schema.errors import LocalDiskError, UsageError
from schema.formats.escape import csv_cell, html_text, markdown_code
from schema.plan import Plan

FORMATS = (".jsonl", ".json", ".csv", ".md", ".html")
_HTML_HEAD = """<!doctype html>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>s3migrate verify</title>
<style>body{font:14px system-ui;margin:2em}td,th{text-align:left;padding:.2em .8em;border-bottom:1px solid #ccc}
td{font-family:monospace;word-break:break-all}</style>
"""


class ReportFile(AbstractContextManager["ReportFile"]):
    """Writes beside the target and renames at the end, so that a partial report never passes for a complete one."""

    def __init__(self, path: Path | None, plan: Plan, level: str) -> None:
        if path is not None and path.suffix not in FORMATS:
            raise UsageError(f"--report {path}: end the name in one of {', '.join(FORMATS)}")
        self._path = path
        self._partial = path.with_name(f".{path.name}.partial") if path is not None else None
        self._file: IO[str] | None = None
        self._plan = plan
        self._level = level

    def __enter__(self) -> Self:
        if self._partial is not None:
            self._guarded(lambda: self._open(self._partial))
        return self

    def _open(self, partial: Path | None) -> None:
        if partial is None:
            return
        self._file = partial.open("w", encoding="utf-8", newline="")
        title = f"{self._plan.name} serial {self._plan.serial}, {self._plan.plan_id}, level {self._level}"
        head = {
            ".csv": "section,verdict,key,destination_key,detail\r\n",
            ".md": f"# s3migrate verify\n\n{markdown_code(title)}\n\n"
            "| section | verdict | key | detail |\n|---|---|---|---|\n",
            ".html": f"{_HTML_HEAD}<h1>s3migrate verify</h1><p>{html_text(title)}</p>"
            "<table><tr><th>section<th>verdict<th>key<th>detail</tr>\n",
        }
        self._file.write(head.get(self._path.suffix if self._path else "", ""))

    def add(self, finding: Mismatch) -> None:
        """One line."""
        if self._file is not None and self._path is not None:
            line = _line(finding, self._path.suffix)
            self._guarded(lambda: self._write(line))

    def conclude(self, tallies: Tallies) -> None:
        """The last line: what was looked at."""
        if self._file is None or self._path is None:
            return
        counts = {v.value: n for v, n in tallies.findings.items()}
        read = f" ({tallies.archived} of them without reading an archive)" if tallies.archived else ""
        words = f"{tallies.planned} planned, {tallies.proven} proven{read}, findings: {counts or 'none'}"
        foot = {
            ".md": f"\n{words}\n",
            ".html": f"</table><p>{html_text(words)}</p>\n",
            ".csv": "",
        }
        last = {
            "planned": tallies.planned,
            "proven": tallies.proven,
            "archived": tallies.archived,
            "left_alone": {action.value: n for action, n in tallies.not_migrated.items()},
            "findings": counts,
        }
        plain = json.dumps(last) + "\n"
        self._guarded(lambda: self._write(foot.get(self._path.suffix if self._path else "", plain)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None or self._partial is None or self._path is None:
            return
        file, partial, path = self._file, self._partial, self._path

        def finish() -> None:
            file.flush()
            os.fsync(file.fileno())
            file.close()
            if kind is None:
                partial.replace(path)
            else:
                partial.unlink(missing_ok=True)

        self._guarded(finish)

    def _write(self, text: str) -> None:
        if self._file is not None:
            self._file.write(text)

    def _guarded(self, step: Callable[[], object]) -> None:
        try:
            step()
        except OSError as error:
            raise LocalDiskError(f"the report {self._path} cannot be written: {error.strerror}") from error


def _line(finding: Mismatch, suffix: str) -> str:
    if suffix == ".csv":
        row = io.StringIO()
        csv.writer(row).writerow([csv_cell(cell) for cell in finding])
        return row.getvalue()
    if suffix == ".md":
        key, detail = markdown_code(finding.key, in_table=True), markdown_code(finding.detail, in_table=True)
        return f"| {finding.section} | {finding.verdict} | {key} | {detail} |\n"
    if suffix == ".html":
        cells = (finding.section, finding.verdict, finding.key, finding.detail)
        return f"<tr>{''.join(f'<td>{html_text(cell)}' for cell in cells)}</tr>\n"
    return json.dumps(finding._asdict()) + "\n"
