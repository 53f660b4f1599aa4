"""A look at the destination's keys of one chunk."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support.memory_store import MemoryStore

from executor.apply.present import SPARE_KEYS, just_before, present_targets
from schema.plan import Action, Entry

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(KEYS, KEYS)
def test_just_before_sorts_before(key: str, other: str) -> None:
    before = just_before(key)
    assert before < key
    assert before.encode() < key.encode()
    assert not any(ord(character) < 0x20 for character in before), "XML cannot say it"
    if other[:-1] == key[:-1] and other < key:
        assert not before < other or other > before


@given(st.sets(KEYS, max_size=20), st.sets(KEYS, min_size=1, max_size=20))
def test_present_targets_is_the_intersection(there: set[str], wanted: set[str]) -> None:
    store = MemoryStore()
    for key in there:
        store.hold(key, b"")
    entries = [Entry(key, 0, "", Action.COPY) for key in sorted(wanted)]
    assert present_targets(store, "", entries) == there & wanted


def test_a_chunk_scattered_over_a_full_bucket_is_not_scanned_through() -> None:
    store = MemoryStore()
    for number in range(SPARE_KEYS + 20):
        store.hold(f"k{number:06d}", b"")
    ends = [Entry("k", 0, "", Action.COPY), Entry("l", 0, "", Action.COPY)]
    assert present_targets(store, "", ends) is None
    assert present_targets(store, "", []) == frozenset()
