"""Every test that a document names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
DOCUMENTS = ("docs/quirks.md", "docs/services.md")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_test_that_is_named_exists(document: str) -> None:
    named = NAMED.findall((ROOT / document).read_text())
    assert len(named) > 10
    for path, test in named:
        assert (ROOT / path).is_file(), path
        assert not test or re.search(rf"^def {test}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path}::{test}"


def test_no_row_of_the_tables_is_without_a_test() -> None:
    rows = [line for line in (ROOT / "docs/quirks.md").read_text().splitlines() if line.startswith("| ")]
    bare = [row for row in rows if not NAMED.search(row) and not row.startswith(("| id", "| kind", "|--"))]
    assert [row for row in bare if "| the same |" not in row] == []
