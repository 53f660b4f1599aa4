"""The source files of this repository as syntax trees; those that ship are parsed once by a process, and kept."""

from __future__ import annotations

import ast
import functools
import gc
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("s3migrate", "planner", "executor", "storage", "schema")


def product_files() -> list[Path]:
    """Every Python file that ships."""
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def parsed(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a file, its module first. Nothing of it is garbage, so none is looked for meanwhile."""
    gc.disable()
    try:
        return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    finally:
        gc.enable()


@functools.cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """The same of a file that ships."""
    return parsed(path)


def tree(path: Path) -> ast.Module:
    """The module in *path*."""
    module = nodes(path)[0]
    assert isinstance(module, ast.Module)
    return module


def product_nodes() -> Iterator[tuple[Path, ast.AST]]:
    """Every node of every file that ships, with its file."""
    return ((path, node) for path in product_files() for node in nodes(path))
