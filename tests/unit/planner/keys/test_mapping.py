"""Filters, key mapping and collisions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.planning import listed

from planner.keys.filters import compile_filters, compile_globs
from planner.keys.mapping import FoldedKeys, KeyMapping, NestedKeys, fold_of
from planner.reasons import Reason
from schema.declaration import Filters, MappingRule
from schema.errors import DeclarationError
from schema.facts import Capabilities


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("**", ["", "a", "a/b", "\n", "/"], []),
        ("*", ["", "a", "a\nb"], ["a/b", "/"]),
        ("a/*", ["a/", "a/b"], ["a", "a/b/c", "ba/b"]),
        ("a/**", ["a/", "a/b", "a/b/c"], ["a", "b/a/c"]),
        ("**/_SUCCESS", ["_SUCCESS", "a/_SUCCESS", "a/b/_SUCCESS"], ["x_SUCCESS", "a/_SUCCESS/b"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["az", "a/bz"]),
        ("a**z", ["az", "a/z", "abcz"], ["a"]),
        ("?.txt", ["a.txt", "é.txt"], ["ab.txt", "/.txt", ".txt"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "x", "[a-c]x"]),
        ("[!a-c]x", ["dx"], ["ax", "/x"]),
        ("[]a]", ["]", "a"], ["b"]),
        ("[a", ["[a"], ["a"]),
        ("a\\*b", ["a*b"], ["axb"]),
        ("a.b", ["a.b"], ["axb"]),
        ("(a|b)+$^", ["(a|b)+$^"], ["a"]),
        ("", [""], ["a"]),
    ],
)
def test_globs(glob: str, yes: list[str], no: list[str]) -> None:
    matches = compile_globs([glob])
    assert [key for key in yes if not matches(key)] == []
    assert [key for key in no if matches(key)] == []


def test_several_globs_are_an_alternative_and_none_match_nothing() -> None:
    either = compile_globs(["a", "b/*"])
    assert either("a")
    assert either("b/c")
    assert not either("c")
    assert not compile_globs([])("")


def test_a_glob_that_cannot_be_is_named() -> None:
    with pytest.raises(DeclarationError, match=r"\[z-a\]"):
        compile_globs(["fine", "[z-a]"])


@pytest.mark.parametrize(
    ("filters", "item", "reason"),
    [
        (Filters(include=("a/*",)), listed("p/a/b"), None),
        (Filters(include=("a/*",)), listed("p/b"), Reason.NOT_INCLUDED),
        (Filters(exclude=("*.tmp",)), listed("p/x.tmp"), Reason.EXCLUDED_BY_GLOB),
        (Filters(min_size=5), listed("p/a", 4), Reason.BELOW_MIN_SIZE),
        (Filters(min_size=5), listed("p/a", 5), None),
        (Filters(max_size=5), listed("p/a", 5), None),
        (Filters(max_size=5), listed("p/a", 6), Reason.ABOVE_MAX_SIZE),
        (Filters(modified_after_ms=10), listed("p/a", modified=9), Reason.TOO_OLD),
        (Filters(modified_after_ms=10), listed("p/a", modified=10), None),
        (Filters(modified_before_ms=10), listed("p/a", modified=10), Reason.TOO_NEW),
        (Filters(modified_before_ms=10), listed("p/a", modified=9), None),
        (Filters(storage_classes=("STANDARD",)), listed("p/a", storage_class="GLACIER"), Reason.OTHER_CLASS),
        (Filters(min_size=5), listed("p/a", 0, delete_marker=True), None),
        (Filters(exclude=("b",), max_size=0), listed("p/a", 1), Reason.ABOVE_MAX_SIZE),
        (Filters(exclude=("a",), max_size=0), listed("p/a", 1), Reason.EXCLUDED_BY_GLOB),
    ],
)
def test_filters(filters: Filters, item, reason: Reason | None) -> None:
    judge = compile_filters(filters, "p/")
    assert judge is not None
    assert judge(item) == reason


def test_default_filters_cost_nothing() -> None:
    assert compile_filters(Filters(), "p/") is None


def test_prefixes_are_rewritten() -> None:
    mapping = KeyMapping("old/", "new/deep/")
    assert mapping.target("old/a//b") == "new/deep/a//b"
    assert mapping.preserves_order
    assert not mapping.is_identity
    assert KeyMapping("p/", "p/").is_identity


def test_rules_see_the_key_after_the_prefix_one_after_the_other() -> None:
    rules = (MappingRule(r"^(\d{4})-(\d\d)/", r"year=\1/month=\2/"), MappingRule("month=0", "month="))
    mapping = KeyMapping("in/", "out/", rules)
    assert mapping.target("in/2025-07/x") == "out/year=2025/month=7/x"
    assert mapping.target("in/readme") == "out/readme"
    assert not mapping.preserves_order


@pytest.mark.parametrize("rule", [MappingRule("(", "x"), MappingRule("a", r"\1"), MappingRule("a", r"\g<nobody>")])
def test_bad_rules_are_named(rule: MappingRule) -> None:
    with pytest.raises(DeclarationError, match="mapping rule"):
        KeyMapping("", "", (rule,))


@given(st.sets(st.text(max_size=4)), st.text(max_size=2), st.text(max_size=2))
def test_a_prefix_rewrite_keeps_order_and_keys_apart(rest: set[str], source: str, destination: str) -> None:
    mapping = KeyMapping(source, destination)
    targets = [mapping.target(source + key) for key in sorted(rest)]
    assert targets == sorted(set(targets))
    assert len(targets) == len(rest)


@pytest.mark.parametrize(
    ("fact", "one", "other"),
    [
        ("folds_leading_slash", "/a", "a"),
        ("folds_double_slash", "a//b", "a/b"),
        ("case_insensitive", "Ab", "aB"),
    ],
)
def test_keys_the_destination_folds_together_are_refused(tmp_path, fact: str, one: str, other: str) -> None:
    assert fold_of(Capabilities({fact: "rejected"})) is None
    fold = fold_of(Capabilities({fact: "enforced"}))
    assert fold is not None
    folded = FoldedKeys(fold, tmp_path)
    for key in (one, "between", other):
        folded.add(key, "src/" + key)
    with pytest.raises(DeclarationError) as refused:
        folded.refuse_collisions()
    folded.close()
    assert repr("src/" + one) in str(refused.value)
    assert repr("src/" + other) in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("keys", "refused"),
    [
        (["a", "a/b"], True),
        (["a", "a!", "a!b", "a/b"], True),
        (["x/a", "x/a-1", "x/a/b/c"], True),
        (["a", "ab", "b/a"], False),
        (["a/", "a/b"], False),
        (["a/b", "a/c", "a/c.d"], False),
        (["a", "a", "ab/"], False),
    ],
)
def test_keys_beneath_keys(keys: list[str], refused: bool) -> None:
    nested = NestedKeys()
    assert keys == sorted(keys)
    if not refused:
        for key in keys:
            nested.check(key, key)
        return
    with pytest.raises(DeclarationError) as raised:
        for key in keys:
            nested.check(key, "src/" + key)
    assert repr("src/" + keys[0]) in str(raised.value)
    assert repr("src/" + keys[-1]) in str(raised.value)


@given(st.sets(st.text("a/!", min_size=1, max_size=5)))
def test_nested_keys_are_found_exactly(keys: set[str]) -> None:
    nested = any(other.startswith(key + "/") for key in keys for other in keys)
    checker = NestedKeys()
    try:
        for key in sorted(keys):
            checker.check(key, key)
    except DeclarationError:
        assert nested
    else:
        assert not nested
