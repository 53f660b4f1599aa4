"""The dozen rows of a plan: they sum to what moves, stay few, go as deep as they can, and need bounded memory."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from support.planning import DESTINATION, MemoryManifests, declare, listed, moved, plan

import planner.review.places
from planner.review.places import PLACES, Counts, Prefixes, places_of
from schema.declaration import Guards, Policy, Side
from schema.plan import Action, Overview, Place, Plan
from schema.tiers import GIB, KIB, MIB

YEAR_2020 = 1_577_836_800_000
YEAR_2021 = 1_609_459_200_000


def overview(made: Plan) -> Overview:
    assert made.overview is not None
    return made.overview


def test_it_tells_sizes_years_classes_and_the_largest(tmp_path: Path) -> None:
    source = [
        listed("a/1", 0, modified=YEAR_2020),
        listed("a/2", 256 * KIB, modified=YEAR_2021 - 1),
        listed("a/3", 256 * KIB + 1, modified=YEAR_2021),
        listed("b/4", 17 * MIB, storage_class="STANDARD_IA"),
        listed("b/5", 17 * GIB, modified=0),
    ]
    found = overview(plan(declare(), source, manifests=MemoryManifests(), staging=tmp_path))
    assert [tuple(share) for share in found.sizes] == [
        ("tiny", 2, 256 * KIB),
        ("small", 1, 256 * KIB + 1),
        ("medium", 1, 17 * MIB),
        ("huge", 1, 17 * GIB),
    ]
    assert [(share.name, share.objects) for share in found.years] == [
        ("1970", 1), ("2020", 2), ("2021", 1), ("unknown", 1)
    ]  # fmt: skip
    assert [(share.name, share.objects) for share in found.storage_classes] == [("STANDARD", 4), ("STANDARD_IA", 1)]
    assert [each.key for each in found.largest] == ["b/5", "b/4", "a/3", "a/2", "a/1"]


def test_examples_are_the_first_keys_of_what_needs_a_decision(tmp_path: Path) -> None:
    source = [listed(f"k{n}", 2, modified=5_000) for n in range(5)]
    there = [*(listed(f"k{n}", 1, modified=1_000) for n in range(5)), listed("x/old")]
    declaration = declare(policy=Policy(delete_extraneous="after-verify"), guards=Guards(max_deletes=9))
    made = plan(declaration, source, there, manifests=MemoryManifests(), staging=tmp_path)
    assert overview(made).examples == {"overwrite": ("k0", "k1", "k2"), "delete": ("x/old",)}
    assert overview(made).places == (
        Place("main", "", True, 0, 5, 0, 10),
        Place("main", "x/", False, 0, 0, 1, 0),
    )


def test_rows_say_where_objects_will_be_without_the_destinations_prefix(tmp_path: Path) -> None:
    declaration = declare(destination=Side(bucket="to", prefix="in/", endpoint_url=DESTINATION.endpoint_url))
    made = plan(declaration, [listed("p/a"), listed("q/b")], manifests=MemoryManifests(), staging=tmp_path)
    assert [place.prefix for place in overview(made).places] == ["p/", "q/"]
    assert overview(made).largest[0].key.startswith("in/")
    there = [listed("in/p/a", 9)]
    made = plan(declaration, [listed("p/a", modified=5_000)], there, manifests=MemoryManifests(), staging=tmp_path)
    assert overview(made).examples == {"overwrite": ("in/p/a",)}, "what is replaced, not what replaces it"


@pytest.mark.parametrize("seed", range(20))
def test_rows_sum_to_what_moves_and_are_few(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner.review.places, "MOST_PREFIXES", 8)
    draw = random.Random(seed)
    keys = {"/".join(draw.choices("abcé", k=draw.randint(1, 9))) for _ in range(draw.choice((1, 30, 400)))}
    source = [listed(key, draw.randint(0, 9), modified=5_000) for key in sorted(keys)]
    there = [listed(item.key, 99) for item in source if draw.random() < 0.2]
    manifests = MemoryManifests()
    made = plan(declare(), source, there, manifests=manifests, staging=tmp_path)
    found, entries = overview(made), moved(made, manifests)
    rows = [*found.places, *([found.places_left] if found.places_left else [])]
    assert len(found.places) <= PLACES
    assert sum(row.copy for row in rows) == sum(entry.action is Action.COPY for entry in entries)
    assert sum(row.overwrite for row in rows) == sum(entry.action is Action.OVERWRITE for entry in entries)
    assert sum(row.bytes for row in rows) == sum(entry.size for entry in entries)
    for row in found.places:
        below = [entry for entry in entries if entry.target.startswith(row.prefix)]
        assert row.direct or row.objects == len(below), "a prefix without `direct` is all that begins with it"


def test_the_largest_prefix_is_opened_and_what_destroys_comes_first() -> None:
    rows = {f"big/{n}/": Counts(100, 0, 0, 1) for n in range(5)}
    rows |= {"one/": Counts(1, 1, 0, 1), "lone/deep/x/": Counts(9)}
    places, left = places_of({"s": rows})
    assert left is None
    assert [place.prefix for place in places] == ["one/", *(f"big/{n}/" for n in range(5)), "lone/deep/x/"]
    many, left = places_of({"s": {f"{n:04}/": Counts(n + 1) for n in range(100)}})
    assert [place.prefix for place in many] == [f"{n:04}/" for n in range(99, 87, -1)]
    assert left is not None
    assert left.copy == sum(range(1, 89))


def test_the_sections_of_many_are_rows() -> None:
    places, left = places_of({f"s{n:02}": {"a/": Counts(1), "b/": Counts(n)} for n in range(30)})
    assert {place.section for place in places} == {f"s{n:02}" for n in range(18, 30)}
    assert left is not None
    assert sum(place.objects for place in places) + left.objects == 30 + sum(range(30))


def test_prefixes_are_bounded_whatever_the_keys() -> None:
    counted = Prefixes()
    for n in range(20_000):
        counted.add(f"user-{n:06}/x/", Counts(1))
    assert 1 < len(counted.rows) <= planner.review.places.MOST_PREFIXES
    assert all("/" not in prefix for prefix in counted.rows), "by leading characters of the first folder"
    assert sum(row.copy for row in counted.rows.values()) == 20_000
    counted.fold(1)
    assert counted.rows == {"user-0": Counts(20_000)}
