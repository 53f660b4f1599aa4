"""Text in Markdown: what comes from outside as code spans of bounded length, only our own words unquoted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from schema.formats.escape import markdown_code, shortened
from schema.formats.quantities import count_text

KEY_BYTES = 96
TEXT_BYTES = 300
_WORDS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ,.;%()+≤'/-]|:(?= ))*")
_REFERENCE = re.compile(r"www\.|\bGH-\d", re.IGNORECASE)
"""What GitHub turns into a link although it consists of _WORDS."""


def code(text: str, most: int = KEY_BYTES) -> str:
    """*text* as a code span of bounded length."""
    return markdown_code(shortened(text, most))


def cell(text: str) -> str:
    """*text* as a code span in a table."""
    return markdown_code(shortened(text, KEY_BYTES), in_table=True)


def few(items: Sequence[str], most: int, command: str) -> Iterator[str]:
    """The first *most* items of a list, and the *command* that shows the others."""
    yield from items[:most]
    if len(items) > most:
        yield f"- and {count_text(len(items) - most)} more: `{command}`"


def plain_or_code(value: object, most: int = TEXT_BYTES) -> str:
    """Plain words as they are; anything that Markdown might interpret, as a code span."""
    text = shortened(str(value), most)
    words = _WORDS.fullmatch(text) and not _REFERENCE.search(text)
    return text if words else markdown_code(text, in_table=True)
