"""Random inventories, odd keys among them: the plan is right, complete, repeatable, and leaves nothing to do.

The oracle is a comparison of two dictionaries; it shares no code with the planner.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import MonkeyPatch
from support.digests import md5
from support.planning import DESTINATION, SOURCE, MemoryManifests, declare, listed, moved, plan, side
from support.sample_plan import check_plan

from planner import section
from planner.decide import alike_reason
from schema.declaration import Comparison, MappingRule, OnDifferent, Policy
from schema.files.plan_document import to_document
from schema.objects import ListedObject
from schema.plan import Plan

ODD = ["a//b", "/a", "a", "A", "./x", "a/../b", " ", "+", "%2F", "\n", "\r", "\x01", "é", "e\u0301", "yes", "\x85",
       "\U0001f600", "a/", "a/b", "~", "null", "\ufffe", "_SUCCESS", "d/_SUCCESS", "'", '"', "\u2028",
       "k" * 1024]  # fmt: skip
keys = st.one_of(
    st.sampled_from(ODD), st.text("ab/é\n+", min_size=1, max_size=4), st.integers(0, 60).map("n{:03d}".format)
)
sizes = st.sampled_from([0, 1, 5, 300_000, 20 * 2**20, 300 * 2**20, 17 * 2**30])
contents = st.tuples(sizes, st.sampled_from("xyz"), st.sampled_from([1_000, 2_000, 3_000]))
inventories = st.dictionaries(keys, contents, max_size=40)
TARGETS = dict.fromkeys(("tiny", "small", "medium", "large", "huge", "canary", "markers", "deletes"), 4)


def objects(inventory: dict[str, tuple[int, str, int]], prefix: str = "") -> list[ListedObject]:
    return [listed(prefix + key, size, md5(text), when) for key, (size, text, when) in inventory.items()]


def expected(source, destination, on_different: str, on_newer: str, deletes: bool) -> dict[str, set[str]]:
    """What must happen to each key, by action."""
    found: dict[str, set[str]] = {}
    for key, (size, text, when) in source.items():
        if key not in destination:
            action = "copy"
        elif destination[key][:2] == (size, text):
            action = "skip"
        else:
            action = on_newer if destination[key][2] > when else on_different
        found.setdefault(action, set()).add(key)
    for key in destination.keys() - source.keys():
        found.setdefault("delete" if deletes else "extraneous", set()).add(key)
    return found


def planned(made: Plan, manifests: MemoryManifests, prefix: str = "") -> dict[str, set[str]]:
    found: dict[str, list[str]] = {}
    lists = [moved(made, manifests), *(side(made, manifests, name) for name in made.sections[0].side_manifests)]
    for entry in itertools.chain.from_iterable(lists):
        found.setdefault(str(entry.action), []).append(entry.target[len(prefix) :])
    assert all(len(set(names)) == len(names) for names in found.values())
    return {action: set(names) for action, names in found.items()}


choices = st.sampled_from(["overwrite", "skip", "conflict"])


@given(inventories, inventories, choices, choices, st.booleans(), st.sampled_from(["", "p/"]))
def test_the_plan_is_what_two_dictionaries_say(tmp_path_factory, source, destination, differs, newer, deletes, prefix):
    staging, manifests = tmp_path_factory.getbasetemp() / "staging", MemoryManifests()
    policy = Policy(
        on_different=OnDifferent(differs),
        on_destination_newer=OnDifferent(newer),
        delete_extraneous="after-verify" if deletes else "never",
    )
    declaration = declare(destination=dataclasses.replace(DESTINATION, prefix=prefix), policy=policy)
    too_long = {key for key in source if len((prefix + key).encode()) > 1024}
    destination = {key: value for key, value in destination.items() if key not in too_long}
    fitting = {key: value for key, value in source.items() if key not in too_long}
    wanted = expected(fitting, destination, differs, newer, deletes)
    if too_long:
        wanted["unsupported"] = too_long
    arguments = (declaration, objects(source), objects(destination, prefix))
    made = plan(*arguments, manifests=manifests, staging=staging, targets=TARGETS)
    assert planned(made, manifests, prefix) == wanted
    check_plan(to_document(made), made)

    repeated = MemoryManifests()
    assert plan(*arguments, manifests=repeated, staging=staging, targets=TARGETS) == made
    assert repeated.kept == manifests.kept
    assert plan(*arguments, manifests=repeated, staging=staging, targets=TARGETS, base=made) == made
    assert repeated.kept == manifests.kept
    assert list(staging.glob("*")) == []


@given(inventories, inventories, st.booleans())
def test_applied_and_planned_again_there_is_nothing_to_do(tmp_path_factory, source, destination, reordering):
    staging, manifests = tmp_path_factory.getbasetemp() / "staging", MemoryManifests()
    policy = Policy(on_destination_newer=OnDifferent.OVERWRITE, delete_extraneous="after-verify")
    mapping = (MappingRule("^(.)", r"\1\1"),) if reordering else ()
    declaration = declare(policy=policy, mapping=mapping)
    source = {key: value for key, value in source.items() if len(key) < 1024}
    first = plan(declaration, objects(source), objects(destination), manifests=manifests, staging=staging,
                 targets=TARGETS)  # fmt: skip
    there = dict(destination)
    for entry in moved(first, manifests):
        if entry.action == "delete":
            del there[entry.key]
        else:
            assert (entry.target in there) == (entry.action == "overwrite")
            size, text, _ = source[entry.key]
            there[entry.target] = (size, text, 9_000)
    second = plan(declaration, objects(source), objects(there), manifests=manifests, staging=staging, base=first,
                  targets=TARGETS)  # fmt: skip
    assert second.batches == ()
    assert second.stages == ()
    assert {name for name, tally in second.sections[0].summary.items() if tally.objects} <= {"skip", "listed"}


@given(inventories, keys, contents)
def test_a_changed_object_changes_the_plan(tmp_path_factory, source, key, content):
    staging, manifests = tmp_path_factory.getbasetemp() / "staging", MemoryManifests()
    changed = {**source, key: content}
    made = plan(declare(), objects(source), manifests=manifests, staging=staging)
    again = plan(declare(), objects(changed), manifests=manifests, staging=staging, base=made)
    assert (again.plan_id == made.plan_id) == (changed == source)
    assert again.serial == (1 if changed == source else 2)


histories = st.dictionaries(st.sampled_from(ODD[:10]), st.text("xyz-", min_size=1, max_size=5), max_size=8)


def versions(inventory: dict[str, str]) -> list[ListedObject]:
    """'-' is a delete marker."""
    return [
        listed(key, 0 if text == "-" else 3, "" if text == "-" else md5(text), 1_000 + number,
               version_id=f"{number}", delete_marker=text == "-")
        for key, texts in inventory.items() for number, text in enumerate(texts)
    ]  # fmt: skip


@given(histories, histories)
def test_histories_applied_and_planned_again_leave_nothing_to_do(tmp_path_factory, source, destination):
    staging, manifests = tmp_path_factory.getbasetemp() / "staging", MemoryManifests()
    policy = Policy(versions="all", on_destination_newer=OnDifferent.OVERWRITE, delete_extraneous="after-verify")
    declaration = declare(dataclasses.replace(SOURCE, bucket="versioned"), policy=policy)
    made = plan(declaration, versions(source), versions(destination), manifests=manifests, staging=staging,
                targets=TARGETS)  # fmt: skip
    check_plan(to_document(made), made)
    there = dict(destination)
    for entry in moved(made, manifests):
        text = "-" if entry.action == "delete" else source[entry.key][int(entry.version_id or 0)]
        assert (text == "-") == (entry.action in ("delete", "delete-marker"))
        there[entry.key] = there.get(entry.key, "") + text
    for key, texts in source.items():
        assert there[key][-1] == texts[-1], key
    second = plan(declaration, versions(source), versions(there), manifests=manifests, staging=staging)
    assert second.batches == ()


@given(inventories, inventories, st.data())
@settings(max_examples=20, deadline=None)
def test_putting_aside_many_at_a_time_changes_nothing(source: Any, destination: Any, data: st.DataObject) -> None:
    """The same plan as when each key is decided by itself, whatever is compared and remembered."""
    there = {**destination, **data.draw(st.sampled_from([source, dict(list(source.items())[::2]), {}]))}
    compared = data.draw(st.sampled_from([("size",), ("size", "etag"), ("size", "etag", "modified"), ("checksum",)]))
    policy = Policy(compare=tuple(map(Comparison, compared)))
    facts = ({}, {"etag_is_md5": data.draw(st.sampled_from(["enforced", "ignored"]))})
    memory = [(key, "e", "f") for key in data.draw(st.lists(st.sampled_from(sorted(source) or ["x"]), max_size=3))]
    found = []
    for alike in (alike_reason, lambda _rules: None):
        with TemporaryDirectory() as folder, MonkeyPatch.context() as patch:
            patch.setattr(section, "alike_reason", alike)
            manifests = MemoryManifests()
            made = plan(
                declare(policy=policy), objects(source), objects(there), manifests=manifests, staging=Path(folder),
                facts=facts, memory=memory,
            )  # fmt: skip
            found.append((made.plan_id, {digest: manifests.entries(digest) for digest in manifests.kept}))
    assert found[0] == found[1]
