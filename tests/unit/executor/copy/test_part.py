"""A part read through a window: what proves it, and what is not hashed for it."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import pytest
from support.memory_store import MemoryStore

from executor.carry.integrity import crc64nvme, crc_text
from executor.copy.layout import PartRange
from executor.copy.part import PartWindow
from schema.errors import DigestMismatch
from schema.facts import Capabilities
from schema.plan import Action, Entry
from storage.port import Pin

BODY = bytes(range(256)) * 40
CRC_HEADER = "x-amz-checksum-crc64nvme"


def window_over(facts: dict[str, str]) -> PartWindow:
    """Over bytes [100, 10,000) of BODY, through a kilobyte."""
    source = MemoryStore()
    source.hold("k", BODY)
    entry = Entry("k", len(BODY), source.head("k").etag, Action.COPY)
    pin = Pin(entry.etag)
    route = SimpleNamespace(source=source, destination_facts=Capabilities(facts), pin=lambda _entry: pin)
    job: Any = SimpleNamespace(entry=entry, route=route)
    return PartWindow(job, PartRange(1, 100, 9_900), memoryview(bytearray(1024)))


def read_through(window: PartWindow) -> bytes:
    return b"".join(iter(lambda: window.read(700), b""))


def test_the_bytes_come_in_order_and_are_fingerprinted() -> None:
    window = window_over({})
    assert read_through(window) == BODY[100:10_000]
    assert window.crc == crc64nvme(BODY[100:10_000])
    window.check("e", {CRC_HEADER: crc_text(window.crc)})
    with pytest.raises(DigestMismatch, match="CRC64NVME"):
        window.check("e", {CRC_HEADER: crc_text(window.crc ^ 1)})


def test_where_a_crc_is_enforced_no_md5_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_md5(*_: object, **__: object) -> None:
        raise AssertionError("MD5 was computed")

    window = window_over({"etag_is_md5": "enforced", "multipart_crc64nvme": "enforced"})
    monkeypatch.setattr(hashlib, "md5", no_md5)
    assert len(read_through(window)) == 9_900
    window.check("whatever", {})


def test_where_none_is_the_etag_proves_the_part() -> None:
    window = window_over({"etag_is_md5": "enforced"})
    read_through(window)
    window.check(hashlib.md5(BODY[100:10_000]).hexdigest(), {})
    with pytest.raises(DigestMismatch, match="MD5"):
        window.check("0" * 32, {})
