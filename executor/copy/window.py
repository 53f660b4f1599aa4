"""How an object is cut into parts, and how a part bigger than memory is read while it is being sent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from executor.carry.integrity import Algorithm, crc64nvme, crc_text
from executor.route import SectionRuntime, pin
from schema.errors import DigestMismatch, StoreError
from schema.objects import etag_is_opaque
from schema.plan import Entry


class PartRange(NamedTuple):
    """Part *number* (from 1) is bytes [start, start + length)."""

    number: int
    start: int
    length: int


def parts_of(size: int, part_size: int) -> list[PartRange]:
    """The parts of an object of *size* > 0 bytes: contiguous, all *part_size* long but the last."""
    return [
        PartRange(number + 1, start, min(part_size, size - start))
        for number, start in enumerate(range(0, size, part_size))
    ]


class PartWindow:
    """Delivers a part's bytes in order through one buffer, by pinned ranged GETs; fingerprints what it delivers."""

    def __init__(self, section: SectionRuntime, entry: Entry, part: PartRange, view: memoryview) -> None:
        self._get = partial(section.source.get, entry.key, pin=pin(entry), whole=False)
        self._facts = section.destination_facts
        self._key = entry.target
        self._view = view
        self._next = part.start
        self._end = part.start + part.length
        self._held = view[:0]
        self.crc = 0
        self._md5 = hashlib.md5(usedforsecurity=False) if self._facts.enforces("etag_is_md5") else None
        self.failed: StoreError | None = None

    def read(self, most: int) -> bytes:
        """The next bytes, at most *most*; b'' at the end of the part. Raises StoreErrors of the source."""
        if not self._held:
            length = min(len(self._view), self._end - self._next)
            if length == 0:
                return b""
            window = self._view[:length]
            self._get(into=window, start=self._next)
            self.crc = crc64nvme(window, self.crc)
            if self._md5 is not None:
                self._md5.update(window)
            self._next += length
            self._held = window
        piece, self._held = bytes(self._held[:most]), self._held[most:]
        return piece

    def check(self, etag: str, headers: Mapping[str, str]) -> None:
        """Raises DigestMismatch when the server's answer names other bytes than were delivered."""
        stated = headers.get(Algorithm.CRC64NVME.header)
        if stated and "-" not in stated and stated != crc_text(self.crc):
            raise self._mismatch(f"CRC64NVME {stated}, sent {crc_text(self.crc)}")
        if self._md5 is not None and not etag_is_opaque(headers) and etag != self._md5.hexdigest():
            raise self._mismatch(f"ETag {etag}, sent MD5 {self._md5.hexdigest()}")

    def _mismatch(self, what: str) -> DigestMismatch:
        return DigestMismatch(
            f"{self._key!r}: the destination answered {what}; the part is sent again",
            operation="UploadPart",
            key=self._key,
        )
