"""HTTP/1.1 on bare sockets, as little as a proxy needs: heads, bodies, framing. Used by the fault proxy."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

BLOCK = 65_536
HEAD_LIMIT = 262_144


class PeerGone(ConnectionError):
    """The other side closed or broke off in the middle of a message."""


class Head(NamedTuple):
    """A start line and headers."""

    first: str
    """Request line or status line, latin-1."""
    fields: list[tuple[str, str]]
    """As received: names with their case, in order."""

    def get(self, name: str) -> str | None:
        """The first field of that (lower-case) name."""
        return next((v for k, v in self.fields if k.lower() == name), None)

    def lower(self) -> dict[str, str]:
        """Fields by lower-case name; of repeated ones the last."""
        return {k.lower(): v for k, v in self.fields}

    def encode(self) -> bytes:
        """On the wire."""
        lines = [self.first, *(f"{k}: {v}" for k, v in self.fields), "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def without(self, *dropped: str) -> Head:
        """Without the fields of these lower-case names."""
        return Head(self.first, [(k, v) for k, v in self.fields if k.lower() not in dropped])


class Connection:
    """A socket with a read buffer."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self._buffer = b""

    def read_head(self) -> Head | None:
        """The next head; None when the peer closed between messages. Raises PeerGone inside one."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            block = self.sock.recv(BLOCK)
            if not block:
                if self._buffer:
                    raise PeerGone("closed inside a head")
                return None
            self._buffer += block
            if len(self._buffer) > HEAD_LIMIT and b"\r\n\r\n" not in self._buffer:
                raise PeerGone("a head beyond all measure")
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        self._buffer = self._buffer[end + 4 :]
        fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        return Head(lines[0], fields)

    def read_some(self, most: int) -> bytes:
        """At least one byte, at most *most*."""
        if self._buffer:
            block, self._buffer = self._buffer[:most], self._buffer[most:]
            return block
        block = self.sock.recv(min(most, BLOCK))
        if not block:
            raise PeerGone("closed inside a body")
        return block

    def read_line(self) -> bytes:
        """Up to and without CRLF."""
        while (end := self._buffer.find(b"\r\n")) < 0:
            block = self.sock.recv(BLOCK)
            if not block:
                raise PeerGone("closed inside a chunk's head")
            self._buffer += block
        line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
        return line

    def body(self, head: Head, *, bodiless: bool = False, until_close: bool = False) -> Iterator[bytes]:
        """The body that follows *head*, framing removed. *until_close*: an answer without a length ends there."""
        if bodiless:
            return
        if "chunked" in (head.get("transfer-encoding") or "").lower():
            yield from self._chunks()
            return
        length = head.get("content-length")
        if length is None:
            if until_close:
                with contextlib.suppress(PeerGone):
                    while True:
                        yield self.read_some(BLOCK)
            return
        left = int(length)
        while left:
            block = self.read_some(left)
            left -= len(block)
            yield block

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.read_line().partition(b";")[0], 16):
            while size:
                block = self.read_some(size)
                size -= len(block)
                yield block
            self.read_line()
        while self.read_line():
            pass

    def send(self, data: bytes) -> None:
        """All of it."""
        self.sock.sendall(data)

    def is_stale(self) -> bool:
        """Whether the peer of an idle connection has closed it (or talks out of turn)."""
        self.sock.setblocking(False)
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            with contextlib.suppress(OSError):
                self.sock.setblocking(True)
        return True

    def reset(self) -> None:
        """Close with RST: the peer gets ECONNRESET, not an orderly end."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Also wakes a thread that is blocked on the socket."""
        with contextlib.suppress(OSError):
            self.sock.close()

    def shut(self) -> None:
        """Wake whoever is blocked on the socket; its own thread closes it."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
