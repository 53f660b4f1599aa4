"""The file of verify --report: whole or not there, the verdict first, bounded where people read it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.sample_plan import sample_plan

from executor.verify.listing import Mismatch, MismatchKind
from executor.verify.run import Tallies
from s3migrate.views.verify_report import FORMATS, SHOWN, ReportFile
from schema.errors import LocalDiskError, UsageError


def written(path: Path, number: int, *, key: str = "k") -> str:
    tallies = Tallies(planned=number, proven=0)
    with ReportFile(path, sample_plan(), "head") as report:
        for n in range(number):
            finding = Mismatch("main", MismatchKind.MISSING, f"{key}{n:05}", f"{key}{n:05}", "gone")
            tallies.add(finding)
            report.add(finding)
        report.conclude(tallies)
    return path.read_text()


def test_machines_get_every_finding_and_people_a_part_and_the_number(tmp_path: Path) -> None:
    number = SHOWN + 700
    lines = written(tmp_path / "r.jsonl", number).splitlines()
    assert len(lines) == number + 1
    assert json.loads(lines[-1])["findings"] == {"missing": number}
    assert len(written(tmp_path / "r.csv", number).splitlines()) == number + 1
    for name in ("r.html", "r.md"):
        text = written(tmp_path / name, number)
        assert text.index("1,200 keys not as planned") < text.index("k00000")
        assert (text.count("k00"), "700 more are only counted" in text) == (SHOWN, True)
        assert len(text) < 1_000_000


def test_nothing_found_is_said(tmp_path: Path) -> None:
    for name in ("r.html", "r.md"):
        assert "nothing differs" in written(tmp_path / name, 0)


def test_names_are_text(tmp_path: Path) -> None:
    html = written(tmp_path / "r.html", 1, key="<img src=x>\x1b\u202e")
    assert "<img" not in html and "&lt;img src=x&gt;\\x1b\\u202e" in html
    assert "default-src 'none'" in html and "<script" not in html


@pytest.mark.parametrize("ending", FORMATS)
def test_half_a_report_is_none(tmp_path: Path, ending: str) -> None:
    with pytest.raises(RuntimeError), ReportFile(tmp_path / f"r{ending}", sample_plan(), "head") as report:
        report.add(Mismatch("main", MismatchKind.MISSING, "k", "k", "gone"))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_said() -> None:
    with (
        pytest.raises(LocalDiskError, match="cannot be written"),
        ReportFile(Path("/proc/no/r.md"), sample_plan(), "head"),
    ):
        pass
    with pytest.raises(UsageError, match="the name must end in one of"):
        ReportFile(Path("r.pdf"), sample_plan(), "head")
