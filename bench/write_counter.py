"""A TCP forwarder before an S3 server that counts what becomes of every write: how often each key was written, refused.

    python -m bench.write_counter --upstream http://127.0.0.1:9000

Plain http, one request at a time on a connection. GET /?writes answers the counts as JSON. A write whose client was
killed is counted all the same: its answer is waited for. Keys of s3migrate's probes are left out.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import socket
from collections import Counter
from urllib.parse import urlsplit

_HEAD_END = b"\r\n\r\n"
_REQUEST = re.compile(rb"(PUT|POST) (/[^/ ?]+/[^ ?]+)(\?[^ ]*)? HTTP")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STATUS = re.compile(rb"HTTP/1\.1 (\d\d\d)")
_ASKED = b"GET /?writes "
_PROBE = b"/.s3migrate-probe/"
REFUSED = frozenset({409, 412})
NAMED = 20


class Counts:
    """Of all connections."""

    def __init__(self) -> None:
        self.written: Counter[bytes] = Counter()
        self.refused: Counter[bytes] = Counter()
        self.failed: Counter[bytes] = Counter()

    def add(self, key: bytes, status: int) -> None:
        """A write was answered."""
        (self.written if status == 200 else self.refused if status in REFUSED else self.failed)[key] += 1

    def to_json(self) -> bytes:
        """What GET /?writes answers."""
        twice = [key.decode() for key, count in self.written.items() if count > 1]
        said = {
            "keys": len(self.written),
            "writes": self.written.total(),
            "written_twice": len(twice),
            "refused": self.refused.total(),
            "refused_of_written": sum(count for key, count in self.refused.items() if key in self.written),
            "failed": self.failed.total(),
            "first_twice": sorted(twice)[:NAMED],
        }
        return json.dumps(said).encode()


class _Upstream(asyncio.Protocol):
    """The server's end."""

    def __init__(self, client: _Client) -> None:
        self._client = client

    def data_received(self, data: bytes) -> None:
        self._client.answered(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - its name is asyncio's
        self._client.close()


class _Client(asyncio.Protocol):
    """The client's end: opens the server's when a client comes."""

    def __init__(self, counts: Counts, host: str, port: int) -> None:
        self._counts = counts
        self._address = (host, port)
        self._transport: asyncio.Transport | None = None
        self._upstream: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._head = b""
        self._body_left = 0
        self._key: bytes | None = None
        """Of the write that is not answered yet."""
        self._gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport
        _no_delay(transport)
        self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_connection(lambda: _Upstream(self), *self._address)
        except OSError:
            self.close()
            return
        _no_delay(transport)
        self._upstream = transport
        early, self._early = b"".join(self._early), []
        if early:
            transport.write(early)

    def data_received(self, data: bytes) -> None:
        if self._body_left >= len(data):
            self._body_left -= len(data)
        else:
            self._head += data[self._body_left :]
            self._body_left = 0
            self._requests()
        if data.startswith(_ASKED) and self._transport is not None:
            body = self._counts.to_json()
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        elif self._upstream is None:
            self._early.append(data)
        else:
            self._upstream.write(data)

    def _requests(self) -> None:
        """Read the heads that have come whole."""
        while (end := self._head.find(_HEAD_END)) >= 0:
            head, rest = self._head[: end + 4], self._head[end + 4 :]
            found = _LENGTH.search(head)
            length = int(found[1]) if found else 0
            self._body_left = max(0, length - len(rest))
            self._head = rest[length:]
            request = _REQUEST.match(head)
            if request is not None and _PROBE not in request[2]:
                query = request[3] or b""
                whole = request[1] == b"PUT" and b"partNumber=" not in query
                complete = request[1] == b"POST" and b"uploadId=" in query
                self._key = request[2] if whole or complete else None

    def answered(self, data: bytes) -> None:
        """The server said *data*."""
        if self._key is not None:
            statuses = [int(status) for status in _STATUS.findall(data[:400]) if status != b"100"]
            if statuses:
                self._counts.add(self._key, statuses[0])
                self._key = None
        if self._gone:
            self.close()
        elif self._transport is not None:
            self._transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - its name is asyncio's
        self._gone = True
        if self._key is None or self._body_left or self._head:
            self.close()

    def close(self) -> None:
        """Both ends."""
        for transport in (self._transport, self._upstream):
            if transport is not None:
                transport.close()


def _no_delay(transport: asyncio.BaseTransport) -> None:
    with contextlib.suppress(OSError):
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def serve(upstream: str) -> None:
    """Forward until cancelled; prints the endpoint."""
    where = urlsplit(upstream)
    host, port, counts = where.hostname or "127.0.0.1", where.port or 80, Counts()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Client(counts, host, port), "127.0.0.1", 0, backlog=2048)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m bench.write_counter")
    parser.add_argument("--upstream", required=True)
    asyncio.run(serve(parser.parse_args().upstream))


if __name__ == "__main__":
    main()
