"""Keys shown: one line, harmless, and read back exactly."""

from __future__ import annotations

import csv
import html
import io
import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schema.formats.escape import (
    EMPTY_MARKDOWN,
    csv_cell,
    from_one_line,
    html_text,
    markdown_code,
    one_line,
)

KEYS = st.text(st.one_of(st.characters(exclude_categories=[]), st.sampled_from("\\`|'=+-@<>&\"\n\x1b\u202e nx0\t")))


@given(KEYS)
@example("\\n")
@example("\x1b[2J\u202egpj.exe")
def test_one_line_is_printable_and_reversible(key: str) -> None:
    shown = one_line(key)

    assert from_one_line(shown) == key
    assert len(shown.splitlines()) <= 1
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def test_plain_keys_stay_as_they_are() -> None:
    assert one_line("photos/2024/ä b.jpg") == "photos/2024/ä b.jpg"


@pytest.mark.parametrize("text", ["\\", "\\q", "\\x1", "\\u12", "a\\", "\\U00110000"])
def test_an_escape_of_another_making_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="backslash"):
        from_one_line(text)


def rendered(span: str) -> str:
    """What a CommonMark reader shows of one code span (spec 0.31, section 6.1)."""
    fence = re.match("`+", span)
    assert fence is not None
    inside = span[len(fence[0]) : -len(fence[0])]
    assert span.endswith(fence[0])
    assert fence[0] not in re.findall("`+", inside), "the span would end early"
    assert not inside.startswith("`")
    assert not inside.endswith("`")
    if inside.startswith(" ") and inside.endswith(" ") and inside.strip(" "):
        inside = inside[1:-1]
    return inside


@given(KEYS)
@example("`")
@example("``a`")
@example(" a ")
@example("  ")
@example(" `")
def test_markdown_shows_exactly_the_escaped_key(key: str) -> None:
    span = markdown_code(key)
    assert span == EMPTY_MARKDOWN if not key else from_one_line(rendered(span)) == key


@given(KEYS.filter(bool))
@example("a\\|b")
@example("||")
def test_a_table_cell_keeps_its_pipes(key: str) -> None:
    span = markdown_code(key, in_table=True)

    for found in re.finditer(r"(\\*)\|", span):
        assert len(found[1]) % 2 == 1, "this pipe would end the cell"
    assert from_one_line(rendered(span.replace("\\|", "|"))) == key


@given(KEYS)
@example("=1+1")
@example("'=1")
@example("@SUM(A1)")
def test_a_csv_cell_is_no_formula_and_reads_back(key: str) -> None:
    cell = csv_cell(key)
    text = io.StringIO()
    csv.writer(text).writerow([cell, "end"])

    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert from_one_line(next(csv.reader(io.StringIO(text.getvalue())))[0].removeprefix("'")) == key


@given(KEYS)
@example("<script>alert(1)</script>")
def test_html_has_no_markup(key: str) -> None:
    shown = html_text(key)

    assert not set(shown) & set("<>\"'")
    assert from_one_line(html.unescape(shown)) == key
