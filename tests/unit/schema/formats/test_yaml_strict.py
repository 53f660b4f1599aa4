"""YAML as far as a reviewed document needs it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from schema.errors import DeclarationError, PlanCorrupt
from schema.formats import yaml_strict

TEXT = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from("\x00\x07\x85\u2028\u202e\ufeff\ufffe\U0001f600\U000e0001:#-{}[],&*!|>'\"%@`\n "),
    ),
    max_size=30,
) | st.sampled_from(
    ["no", "Yes", "null", "~", "017", "1e5", "12:30", "2025-01-01", "<<", "=", "-", "- a", "1.5", "0x1"]
)
SCALARS = st.none() | st.booleans() | st.integers(-(10**19) + 1, 10**19 - 1) | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT.filter(bool), inner, max_size=5),
    max_leaves=25,
)
DOCUMENTS = st.dictionaries(TEXT.filter(bool), VALUES, max_size=6)


def loaded(text: str) -> Any:
    """The document alone."""
    return yaml_strict.load(text.encode("utf-8"), "x.yaml")[0]


@given(DOCUMENTS)
@example({"a": {"b": {"c": "x" * 200}}, "d": [{"e": "y" * 200, "f": [1, "no"]}], "g": [[], {}, [["z" * 200]]]})
@example({"k": ["a" * 6000], "x" * 500: {"deep": [{"q": [{"r": "s" * 130}]}]}})
def test_what_is_dumped_loads_equal(document: dict[str, Any]) -> None:
    text = yaml_strict.dump(document)

    assert loaded(text) == document
    assert yaml_strict.dump(document) == text
    assert all(char.isprintable() or char == "\n" for char in text)


@given(DOCUMENTS)
def test_any_other_reader_sees_the_same(document: dict[str, Any]) -> None:
    """PyYAML's own loader reads YAML 1.1, the worst case: nothing of ours may look like a date or a Norwegian."""
    assert yaml.safe_load(yaml_strict.dump(document)) == document


def test_the_layout_is_one_a_person_reviews() -> None:
    batch = {"id": "tiny-1", "objects": 3, "keys": ["a" * 50, "é\n"], "manifest": "sha256:" + "0" * 64}
    text = yaml_strict.dump({"kind": "Plan", "serial": 1, "filters": {"include": ["**"]}, "batches": [batch]})

    assert text == (
        "kind: Plan\n"
        "serial: 1\n"
        'filters: {include: ["**"]}\n'
        "\n"
        "batches:\n"
        f'  - {{id: tiny-1, objects: 3, keys: [{"a" * 50}, "é\\n"],\n'
        f'     manifest: "sha256:{"0" * 64}"}}\n'
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("null", None),
        ("", None),
        ("12", 12),
        ("-0", 0),
        ("no", "no"),
        ("Yes", "Yes"),
        ("True", "True"),
        ("~", "~"),
        ("017", "017"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("1.5", "1.5"),
        (".inf", ".inf"),
        ("12:30:00", "12:30:00"),
        ("2025-01-01", "2025-01-01"),
        ("9" * 20, "9" * 20),
        ("'12'", "12"),
        ('"null"', "null"),
        ("|\n  12\n", "12\n"),
    ],
)
def test_a_plain_scalar_is_what_was_typed(text: str, value: Any) -> None:
    assert loaded(f"a: {text}\n") == {"a": value}
    assert type(loaded(f"a: {text}\n")["a"]) is type(value)


BILLION_LAUGHS = "a: &a [x,x,x]\n" + "".join(
    f"{b}: &{b} [*{a},*{a},*{a}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (BILLION_LAUGHS, "x.yaml:1: anchors"),
        ("a: 1\nb: *a\n", "x.yaml:2: "),
        ("a:\n  <<: {b: 1}\n", "x.yaml:2: merge keys"),
        ("a: !!python/object:os.system x\n", "x.yaml:1: tags"),
        ("a: !!str x\n", "x.yaml:1: tags"),
        ("a: ! x\n", "x.yaml:1: tags"),
        ("!!map {a: 1}\n", "x.yaml:1: tags"),
        ("%YAML 1.1\n---\na: 1\n", "directives"),
        ("a: 1\n---\nb: 1\n", "x.yaml:2: only one document"),
        ("a: 1\nb: 2\na: 3\n", "x.yaml:3: the key 'a' is there twice"),
        ("a: {b: 1, b: 2}\n", "x.yaml:1: the key 'b' is there twice"),
        ("? [a]\n: 1\n", "x.yaml:1: a key must be text"),
        ("? {a: 1}\n: 1\n", "x.yaml:1: a key must be text"),
        ("? \n: 1\n", "x.yaml:1: a key is missing"),
        ("a: [\n", "x.yaml:"),
        ("a: \x07\n", "x.yaml:1: a character that YAML does not allow"),
        ("a: 1\nb: \x00\n", "x.yaml:2: a character that YAML does not allow"),
        ('a: "\\ud800"\n', "x.yaml:1: "),
        ("a:\n\t- b\n", "x.yaml:2: "),
        ("[" * 13 + "]" * 13, "x.yaml:1: nested deeper than 12"),
        ("[" * 100_000, "nest"),
        ("- " * 100_000, "x.yaml:1: nested deeper than 12"),
        ("[" + "1," * 200_000 + "]", "x.yaml:1: more than 200,000 values"),
        ("#" * (4 * 1024 * 1024 + 1), "x.yaml:1: the document has"),
    ],
)
def test_what_is_refused_names_its_line(text: str, what: str) -> None:
    with pytest.raises(PlanCorrupt) as error:
        yaml_strict.load(text.encode("utf-8"), "x.yaml", PlanCorrupt)
    assert what in str(error.value)


def test_bytes_that_are_no_text_name_their_line() -> None:
    with pytest.raises(DeclarationError, match=r"x.yaml:2: not UTF-8 \(byte 0xff\)"):
        yaml_strict.load(b"a: 1\n\xff\n", "x.yaml")


def test_lines_are_those_of_the_keys() -> None:
    _, lines = yaml_strict.load(b"\na: 1\nb:\n  - x\n  - c: {d: 1,\n      e: 2}\n", "x.yaml")

    assert [lines.at(path) for path in [(), ("a",), ("b",), ("b", 0), ("b", 1), ("b", 1, "c", "e")]] == [
        2,
        2,
        3,
        4,
        5,
        6,
    ]
    assert lines.at(("b", 1, "c", "not there", 3)) == 5
    assert lines.where(("a",)) == "x.yaml:2"


@pytest.mark.parametrize(
    "document",
    [{"a": 1.5}, {"a": "\ud800"}, {"a": 10**19}, {"a": {1: 2}}, {"": 1}, {"a" * 513: 1}, {"a": object()}, {"a": b"x"}],
)
def test_what_could_not_be_read_back_is_not_written(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"hold|written|digits|key"):
        yaml_strict.dump(document)


def test_depth_written_is_depth_read() -> None:
    deep: Any = "x"
    for _ in range(11):
        deep = {"a": deep}
    assert loaded(yaml_strict.dump({"a": deep})) == {"a": deep}
    with pytest.raises(ValueError, match="deeper"):
        yaml_strict.dump({"a": {"a": deep}})


@given(st.binary(max_size=200) | st.text(st.sampled_from("ab:{}[]-?&*!%|>'\"#,\n \t<~0"), max_size=60).map(str.encode))
def test_whatever_the_bytes_only_our_errors_come_out(data: bytes) -> None:
    try:
        yaml_strict.load(data, "x.yaml")
    except DeclarationError as error:
        assert str(error).startswith("x.yaml:")
