"""Bytes too many to be held: read by pinned ranged GETs through one buffer while they are sent, and fingerprinted."""

from __future__ import annotations

import hashlib
from functools import partial

from executor.route import Route
from schema import checksums
from schema.errors import StoreError
from schema.plan import Entry
from storage.port import ByteRange


class ReadWindow:
    """Delivers *span* of the source object of *entry* in order, through *view*. For one request: made anew for each."""

    def __init__(self, route: Route, entry: Entry, span: ByteRange, *, view: memoryview, hashed: bool) -> None:
        """*hashed*: the MD5 is wanted, too; it costs ten times what all else does."""
        self._get = partial(route.source.get, entry.key, pin=route.pin(entry))
        self._view = view
        self._next = span.start
        self._end = span.start + span.length
        self._held = view[:0]
        self._md5 = hashlib.md5(usedforsecurity=False) if hashed else None
        self.crc = 0
        """CRC64NVME of what was read so far."""
        self.failed: StoreError | None = None
        """Why the source could not be read; then what the destination said about the rest means nothing."""

    @property
    def empty(self) -> bool:
        """Everything read was delivered."""
        return not self._held

    @property
    def all_read(self) -> bool:
        """Every byte of the span was read; those of the last window may not have been delivered yet."""
        return self._next == self._end

    @property
    def md5(self) -> bytes | None:
        """16 bytes, of what was read so far; None: not hashed."""
        return None if self._md5 is None else self._md5.digest()

    def fill(self) -> bool:
        """Read the next window, of which there must be one. True: it is the last. Raises StoreErrors of the source."""
        window = self._view[: min(len(self._view), self._end - self._next)]
        try:
            self._get(into=window, start=self._next)
        except StoreError as error:
            self.failed = error
            raise
        self.crc = checksums.crc64nvme(window, self.crc)
        if self._md5 is not None:
            self._md5.update(window)
        self._next += len(window)
        self._held = window
        return self.all_read

    def read(self, most: int) -> memoryview:
        """As storage.port.Reader: empty at the end. Raises StoreErrors of the source."""
        if not self._held and not self.all_read:
            self.fill()
        piece, self._held = self._held[:most], self._held[most:]
        return piece
