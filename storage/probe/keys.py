"""Checks that one listing answers for all: which odd keys the destination holds, and which storage classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from schema.errors import StoreError, Throttled
from schema.facts import Fact, Facts
from schema.objects import ListedObject
from schema.storage_classes import class_fact
from storage.probe.canary import Canary
from storage.probe.findings import BODY, ENFORCED, IGNORED, REJECTED, UNKNOWN, refusal

ODD_KEYS: Final[Mapping[Fact, tuple[str, ...]]] = {
    Fact.KEY_CASE: ("BASE",),
    Fact.KEY_FOLDER_MARKER: ("marker/",),
    Fact.KEY_FILE_AND_FOLDER: ("base/e",),
    Fact.KEY_DOUBLE_SLASH: ("f/e", "f//e"),
    Fact.KEY_DOT_SEGMENTS: ("./y/../z",),
    Fact.KEY_CHARACTERS: ("p q+r%2Fs e\u0301",),
    Fact.KEY_CONTROL: ("c\x01",),
}
"""Fact -> canary names that must be listed exactly as written, each an object of its own; "base" is there already."""


def write_odd_keys(canary: Canary) -> tuple[Facts, dict[str, int]]:
    """Writes them; facts of those refused, and name -> length of those taken. Lengths tell the bodies apart."""
    facts: Facts = {}
    taken: dict[str, int] = {}
    for fact, names in ODD_KEYS.items():
        for name in names:
            length = 0 if name.endswith("/") else len(taken) + 1
            answer = canary.put(name, b"x" * length, tolerant=True)
            if isinstance(answer, StoreError):
                facts[fact] = UNKNOWN if isinstance(answer, Throttled) else REJECTED
            else:
                taken[name] = length
    if not canary.prefix:
        leading = canary.put_key("/" + canary.key("leading"), b"x" * 99, tolerant=True)
        facts[Fact.KEY_LEADING_SLASH] = REJECTED if isinstance(leading, StoreError) else ENFORCED
    return facts, taken


def judge_odd_keys(written: Facts, taken: Mapping[str, int], listed: Mapping[str, ListedObject] | None) -> Facts:
    """What became of the odd keys, by one listing."""
    facts = dict(written)
    if listed is None:
        unseen: Facts = dict.fromkeys((*ODD_KEYS, Fact.ODD_KEYS), UNKNOWN)
        return unseen | facts
    for fact, names in ODD_KEYS.items():
        if fact not in facts:
            intact = all(name in listed and listed[name].size == taken.get(name) for name in names)
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
    facts: Facts = {}
    for name in classes:
        answer = canary.put(f"class-{name}", BODY, [("x-amz-storage-class", name)])
        if isinstance(answer, StoreError):
            facts[class_fact(name)] = refusal(answer)
    return facts


def judge_storage_classes(
    canary: Canary, classes: Sequence[str], refused: Facts, *, listed: Mapping[str, ListedObject] | None
) -> Facts:
    """Of the *classes* that were not *refused* whether the listing, or else HEAD, shows what was asked for."""
    facts = dict(refused)
    for name in classes:
        if class_fact(name) in facts:
            continue
        found = listed.get(f"class-{name}") if listed is not None else None
        if found is not None and found.storage_class == name:
            facts[class_fact(name)] = ENFORCED
            continue
        head = canary.ask(partial(canary.store.head, canary.key(f"class-{name}")))
        facts[class_fact(name)] = (
            UNKNOWN if isinstance(head, StoreError) else ENFORCED if head.storage_class == name else IGNORED
        )
    return facts
