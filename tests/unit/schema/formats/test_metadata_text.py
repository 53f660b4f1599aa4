"""Header values as text: every dress of the same text is equal, and nothing else is."""

from __future__ import annotations

import base64
import email.header
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.formats.metadata_text import decode_text, encode_for, encode_words, same_text

WIRE = st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"))
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=200)


def utf8_on_the_wire(text: str) -> str:
    return text.encode("utf-8").decode("latin-1")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ("a=?b", "a=?b"),
        ("=?UTF-8?B?w6k=?=", "é"),
        ("=?utf-8?q?=C3=A9t=C3=A9_1?=", "été 1"),
        ("=?ISO-8859-1?Q?caf=E9?=", "café"),
        ("=?UTF-8?B?w6k=?= =?UTF-8?B?w6k=?=", "éé"),
        ("=?UTF-8?B?w6k=?= and =?UTF-8?B?w6k=?=", "é and é"),
        ("=?UTF-8?B?***?=", "=?UTF-8?B?***?="),
        ("=?UTF-8?B?/w==?=", "=?UTF-8?B?/w==?="),
        ("=?unicode_escape?Q?=5Cx41?=", "=?unicode_escape?Q?=5Cx41?="),
        ("=?no-such?B?w6k=?=", "=?no-such?B?w6k=?="),
        (utf8_on_the_wire("日本語"), "日本語"),
        ("caf\xe9", "café"),
    ],
)
def test_decoding(raw: str, text: str) -> None:
    assert decode_text(raw) == text


def test_what_a_server_garbled_is_not_taken_for_the_original() -> None:
    garbled = "=?UTF-8?Q?=C3=83=C2=A9?="  # AWS's answer to raw UTF-8: decoded as latin-1, encoded again
    assert not same_text(garbled, utf8_on_the_wire("é"))


@given(TEXT)
def test_all_dresses_of_a_text_are_the_same(text: str) -> None:
    if "=?" in text:
        return
    assert same_text(utf8_on_the_wire(text), encode_words(text))


@given(WIRE)
def test_decoding_never_fails_and_sending_keeps_the_text(raw: str) -> None:
    for round_trips in (True, False):
        sent = encode_for(raw, round_trips)
        assert same_text(raw, sent) or "=?" in raw
        if not round_trips:
            assert sent.isascii()


@given(WIRE)
def test_ascii_and_valid_utf8_pass_byte_for_byte(raw: str) -> None:
    if raw.isascii():
        assert encode_for(raw, False) == encode_for(raw, True) == raw
    sent = utf8_on_the_wire(raw)
    assert encode_for(sent, True) == sent


@given(TEXT)
def test_words_are_short_and_what_the_standard_library_reads(text: str) -> None:
    words = encode_words(text)
    assert all(len(word) <= 75 for word in words.split(" "))
    for word in words.split(" "):
        match = re.fullmatch(r"=\?UTF-8\?B\?(.*)\?=", word)
        assert match
        base64.b64decode(match[1], validate=True).decode("utf-8")  # no word splits a character
    if text:
        assert str(email.header.make_header(email.header.decode_header(words))) == text


@given(st.text(alphabet="=?BQbqUTF-8_ *w6k/", max_size=60))
def test_hostile_words_do_no_harm(raw: str) -> None:
    decode_text(raw)
    assert same_text(raw, raw)
