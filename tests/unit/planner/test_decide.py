"""The decision on one key: every row of the truth table, with its reason."""

from __future__ import annotations

import dataclasses

import pytest
from support.digests import md5
from support.planning import DESTINATION, SOURCE, listed

from planner.decide import EndFacts, Rules, decide, end_facts
from planner.histories import decide_history
from planner.reasons import Reason
from schema.declaration import Addressing, Comparison, OnDifferent, Pair, Policy, Side
from schema.facts import Capabilities
from schema.plan import Action
from schema.tiers import FEW_PARTS, MAX_OBJECT

ONE, TWO = md5("one"), md5("two")
PARTS, OTHER_PARTS = f"{ONE}-2", f"{TWO}-3"
SEGMENTS = frozenset(("double-slash", "dot-segments", "leading-slash"))
DEFAULT, AS_AWS = Policy(), EndFacts()
ENDS = Pair("main", SOURCE, DESTINATION)
NEWER_WINS = Policy(on_destination_newer=OnDifferent.OVERWRITE)


def judged(source, there=None, policy: Policy = DEFAULT, facts: EndFacts = AS_AWS, earlier=()):
    return decide(source, source.key, there, rules=Rules(policy, facts), earlier=earlier)


def obj(etag: str = ONE, size: int = 5, modified: int = 1_000, key: str = "k", **more):
    return listed(key, size, etag, modified, **more)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (None, (Action.COPY, Reason.ABSENT)),
        (obj(), (Action.SKIP, Reason.SAME_ETAG)),
        (obj(size=6), (Action.OVERWRITE, Reason.OTHER_SIZE)),
        (obj(TWO), (Action.OVERWRITE, Reason.OTHER_ETAG)),
        (obj(PARTS), (Action.OVERWRITE, Reason.UNPROVEN)),
        (obj(""), (Action.OVERWRITE, Reason.UNPROVEN)),
        (obj(PARTS, modified=1_001), (Action.CONFLICT, Reason.UNPROVEN_NEWER)),
        (obj(size=6, modified=1_001), (Action.CONFLICT, Reason.DESTINATION_NEWER)),
        (obj(TWO, modified=1_001), (Action.CONFLICT, Reason.DESTINATION_NEWER)),
        (obj(modified=1_001), (Action.SKIP, Reason.SAME_ETAG)),
    ],
)
def test_the_default_policy(there, expected) -> None:
    assert judged(obj(), there) == expected


def test_equal_multipart_etags_prove_equality_and_different_ones_prove_nothing() -> None:
    assert judged(obj(PARTS), obj(PARTS)) == (Action.SKIP, Reason.SAME_ETAG)
    assert judged(obj(PARTS), obj(OTHER_PARTS)) == (Action.OVERWRITE, Reason.UNPROVEN)


def test_etags_that_do_not_come_from_content_prove_nothing() -> None:
    facts = EndFacts(etags_from_content=False)
    assert judged(obj(), obj(), facts=facts) == (Action.OVERWRITE, Reason.UNPROVEN)
    assert judged(obj(), obj(TWO), facts=facts) == (Action.OVERWRITE, Reason.UNPROVEN)


@pytest.mark.parametrize("compare", [Comparison.ETAG, Comparison.CHECKSUM])
def test_a_size_is_never_overruled(compare: Comparison) -> None:
    assert judged(obj(), obj(size=6), Policy(compare=(compare,)))[0] is Action.OVERWRITE


def test_comparing_sizes_only() -> None:
    assert judged(obj(), obj(TWO), Policy(compare=(Comparison.SIZE,))) == (Action.SKIP, Reason.SAME_SIZE)


@pytest.mark.parametrize(
    ("modified", "expected"),
    [
        (999, (Action.OVERWRITE, Reason.SOURCE_NEWER)),
        (1_000, (Action.SKIP, Reason.NOT_OLDER)),
        (1_001, (Action.SKIP, Reason.NOT_OLDER)),
    ],
)
def test_comparing_times(modified: int, expected) -> None:
    assert judged(obj(), obj(TWO, modified=modified), Policy(compare=(Comparison.MODIFIED,))) == expected


@pytest.mark.parametrize("choice", list(OnDifferent))
def test_the_policy_speaks_on_differences(choice: OnDifferent) -> None:
    wanted = {"overwrite": Action.OVERWRITE, "skip": Action.SKIP, "conflict": Action.CONFLICT}[choice]
    assert judged(obj(), obj(TWO), Policy(on_different=choice))[0] is wanted
    assert judged(obj(), obj(TWO, modified=2_000), Policy(on_destination_newer=choice))[0] is wanted
    assert judged(obj(), None, Policy(on_different=choice))[0] is Action.COPY


def test_what_this_lineage_copied_is_skipped_while_both_ends_are_as_they_were() -> None:
    earlier = [(PARTS, OTHER_PARTS)]
    assert judged(obj(PARTS), obj(OTHER_PARTS, modified=9_000), earlier=earlier) == (
        Action.SKIP,
        Reason.COPIED_EARLIER,
    )
    changed_there = judged(obj(PARTS), obj(ONE, modified=9_000), earlier=earlier)
    assert changed_there == (Action.CONFLICT, Reason.UNPROVEN_NEWER)
    assert judged(obj(PARTS, size=6), obj(OTHER_PARTS), earlier=earlier)[0] is Action.OVERWRITE


def test_a_destination_newer_only_because_we_wrote_it_is_no_conflict() -> None:
    earlier = [(ONE, ONE)]
    assert judged(obj(TWO), obj(ONE, modified=9_000), earlier=earlier) == (Action.OVERWRITE, Reason.SOURCE_CHANGED)


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_archived_objects(storage_class: str) -> None:
    item = obj(storage_class=storage_class)
    assert judged(item) == (Action.UNSUPPORTED, Reason.ARCHIVED)
    assert judged(item._replace(restored=True)) == (Action.COPY, Reason.ABSENT)
    assert judged(item, policy=Policy(on_archived="restore")) == (Action.COPY, Reason.ABSENT)
    assert judged(item, obj()) == (Action.SKIP, Reason.SAME_ETAG)
    assert judged(obj(storage_class="GLACIER_IR")) == (Action.COPY, Reason.ABSENT)


def test_the_largest_object() -> None:
    assert judged(obj(size=MAX_OBJECT)) == (Action.COPY, Reason.ABSENT)
    assert judged(obj(size=MAX_OBJECT + 1)) == (Action.UNSUPPORTED, Reason.TOO_LARGE)
    few = EndFacts(most_parts=FEW_PARTS)
    assert judged(obj(size=MAX_OBJECT // 10), facts=few) == (Action.COPY, Reason.ABSENT)
    assert judged(obj(size=MAX_OBJECT // 10 + 1), facts=few) == (Action.UNSUPPORTED, Reason.TOO_LARGE)


@pytest.mark.parametrize(
    ("target", "facts", "reason"),
    [
        ("", EndFacts(), Reason.KEY_EMPTY),
        ("k" * 1024, EndFacts(), None),
        ("k" * 1025, EndFacts(), Reason.KEY_TOO_LONG),
        ("é" * 512, EndFacts(), None),
        ("é" * 512 + "k", EndFacts(), Reason.KEY_TOO_LONG),
        ("soap", EndFacts(virtual_hosted=True), Reason.KEY_SOAP),
        ("soap", EndFacts(), None),
        ("a//b", EndFacts(refused_kinds=SEGMENTS), Reason.KEY_REFUSED),
        ("/a", EndFacts(refused_kinds=SEGMENTS), Reason.KEY_REFUSED),
        ("a/../b", EndFacts(refused_kinds=SEGMENTS), Reason.KEY_REFUSED),
        (".", EndFacts(refused_kinds=SEGMENTS), Reason.KEY_REFUSED),
        ("a/", EndFacts(refused_kinds=SEGMENTS), None),
        ("a..b/.c", EndFacts(refused_kinds=SEGMENTS), None),
        ("a//b", EndFacts(), None),
    ],
)
def test_keys_the_destination_cannot_hold(target: str, facts: EndFacts, reason: Reason | None) -> None:
    expected = (Action.COPY, Reason.ABSENT) if reason is None else (Action.UNSUPPORTED, reason)
    assert decide(obj(), target, None, rules=Rules(Policy(), facts)) == expected


def test_facts_come_from_the_probes_and_the_declaration() -> None:
    unknown = Capabilities()
    assert end_facts(ENDS, unknown, unknown) == EndFacts()
    random_etags = Capabilities({"etag_is_md5": "ignored"})
    assert not end_facts(ENDS, random_etags, unknown).etags_from_content
    assert not end_facts(ENDS, unknown, random_etags).etags_from_content
    probed = {"odd_keys": "rejected", "key_double_slash": "enforced", "key_dot_segments": "ignored",
              "key_leading_slash": "rejected", "key_control": "rejected"}  # fmt: skip
    refused = end_facts(ENDS, unknown, Capabilities(probed)).refused_kinds
    assert refused == {"dot-segments", "leading-slash", "control"}
    assert end_facts(ENDS, unknown, Capabilities({"odd_keys": "rejected"})).refused_kinds == SEGMENTS
    assert not end_facts(ENDS, Capabilities(probed), unknown).refused_kinds
    at_aws = Pair("main", Side("b"), DESTINATION)
    assert end_facts(at_aws, unknown, unknown).virtual_hosted
    virtual = dataclasses.replace(DESTINATION, addressing=Addressing.VIRTUAL)
    assert end_facts(Pair("main", SOURCE, virtual), unknown, unknown).virtual_hosted
    by_path = Pair("main", Side("b", addressing=Addressing.PATH), DESTINATION)
    assert not end_facts(by_path, unknown, unknown).virtual_hosted


# --- whole histories


def history(*etags: str, start: int = 1_000):
    """'-' is a delete marker."""
    return [
        listed(
            "k", 0 if etag == "-" else 5, "" if etag == "-" else md5(etag), start + n, version_id=f"v{n}",
            delete_marker=etag == "-", is_latest=n == len(etags) - 1,
        )
        for n, etag in enumerate(etags)
    ]  # fmt: skip


def actions(source, destination, policy: Policy = NEWER_WINS) -> list[str]:
    return [str(d.action) for d in decide_history(source, "k", destination, rules=Rules(policy, EndFacts()))]


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        ("ab-c", "", ["copy", "copy", "delete-marker", "copy"]),
        ("-a", "", ["delete-marker", "copy"]),
        ("ab-c", "ab-c", ["skip"] * 4),
        ("ab-c", "ab", ["skip", "skip", "delete-marker", "copy"]),
        ("abc", "ab", ["skip", "skip", "overwrite"]),
        ("ab", "x", ["overwrite", "copy"]),
        ("ab", "xab", ["skip", "skip"]),
        ("abc", "xab", ["skip", "skip", "overwrite"]),
        ("abc", "axbc", ["skip", "skip", "skip"]),
        ("ab", "abx", ["skip", "overwrite"]),
        ("ab", "abxb", ["skip", "skip"]),
        ("ab", "-", ["copy", "copy"]),
        ("aaa", "aa", ["skip", "skip", "overwrite"]),
    ],
)
def test_histories(source: str, destination: str, expected: list[str]) -> None:
    assert actions(history(*source), history(*destination)) == expected


def test_only_the_first_write_of_a_key_is_guarded_by_an_etag() -> None:
    there = history("x")
    found = list(decide_history(history("a", "b"), "k", there, rules=Rules(NEWER_WINS, EndFacts())))
    assert [d.destination_etag for d in found] == [there[0].etag, None]


def test_a_diverged_newer_history_is_a_conflict_by_default() -> None:
    assert actions(history("a", "b"), history("a", "x", start=5_000), Policy()) == ["skip", "conflict"]
    assert actions(history("a", "b"), history("a", start=5_000), Policy()) == ["skip", "overwrite"]


def test_writing_a_history_settles_it() -> None:
    """Whatever is there: after the planned writes nothing is left to do, and the last version is the current one."""
    for there in ("", "x", "-", "ab", "abx", "xab", "axb", "b", "aab", "abab"):
        for source in ("a", "ab", "ab-", "abc", "aab", "-", "abb"):
            present = history(*there)
            for decision in decide_history(history(*source), "k", present, rules=Rules(NEWER_WINS, EndFacts())):
                if decision.action is not Action.SKIP:
                    present = [*present, decision.version]
            assert actions(history(*source), present) == ["skip"] * len(source), (source, there)
            assert present[-1].etag == history(*source)[-1].etag, (source, there)
