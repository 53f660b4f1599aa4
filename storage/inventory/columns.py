"""The columns of an inventory, and the entry that a row of them is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from schema.errors import InventoryCorrupt
from schema.objects import ListedObject
from storage.listing.entry import PartialEntry, ShownEntry, Times, bare_etag, new_object, told_size
from storage.listing.page import LONE_SURROGATE, NOT_UTF8

Value = str | int | bool | None
"""As a row holds it. None and '': not told. Times may be milliseconds since the epoch, or text."""


class Column(StrEnum):
    """What planning reads of an inventory, by its name in key lists."""

    BUCKET = "bucket"
    KEY = "key"
    VERSION_ID = "version_id"
    IS_LATEST = "is_latest"
    IS_DELETE_MARKER = "is_delete_marker"
    SIZE = "size"
    LAST_MODIFIED = "last_modified"
    ETAG = "etag"
    STORAGE_CLASS = "storage_class"
    CHECKSUM = "checksum_algorithm"


_SPELLINGS = {
    **{column.value.replace("_", ""): column for column in Column},
    "lastmodifieddate": Column.LAST_MODIFIED,
    "deletemarker": Column.IS_DELETE_MARKER,
}
DETAILS = (Column.SIZE, Column.ETAG, Column.LAST_MODIFIED)
"""What a plan needs, and a HEAD can supply."""
HISTORY = (Column.VERSION_ID, Column.IS_LATEST, Column.IS_DELETE_MARKER)
_BOOLEANS = {"true": True, "false": False, True: True, False: False}


def column_named(text: str) -> Column | None:
    """The column of that name in any of its spellings: LastModifiedDate, last_modified. None: one not read."""
    return _SPELLINGS.get(text.strip().lower().replace("_", "").replace("-", "").replace(" ", ""))


class Row(NamedTuple):
    """What one row says, and where it stands."""

    values: Mapping[Column, Value]
    place: str
    """'file X, line 7', for messages."""


class Entries:
    """Makes entries of rows."""

    def __init__(self, bucket: str, *, url_encoded: bool) -> None:
        """*bucket*: rows that name another are refused; *url_encoded*: keys are written as forms write them."""
        self._bucket = bucket
        self._url_encoded = url_encoded
        self._times = Times()

    def of(self, row: Row) -> ShownEntry:
        """The entry of *row*. Raises InventoryCorrupt for values that cannot be read or are of another bucket."""
        get = row.values.get
        key = get(Column.KEY)
        if not isinstance(key, str) or not key:
            raise InventoryCorrupt(f"{row.place} has no key; the inventory cannot be used")
        if get(Column.BUCKET) not in (None, self._bucket):
            raise InventoryCorrupt(f"{row.place} is of bucket {get(Column.BUCKET)!r}, not of {self._bucket!r}")
        if self._url_encoded:
            key = unquote_to_bytes(key.replace("+", " ")).decode("utf-8", "surrogateescape")
        marker = self._truth(row, Column.IS_DELETE_MARKER, otherwise=False)
        size = 0 if marker else self._size(row)
        etag = "" if marker else bare_etag(str(get(Column.ETAG) or ""))
        version = get(Column.VERSION_ID)
        values = (
            key,
            size,
            etag,
            self._time(row),
            str(get(Column.STORAGE_CLASS) or "STANDARD"),
            str(get(Column.CHECKSUM) or ""),
            # A version from before versioning has no id in a report, and is called null everywhere else.
            None if version is None else str(version) or "null",
            self._truth(row, Column.IS_LATEST, otherwise=True),
            marker,
            False,
        )
        if LONE_SURROGATE.search(key):
            return PartialEntry(*values, NOT_UTF8)
        if size is None or etag is None or values[3] is None:
            return PartialEntry(*values)
        return new_object(values)

    def _truth(self, row: Row, column: Column, *, otherwise: bool) -> bool:
        value = row.values.get(column)
        if value is None or value == "":
            return otherwise
        found = _BOOLEANS.get(value.lower() if isinstance(value, str) else value)
        if found is None:
            raise InventoryCorrupt(f"{row.place}: {column} is {value!r}, neither true nor false")
        return found

    def _size(self, row: Row) -> int | None:
        value = row.values.get(Column.SIZE)
        if value is None or value == "":
            return None
        size = told_size(str(value))
        if size is None:
            raise InventoryCorrupt(f"{row.place}: {value!r} is not a size in bytes")
        return size

    def _time(self, row: Row) -> int | None:
        value = row.values.get(Column.LAST_MODIFIED)
        if value is None or value == "":
            return None
        found = value if isinstance(value, int) else self._times.milliseconds(value)
        if found is None:
            raise InventoryCorrupt(f"{row.place}: {value!r} is not a time; it should read 2026-11-20T09:00:00Z")
        return found


def refuse_missing(columns: Iterable[Column], needed: Sequence[Column], *, place: str, cure: str) -> None:
    """InventoryCorrupt naming those of *needed* that are not among the *columns* of *place*."""
    there = set(columns)
    missing = [column.value for column in needed if column not in there]
    if missing:
        raise InventoryCorrupt(f"{place} has no column {', '.join(missing)}; {cure}")


def current(entry: ShownEntry) -> ListedObject | PartialEntry | None:
    """*entry* as a listing of current objects shows it; None: it shows none of it (older versions, markers)."""
    if not entry.is_latest or entry.delete_marker:
        return None
    return entry if entry.version_id is None else entry._replace(version_id=None)
