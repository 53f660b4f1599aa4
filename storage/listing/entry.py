"""The entries of a page, from their XML fields to values.

What an entry does not state stays unknown. A plan needs key, size, ETag and time. An entry that states them all is a
ListedObject; any other is a PartialEntry, which a HEAD of its key may complete (settle.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import NamedTuple

from schema.objects import ListedObject

MAX_SIZE = 2**63 - 1
"""Bytes. Larger sizes fit neither S3 nor a ledger; a server that says so is not believed."""
KIND = "<kind>"
"""Under which name the fields of an entry hold the name of its element. No element can be called so."""
MARKER = "DeleteMarker"
_FRACTION = re.compile(r"\.(\d+)")
_MINUTES_KEPT = 8192
_BOOLEANS = {"true": True, "false": False}

new_object: Callable[[tuple[object, ...]], ListedObject] = partial(tuple.__new__, ListedObject)
"""ListedObject(*fields) without its Python-level constructor, which takes three times as long."""


class PartialEntry(NamedTuple):
    """An entry that lacks something a plan needs. None: not stated, or unreadable."""

    key: str
    size: int | None
    etag: str | None
    modified_ms: int | None
    storage_class: str
    checksum: str
    version_id: str | None
    is_latest: bool | None
    delete_marker: bool
    restored: bool
    flaw: str = ""
    """Why the key cannot be migrated whatever a HEAD says of it; '' when a HEAD may settle the rest."""


ShownEntry = ListedObject | PartialEntry
"""One entry of a page. Both have the same fields in the same places."""


class Times:
    """Reads times; holds the minutes already converted, since neighbours share theirs."""

    __slots__ = ("_minutes",)

    def __init__(self) -> None:
        self._minutes: dict[str, int] = {}

    def minute(self, text: str) -> int | None:
        """Milliseconds since the epoch of YYYY-MM-DDTHH:MM in UTC; None when there is no such minute."""
        found = self._minutes.get(text)
        if found is None:
            try:
                found = int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000
            except ValueError:
                return None
            if len(self._minutes) >= _MINUTES_KEPT:
                self._minutes.clear()
            self._minutes[text] = found
        return found

    def milliseconds(self, text: str) -> int | None:
        """Of ISO 8601 (without an offset: UTC) or an HTTP date, since the epoch; None: it is neither."""
        # The common shape, 2024-01-31T23:59:59.000Z.
        digits = text[17:19] + text[20:23]
        if len(text) == 24 and text[16] == ":" and text[19::4] == ".Z" and digits.isdigit() and digits[0] < "6":
            minute = self.minute(text[:16])
            if minute is not None:
                return minute + int(digits)
        return _any_time(text)


def _any_time(text: str) -> int | None:
    # Some servers write nanoseconds; beyond the millisecond nothing is kept.
    fraction = _FRACTION.search(text)
    try:
        moment = datetime.fromisoformat(_FRACTION.sub("", text, count=1))
    except ValueError:
        fraction = None
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, IndexError):
            return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1000 + (int(fraction[1][:3].ljust(3, "0")) if fraction else 0)


def bare_etag(text: str) -> str | None:
    """An ETag without quotes and W/; None for an empty one."""
    return text.strip().removeprefix("W/").strip('"') or None


class EntryReader:
    """Makes entries of fields."""

    __slots__ = ("_times",)

    def __init__(self, times: Times) -> None:
        self._times = times

    def read(self, fields: Mapping[str, str], key: str, flaw: str) -> ShownEntry:
        """One Contents, Version or DeleteMarker element whose key is *key*; *flaw*: what is wrong with that."""
        get = fields.get
        marker = fields[KIND] == MARKER
        size = 0 if marker else told_size(get("Size", ""))
        etag = "" if marker else bare_etag(get("ETag", ""))
        modified = self._times.milliseconds(get("LastModified", ""))
        checksum = get("ChecksumAlgorithm", "")
        versioned = fields[KIND] != "Contents"
        latest = _BOOLEANS.get(get("IsLatest", "").lower()) if versioned else True
        values = (
            key,
            size,
            etag,
            modified,
            get("StorageClass") or "STANDARD",
            f"{checksum}/{get('ChecksumType', '')}".rstrip("/") if checksum else "",
            get("VersionId"),
            latest,
            marker,
            get("IsRestoreInProgress") == "false" and bool(get("RestoreExpiryDate")),
        )
        if flaw or size is None or etag is None or modified is None or latest is None or (size == 0 and "-" in etag):
            return PartialEntry(*values, flaw)
        return new_object(values)


def told_size(text: str) -> int | None:
    """Bytes; None when *text* is not a size."""
    if not (text.isdigit() and text.isascii()):
        return None
    size = int(text) if len(text) < 20 else MAX_SIZE + 1
    return size if size <= MAX_SIZE else None
