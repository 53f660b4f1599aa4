"""Pages that are not quite XML: one key with a byte that XML cannot hold must not hide a thousand others.

Whatever cannot stand in XML is replaced by a placeholder of characters that can, so that the page parses; in the
keys the placeholders become lone surrogates (bytes that are not UTF-8) or the control characters they were.
"""

from __future__ import annotations

import re

_OPEN, _CLOSE = "\uf8f1\uf8f2", "\uf8f3"
"""Of a placeholder: characters of the private use area, of which no key has been seen to hold this sequence."""
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_REFERENCE = re.compile("&#(?:x([0-9A-Fa-f]{1,6})|([0-9]{1,7}));")
_RUN = re.compile(f"(?:{_REFERENCE.pattern}){{2,}}")
_STRAY = re.compile("&(?!(?:lt|gt|amp|quot|apos|#[0-9]+|#x[0-9A-Fa-f]+);)")
_PLACEHOLDER = re.compile(f"{_OPEN}([0-9a-f]+){_CLOSE}")


def mended(body: bytes) -> bytes | None:
    """*body* with placeholders for what XML forbids; None when there is nothing of that kind in it."""
    text = body.decode("utf-8", "surrogateescape")
    if _OPEN in text:
        return None
    mend = _REFERENCE.sub(_mended_reference, _NOT_XML.sub(_placeholder, _RUN.sub(_joined, text)))
    mend = _STRAY.sub("&amp;", mend)
    return None if mend == text else mend.encode()


def is_mended(text: str) -> bool:
    """Whether *text* holds a placeholder."""
    return _OPEN in text


def restored(text: str) -> str:
    """*text* with what the placeholders stand for."""
    return _PLACEHOLDER.sub(lambda found: chr(int(found[1], 16)), text)


def _joined(found: re.Match[str]) -> str:
    """References one after the other: those to the halves of a surrogate pair, as UTF-16 is serialized by some, become
    their character.
    """
    pieces: list[str] = []
    high = 0
    for reference in _REFERENCE.finditer(found[0]):
        code = _code(reference)
        if high and 0xDC00 <= code < 0xE000:
            pieces[-1] = chr(0x10000 + ((high - 0xD800) << 10) + (code - 0xDC00))
            high = 0
            continue
        pieces.append(reference[0])
        high = code if 0xD800 <= code < 0xDC00 else 0
    return "".join(pieces)


def _code(reference: re.Match[str]) -> int:
    return int(reference[1], 16) if reference[1] else int(reference[2])


def _placeholder(found: re.Match[str]) -> str:
    return f"{_OPEN}{ord(found[0]):x}{_CLOSE}"


def _mended_reference(found: re.Match[str]) -> str:
    code = _code(found)
    if code <= 0x10FFFF and _NOT_XML.match(chr(code)):
        return f"{_OPEN}{code:x}{_CLOSE}"
    return found[0]
