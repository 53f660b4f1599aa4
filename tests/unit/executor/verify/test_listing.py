"""Accounting by listings against a dictionary: no key is passed over, and none is accused wrongly."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from support.planning import MemoryManifests, declare, listed, plan

from executor.ledger.values import Completion, Outcome
from executor.verify.expectation import Expectations, Expected
from executor.verify.listing import ARRIVED, MismatchKind, destination_findings, merged, source_findings
from schema.objects import ListedObject
from schema.plan import WRITE_ACTIONS, Action, Entry
from storage.disk_sort import SortBounds, sort_on_disk

KEYS = st.sets(st.sampled_from([*"abcdefgh", "a/b", "é", "é", "\U0001f600", "￾"]), max_size=9)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)


def expected(
    key: str, size: int = 1, action: Action = Action.COPY, outcome: Outcome | None = Outcome.COPIED
) -> Expected:
    """A line of a manifest with its row."""
    there = "e" if action in (Action.SKIP, Action.OVERWRITE) else None
    entry = Entry(key, size, "e", action, 0, None, there)
    moved = action in WRITE_ACTIONS and outcome is not None
    row = Completion(0, 0, outcome, 1, size, "e", b"") if moved and outcome is not None else None
    return Expected(entry, row, 0, 0)


def there(key: str, size: int = 1, etag: str = "e") -> ListedObject:
    return ListedObject(key, size, etag, 0)


@given(KEYS, KEYS)
def test_merged_is_the_union(listing: set[str], lines: set[str]) -> None:
    pairs = list(
        merged(iter(map(there, sorted(listing))), iter(map(expected, sorted(lines))), lambda e: e.entry.target)
    )
    assert [p[0].key for p in pairs if p[0]] == sorted(listing)
    assert [p[1].entry.key for p in pairs if p[1]] == sorted(lines)
    assert {p[0].key for p in pairs if p[0] and p[1]} == listing & lines
    assert all(p[0].key == p[1].entry.key for p in pairs if p[0] and p[1])


@given(KEYS, KEYS)
def test_several_lines_of_one_key_are_each_paired(listing: set[str], lines: set[str]) -> None:
    twice = [expected(key) for key in sorted(lines) for _ in range(2)]
    pairs = list(merged(iter(map(there, sorted(listing))), iter(twice), lambda e: e.entry.target))
    assert sum(p[1] is not None for p in pairs) == len(twice)
    assert all(p[0].key == p[1].entry.key for p in pairs if p[0] and p[1])
    assert {p[0].key for p in pairs if p[0] and p[1] is None} == listing - lines
    assert {p[1].entry.key for p in pairs if p[0] is None and p[1]} == lines - listing


@given(st.data())
def test_findings_are_what_set_algebra_says(data: st.DataObject) -> None:
    actions = data.draw(st.dictionaries(NAMES, st.sampled_from(list(Action)), max_size=12))
    rows = {key: data.draw(st.sampled_from([None, *Outcome])) for key in actions}
    present = data.draw(st.dictionaries(st.sampled_from([*actions, "zz"]) if actions else NAMES, st.sampled_from("ef")))
    lines = [expected(key, action=actions[key], outcome=rows[key]) for key in sorted(actions)]
    listing = [there(key, 1, etag) for key, etag in sorted(present.items())]
    found = {f.target: f.verdict for f in destination_findings("main", iter(listing), iter(lines))}
    for key in actions.keys() | present.keys():
        assert found.get(key) == _wanted(actions.get(key), rows.get(key), present.get(key)), (key, actions.get(key))


def _wanted(action: Action | None, outcome: Outcome | None, etag: str | None) -> MismatchKind | None:
    if action is None:
        return MismatchKind.UNACCOUNTED
    if action is Action.DELETE:
        return MismatchKind.NOT_DELETED if etag else None
    if action is Action.SKIP:
        return MismatchKind.MISSING if etag is None else MismatchKind.DIFFERENT if etag != "e" else None
    if action not in WRITE_ACTIONS:
        return None
    if outcome is None:
        return MismatchKind.NOT_COPIED
    if outcome not in ARRIVED:
        return MismatchKind.DRIFTED
    return MismatchKind.MISSING if etag is None else MismatchKind.DIFFERENT if etag != "e" else None


def test_a_size_that_differs_is_different() -> None:
    found = list(destination_findings("main", iter([there("k", 2)]), iter([expected("k", 1)])))
    assert [(f.verdict, f.key) for f in found] == [(MismatchKind.DIFFERENT, "k")]


@given(KEYS, KEYS, st.sampled_from("ef"))
def test_the_source_is_accounted_for(listing: set[str], lines: set[str], etag: str) -> None:
    found = list(source_findings("main", (there(k, 1, etag) for k in sorted(listing)), map(expected, sorted(lines))))
    assert {f.key for f in found if f.verdict is MismatchKind.NOT_IN_PLAN} == listing - lines
    changed = lines - listing if etag == "e" else lines
    assert {f.key for f in found if f.verdict is MismatchKind.CHANGED_SINCE} == changed


@given(NAMES, NAMES, st.sampled_from(list(Action)), st.none() | st.sampled_from(list(Outcome)), st.booleans())
def test_a_line_survives_the_sort_on_disk(
    key: str, target: str, action: Action, outcome: Outcome | None, by_target: bool
) -> None:
    entry = Entry(key, 5, "tag", action, 7, target, "s" if action is Action.SKIP else None)
    row = None if outcome is None else Completion(3, 4, outcome, 1, 5, "d", b"\xff")
    line = Expected(entry, row, 3, 4)
    order = (lambda e: e.entry.target) if by_target else (lambda e: e.entry.key)
    assert list(sort_on_disk([line, line], order, bounds=SortBounds(1))) == [line, line]


@given(st.integers(0, 2**32))
def test_every_planned_line_comes_once_in_order(number: int) -> None:
    rng = random.Random(number)
    source = [
        listed(f"{rng.choice('abc')}/{n}", rng.choice([1, 300_000, 20_000_000])) for n in range(rng.randrange(30))
    ]
    destination = [item for item in source if rng.random() < 0.3] + [listed("only-there")]
    manifests = MemoryManifests()
    with tempfile.TemporaryDirectory() as staging:
        made = plan(declare(), source, destination, manifests=manifests, staging=Path(staging))
    lines = Expectations(made, made.sections[0], manifests, ledger=None, run_id=None)
    assert [e.entry.key for e in lines.by_source()] == sorted(item.key for item in source)
    assert [e.entry.target for e in lines.by_target()] == sorted({i.key for i in source} | {i.key for i in destination})
    assert len(list(lines.transfers())) == sum(batch.objects for batch in made.batches)
