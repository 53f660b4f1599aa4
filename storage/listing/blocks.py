"""Entries of a listing that follow one another, and the bytes they are kept as.

A block is JSON, compressed: column by column, because a million entries written one by one cost as much as they did to
list. Behind it stand the ETags as bytes where all of them are MD5s, which no compression makes shorter.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast

from schema.objects import ListedEntry, ListedObject, UnsupportedEntry
from storage.listing.entry import new_object
from storage.port import UNCLEAR_EXAMPLES, PageTally

LEVEL: Final = 1
_ETAG: Final = ListedObject._fields.index("etag")
_MD5_BYTES: Final = 16
_WHOLE: Final = frozenset({ListedObject})
_OBJECT: Final = len(ListedObject._fields)


class OrderSeen(NamedTuple):
    """What a listing has shown of the order of versions: see PageTally."""

    unclear_keys: int = 0
    unclear_examples: Sequence[str] = ()
    interleaves: bool = False

    def followed_by(self, later: PageTally | OrderSeen) -> OrderSeen:
        """With what was seen *later*."""
        return OrderSeen(
            self.unclear_keys + later.unclear_keys,
            (*self.unclear_examples, *later.unclear_examples)[:UNCLEAR_EXAMPLES],
            self.interleaves or later.interleaves,
        )


UNSEEN = OrderSeen()


class ListingBlock(NamedTuple):
    """Entries of a listing that follow one another."""

    entries: Sequence[ListedEntry]
    order: OrderSeen = UNSEEN
    """What the listing has shown by its end, without its last key where that is not whole."""
    whole: bool = True
    """False: of its last key more versions may follow."""


FORM: Final = "columns: " + ",".join((*ListedObject._fields, *UnsupportedEntry._fields, *OrderSeen._fields))
"""Names the form of the bytes: what was written in another cannot be read."""


def packed(block: ListingBlock) -> bytes:
    """The bytes of *block*."""
    entries, order, whole = block
    etags = b""
    if entries and _WHOLE.issuperset(map(type, entries)):
        columns = [_column(column) for column in zip(*entries, strict=True)]
        etags = _md5s(columns[_ETAG], len(entries))
        if etags:
            columns[_ETAG] = None
        said = {"columns": columns, "entries": len(entries)}
    else:
        said = {"rows": entries}
    text = json.dumps({**said, "order": order, "whole": whole}, ensure_ascii=False)
    return zlib.compress(text.encode("utf-8", "surrogatepass"), LEVEL) + etags


def unpacked(data: bytes) -> ListingBlock:
    """The block that *data* holds. Raises ValueError, KeyError or zlib.error for what `packed` would not give."""
    unpacker = zlib.decompressobj()
    said = json.loads(unpacker.decompress(data))
    unclear, examples, interleaves = said["order"]
    order, whole = OrderSeen(unclear, tuple(examples), interleaves), said["whole"]
    if "rows" in said:
        rows = said["rows"]
        mixed = [ListedObject(*row) if len(row) == _OBJECT else UnsupportedEntry(*row) for row in rows]
        return ListingBlock(mixed, order, whole)
    columns, count = said["columns"], said["entries"]
    if columns[_ETAG] is None:
        md5s = unpacker.unused_data
        columns[_ETAG] = [md5s[at : at + _MD5_BYTES].hex() for at in range(0, len(md5s), _MD5_BYTES)]
        if len(md5s) != count * _MD5_BYTES:
            raise ValueError(f"{len(md5s)} bytes of ETags for {count} entries")
    values = (_values(column, count) for column in columns)
    return ListingBlock([*map(new_object, zip(*values, strict=True))], order, whole)


def _column(values: tuple[Any, ...]) -> Any:
    """A list of one where all are the same; texts as one text, with line breaks between them; else as they are."""
    first = values[0]
    if first == values[-1] and values.count(first) == len(values):
        return [first]
    if isinstance(first, str) and None not in values:
        text = "\n".join(values)
        if text.count("\n") == len(values) - 1:
            return text
    return values


def _values(column: Any, count: int) -> Sequence[Any]:
    """The *count* values that `_column` wrote."""
    if isinstance(column, str):
        return column.split("\n")
    return column * count if len(column) == 1 else cast("Sequence[Any]", column)


def _md5s(etags: Any, count: int) -> bytes:
    """The bytes of *count* ETags, as `_column` gives them, where each is 32 small hexadecimal digits; else b""."""
    if not isinstance(etags, str) or len(etags) != count * (2 * _MD5_BYTES + 1) - 1:
        return b""
    digits = etags.replace("\n", "")
    try:
        found = bytes.fromhex(digits)
    except ValueError:
        return b""
    step = 2 * _MD5_BYTES + 1
    return found if found.hex() == digits and etags[step - 1 :: step] == "\n" * (count - 1) else b""
