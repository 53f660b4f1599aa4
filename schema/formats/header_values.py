"""Whether two values of an HTTP header say the same: case and blanks count only where they mean something."""

from __future__ import annotations

from email.message import Message
from typing import Final

_TOKENS: Final = frozenset(("content-encoding", "content-language"))
"""Lists of tokens in which case means nothing (RFC 9110)."""


def same_value(name: str, a: str, b: str) -> bool:
    """Whether *a* and *b* say the same as values of the header *name* (lower case)."""
    if a == b:
        return True
    if not a or not b:
        return False
    if name == "content-type":
        return _media_type(a) == _media_type(b)
    if name in _TOKENS:
        return _listed(a.lower()) == _listed(b.lower())
    return name == "cache-control" and [*map(_directive, _listed(a))] == [*map(_directive, _listed(b))]


def _media_type(value: str) -> tuple[str, list[tuple[str, str]]]:
    """Type and parameters. Of their values only that of charset has no case."""
    message = Message()
    message["content-type"] = value
    (kind, _), *found = message.get_params(failobj=[("", "")])
    named = [(name.lower(), text) for name, text in found]
    return kind.lower(), sorted((name, text.lower() if name == "charset" else text) for name, text in named)


def _listed(value: str) -> list[str]:
    return [item.strip() for item in value.split(",")]


def _directive(item: str) -> str:
    name, equals, text = item.partition("=")
    return name.lower() + equals + text
