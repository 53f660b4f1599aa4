"""Headers that a server adds to every object although nobody set them: an Expires an hour from now, a Cache-Control.

They are the server's own: not the object's, so neither carried nor compared. The probe detects them: at a destination
by a canary that was written without them, at a source by an Expires that moves with the answer's Date.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Final, Self
from urllib.parse import quote, unquote

NOBODY: Final[frozenset[str]] = frozenset()
_LONGEST_SECONDS: Final = 5 * 365 * 86_400
"""A date further away than this is a date, and not an age."""
_ROUND_SECONDS: Final = 10
"""Ages are rounded, so that two probes find the same."""
_FOLLOWS: Final = "@"


def age_of(headers: Mapping[str, str], name: str) -> int | None:
    """By how many seconds the date in *name* is later than the answer's own Date, rounded; None: it is not an age."""
    try:
        told, now = parsedate_to_datetime(headers.get(name, "")), parsedate_to_datetime(headers.get("date", ""))
        seconds = (told - now).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    if not -1 <= seconds <= _LONGEST_SECONDS:
        return None
    return round(seconds / _ROUND_SECONDS) * _ROUND_SECONDS


@dataclass(frozen=True, slots=True)
class ServerHeaders:
    """Names of headers, and how the server fills them: the value, or '@' and the age in seconds of a date."""

    fillings: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def seen(cls, headers: Mapping[str, str], names: frozenset[str]) -> Self:
        """Of an answer's *headers*, those in *names*, which nobody set."""
        found = {}
        for name in sorted(names & headers.keys()):
            age = age_of(headers, name)
            found[name] = headers[name] if age is None else f"{_FOLLOWS}{age}"
        return cls(found)

    @classmethod
    def read(cls, text: str) -> Self:
        """From a plan's setting; '' and 'none' are no headers."""
        pairs = (item.partition("=") for item in text.split(", ") if "=" in item)
        return cls({name: unquote(filling) for name, _, filling in pairs})

    def text(self) -> str:
        """For a plan's setting."""
        return ", ".join(f"{name}={quote(filling, safe='@')}" for name, filling in sorted(self.fillings.items()))

    def of(self, headers: Mapping[str, str]) -> frozenset[str]:
        """Names of an answer's *headers* whose values are the server's own."""
        if not self.fillings:
            return NOBODY
        return frozenset(name for name, filling in self.fillings.items() if _fills(headers, name, filling))


def _fills(headers: Mapping[str, str], name: str, filling: str) -> bool:
    if not filling.startswith(_FOLLOWS):
        return headers.get(name) == filling
    age = age_of(headers, name)
    return age is not None and abs(age - int(filling[1:])) <= _ROUND_SECONDS
