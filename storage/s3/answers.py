"""From an answer's headers to the values of the port, and the checks of a pinned read. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from schema.errors import FeatureUnsupported, ObjectChanged, StoreError
from storage.port import Pin
from storage.wire.documents import bare_etag
from storage.wire.exchange import Answer

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)\Z")


class WrongAnswer(NamedTuple):
    """What is wrong with an answer; *leaf* None: it is unreadable rather than another object's."""

    leaf: type[StoreError] | None
    reason: str


def told_size(headers: Mapping[str, str]) -> int | None:
    """The size of the whole object, even where the answer is a range; None: not stated."""
    total = headers.get("content-length", "")
    if "content-range" in headers:
        held = _CONTENT_RANGE.match(headers["content-range"])
        total = held.group(3) if held else total
    return int(total) if total.isascii() and total.isdigit() else None


def told_etag(headers: Mapping[str, str]) -> str | None:
    """Without quotes and without W/; None: not stated."""
    return bare_etag(headers.get("etag", "")) or None


def told_version(headers: Mapping[str, str]) -> str | None:
    """The version written or read; None: not stated, or there is none."""
    return headers.get("x-amz-version-id") or None


def with_first_byte(told: Mapping[str, str], first: Answer) -> Mapping[str, str]:
    """A HEAD's headers, completed by the answer to a GET of the first byte: the size is in Content-Range."""
    added = {name: value for name, value in first.headers.items() if name not in told}
    if first.status == 206:
        added.pop("content-length", None)  # that of the one byte
    elif told_size(first.headers) is None and not first.overflowed:
        added["content-length"] = str(first.received)  # a server that ignores Range sent all there is
    return {**told, **added}


def pinned_range(answer: Answer, pin: Pin, *, start: int | None, length: int) -> WrongAnswer | None:
    """What is wrong with the answer to a GET of *length* bytes from *start* (None: the whole object), or None.

    Servers may ignore If-Match, versionId and Range, so all three are checked on the answer.
    """
    headers = answer.headers
    if not length and "etag" not in headers and "last-modified" not in headers:
        return WrongAnswer(None, "it has neither ETag nor Last-Modified: an empty answer, perhaps, and no empty object")
    found = _of_pin(headers, pin)
    if found is not None:
        return found
    found = _of_whole(answer, pin, length) if start is None else _of_range(answer, start, length)
    if found is None and (answer.overflowed or answer.received != length):
        more = "more than " if answer.overflowed else ""
        return WrongAnswer(None, f"its body has {more}{answer.received} bytes where {length} were promised")
    return found


def _of_pin(headers: Mapping[str, str], pin: Pin) -> WrongAnswer | None:
    if pin.etag is not None:
        etag = headers.get("etag")
        if not etag:
            return WrongAnswer(None, "it has no ETag to compare with the plan's")
        if bare_etag(etag) != pin.etag:
            return WrongAnswer(
                ObjectChanged, f"the object's ETag is {bare_etag(etag)}, the plan saw {pin.etag}; plan again"
            )
    if pin.version_id is not None:
        version = headers.get("x-amz-version-id", "null")
        if version != pin.version_id:
            return WrongAnswer(
                ObjectChanged, f"version {version} was answered, the plan saw {pin.version_id}; plan again"
            )
    return None


def _of_whole(answer: Answer, pin: Pin, length: int) -> WrongAnswer | None:
    if answer.status != 200:
        return WrongAnswer(None, "the whole object was asked for")
    said = answer.headers.get("content-length")
    if said is None or said == str(length):
        return None
    # With an equal ETag it is the same object, so the length is the server's mistake and not the object's.
    leaf = None if pin.etag is not None else ObjectChanged
    return WrongAnswer(leaf, f"the object has {said} bytes, the plan saw {length}; plan again")


def _of_range(answer: Answer, start: int, length: int) -> WrongAnswer | None:
    held = _CONTENT_RANGE.match(answer.headers.get("content-range", ""))
    # rclone answers a range with 200 instead of 206; the Content-Range is what counts.
    if held is None and answer.status == 200:
        return WrongAnswer(FeatureUnsupported, "the endpoint ignores Range, so large objects cannot be read in parts")
    if held is None or answer.status not in (200, 206):
        return WrongAnswer(None, "a range was asked for and the answer names none")
    if (int(held.group(1)), int(held.group(2))) != (start, start + length - 1):
        return WrongAnswer(
            None, f"it carries bytes {held.group(1)}-{held.group(2)}, asked for were {start}-{start + length - 1}"
        )
    return None
