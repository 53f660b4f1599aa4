"""Declarations that hold secrets, or anything at all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.declarations import FULL, MINIMAL

from schema.errors import DeclarationError
from schema.files.declaration_file import parse_declaration
from schema.formats import yaml_strict


def parse(text: str) -> None:
    """Read *text*."""
    parse_declaration(text.encode("utf-8"), "m.yaml")


def complaint(text: str) -> str:
    """What is said about *text*."""
    with pytest.raises(DeclarationError) as error:
        parse(text)
    return str(error.value)


SECRETS = [
    "x-note: AKIAIOSFODNN7EXAMPLE",
    "# ASIAIOSFODNN7EXAMPLE",
    "x-note: 'https://user:hunter2hunter2@h'",
    "x-key: |\n  -----BEGIN RSA PRIVATE KEY-----\n  hunter2hunter2",
    "aws_secret_access_key: hunter2hunter2/hunter2hunter2hunter2+hunter",
    "x-login: {password: hunter2hunter2hunter2}",
    "session_token: hunter2hunter2hunter2",
]


@pytest.mark.parametrize("line", SECRETS)
def test_a_secret_is_refused_and_not_echoed(line: str) -> None:
    said = complaint(f"{MINIMAL}{line}\n")

    assert said.startswith(("m.yaml:6: this looks like", "m.yaml:7: this looks like"))
    assert "{profile: NAME}" in said
    for word in ("hunter2", "AKIA", "ASIA", "EXAMPLE"):
        assert word not in said


@pytest.mark.parametrize(
    "text", ["://" + ":" * 900_000, "secret" * 90_000, "-----BEGIN " + "A" * 900_000, "a: " + "'" * 99_999]
)
def test_the_search_for_secrets_is_quick_on_anything(text: str) -> None:
    """Quadratic matching would take hours here."""
    complaint(text)


def test_a_value_in_the_wrong_place_is_not_echoed() -> None:
    said = complaint(MINIMAL + "limits: {workers: correcthorsebattery, memory: correcthorsebattery}")
    assert "correcthorse" not in said


NODES: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2**63)
    | st.text(max_size=8)
    | st.sampled_from(["1MiB", "auto", "map", "{"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_stands_anywhere_only_our_error_comes_out(data: st.DataObject) -> None:
    """One value of a full declaration replaced by any other, or removed."""
    document: Any = yaml_strict.load(FULL.encode("utf-8"), "m.yaml")[0]
    node = document
    while True:
        step = data.draw(st.sampled_from(list(node) if isinstance(node, dict) else range(len(node))))
        if not isinstance(node[step], (dict, list)) or not node[step] or data.draw(st.booleans()):
            break
        node = node[step]
    if data.draw(st.booleans()):
        node[step] = data.draw(NODES)
    else:
        del node[step]
    try:
        parse(yaml_strict.dump(document))
    except DeclarationError as error:
        assert str(error).startswith("m.yaml:")


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, len(FULL)), st.integers(0, 40), st.binary(max_size=12) | st.sampled_from([b"{", b": ", b"- ", b"\n"])
)
def test_whatever_the_bytes_only_our_error_comes_out(at: int, cut: int, middle: bytes) -> None:
    raw = FULL.encode("utf-8")
    for data in (raw[:at] + middle + raw[at + cut :], middle):
        try:
            parse_declaration(data, "m.yaml")
        except DeclarationError as error:
            assert str(error).startswith("m.yaml:")
