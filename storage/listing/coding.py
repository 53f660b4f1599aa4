"""How a server writes keys into its listings, decided by evidence: a HEAD of the keys a text may stand for.

`encoding-type=url` is asked for because XML cannot hold every key. Servers answer it in four ways: form-encoded ('+' is
a space), percent-encoded ('+' is itself), not encoded although they say so, or encoded twice. A page that does not say
it is encoded should hold keys as they are, but some do not. Where the ways agree on a text no request is needed. Where
they do not, the keys that exist show which way the server uses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import unquote_to_bytes

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_SPECIAL = re.compile("[%+ ]")
_MOST_PLUSES = 4
_NOT_OF_A_FORM = r"[^\n\x21-\x7e]|%20|%(?![0-9A-Fa-f]{2})"
"""Characters that every encoding escapes. A page that says it is encoded and shows none of them is believed, which
saves a HEAD per listing with the many servers that do as they say; a text that was not encoded after all is then not
found by name.
"""
_CERTAIN = bytes({ord("\n"), *range(ord("!"), 0x7F)} - set(b"%+"))
_TWICE = re.compile(r"%25[0-9A-Fa-f]{2}")
MOST_ASKED = 24
"""The most texts to send HEADs for before the usual reading is kept."""
MOST_AT_ONCE = 4
"""Of one page."""


class Coding(Enum):
    """How a text in a listing becomes a key."""

    FORM = "form"
    """'+' is a space, %2B a plus: AWS and most others."""
    PERCENT = "percent"
    """'+' is itself, %20 a space."""
    PLAIN = "plain"
    """The text is the key."""
    TWICE = "twice"
    """Percent-encoded, and the outcome once more."""


class KeyExists(Enum):
    """What a HEAD of a key says, compared with the listed size and ETag."""

    SAME = "same"
    OTHER = "other"
    """There is such a key, with another size or ETag than the entry's."""
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ListedText:
    """One key as sent, and what its entry says besides."""

    text: str
    size: int | None
    etag: str | None


AskKey = Callable[[str, ListedText], KeyExists]
"""HEAD the key; the text's size and ETag are to be compared."""


def decoded(text: str, coding: Coding) -> str:
    """The key. Bytes that are not UTF-8 become lone surrogates (surrogateescape)."""
    if coding is Coding.PLAIN:
        return text
    if coding is Coding.FORM and "+" in text:
        text = text.replace("+", " ")
    if "%" not in text:
        return text
    key = unquote_to_bytes(text).decode("utf-8", "surrogateescape")
    return decoded(key, Coding.PERCENT) if coding is Coding.TWICE and _ESCAPE.search(key) else key


def is_certain(texts: str) -> bool:
    """Whether *texts*, with line breaks between them, are keys as they are, whichever way the server uses.

    A quick no to every KeyCodings.question, whose pattern takes ten times as long.
    """
    return not texts.encode("utf-8", "surrogatepass").translate(None, _CERTAIN)


def readings(declared: bool) -> tuple[Coding, ...]:
    """The ways to try, the usual one first. *declared*: the page says that it is url-encoded."""
    if declared:
        return (Coding.FORM, Coding.PERCENT, Coding.PLAIN, Coding.TWICE)
    return (Coding.PLAIN, Coding.FORM, Coding.PERCENT)


def is_impossible(text: str, coding: Coding) -> bool:
    """Whether no server that writes keys in this way would send *text*."""
    return coding is not Coding.PLAIN and (" " in text or _BAD_ESCAPE.search(text) is not None)


@dataclass(slots=True)
class KeyCodings:
    """What is known of one bucket's way. One for each of the two kinds of page, declared or not."""

    _left: dict[bool, tuple[Coding, ...]] = field(default_factory=dict)
    _asked: dict[bool, int] = field(default_factory=dict)
    _merging: bool = False

    @property
    def merges(self) -> bool:
        """True: the server was seen to write a space and a plus alike, so each such key has to be asked about."""
        return self._merging

    def current(self, declared: bool) -> Coding:
        """The most common way that nothing has ruled out."""
        return self._candidates(declared)[0]

    def question(self, declared: bool) -> re.Pattern[str] | None:
        """The text that the remaining ways read differently; None: no request is needed."""
        left = self._candidates(declared)
        if self._asked.get(declared, 0) >= MOST_ASKED or len(left) == 1:
            return None
        found: list[str] = []
        if Coding.PLAIN in left:
            found.append(_NOT_OF_A_FORM if declared else "[% ]")
        if {Coding.PLAIN, Coding.PERCENT}.intersection(left) and Coding.FORM in left:
            found.append(r"\+")
        if Coding.TWICE in left:
            found.append(_TWICE.pattern)
        return re.compile("|".join(found)) if found else None

    def consider(self, declared: bool, texts: Sequence[ListedText], ask: AskKey) -> None:
        """Rule out ways by all *texts* of one page; sends a HEAD only where more than one is left."""
        question = self.question(declared)
        if question is None:
            return
        left = _possible(self._candidates(declared), [each.text for each in texts])
        left = _distinct(left, {each.text for each in texts if _SPECIAL.search(each.text)}) or left
        asked = 0
        # The most discriminating text first: usually one is enough.
        doubtful = [each for each in texts if question.search(each.text)]
        for each in sorted(doubtful, key=lambda each: -len({decoded(each.text, coding) for coding in left})):
            keys = {coding: decoded(each.text, coding) for coding in left}
            if asked == MOST_AT_ONCE:
                break
            if len(set(keys.values())) == 1:
                continue
            asked += 1
            left = _confirmed(left, keys, each, ask=ask)
        self._asked[declared] = self._asked.get(declared, 0) + asked
        self._left[declared] = left

    def saw_twice(self, text: str) -> None:
        """One page held *text*, which has a plus, for two objects."""
        self._merging = self._merging or "+" in text

    def _candidates(self, declared: bool) -> tuple[Coding, ...]:
        return self._left.get(declared) or readings(declared)


def spellings(text: str) -> list[str]:
    """The keys that a server which writes spaces and pluses alike may mean by *text*, ascending."""
    if text.count("+") > _MOST_PLUSES:
        return []
    first, *rest = text.split("+")
    found = [first]
    for piece in rest:
        found = [f"{start}{join}{piece}" for start in found for join in " +"]
    return sorted({decoded(each, Coding.PERCENT) for each in found})


def _possible(left: tuple[Coding, ...], texts: list[str]) -> tuple[Coding, ...]:
    """Without the ways in which no server would have sent one of *texts*."""
    odd = [text for text in texts if " " in text or _BAD_ESCAPE.search(text)]
    if not odd:
        return left
    return tuple(coding for coding in left if not any(is_impossible(text, coding) for text in odd)) or left


def _distinct(left: tuple[Coding, ...], different: set[str]) -> tuple[Coding, ...]:
    """Without the ways in which two texts of one page would be one key: no listing names a key twice."""
    return tuple(coding for coding in left if len({decoded(text, coding) for text in different}) == len(different))


def _confirmed(
    left: tuple[Coding, ...], keys: dict[Coding, str], each: ListedText, *, ask: AskKey
) -> tuple[Coding, ...]:
    """The ways whose key exists as listed; else those whose key exists; *left* when that is inconclusive."""
    found: dict[str, KeyExists] = {}
    for key in dict.fromkeys(keys.values()):
        # Where one exists as listed, at most its twin with a plus for a space exists besides, with the same content.
        if not any(found[other] is KeyExists.SAME and not _are_twins(key, other) for other in found):
            found[key] = ask(key, each)
    for wanted in (KeyExists.SAME, KeyExists.OTHER):
        those = tuple(coding for coding in left if found.get(keys[coding]) is wanted)
        if those:
            return those
    return left


def _are_twins(key: str, other: str) -> bool:
    return key.replace("+", " ") == other.replace("+", " ")
