"""The quick answer to whether keys of a page need a question."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.listing.coding import Coding, KeyCodings, decoded, is_certain

TEXTS = st.lists(st.text(st.characters() | st.sampled_from("%+ \n2aF/-"), max_size=8), max_size=4)


@given(texts=TEXTS, declared=st.booleans())
def test_certain_keys_are_read_alike_in_every_way_and_raise_no_question(texts: list[str], declared: bool) -> None:
    joined = "\n".join(texts)
    question = KeyCodings().question(declared)
    if is_certain(joined):
        assert question is not None
        assert question.search(joined) is None
        assert {decoded(joined, coding) for coding in Coding} == {joined}


@pytest.mark.parametrize(
    ("text", "certain"),
    [("a/b-c_(1).txt~", True), ("", True), ("a\nb", True)]
    + [(text, False) for text in ("a b", "a+b", "100%", "%41", "\u00e9", "a\tb", "\x7f", "\udce9")],
)
def test_what_is_certain(text: str, certain: bool) -> None:
    assert is_certain(text) is certain
