"""Entries of the ordinary shape, read by one regular expression instead of an XML parser's dozen events each.

A server writes each <Contents> with the same elements in the same order. From the first one a pattern is made that
matches such an element and nothing else; when a page's entries, from the first to the last byte, are that pattern
repeated, they are read by it, and only what stands around them goes to the XML parser. Whatever differs (white space,
an entity in a key, a CDATA section, a comment, an element that is missing once) makes the page an unordinary one,
which the parser reads whole. Both ways give equal pages: a property test holds this.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import repeat
from operator import add
from typing import NamedTuple

from schema.objects import ListedObject
from storage.listing.entry import Times, new_object

_OPEN, _CLOSE = b"<Contents>", b"</Contents>"
_SIMPLE = rb"<([A-Za-z]+)>[^<>]*</\1>|<[A-Za-z]+ ?/>"
_HEAD = re.compile(
    rb'(?:<\?xml version="1\.0"(?: encoding="(?:UTF-8|utf-8)")?(?: standalone="(?:yes|no)")? ?\?>\s*)?'
    rb'<ListBucketResult(?: xmlns="[\w:/.-]*")?>(?:' + _SIMPLE + rb")*"
)
_TAIL = re.compile(rb"(?:" + _SIMPLE + rb")*</ListBucketResult>\s*")
_PIECE = re.compile(r"<(/?)([A-Za-z]+)>|([^<]+)")
_TEXT = r"[^<>&\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\ufffd]"
"""A character that stands for itself, in XML and in every reading of it."""
_ENTITY = "&quot;"
_QUOTED = re.compile(r'(&quot;|"|)[0-9A-Za-z-]+\1')

_SECONDS = {f"{number:02d}": number * 1000 for number in range(60)}
_MILLIS = {f"{number:03d}": number for number in range(1000)}

_VALUES = {
    "Key": rf"({_TEXT}+)",
    "LastModified": r"(\d{4}-\d\d-\d\dT\d\d:\d\d):([0-5]\d)\.(\d{3})Z",
    "ETag": "([0-9A-Za-z-]+)",
    "Size": r"(\d{1,18})",
    "StorageClass": r"([A-Z][A-Z_]*)",
}
_WIDTHS = {"minutes": 16, "seconds": 2, "millis": 3}
"""Characters of the texts that are always as long."""
_MUST = ("Key", "LastModified", "ETag", "Size")
_UNSEEN = frozenset({"RestoreStatus", "IsRestoreInProgress", "RestoreExpiryDate", "VersionId", "Contents"})
"""Elements that say something which the pattern would not see."""


class Cut(NamedTuple):
    """A page's entries, and what is left of the page without them."""

    around: bytes
    columns: Columns


class Columns(NamedTuple):
    """The texts of the entries, column by column."""

    keys: tuple[str, ...]
    minutes: tuple[str, ...]
    seconds: tuple[str, ...]
    millis: tuple[str, ...]
    etags: tuple[str, ...]
    sizes: tuple[str, ...]
    classes: tuple[str, ...] | None
    algorithms: tuple[str, ...] | None
    types: tuple[str, ...] | None


class _Shape(NamedTuple):
    """How one server writes an entry."""

    pattern: re.Pattern[str]
    fixed: int
    """Characters of an entry besides its texts, and those texts that are always as long."""
    order: tuple[str, ...]
    """What the groups hold, in order."""


def cut(body: bytes) -> Cut | None:
    """The entries of a page of the ordinary shape; None when it is of another, or has none."""
    start, end = body.find(_OPEN), body.rfind(_CLOSE) + len(_CLOSE)
    if start < 0 or not _HEAD.fullmatch(body, 0, start) or not _TAIL.fullmatch(body, end):
        return None
    try:
        text = str(memoryview(body)[start:end], "utf-8")
    except UnicodeDecodeError:
        return None
    shape = _shape_of(text[: text.find("</Contents>") + len("</Contents>")])
    if shape is None:
        return None
    rows = shape.pattern.findall(text)
    if not rows:
        return None
    columns = dict(zip(shape.order, zip(*rows, strict=True), strict=True))
    # Nothing lies between two matches when their lengths add up to the whole.
    varied = sum(len("".join(column)) for name, column in columns.items() if name not in _WIDTHS)
    if len(rows) * shape.fixed + varied != len(text):
        return None
    return Cut(body[:start] + body[end:], Columns(*(columns.get(name) for name in Columns._fields)))  # type: ignore[arg-type]


_GROUPS = {
    "Key": ("keys",),
    "LastModified": ("minutes", "seconds", "millis"),
    "ETag": ("etags",),
    "Size": ("sizes",),
    "StorageClass": ("classes",),
    "ChecksumAlgorithm": ("algorithms",),
    "ChecksumType": ("types",),
}


def _shape_of(entry: str) -> _Shape | None:
    """The shape that *entry*, a whole <Contents>, shows; None when it is not an ordinary one."""
    skeleton: list[tuple[str, str]] = []
    path: list[str] = []
    at = 0
    while at < len(entry):
        piece = _PIECE.match(entry, at)
        if piece is None:
            return None
        at = piece.end()
        closing, name, text = piece.groups()
        if text is not None:
            quote = ""
            if path and path[-1] == "ETag":
                quoted = _QUOTED.fullmatch(text)
                if quoted is None:
                    return None
                quote = quoted[1]
            skeleton.append(("text", quote))
        elif closing:
            if not path or path.pop() != name:
                return None
            skeleton.append(("close", name))
        else:
            path.append(name)
            skeleton.append(("open", name))
    return None if path else _compiled(tuple(skeleton))


@lru_cache(maxsize=64)
def _compiled(skeleton: tuple[tuple[str, str], ...]) -> _Shape | None:
    pattern: list[str] = []
    order: list[str] = []
    fixed = others = 0
    path: list[str] = []
    for place, (kind, name) in enumerate(skeleton):
        if kind == "open":
            if name in _UNSEEN and path:
                return None
            path.append(name)
            pattern.append(f"<{name}>")
            fixed += len(name) + 2
            empty = skeleton[place + 1 : place + 2] == (("close", name),)
            if empty and name not in _VALUES:
                pattern.append("")
        elif kind == "close":
            path.pop()
            pattern.append(f"</{name}>")
            fixed += len(name) + 3
        else:
            leaf = path[-1]
            if skeleton[place - 1] != ("open", leaf) or skeleton[place + 1] != ("close", leaf):
                return None  # text between elements
            quote = name
            fixed += 2 * len(quote)
            value = _VALUES.get(leaf, f"({_TEXT}*)") if len(path) == 2 else f"({_TEXT}*)"
            names = _GROUPS.get(leaf, ()) if len(path) == 2 else ()
            if not names:
                others += 1
                names = (f"other{others}",)
            elif leaf == "LastModified":
                fixed += 3 + sum(_WIDTHS.values())
            order += names
            pattern.append(f"{quote}{value}{quote}")
    leaves = [name for kind, name in skeleton if kind == "open"]
    if len(set(leaves)) != len(leaves) or any(name not in leaves for name in _MUST):
        return None
    if any(group not in order for name in _MUST for group in _GROUPS[name]):
        return None
    if any(name in leaves and _GROUPS[name][0] not in order for name in ("StorageClass", "ChecksumAlgorithm")):
        return None
    return _Shape(re.compile("".join(pattern), re.ASCII), fixed, tuple(order))


def entries(columns: Columns, keys: list[str], times: Times) -> list[ListedObject] | None:
    """The entries, whose keys are *keys*; None when one of them is not whole after all."""
    starts: dict[str, int] = {}
    for minute in set(columns.minutes):
        found = times.minute(minute)
        if found is None:
            return None
        starts[minute] = found
    sizes = list(map(int, columns.sizes))
    if 0 in sizes and any(size == 0 and "-" in etag for size, etag in zip(sizes, columns.etags, strict=True)):
        return None
    within = map(add, map(_SECONDS.__getitem__, columns.seconds), map(_MILLIS.__getitem__, columns.millis))
    modified = map(add, map(starts.__getitem__, columns.minutes), within)
    return list(
        map(
            new_object,
            zip(
                keys,
                sizes,
                columns.etags,
                modified,
                columns.classes or repeat("STANDARD"),
                _checksums(columns) or repeat(""),
                repeat(None),
                repeat(True),
                repeat(False),
                repeat(False),
                strict=False,
            ),
        )
    )


def _checksums(columns: Columns) -> list[str] | None:
    if columns.algorithms is None:
        return None
    types = columns.types or repeat("")
    return [f"{name}/{kind}".rstrip("/") if name else "" for name, kind in zip(columns.algorithms, types, strict=False)]
