"""Guesses where keys lie that have not been listed yet, from those that have. Pure; a guess is never trusted.

Keys are read as numbers with one digit per character. Which characters a place may hold is learned per place from
real keys: in `img-00001234.jpg` places 4 to 11 hold digits and the others never change, so that the number counts
as the key does. A place that has shown one digit may hold all digits, one that has shown a small letter every small
letter seen anywhere, and so on. Every character of a guess has been seen in a key or is an ASCII digit: it is valid
UTF-8. Names that vary in characters outside ASCII are guessed badly, which only costs speed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

_PLACES = 512
"""Places learned of; longer keys are only understood as far."""
_CHARACTERS = 256
"""Different characters learned per place."""
_CARRY = 8
"""Places before the first one that changes within a page which may still count up."""
_DIGITS = 6
"""Places after it that take part."""


class KeySpace:
    """What places of keys have been seen to hold."""

    def __init__(self) -> None:
        self._seen: list[set[str]] = []
        self._everywhere: set[str] = set("0123456789")
        self._alphabets: dict[int, list[str]] = {}
        self._shortest = _PLACES

    def learn(self, keys: Iterable[str]) -> None:
        """Take note of some real keys."""
        for key in keys:
            self._shortest = min(self._shortest, len(key))
            known = len(self._everywhere)
            self._everywhere.update(key)
            if len(self._everywhere) != known:
                self._alphabets.clear()
            while len(self._seen) < min(len(key), _PLACES):
                self._seen.append(set())
            for place, character in enumerate(key[:_PLACES]):
                here = self._seen[place]
                if character not in here and len(here) < _CHARACTERS:
                    here.add(character)
                    self._alphabets.pop(place, None)

    def ahead(self, first: str, last: str, base: str, *, pages: int) -> str | None:
        """Where the key *pages* pages after *base* might lie, if a page covers [first, last]. None: no idea."""
        common = _common_length(first, last)
        begin = max(0, min(common, _common_length(first, base)) - _CARRY)
        end = common + _DIGITS
        if end > _PLACES or end - begin > 64:
            return None
        places = [(self._alphabet(place), place >= self._shortest) for place in range(begin, end)]
        step = _number(last, begin, places) - _number(first, begin, places)
        target = _number(base, begin, places) + pages * step
        digits: list[int] = []
        for alphabet, may_end in reversed(places):
            target, digit = divmod(target, len(alphabet) + may_end)
            digits.append(digit - may_end)
        if target:
            return None
        guess = base[:begin]
        for (alphabet, _may_end), digit in zip(places, reversed(digits), strict=True):
            if digit < 0:
                break
            guess += alphabet[digit]
        return guess

    def _alphabet(self, place: int) -> list[str]:
        """What *place* may hold, sorted."""
        alphabet = self._alphabets.get(place)
        if alphabet is None:
            seen = self._seen[place] if place < len(self._seen) else set()
            kinds = {_kind(character) for character in seen}
            alphabet = sorted(seen | {character for character in self._everywhere if _kind(character) in kinds})
            self._alphabets[place] = alphabet
        return alphabet


def _number(key: str, begin: int, places: list[tuple[list[str], bool]]) -> int:
    """The characters from *begin* as a number; where a key may end, ending is the lowest digit."""
    value = 0
    for place, (alphabet, may_end) in enumerate(places, begin):
        digit = 0
        if place < len(key):
            digit = min(bisect_left(alphabet, key[place]), len(alphabet) - 1) + may_end
        value = value * (len(alphabet) + may_end) + digit
    return value


def _kind(character: str) -> str:
    """Characters of one kind stand for each other; one that is no ASCII letter or digit stands for itself."""
    if character.isascii():
        if character.isdigit():
            return "digit"
        if character.isalpha():
            return "small" if character.islower() else "capital"
    return character


def _common_length(first: str, second: str) -> int:
    """How many characters both begin with."""
    for place, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return place
    return min(len(first), len(second))
