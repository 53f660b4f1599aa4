"""Source key -> destination key.

The source prefix is taken off, each rule's regular expression is replaced wherever it matches (in the order
declared, each on the result of the one before), and the destination prefix is put in front.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path

from planner.reasons import Reason
from planner.review.losses import KEY_FACTS, key_kinds
from schema.declaration import MappingRule
from schema.errors import DeclarationError
from schema.facts import Capabilities, Fact
from storage.disk_sort import DiskSort

MAX_KEY_BYTES = 1024
_SURELY_SHORT = MAX_KEY_BYTES // 4
"""Keys of at most this many characters cannot exceed MAX_KEY_BYTES in UTF-8."""

Fold = Callable[[str], str]


class KeyMapping:
    """The mapping of one section. Raises DeclarationError for a rule that is not a regular expression."""

    def __init__(self, source_prefix: str, destination_prefix: str, rules: Sequence[MappingRule] = ()) -> None:
        self.source_prefix = source_prefix
        self.destination_prefix = destination_prefix
        self._rules = tuple(_compile(rule) for rule in rules)

    @property
    def preserves_order(self) -> bool:
        """True for a pure prefix rewrite: ascending source keys give ascending, distinct destination keys."""
        return not self._rules

    @property
    def is_identity(self) -> bool:
        """True when every key stays what it is."""
        return not self._rules and self.source_prefix == self.destination_prefix

    def target(self, key: str) -> str:
        """The destination's full key for the source's full *key*, valid or not (see key_complaint)."""
        rest = key[len(self.source_prefix) :]
        for pattern, replacement in self._rules:
            rest = pattern.sub(replacement, rest)
        return self.destination_prefix + rest


def _compile(rule: MappingRule) -> tuple[re.Pattern[str], str]:
    try:
        pattern = re.compile(rule.pattern)
        pattern.sub(rule.replace, "")
    except (re.error, IndexError) as error:
        raise DeclarationError(
            f"the mapping rule {rule.pattern!r} -> {rule.replace!r} cannot be used: {error}; correct it"
        ) from None
    return pattern, rule.replace


def key_complaint(
    target: str, *, size: int = 0, refused_kinds: frozenset[str] = frozenset(), virtual_hosted: bool = False
) -> Reason | None:
    """Why *target* cannot be the key of *size* bytes at the destination, or None. Lengths are of UTF-8 bytes.

    *refused_kinds* are kinds of odd key (planner.review.losses.key_kinds) the destination was seen to refuse or rename.
    """
    if not target:
        return Reason.KEY_EMPTY
    if len(target) > _SURELY_SHORT and len(target.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
        return Reason.KEY_TOO_LONG
    if refused_kinds and not refused_kinds.isdisjoint(key_kinds(target, size)):
        return Reason.KEY_REFUSED
    if virtual_hosted and target == "soap":
        return Reason.KEY_SOAP
    return None


_SEGMENT_KINDS = ("double-slash", "dot-segments", "leading-slash")


def refused_kinds_of(capabilities: Capabilities) -> frozenset[str]:
    """The kinds of odd key a destination does not hold under their own name.

    From the probe's fact on each kind; where it has none on path segments, from the summary fact odd_keys.
    """
    refused = {kind for kind, (fact, _) in KEY_FACTS.items() if capabilities.denies(fact)}
    told = any(capabilities.asked(KEY_FACTS[kind][0]) for kind in _SEGMENT_KINDS)
    if capabilities.denies(Fact.ODD_KEYS) and not told:
        refused |= set(_SEGMENT_KINDS)
    return frozenset(refused)


def holds_keys_beneath_keys(capabilities: Capabilities) -> bool:
    """False when the destination was seen unable to hold both `a` and `a/b` (MinIO, file systems)."""
    return not capabilities.denies(Fact.KEY_FILE_AND_FOLDER)


class NestedKeys:
    """Finds keys that are also another key's folder, in ascending keys. Holds the chain of prefixes of one key."""

    def __init__(self) -> None:
        self._beginnings: list[tuple[str, str]] = []

    def check(self, target: str, source_key: str) -> None:
        """The next key. DeclarationError naming both when an earlier one, followed by '/', begins it."""
        chain = self._beginnings
        while chain and not target.startswith(chain[-1][0]):
            chain.pop()
        for other, other_source in chain:
            if target.startswith(f"{other}/"):
                raise DeclarationError(
                    f"the destination cannot hold {target!r} (of {source_key!r}) beneath {other!r} (of "
                    f"{other_source!r}); exclude one of them or map it elsewhere"
                )
        if not chain or chain[-1][0] != target:
            chain.append((target, source_key))


def fold_of(capabilities: Capabilities) -> Fold | None:
    """How the destination folds keys together, or None when no probe saw it do so.

    Facts: folds_leading_slash (MinIO: '/a' is 'a'), folds_double_slash ('a//b' is 'a/b'), case_insensitive.
    """
    leading = capabilities.enforces(Fact.FOLDS_LEADING_SLASH)
    double = capabilities.enforces(Fact.FOLDS_DOUBLE_SLASH)
    caseless = capabilities.enforces(Fact.CASE_INSENSITIVE)
    if not (leading or double or caseless):
        return None

    def fold(key: str) -> str:
        if double:
            key = re.sub("//+", "/", key)
        if leading:
            key = key.lstrip("/")
        return key.casefold() if caseless else key

    return fold


class FoldedKeys:
    """Finds keys the destination would fold together. Sorts on disk; memory stays bounded."""

    def __init__(self, fold: Fold, staging: Path) -> None:
        self._fold = fold
        self._sorter: DiskSort[tuple[str, str]] = DiskSort(itemgetter(0), folder=staging)
        self._last: str | None = None

    def add(self, target: str, source_key: str) -> None:
        """A key that is to exist at the destination. The versions of one key may come one after the other."""
        if source_key != self._last:
            self._sorter.add((self._fold(target), source_key))
            self._last = source_key

    def refuse_collisions(self) -> None:
        """Raise DeclarationError naming the first two source keys that would become one object."""
        previous: tuple[str, str] | None = None
        for folded, source_key in self._sorter.ascending():
            if previous is not None and previous[0] == folded and previous[1] != source_key:
                raise DeclarationError(
                    f"the source keys {previous[1]!r} and {source_key!r} differ, but the destination keeps both as "
                    f"{folded!r}; map one of them elsewhere or exclude it"
                )
            previous = (folded, source_key)

    def close(self) -> None:
        """Remove the temporary files."""
        self._sorter.close()


def collision(first: str, second: str, target: str) -> DeclarationError:
    """Two source keys are mapped to one destination key."""
    return DeclarationError(
        f"the source keys {first!r} and {second!r} are both mapped to {target!r}; change the mapping or exclude one"
    )
