"""The ledger's statements: states by name, one fragment for one meaning."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

import pytest
from support.sources import ROOT, nodes, product_files

from executor.ledger.sql import HELD, UNLEASED, one_of
from executor.ledger.values import ChunkState, RunState

OF_ENUM = r"(?:state|kind|lane|outcome|gate)"
BARE = re.compile(
    rf"\b{OF_ENUM}\s*(?:=|<>|!=|<=?|>=?)\s*\d|\b{OF_ENUM}\s+(?:NOT\s+)?IN\s*\(\s*\d|\b{OF_ENUM}\s+BETWEEN\s+\d"
    rf"|\bCASE\s+(?:\w+\.)?{OF_ENUM}\s+WHEN\s+\d|\bTHEN\s+\d+\s+ELSE\s+\d|\boutcomes\[\d",
    re.IGNORECASE,
)


def words(nodes: Iterable[ast.AST]) -> list[str]:
    """Every string of a source; what an f-string fills in is not part of it."""
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def test_no_statement_says_a_state_by_its_number() -> None:
    texts = [(path, text) for path in product_files() for text in words(nodes(path))]
    found = [f"{path.relative_to(ROOT)}: {hit.group()}" for path, text in texts for hit in BARE.finditer(text)]
    assert found == []
    statements = [text for _, text in texts if "ledger." in text]
    assert len(statements) > 50, "they are looked for where they are"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger.chunk SET state = 1",
        "WHERE r.state IN (1, 2, 3)",
        "AND k.kind=0",
        "state <> 3",
        "CASE WHEN n_bad > 0 THEN 4 ELSE 3 END",
        "CASE k.kind WHEN 0 THEN x ELSE y END",
        "sum(outcomes[3])",
    ],
)
def test_a_bare_number_would_be_seen(statement: str) -> None:
    assert any(BARE.search(text) for text in words(ast.walk(ast.parse(f"query = {statement!r}"))))
    assert any(BARE.search(text) for text in words(ast.walk(ast.parse(f"query = f'{{table}} {statement} {{more}}'"))))


def test_numbers_come_from_the_enums() -> None:
    assert one_of({RunState.FAILED, RunState.OPEN}) == f"({RunState.OPEN.value}, {RunState.FAILED.value})"
    assert f"k.state = {ChunkState.LEASED.value} " in HELD
    assert f"state = {ChunkState.READY.value}, " in UNLEASED
