"""Two plans compared: exactly what was edited is named, equal plans have no difference, and little is read."""

from __future__ import annotations

import dataclasses
import gzip
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.digests import md5
from support.planning import MemoryManifests, declare, listed, plan
from support.sample_plan import sample_plan

from planner.difference import Change, difference_of, object_changes
from schema.declaration import Filters, Policy
from schema.errors import ManifestCorrupt
from schema.facts import Capabilities
from schema.files.plan_document import with_plan_id
from schema.objects import ListedObject
from schema.plan import Action, Entry

TARGETS = dict.fromkeys(("tiny", "small", "medium", "large", "huge", "canary", "markers", "deletes"), 4)

keys = st.one_of(st.integers(0, 40).map("n{:03d}".format), st.sampled_from(["a/b", "a//b", "é", "\x01", "k" * 300]))
contents = st.tuples(st.sampled_from([0, 1, 300_000, 20 << 20, 17 << 30]), st.sampled_from("xyz"), st.integers(1, 3))
inventories = st.dictionaries(keys, contents, max_size=30)


def objects(inventory: dict[str, tuple[int, str, int]]) -> list[ListedObject]:
    return [listed(key, size, md5(text), when * 1_000) for key, (size, text, when) in inventory.items()]


class CountingManifests(MemoryManifests):
    """Remembers what was opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def open(self, digest: str):
        self.opened.append(digest)
        return super().open(digest)


@given(before=inventories, edits=st.dictionaries(keys, st.none() | contents, max_size=8), there=inventories)
@settings(max_examples=60, deadline=None)
def test_it_names_exactly_what_was_edited(before, edits, there) -> None:
    after = dict(before)
    for key, edit in edits.items():
        if edit is None:
            after.pop(key, None)
        else:
            after[key] = edit
    manifests = MemoryManifests()
    with TemporaryDirectory() as folder:
        old, new = (
            plan(declare(), objects(each), objects(there), manifests=manifests, staging=Path(folder), targets=TARGETS)
            for each in (before, after)
        )
    difference = difference_of(old, new)
    found = {change.key: set(change.changes) for change in object_changes(difference, manifests, manifests)}
    edited = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert found.keys() == edited
    for key in edited:
        if key in before and key in after:
            assert Change.SOURCE in found[key]
        elif key not in there:
            assert found[key] == {Change.ENTERED if key in after else Change.LEFT}
        else:
            assert Change.ACTION in found[key], "a key of both sides becomes the destination's alone, or ceases to be"
    assert difference.equal == (not edited)


def test_equal_plans_made_twice_have_no_difference(tmp_path: Path) -> None:
    first, second = (
        plan(
            declare(sha256=text), [listed(f"{n:03}") for n in range(50)], manifests=MemoryManifests(), staging=tmp_path,
            provenance={"generated_at": text},
        )
        for text in ("1", "2")
    )  # fmt: skip
    assert first.plan_id != second.plan_id
    difference = difference_of(first, with_plan_id(dataclasses.replace(second, serial=9)))
    assert (difference.equal, difference.to_read) == (True, 0)


def test_declaration_capabilities_and_losses_are_levels_of_their_own() -> None:
    old = sample_plan()
    facts = Capabilities({"if_none_match": "ignored", "if_match": "ignored"})
    loss = dataclasses.replace(old.sections[0].losses[0], accepted=False)
    section = dataclasses.replace(old.sections[0], destination_capabilities=facts, losses=(loss,))
    new = dataclasses.replace(old, filters=Filters(min_size=2), sections=(section, old.sections[1]))
    difference = difference_of(old, new)
    assert [(each.path, each.old, each.new) for each in difference.declaration] == [
        ("filters.exclude", ["tmp/**"], []),
        ("filters.min_size", 1, 2),
        ("filters.modified_before_ms", 1_700_000_000_123, None),
    ]
    assert [(each.path, each.old, each.new) for each in difference.capabilities] == [
        ("sections.photos.destination.if_none_match", "enforced", "ignored"),
        (
            "sections.photos.losses.acl",
            "the destination has no ACLs (accepted)",
            "the destination has no ACLs (not accepted)",
        ),
    ]
    assert not difference.equal
    assert difference.to_read == 0


def test_few_manifests_are_read_when_few_objects_changed(tmp_path: Path) -> None:
    """10,000 objects in 100 batches, 1 % of them changed: the plan before gives the cuts."""
    manifests = CountingManifests()
    targets = dict.fromkeys(TARGETS, 100)
    before = [listed(f"d{n // 100:02}/{n:05}") for n in range(10_000)]
    changed = [o._replace(etag=md5("new")) if 5_000 <= n < 5_100 else o for n, o in enumerate(before)]
    old = plan(declare(), before, manifests=manifests, staging=tmp_path, targets=targets)
    new = plan(declare(), changed, manifests=manifests, staging=tmp_path, targets=targets, base=old)
    manifests.opened.clear()
    found = list(object_changes(difference_of(old, new), manifests, manifests))
    assert [change.key for change in found] == [f"d50/{n:05}" for n in range(5_000, 5_100)]
    assert len(manifests.opened) <= 0.05 * (len(old.batches) + len(new.batches))


@given(before=st.sets(st.integers(0, 6)), after=st.sets(st.integers(0, 6)))
@settings(max_examples=40, deadline=None)
def test_versions_of_a_key_are_told_apart(before: set[int], after: set[int]) -> None:
    manifests = MemoryManifests()
    with TemporaryDirectory() as folder:
        old, new = (
            plan(
                declare(policy=Policy(versions="all")),
                [listed("k", n, modified=n + 1, version_id=f"v{n}") for n in sorted(each)],
                manifests=manifests,
                staging=Path(folder),
            )
            for each in (before, after)
        )
    found = {
        (change.changes, (change.old or change.new or Entry("", 0, "", Action.COPY)).version_id)
        for change in object_changes(difference_of(old, new), manifests, manifests)
    }
    left = {((Change.LEFT,), f"v{n}") for n in before - after}
    assert found == left | {((Change.ENTERED,), f"v{n}") for n in after - before}


def test_a_damaged_manifest_is_named_with_its_line(tmp_path: Path) -> None:
    manifests = MemoryManifests()
    old, new = (
        plan(declare(), [listed("a"), listed(key)], manifests=manifests, staging=tmp_path) for key in ("b", "c")
    )
    digest = new.batches[-1].manifest
    manifests.kept[digest] = gzip.compress(b'{"key":"a"}\n')
    with pytest.raises(ManifestCorrupt, match=f"manifest {digest}: manifest line 1 lacks"):
        list(object_changes(difference_of(old, new), manifests, manifests))
