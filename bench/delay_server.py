"""A TCP forwarder that makes the way to a server longer: what a client sends arrives DELAY seconds later.

So every request takes that much longer, whatever its size; bodies keep their bandwidth, as over a long line, or share
what --bytes-per-second says. It does not look into the bytes, and holds several hundred connections in one thread.

    python -m bench.delay_server --upstream http://127.0.0.1:9000 --delay 0.05 [--bytes-per-second 5e6]
                                 [--listen 127.0.0.2:9001]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
from collections import deque
from urllib.parse import urlsplit

HIGH_WATER = 4 << 20


class Line:
    """What all connections share in one direction: so many bytes a second."""

    def __init__(self, bytes_per_second: float) -> None:
        self._rate = bytes_per_second
        self._free_at = 0.0

    def sent(self, size: int, now: float) -> float:
        """When *size* more bytes have passed that are there now."""
        self._free_at = max(self._free_at, now) + size / self._rate
        return self._free_at


class _Side(asyncio.Protocol):
    """One end of a forwarded connection; what it hears goes to `other`, `delay` seconds after it has passed *line*."""

    def __init__(self, delay: float, line: Line) -> None:
        self._line = line
        self._loop = asyncio.get_running_loop()
        self._delay = delay
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False
        self.transport: asyncio.Transport | None = None
        self.other: _Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self.transport = transport
        transport.set_write_buffer_limits(high=HIGH_WATER)
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        now = self._loop.time()
        due = self._line.sent(len(data), now) + self._delay
        if due <= now and not self._waiting:
            self._pass_on(data)
            return
        self._waiting.append((due, data))
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - its name is asyncio's
        self._ended = True
        self._arm() if self._waiting else self._close_other()

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def flush(self) -> None:
        """Pass on what is due."""
        self._timer = None
        now = self._loop.time() + 0.000_5
        due = []
        while self._waiting and self._waiting[0][0] <= now and self._other_is_up():
            due.append(self._waiting.popleft()[1])
        if due:
            self._pass_on(b"".join(due))
        if self._waiting:
            self._arm()
        elif self._ended:
            self._close_other()

    def _other_is_up(self) -> bool:
        return self.other is not None and self.other.transport is not None

    def _arm(self) -> None:
        if self._timer is None:
            wait = max(0.001, self._waiting[0][0] - self._loop.time())
            self._timer = self._loop.call_later(wait, self.flush)

    def _pass_on(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def _close_other(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class _Front(_Side):
    """The client's side: opens the server's when a client comes."""

    def __init__(self, delay: float, lines: tuple[Line, Line], address: tuple[str, int]) -> None:
        super().__init__(delay, lines[0])
        self._back = lines[1]
        self._address = address

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.other = _Side(0.0, self._back)
        self.other.other = self
        self._opening = self._loop.create_task(self._open(self.other))

    async def _open(self, side: _Side) -> None:
        try:
            await self._loop.create_connection(lambda: side, *self._address)
        except OSError:
            if self.transport is not None:
                self.transport.abort()


async def serve(upstream: str, delay: float, bytes_per_second: float, listen: str) -> None:
    """Forward until cancelled what comes to the HOST:PORT *listen*; prints the endpoint."""
    here, _, here_port = listen.rpartition(":")
    where = urlsplit(upstream)
    host, port = where.hostname or "127.0.0.1", where.port or 80
    loop = asyncio.get_running_loop()
    lines = Line(bytes_per_second), Line(bytes_per_second)
    server = await loop.create_server(lambda: _Front(delay, lines, (host, port)), here, int(here_port), backlog=2048)
    print(f"http://{here}:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m bench.delay_server")
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--delay", type=float, required=True, help="seconds")
    parser.add_argument("--bytes-per-second", type=float, default=float("inf"), help="of all connections, each way")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="port 0: a free one")
    options = parser.parse_args()
    asyncio.run(serve(options.upstream, options.delay, options.bytes_per_second, options.listen))


if __name__ == "__main__":
    main()
