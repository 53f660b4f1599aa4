"""Content-defined batches: sums, bounds, and above all stability."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.planning import MemoryManifests

from planner.batches import BatchCutter, DraftBatch, Sticky, named, sticky_cuts
from schema.files.manifest import ManifestSummary, ManifestWriter
from schema.plan import Action, Batch, Entry, Method

GROUP = ("main", "bulk", "tiny", Method.STREAM)
TARGET = 40


class QuickWriter:
    """A manifest writer without a disk: the cuts are what is tested."""

    def __init__(self) -> None:
        self.held: list[Entry] = []

    @property
    def objects(self) -> int:
        return len(self.held)

    def add(self, entry: Entry) -> None:
        self.held.append(entry)

    def finish(self, store: MemoryManifests) -> ManifestSummary:
        digest = hashlib.sha256(repr(self.held).encode()).hexdigest()
        store.kept[digest] = self.held
        size = sum(entry.size for entry in self.held)
        return ManifestSummary(digest, self.objects, size, self.held[0].key, self.held[-1].key)


def cut(keys, base: list[Batch] | None = None, versions: int = 1):
    """The batches of ascending *keys*, and their entries."""
    store = MemoryManifests()
    sticky = None if base is None else sticky_cuts(base).get(GROUP)
    cutter = BatchCutter(GROUP, TARGET, QuickWriter, store=store, sticky=sticky)
    for key in keys:
        for version in range(versions):
            version_id = f"v{version}" if versions > 1 else None
            cutter.add(Entry(key, 1, "e", Action.COPY, version_id=version_id))
    batches = list(named(cutter.finish()))
    return batches, [store.kept[batch.manifest] for batch in batches]


def key_list(count: int, seed: int = 1) -> list[str]:
    random_keys = random.Random(seed)
    return sorted({f"{random_keys.randrange(10**9):09d}" for _ in range(count)})


def test_batches_hold_every_entry_once_in_order() -> None:
    keys = key_list(1_000)
    batches, entries = cut(keys)
    assert [entry.key for batch in entries for entry in batch] == keys
    for batch, held in zip(batches, entries, strict=True):
        assert batch.objects == batch.bytes == len(held)
        assert batch.keys == (held[0].key, held[-1].key)
    assert len({batch.id for batch in batches}) == len(batches)
    assert all(batch.id.startswith("tiny-") for batch in batches)


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 39, 41, 61, 1_000])
def test_no_batch_is_too_small_or_too_big(count: int) -> None:
    batches, _ = cut(key_list(count))
    assert bool(batches) == bool(count)
    for batch in batches:
        assert len(batches) == 1 or batch.objects >= TARGET // 4
        assert batch.objects <= TARGET * 7 // 4


def test_the_usual_batch_is_near_its_target() -> None:
    batches, _ = cut(key_list(20_000))
    assert 0.75 * TARGET < 20_000 / len(batches) < 1.25 * TARGET


@pytest.mark.parametrize("count", [5, 100, 2_000])
@pytest.mark.parametrize("seed", range(3))
def test_planning_again_changes_nothing_fresh_or_on_a_base(count: int, seed: int) -> None:
    keys = key_list(count, seed)
    first, _ = cut(keys)
    assert cut(keys)[0] == first
    assert cut(keys, first)[0] == first


edits = st.lists(
    st.tuples(st.sampled_from(["delete", "insert", "append"]), st.integers(0, 10**9), st.integers(1, 150)), max_size=4
)


@given(st.integers(0, 400), edits, st.integers(0, 99))
def test_a_plan_on_a_base_is_a_fixed_point(count: int, changes, seed: int) -> None:
    """After any edits: what was planned on a base, planned again on itself, stays as it is."""
    keys = key_list(count, seed)
    base, _ = cut(keys)
    for kind, where, how_many in changes:
        if kind == "delete":
            at = where % (len(keys) + 1)
            keys = keys[:at] + keys[at + how_many :]
        elif kind == "insert":
            keys = sorted({*keys, *(f"{where:09d}-{n:03d}" for n in range(how_many))})
        else:
            keys = [*keys, *(f"{(keys or ['0'])[-1]}+{n:03d}" for n in range(how_many))]
        base, entries = cut(keys, base)
        assert [entry.key for batch in entries for entry in batch] == keys
        assert cut(keys, base)[0] == base
        assert all(batch.objects >= TARGET // 4 for batch in base[:-1])
        assert all(batch.objects <= TARGET * 13 // 4 for batch in base)


@pytest.mark.parametrize(("on_base", "most", "mean"), [(False, 12, 3.0), (True, 2, 1.5)])
def test_one_change_touches_few_batches(on_base: bool, most: int, mean: float) -> None:
    keys = key_list(1_500)
    first, _ = cut(keys)
    rng = random.Random(7)
    touched: list[int] = []
    for _ in range(12):
        at = rng.randrange(len(keys))
        fewer = keys[:at] + keys[at + 1 :]
        more = sorted([*keys, keys[at] + "x"])
        for changed in (fewer, more):
            again, _ = cut(changed, first if on_base else None)
            kept = {batch.manifest for batch in first} & {batch.manifest for batch in again}
            touched.append(len(again) - len(kept))
    assert len(first) > 30
    assert max(touched) <= most
    assert sum(touched) / len(touched) <= mean


def test_growth_beyond_the_base_leaves_the_base_batches_alone() -> None:
    keys = key_list(1_000)
    first, _ = cut(keys)
    again, _ = cut([*keys, *(f"z{n:04d}" for n in range(500))], first)
    assert again[: len(first)] == first
    assert all(batch.objects <= TARGET * 7 // 4 for batch in again[len(first) :])


def test_versions_of_one_key_stay_in_one_batch() -> None:
    batches, entries = cut(key_list(200), versions=7)
    assert len(batches) > 1
    homes: dict[str, set[int]] = {}
    for number, held in enumerate(entries):
        for entry in held:
            homes.setdefault(entry.key, set()).add(number)
    assert {len(where) for where in homes.values()} == {1}


def test_equal_ids_are_told_apart_by_more_digits() -> None:
    drafts = [DraftBatch(*GROUP, ManifestSummary("d", 1, 1, str(n), str(n))) for n in range(6_000)]
    names = [batch.id for batch in named(drafts)]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) > len("tiny-123456")


def test_discarding_leaves_no_file(tmp_path) -> None:
    cutter = BatchCutter(GROUP, 4, lambda: ManifestWriter(tmp_path), store=MemoryManifests())
    for number in range(9):
        cutter.add(Entry(f"{number}", 1, "", Action.COPY))
    assert list(tmp_path.iterdir()) != []
    cutter.discard()
    assert list(tmp_path.iterdir()) == []


def batch(first: str, last: str, method: Method = Method.STREAM) -> Batch:
    return Batch("i", GROUP[0], GROUP[2], GROUP[1], method, 1, 1, (first, last), "m")


def test_base_cuts_are_sorted_by_key_not_by_place() -> None:
    assert sticky_cuts([batch("c", "d"), batch("a", "b")]) == {GROUP: Sticky(("a", "c"), "d")}


def test_base_cuts_of_one_method_do_not_cut_the_other() -> None:
    copied = batch("b", "e", Method.SERVER_COPY)
    assert sticky_cuts([batch("a", "d"), copied]) == {
        GROUP: Sticky(("a",), "d"),
        (*GROUP[:3], Method.SERVER_COPY): Sticky(("b",), "e"),
    }


def test_real_manifests_are_published_and_nothing_else_is_left(tmp_path) -> None:
    store = MemoryManifests()
    cutter = BatchCutter(GROUP, 4, lambda: ManifestWriter(tmp_path), store=store)
    for number in range(50):
        cutter.add(Entry(f"{number:02d}", 1, "", Action.COPY))
    batches = named(cutter.finish())
    assert len(batches) > 5
    held = [entry.key for batch in batches for entry in store.entries(batch.manifest)]
    assert held == [f"{number:02d}" for number in range(50)]
    assert list(tmp_path.iterdir()) == []
