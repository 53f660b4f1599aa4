"""Checks that one listing answers for all: which odd keys the destination holds, and which storage classes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from schema.errors import StoreError, Throttled
from schema.facts import Fact, Facts
from schema.objects import ListedObject, WriteResult
from schema.storage_classes import class_fact
from storage.probe.canary import Canary
from storage.probe.findings import BODY, ENFORCED, IGNORED, REJECTED, UNKNOWN, refusal

MAX_KEY_BYTES: Final = 1024
STUFFED: Final = "stuffed/"
EMPTY: Final[Mapping[Fact, tuple[str, ...]]] = {Fact.KEY_FOLDER_MARKER: ("marker/",)}
"""Probed only where a similar key with content is not held."""
ODD_KEYS: Final[Mapping[Fact, tuple[str, ...]]] = {
    Fact.KEY_CASE: ("BASE",),
    Fact.KEY_FOLDER_CONTENT: (STUFFED,),
    Fact.KEY_FILE_AND_FOLDER: ("base/e",),
    Fact.KEY_DOUBLE_SLASH: ("f/e", "f//e"),
    Fact.KEY_DOT_SEGMENTS: ("./y/../z",),
    Fact.KEY_LONG_SEGMENT: ("l" * 256,),
}
"""Fact -> canary names that must be listed exactly as written, each an object of its own; "base" is there already."""
_OF_BASE: Final = frozenset({Fact.KEY_CASE, Fact.KEY_FILE_AND_FOLDER})
"""Written in this order: a server may take both for the canary "base", or forbid a key beneath another."""
SPELLINGS: Final[Mapping[Fact, tuple[str, ...]]] = {
    Fact.KEY_CHARACTERS: ("p q+r%2Fs",),
    Fact.KEY_CONTROL: ("c\x01",),
    Fact.KEY_BACKSLASH: ("b\\s",),
    Fact.KEY_BLANKS: (" t /u./w ",),
    Fact.KEY_NORMAL_FORM: ("n\u00e9", "ne\u0301"),
    Fact.KEY_WIDE: ("w\U0001f600",),
}
"""The same for keys that differ only in their characters, so that one canary can test all of them."""
ALL_SPELLINGS: Final = "/".join(("all", *(name for names in SPELLINGS.values() for name in names)))


def write_odd_keys(canary: Canary) -> tuple[Facts, dict[str, int]]:
    """Writes them; facts of those refused, and name -> length of those taken. Lengths tell the bodies apart."""
    facts: Facts = {}
    taken: dict[str, int] = {}
    _write(canary, {**ODD_KEYS, Fact.KEY_CHARACTERS: (ALL_SPELLINGS,)}, facts, taken=taken)
    if facts.pop(Fact.KEY_CHARACTERS, None) is not None:
        _write(canary, SPELLINGS, facts, taken=taken)
    if Fact.KEY_FOLDER_CONTENT in facts:
        _write(canary, EMPTY, facts, taken=taken)
    if not canary.prefix:
        leading = canary.put_key("/" + canary.key("leading"), b"x" * 99, tolerant=True)
        facts[Fact.KEY_LEADING_SLASH] = REJECTED if isinstance(leading, StoreError) else ENFORCED
    return facts, taken


def write_doubted(
    canary: Canary, facts: Facts, taken: dict[str, int], *, listed: Mapping[str, ListedObject] | None
) -> bool:
    """Where a canary that asks for several things was taken and is not listed as it was written, writes one for each
    and adds to what write_odd_keys gave. True: there were such, and the canaries are to be listed anew."""
    if listed is None:
        return False
    before = len(taken)
    if ALL_SPELLINGS in taken and ALL_SPELLINGS not in listed:
        _write(canary, SPELLINGS, facts, taken=taken)
    if STUFFED in taken and not _intact(STUFFED, taken, listed):
        _write(canary, EMPTY, facts, taken=taken)
    return len(taken) > before


def _intact(name: str, taken: Mapping[str, int], listed: Mapping[str, ListedObject]) -> bool:
    return name in listed and listed[name].size == taken.get(name)


def _write(canary: Canary, wanted: Mapping[Fact, tuple[str, ...]], facts: Facts, *, taken: dict[str, int]) -> None:
    lengths = itertools.count(max(taken.values(), default=0) + 1)
    bodies = {name: next(lengths) for names in wanted.values() for name in names}
    bodies |= dict.fromkeys(wanted.get(Fact.KEY_FOLDER_MARKER, ()), 0)
    # Those of one fact in their order: where a server takes them for one key, the last one counts.
    groups = [names for fact, names in wanted.items() if fact not in _OF_BASE]
    of_base = [name for fact, names in wanted.items() if fact in _OF_BASE for name in names]
    writes = [
        partial(_write_each, canary, {name: bodies[name] for name in names}) for names in (of_base, *groups) if names
    ]
    answers = {name: answer for written in canary.each(writes) for name, answer in written.items()}
    for fact, name in [(fact, name) for fact, names in wanted.items() for name in names]:
        answer = answers[name]
        if answer is None:
            facts[fact] = UNKNOWN  # below so long a prefix
        elif isinstance(answer, StoreError):
            facts[fact] = UNKNOWN if isinstance(answer, Throttled) else REJECTED
        else:
            taken[name] = bodies[name]


def _write_each(canary: Canary, bodies: Mapping[str, int]) -> dict[str, WriteResult | StoreError | None]:
    """The answers for canaries of so many bytes; None: its key would be too long."""
    return {
        name: None if len(canary.key(name).encode()) > MAX_KEY_BYTES else canary.put(name, b"x" * length, tolerant=True)
        for name, length in bodies.items()
    }


def judge_odd_keys(written: Facts, taken: Mapping[str, int], listed: Mapping[str, ListedObject] | None) -> Facts:
    """The findings for the odd keys, by one listing."""
    facts = dict(written)
    if listed is None:
        unseen: Facts = dict.fromkeys((*ODD_KEYS, *SPELLINGS, *EMPTY, Fact.ODD_KEYS), UNKNOWN)
        return unseen | facts
    if ALL_SPELLINGS in listed:
        facts |= dict.fromkeys(SPELLINGS, ENFORCED)
    if _intact(STUFFED, taken, listed):
        facts |= dict.fromkeys(EMPTY, ENFORCED)
    for fact, names in (*ODD_KEYS.items(), *SPELLINGS.items(), *EMPTY.items()):
        if fact not in facts:
            intact = all(_intact(name, taken, listed) for name in names)
            if fact in (Fact.KEY_FILE_AND_FOLDER, Fact.KEY_CASE):
                intact = intact and "base" in listed
            facts[fact] = ENFORCED if intact else IGNORED
    double = listed.get("f/e")
    if double is not None and "f//e" in taken:
        facts[Fact.FOLDS_DOUBLE_SLASH] = ENFORCED if double.size == taken["f//e"] else IGNORED
    if "BASE" in taken:
        facts[Fact.CASE_INSENSITIVE] = ENFORCED if ("base" in listed) != ("BASE" in listed) else IGNORED
    if Fact.KEY_LEADING_SLASH in facts and facts[Fact.KEY_LEADING_SLASH] == ENFORCED:
        folded = "leading" in listed
        facts[Fact.FOLDS_LEADING_SLASH] = ENFORCED if folded else IGNORED
        facts[Fact.KEY_LEADING_SLASH] = IGNORED if folded else ENFORCED
    segments = [facts.get(f, ENFORCED) for f in (Fact.KEY_DOUBLE_SLASH, Fact.KEY_DOT_SEGMENTS, Fact.KEY_LEADING_SLASH)]
    facts[Fact.ODD_KEYS] = ENFORCED if all(found == ENFORCED for found in segments) else REJECTED
    return facts


def write_storage_classes(canary: Canary, classes: Sequence[str]) -> Facts:
    """One canary a class; the classes refused."""
    writes = [partial(canary.put, f"class-{name}", BODY, [("x-amz-storage-class", name)]) for name in classes]
    answers = zip(classes, canary.each(writes), strict=True)
    return {class_fact(name): refusal(answer) for name, answer in answers if isinstance(answer, StoreError)}


def judge_storage_classes(
    canary: Canary, classes: Sequence[str], refused: Facts, *, listed: Mapping[str, ListedObject] | None
) -> Facts:
    """Of the *classes* that were not *refused* whether the listing, or else HEAD, shows what was asked for."""
    facts = dict(refused)
    for name in classes:
        if class_fact(name) in facts:
            continue
        found = listed.get(f"class-{name}") if listed is not None else None
        head = canary.ask(partial(canary.store.head, canary.key(f"class-{name}")))
        shown = not isinstance(head, StoreError) and head.storage_class == name
        if found is not None and found.storage_class == name:
            facts[class_fact(name)] = ENFORCED
            if not (shown or isinstance(head, StoreError)):
                facts[Fact.HEAD_STORAGE_CLASS] = IGNORED
        else:
            facts[class_fact(name)] = UNKNOWN if isinstance(head, StoreError) else ENFORCED if shown else IGNORED
    return facts
