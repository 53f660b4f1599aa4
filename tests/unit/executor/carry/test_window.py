"""Bytes read through a window: their order, their fingerprints, and the pin under which each window is read."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import pytest
from support.memory_store import Call, MemoryStore

from executor.carry.integrity import crc64nvme
from executor.carry.window import ReadWindow
from schema.errors import ObjectChanged
from schema.plan import Action, Entry
from storage.port import ByteRange, Pin

BODY = bytes(range(256)) * 40
SPAN = ByteRange(100, 9_900)


def window_over(source: MemoryStore, *, hashed: bool = False) -> ReadWindow:
    """Over bytes [100, 10,000) of BODY, through a kilobyte."""
    source.hold("k", BODY)
    entry = Entry("k", len(BODY), source.head("k").etag or "", Action.COPY)
    route: Any = SimpleNamespace(source=source, pin=lambda _entry: Pin(entry.etag))
    return ReadWindow(route, entry, SPAN, view=memoryview(bytearray(1024)), hashed=hashed)


def read_through(window: ReadWindow) -> bytes:
    return b"".join(bytes(piece) for piece in iter(lambda: window.read(700), b""))


def test_the_bytes_come_in_order_and_are_fingerprinted() -> None:
    window = window_over(MemoryStore(), hashed=True)
    assert not window.all_read
    assert read_through(window) == BODY[100:10_000]
    assert window.all_read
    assert window.crc == crc64nvme(BODY[100:10_000])
    assert window.md5 == hashlib.md5(BODY[100:10_000]).digest()


def test_no_md5_is_computed_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_md5(*_: object, **__: object) -> None:
        raise AssertionError("MD5 was computed")

    window = window_over(MemoryStore())
    monkeypatch.setattr(hashlib, "md5", no_md5)
    window.fill()
    assert window.md5 is None


def test_a_source_that_changes_between_two_windows_is_noticed() -> None:
    source = MemoryStore()
    window = window_over(source)

    def changed(_call: Call) -> None:
        if source.count("GetObject") == 3:
            source.hold("k", BODY[::-1])

    source.after = changed
    with pytest.raises(ObjectChanged) as caught:
        read_through(window)
    assert window.failed is caught.value
    assert not window.all_read
