"""What carries the bytes of a connection: a plain socket, or a TLS session on one (openssl.py)."""

from __future__ import annotations

import select
import socket
import struct
from typing import Protocol


class Channel(Protocol):
    """An open connection's two ways. Not to be used from two threads at once."""

    def allow(self, seconds: float) -> None:
        """Wait so long for each byte from now on; 0: for ever."""

    def send(self, *pieces: bytes | memoryview) -> None:
        """All of one or two pieces. Raises TimeoutError, OSError."""

    def receive(self, into: memoryview) -> int:
        """Some bytes, their number; 0 at the end. Raises TimeoutError, OSError."""

    def receive_all(self, into: memoryview) -> int:
        """As many as fit; fewer where no more came in time or before the end. Raises TimeoutError if none, OSError."""

    def has_input(self) -> bool:
        """Whether there is something to receive already, or the end. Takes no time."""

    def has_leftover(self) -> bool:
        """Whether bytes have been read that nobody has received: after an answer they belong to none."""

    def close(self) -> None:
        """Close the connection."""


class PlainChannel:
    """A Channel without TLS. Owns its socket."""

    def __init__(self, connected: socket.socket) -> None:
        # The kernel's own timeouts: Python's would cost a poll before every call.
        connected.settimeout(None)
        self._socket = connected

    def allow(self, seconds: float) -> None:
        """See Channel.allow."""
        limit = struct.pack("ll", int(seconds), 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def send(self, *pieces: bytes | memoryview) -> None:
        """See Channel.send."""
        try:
            sent = self._socket.sendmsg(pieces)
            for piece in pieces:
                if sent < len(piece):
                    self._socket.sendall(memoryview(piece)[sent:])
                sent = max(0, sent - len(piece))
        except BlockingIOError:
            raise TimeoutError from None

    def receive(self, into: memoryview) -> int:
        """See Channel.receive."""
        try:
            return self._socket.recv_into(into)
        except BlockingIOError:
            raise TimeoutError from None

    def receive_all(self, into: memoryview) -> int:
        """See Channel.receive_all."""
        try:
            return self._socket.recv_into(into, 0, socket.MSG_WAITALL)
        except BlockingIOError:
            raise TimeoutError from None

    def has_input(self) -> bool:
        """See Channel.has_input."""
        readable = select.poll()  # select() cannot take descriptors above 1,023
        readable.register(self._socket, select.POLLIN)
        return bool(readable.poll(0))

    def has_leftover(self) -> bool:
        """See Channel.has_leftover."""
        return False

    def close(self) -> None:
        """See Channel.close."""
        self._socket.close()
