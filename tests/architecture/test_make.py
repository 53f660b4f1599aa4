"""`make unit` and `.ci/run` tell the result of both passes of the tests, whatever each of them said."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def script(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("together", "alone", "code"),
    [(0, 0, 0), (0, 5, 0), (5, 0, 0), (5, 5, 5), (1, 0, 1), (0, 1, 1), (1, 5, 1), (5, 1, 1), (4, 1, 4), (0, 4, 4)],
)
def test_both_passes_count(tmp_path: Path, together: int, alone: int, code: int) -> None:
    python = script(
        tmp_path / "python",
        'echo "$*" >>"$(dirname "$0")/asked"',
        f'case "$*" in *"not alone"*) exit {together};; *) exit {alone};; esac',
    )
    stamp = script(tmp_path / "installed")
    ran = subprocess.run(
        ["make", "unit", f"PY={python}", f"STAMP={stamp}", "WORKERS=7", "PYTEST=-k 'a or b'"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert (ran.returncode != 0) == (code != 0), ran.stderr
    assert code == 0 or f"Error {code}" in ran.stderr, ran.stderr
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == [
        "-m pytest -m not soak and not alone --numprocesses 7 --dist worksteal -k a or b",
        "-m pytest -m alone and not soak -k a or b",
    ]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (["2190 passed, 3 skipped, 40 deselected in 200.12s (0:03:20)", "40 passed, 2200 deselected in 50.5s"],
         "2230 passed, 3 skipped in 250.6s"),
        (["1 failed, 7 passed in 3.00s", "2 failed, 1 passed, 1 error in 1.00s"],
         "3 failed, 8 passed, 1 errors in 4.0s"),
        (["===== 7 passed in 3.00s =====", "===== 2 errors in 1.00s ====="], "7 passed, 2 errors in 4.0s"),
        (["7 passed in 3.00s", "INTERNALERROR> it died"], "pytest did not get to its end"),
        (["E   9 passed in nothing", "7 passed in 3.00s"], "pytest did not get to its end"),
    ],
)  # fmt: skip
def test_ci_closes_with_the_sum(tmp_path: Path, said: list[str], told: str) -> None:
    script(tmp_path / "make", *(f"echo '{line}'" for line in said), "exit 3")
    ran = subprocess.run(
        [ROOT / ".ci" / "run"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 3
    assert ran.stdout.splitlines()[-1] == f"ci: {told} (exit 3)"


def test_a_linked_environment_is_not_emptied(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    kept = script(theirs / "kept")
    (tmp_path / "venv").symlink_to(theirs)
    ran = subprocess.run(
        ["make", "venv", f"VENV={tmp_path / 'venv'}", f"PYTHON={script(tmp_path / 'python', 'exit 9')}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert ran.returncode != 0 and "is a link" in ran.stderr, ran.stderr
    assert kept.exists()
