"""Every test that a document names exists, in whatever document it is named."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("*.md")])
NAMED = re.compile(r"`(?:tests/)?([\w/]+\.py)::(\w+)(?:::(\w+))?(?:\[[^`]*\])?`")


@cache
def names_in(file: str) -> frozenset[str]:
    """Functions and classes of a file below tests/; empty where there is no such file."""
    path = ROOT / "tests" / file
    if not path.exists():
        return frozenset()
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_named_test_exists(document: Path) -> None:
    named = [(file, name) for file, *names in NAMED.findall(document.read_text("utf-8")) for name in names if name]
    assert [f"{file}::{name}" for file, name in named if name not in names_in(file)] == []


def test_an_invented_test_would_be_noticed() -> None:
    (found,) = NAMED.findall("`tests/unit/planner/test_decide.py::test_that_nobody_wrote`")
    assert found[1] not in names_in(found[0])
    assert names_in("unit/planner/test_decide.py")
    assert not names_in("unit/test_no_such_file.py")
