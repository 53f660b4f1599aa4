"""Every test that a document names exists, and every path of the map; every room is on the map."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from support.sources import PACKAGES, ROOT, parsed

DOCUMENTS = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("*.md")])
NAMED = re.compile(r"`(?:tests/)?([\w/]+\.py)::(\w+)(?:::(\w+))?(?:\[[^`]*\])?`")


@cache
def names_in(file: str) -> frozenset[str]:
    """Functions and classes of a file below tests/; empty where there is no such file."""
    path = ROOT / "tests" / file
    if not path.exists():
        return frozenset()
    nodes = parsed(path)
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


ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
PATH = re.compile(r"`([\w./*-]+(?:/|\.(?:py|toml|json|sql|md|yaml)))`")


def there_is(path: str) -> bool:
    """A path from the root, or, of one word, a file somewhere in the product."""
    if "/" in path:
        return any(ROOT.glob(path.rstrip("/")))
    return any((ROOT / path).exists() or any((ROOT / package).rglob(path)) for package in PACKAGES)


def test_every_path_on_the_map_exists() -> None:
    paths = PATH.findall(ARCHITECTURE)
    assert [path for path in paths if not there_is(path)] == []
    assert len(paths) > 80
    assert not there_is("executor/copy/teleport.py")


def test_every_room_is_on_the_map() -> None:
    rooms = {
        f"{path.parent.relative_to(ROOT).as_posix()}/"
        for package in PACKAGES
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert rooms - set(PATH.findall(ARCHITECTURE)) == set()
