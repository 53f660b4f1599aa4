"""docs/test-cases.md names tests that exist, and speaks of all forty cases."""

from __future__ import annotations

import ast
import re
from functools import cache

from support.sources import ROOT, parsed

DOCUMENT = ROOT / "docs" / "test-cases.md"
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


@cache
def functions_of(file: str) -> frozenset[str]:
    """Test functions of a file below tests/, those in classes as well; empty where there is no such file."""
    path = ROOT / "tests" / file
    if not path.exists():
        return frozenset()
    found = parsed(path)
    return frozenset(node.name for node in found if isinstance(node, ast.FunctionDef))


def test_every_named_test_exists() -> None:
    named = NAMED.findall(DOCUMENT.read_text(encoding="utf-8"))
    assert len(named) > 80
    assert [f"{file}::{name}" for file, name in named if name not in functions_of(file)] == []


def test_all_forty_cases_are_answered() -> None:
    rows = re.findall(r"^\| (\d+) \|(.*)$", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 41))
    assert [number for number, row in rows if not NAMED.search(row) and "not shown:" not in row] == []
