"""The text of a header value, however it is encoded on the wire.

S3 defines metadata as text but servers disagree on how text becomes bytes: AWS sends non-ASCII as RFC 2047 encoded
words and decodes those it is sent; most others pass raw UTF-8 through; old clients wrote latin-1. Here a *raw* value is
what the wire delivered, latin-1 decoded (lossless); its *text* is what a person would read.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re

_ENCODED_WORD = re.compile(r"=\?([!-~]+?)\?([BbQq])\?([!->@-~]*)\?=")
_CHARSET = re.compile(
    r"utf-8|ascii|iso8859-\d+|cp125\d|koi8-[ru]|gb(k|2312|18030)|big5|euc_(jp|kr)|shift_jis|iso2022_jp"
)
"""Python has codecs that are not charsets (escapes, IDNA); untrusted input must not select them."""
_WORD_BYTES = 45
"""Payload bytes of one encoded word: '=?UTF-8?B?' + 60 base64 characters + '?=' stays within RFC 2047's 75."""


def decode_text(raw: str) -> str:
    """The text of a *raw* value: encoded words decoded, raw UTF-8 read as UTF-8, anything else as latin-1.

    Decodes once: text that a server has garbled stays visibly garbled. Never raises.
    """
    if raw.isascii():
        return raw if "=?" not in raw else _decode_words(raw)
    text = _repair(raw)
    return text if "=?" not in text else _decode_words(text)


def same_text(a: str, b: str) -> bool:
    """Whether two raw values have the same text."""
    return a == b or decode_text(a) == decode_text(b)


def encode_for(raw: str, utf8_round_trips: bool) -> str:
    """The raw value to send so that a destination stores the same text as *raw* has.

    ASCII (encoded words included) goes out as it came. Other text goes as UTF-8 bytes where the destination
    was seen to give them back (*utf8_round_trips*; valid UTF-8 thus byte for byte), else as encoded words.
    """
    if raw.isascii():
        return raw
    text = _repair(raw)
    if utf8_round_trips:
        return text.encode("utf-8").decode("latin-1")
    return encode_words(decode_text(raw))


def encode_words(text: str) -> str:
    """*text* as RFC 2047 words (UTF-8, base64), each at most 75 characters, none splitting a character."""
    words: list[str] = []
    chunk = b""
    for character in text:
        encoded = character.encode("utf-8", "surrogatepass")
        if len(chunk) + len(encoded) > _WORD_BYTES:
            words.append(_word(chunk))
            chunk = b""
        chunk += encoded
    if chunk or not words:
        words.append(_word(chunk))
    return " ".join(words)


def _word(chunk: bytes) -> str:
    return f"=?UTF-8?B?{base64.b64encode(chunk).decode('ascii')}?="


def _repair(raw: str) -> str:
    """UTF-8 that was read as latin-1 is restored; real latin-1 stays."""
    try:
        return raw.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return raw


def _decode_words(text: str) -> str:
    pieces: list[str] = []
    end = 0
    after_word = False
    for match in _ENCODED_WORD.finditer(text):
        decoded = _decode_word(match[1], match[2], match[3])
        between = text[end : match.start()]
        # White space between two encoded words belongs to the encoding, not to the text (RFC 2047, 6.2).
        if not (after_word and decoded is not None and between.strip(" \t\r\n") == ""):
            pieces.append(between)
        pieces.append(match[0] if decoded is None else decoded)
        after_word = decoded is not None
        end = match.end()
    pieces.append(text[end:])
    return "".join(pieces)


def _decode_word(charset: str, encoding: str, payload: str) -> str | None:
    """None when the encoded word is malformed."""
    try:
        codec = codecs.lookup(charset.partition("*")[0]).name
        if not _CHARSET.fullmatch(codec):
            return None
        data = base64.b64decode(payload, validate=True) if encoding in "Bb" else binascii.a2b_qp(payload, header=True)
        return data.decode(codec)
    except (ValueError, LookupError):
        return None
