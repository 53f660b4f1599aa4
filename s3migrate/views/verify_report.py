"""The file of verify --report: JSON lines and CSV are streamed; Markdown and HTML begin with the verdict.

Those two are for people: they show SHOWN keys of each verdict and count the rest.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

from executor.verify.listing import NOTES, Mismatch, MismatchKind
from executor.verify.run import Tallies
from s3migrate.views.page import render_page
from schema.errors import LocalDiskError, UsageError
from schema.exit_codes import ExitCode
from schema.formats.durable_file import written_whole
from schema.formats.escape import csv_cell, markdown_code
from schema.formats.quantities import count_text, counted_text
from schema.plan import Plan

FORMATS = (".jsonl", ".json", ".csv", ".md", ".html")
STREAMED = (".jsonl", ".json", ".csv")
SHOWN = 500
"""Keys of each verdict, in the formats for people."""


class VerdictKeys(NamedTuple):
    """The keys of one verdict."""

    verdict: str
    total: int
    note: bool
    """Nothing is wrong with them."""
    findings: list[Mismatch]
    """The first SHOWN of them."""

    @property
    def left_out(self) -> int:
        """How many are only counted."""
        return self.total - len(self.findings)


class ReportFile(AbstractContextManager["ReportFile"]):
    """Appears at *path* at the end, so that nobody takes a partial report for a complete one. None: no report.

    Raises UsageError for a suffix that is not in FORMATS, LocalDiskError.
    """

    def __init__(self, path: Path | None, plan: Plan, level: str) -> None:
        if path is not None and path.suffix not in FORMATS:
            raise UsageError(f"--report {path}: the name must end in one of {', '.join(FORMATS)}")
        self._path = path
        self._plan = plan
        self._level = level
        self._open = ExitStack()
        self._file: IO[str] | None = None
        self._counts: Counter[MismatchKind] = Counter()
        self._kept: dict[MismatchKind, list[Mismatch]] = {}

    def __enter__(self) -> Self:
        if self._path is not None:
            try:
                self._file = self._open.enter_context(written_whole(self._path))
            except OSError as error:
                raise self._refused(error) from error
            if self._path.suffix == ".csv":
                self._write("section,verdict,key,destination_key,detail\r\n")
        return self

    def add(self, finding: Mismatch) -> None:
        """One finding."""
        if self._path is None:
            return
        if self._path.suffix in STREAMED:
            self._write(_line(finding, self._path.suffix))
            return
        self._counts[finding.verdict] += 1
        kept = self._kept.setdefault(finding.verdict, [])
        if len(kept) < SHOWN:
            kept.append(finding)

    def conclude(self, tallies: Tallies) -> None:
        """Write what needs the totals, after the last finding."""
        if self._path is None:
            return
        if self._path.suffix == ".html":
            facts = {"verdict": _verdict(tallies), "words": _words(tallies), "exit_code": _exit_code(tallies)}
            named = {"plan": self._plan, "level": self._level, "tallies": tallies, "shown": self._shown()}
            self._write(render_page("verify.html", **named, **facts))
        elif self._path.suffix == ".md":
            self._write(_markdown(self._plan, self._level, tallies, shown=self._shown()))
        elif self._path.suffix != ".csv":
            self._write(json.dumps(tallies_json(tallies)) + "\n")

    def _shown(self) -> list[VerdictKeys]:
        """Findings first, then notes."""
        kinds = sorted(self._counts, key=lambda kind: (kind in NOTES, kind))
        return [VerdictKeys(kind.value, self._counts[kind], kind in NOTES, self._kept[kind]) for kind in kinds]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._open.__exit__(kind, error, trace)
        except OSError as refused:
            if refused is error:
                return
            raise self._refused(refused) from refused

    def _write(self, text: str) -> None:
        if self._file is not None:
            try:
                self._file.write(text)
            except OSError as error:
                raise self._refused(error) from error

    def _refused(self, error: OSError) -> LocalDiskError:
        return LocalDiskError(f"the report {self._path} cannot be written: {error.strerror}")


def _exit_code(tallies: Tallies) -> ExitCode:
    return ExitCode.DIFFERENCES if tallies.differing else ExitCode.DONE


def _verdict(tallies: Tallies) -> str:
    if tallies.differing:
        return f"{counted_text(tallies.differing, 'key')} not as planned."
    return "Every key of both sides is accounted for, and nothing differs."


def _words(tallies: Tallies) -> str:
    read = f" ({count_text(tallies.archived)} of them without reading an archive)" if tallies.archived else ""
    counts = ", ".join(f"{count_text(n)} {verdict}" for verdict, n in sorted(tallies.findings.items()))
    sample = ", a sample" if tallies.sampled else ""
    proven = f"{count_text(tallies.proven)} proven{sample}{read}"
    return f"{counted_text(tallies.planned, 'planned object')}, {proven}; {counts or 'nothing found'}."


def tallies_json(tallies: Tallies) -> dict[str, object]:
    """The totals as JSON."""
    return {
        "planned": tallies.planned,
        "proven": tallies.proven,
        "archived": tallies.archived,
        "left_alone": {action.value: n for action, n in tallies.not_migrated.items()},
        "findings": {verdict.value: n for verdict, n in tallies.findings.items()},
    }


def _markdown(plan: Plan, level: str, tallies: Tallies, *, shown: list[VerdictKeys]) -> str:
    title = f"{plan.name} serial {plan.serial}, {plan.plan_id}, level {level}"
    lines = ["# s3migrate verify", "", markdown_code(title), "", f"**{_verdict(tallies)}** {_words(tallies)}"]
    for group in shown:
        lines += ["", f"## {group.verdict}: {count_text(group.total)}", ""]
        lines += ["| section | verdict | key | detail |", "|---|---|---|---|"]
        for found in group.findings:
            key, detail = markdown_code(found.key, in_table=True), markdown_code(found.detail, in_table=True)
            lines.append(f"| {found.section} | {found.verdict} | {key} | {detail} |")
        if group.left_out:
            lines += [
                "",
                f"{count_text(group.left_out)} more are only counted; a report in .jsonl or .csv has them all.",
            ]
    return "\n".join(lines) + "\n"


def _line(finding: Mismatch, suffix: str) -> str:
    if suffix == ".csv":
        row = io.StringIO()
        csv.writer(row).writerow([csv_cell(cell) for cell in finding])
        return row.getvalue()
    return json.dumps(finding._asdict()) + "\n"
