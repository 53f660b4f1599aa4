"""Keys are untrusted bytes: how they are shown on a terminal, in markdown, in CSV and in HTML.

Every form is one line, cannot affect where it is shown (no control sequences, no right-to-left tricks, no formulas, no
tags), and can be read back exactly.
"""

from __future__ import annotations

import html
import re

_SHORT = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LONG = {escaped: char for char, escaped in _SHORT.items()}
_ESCAPE = re.compile(r"\\(?:[\\nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|)")
_BACKTICKS = re.compile("`+")
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "'")
EMPTY_MARKDOWN = "*(empty)*"


def one_line(text: str) -> str:
    """*text* for a terminal or a log line: whatever is not printable, and the backslash, as \\n, \\x1b, \\u202e...

    Not printable: control, format, surrogate, private and unassigned characters, and every space but U+0020.
    from_one_line() gives *text* back.
    """
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_escaped, text))


def _escaped(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    if char.isprintable():
        return char
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def from_one_line(escaped: str) -> str:
    """The text that one_line() escaped. ValueError for a backslash it would not have written."""
    return _ESCAPE.sub(_unescaped, escaped)


def _unescaped(found: re.Match[str]) -> str:
    escape = found[0]
    if escape in _LONG:
        return _LONG[escape]
    digits = escape[2:]
    code = int(digits, base=16) if digits else 0x110000
    if code > 0x10FFFF:
        raise ValueError("a backslash that escapes nothing")
    return chr(code)


def markdown_code(text: str, *, in_table: bool = False) -> str:
    """*text*, escaped to one line, as a markdown code span; *in_table*: also fit for a cell of a table.

    The fence is longer than any run of backticks inside. An empty text has no code span: EMPTY_MARKDOWN.
    """
    inside = one_line(text)
    if not inside:
        return EMPTY_MARKDOWN
    runs = {len(run) for run in _BACKTICKS.findall(inside)}
    fence = "`" * (max(runs, default=0) + 1)
    if inside[0] in "` " or inside[-1] in "` ":
        inside = f" {inside} "  # a reader strips one space at each end, unless there are only spaces
        if not inside.strip():
            inside = inside[1:-1]
    if in_table:
        inside = inside.replace("|", "\\|")
    return f"{fence}{inside}{fence}"


def shortened(text: str, most: int) -> str:
    """*text*, or its beginning and end around '…', so that one_line() of it takes at most *most* bytes (10 or more)."""
    if len(text) * 4 <= most or len(one_line(text).encode("utf-8", "surrogatepass")) <= most:
        return text
    ending = _fitting(text[::-1], (most - 3) // 3)[::-1]
    return f"{_fitting(text, most - 3 - (most - 3) // 3)}…{ending}"


def _fitting(text: str, most: int) -> str:
    """As much of the beginning of *text* as takes at most *most* bytes."""
    size = 0
    for place, char in enumerate(text):
        size += len(_escaped(char).encode("utf-8", "surrogatepass"))
        if size > most:
            return text[:place]
    return text


def csv_cell(text: str) -> str:
    """*text*, escaped to one line, as the value of a CSV cell that no spreadsheet evaluates as a formula.

    Quoting of commas and quotes is the csv module's work.
    """
    inside = one_line(text)
    return f"'{inside}" if inside.startswith(_FORMULA) else inside


def html_text(text: str) -> str:
    """*text*, escaped to one line, for HTML text or a quoted attribute."""
    return html.escape(one_line(text), quote=True)
