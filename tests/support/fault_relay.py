"""One request through the fault proxy: read it, apply what struck it, ask the server, pass the answer back."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, NamedTuple, Protocol

from support.fault_rules import (
    Bandwidth,
    Delay,
    EnforceChecksums,
    EnforceConditions,
    FlipBit,
    IgnoreConditions,
    Overlong,
    Request,
    Reset,
    Respond,
    Struck,
    Truncate,
    error,
    wrong_checksum,
)
from support.http_relay import Connection, Head, PeerGone

HOP_BY_HOP = ("connection", "keep-alive", "proxy-connection", "expect")


class Exchange(NamedTuple):
    """One request and what became of it."""

    method: str
    operation: str
    bucket: str
    key: str
    status: int
    """Answered to the client; 0: the connection was reset or broke."""
    upstream_status: int
    """Answered by the server; 0: it was never asked, or did not answer."""
    request_bytes: int
    response_bytes: int
    faults: tuple[str, ...]
    started: float
    """time.monotonic() when its head had been read."""
    seconds: float


class Surroundings(Protocol):
    """What a relay needs of its proxy."""

    def wait(self, seconds: float) -> None:
        """Sleep."""

    def lock_of(self, request: Request) -> AbstractContextManager[Any]:
        """Excludes other writes to the request's key."""

    def intercept(self, request: Request) -> Respond | None:
        """An answer made here instead of by the server."""

    def refused_condition(self, request: Request) -> Respond | None:
        """The refusal a server enforcing the request's conditions would answer."""


class Upstream:
    """The server's side of one client connection: opened when first needed, reopened when found closed."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._connection: Connection | None = None

    def connection(self) -> Connection:
        """A connection believed alive."""
        if self._connection is not None and self._connection.is_stale():
            self.close()
        if self._connection is None:
            self._connection = Connection(socket.create_connection(self._address))
        return self._connection

    def shut(self) -> None:
        """Wake whoever waits for the server."""
        if (connection := self._connection) is not None:
            connection.shut()

    def close(self) -> None:
        """The next request gets a new connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@dataclass
class Relay:
    """One exchange in the making."""

    proxy: Surroundings
    client: Connection
    upstream: Upstream
    head: Head
    request: Request
    struck: list[Struck]
    status: int = 0
    upstream_status: int = 0
    request_bytes: int = 0
    response_bytes: int = 0

    def exchange(self, started: float, seconds: float) -> Exchange:
        """For the history."""
        return Exchange(
            method=self.request.method,
            operation=self.request.operation,
            bucket=self.request.bucket,
            key=self.request.key,
            status=self.status,
            upstream_status=self.upstream_status,
            request_bytes=self.request_bytes,
            response_bytes=self.response_bytes,
            faults=tuple(type(s.action).__name__ for s in self.struck),
            started=started,
            seconds=seconds,
        )

    def run(self) -> bool:
        """Do it; False when the client connection is spent."""
        for action, chance in self.struck:
            if isinstance(action, Delay):
                self.proxy.wait(action.seconds + chance.uniform(0.0, action.jitter))
        if self._first(Reset, after=False):
            self.client.reset()
            return False
        if "100-continue" in (self.head.get("expect") or "").lower():
            self.client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        answer = self._first(Respond, forward=False) or self.proxy.intercept(self.request)
        if answer is not None:
            return self._answer_instead(answer)
        if self._first(EnforceConditions) is None:
            return self._forward()
        with self.proxy.lock_of(self.request):
            refused = self.proxy.refused_condition(self.request)
            return self._forward() if refused is None else self._answer_instead(refused)

    def _first(self, kind: type[Any], **wanted: object) -> Any:
        """The first struck action of that kind with these fields; None when there is none."""
        for action, _ in self.struck:
            if isinstance(action, kind) and all(getattr(action, k) == v for k, v in wanted.items()):
                return action
        return None

    # --- to the server ---

    def _forward(self) -> bool:
        blocks: Iterable[bytes] = self.client.body(self.head)
        checked = self._first(EnforceChecksums) and self.request.operation in ("put", "part")
        flips = [s for s in self.struck if isinstance(s.action, FlipBit) and s.action.upload]
        if checked or flips:
            body = b"".join(blocks)
            for flip in flips:
                body = _flipped(body, flip)
            blocks = [body] if body else []
            wrong = wrong_checksum(self.request.headers, body) if checked else None
            if wrong is not None:
                self.request_bytes = len(body)
                return self._answer(error(400, "BadDigest", f"{wrong} did not match what we received"))
        head = self.head.without(*HOP_BY_HOP)
        if self._first(IgnoreConditions):
            head = head.without("if-none-match", "if-match")
        connection = self.upstream.connection()
        return self._pass_back(connection, self._ask(connection, head, iter(blocks)))

    def _ask(self, connection: Connection, head: Head, blocks: Iterator[bytes]) -> Head:
        """Send the request upstream and read the head of its answer."""
        chunked = _is_chunked(head)
        try:
            connection.send(head.encode())
            for block in _paced(blocks, self._first(Bandwidth, upload=True), self.proxy.wait):
                self.request_bytes += len(block)
                connection.send(_chunk(block) if chunked else block)
            if chunked:
                connection.send(_chunk(b""))
        except (BrokenPipeError, ConnectionResetError):
            for block in blocks:  # the server answered before it had read all; its answer is still to be had
                self.request_bytes += len(block)
        while True:
            answer = connection.read_head()
            if answer is None:
                raise PeerGone("the server closed without an answer")
            self.upstream_status = int(answer.first.split(" ", 2)[1])
            if self.upstream_status >= 200:
                return answer

    # --- to the client ---

    def _pass_back(self, connection: Connection, answer: Head) -> bool:
        bodiless = self.request.method == "HEAD" or self.upstream_status in (204, 304)
        chunked = _is_chunked(answer)
        blocks: Iterable[bytes] = connection.body(answer, bodiless=bodiless, until_close=True)
        replacement = self._first(Respond, forward=True)
        lost = self._first(Reset, after=True)
        damaged = any(isinstance(s.action, (Truncate, Overlong)) or _flips_down(s) for s in self.struck)
        endless = not (bodiless or chunked) and answer.get("content-length") is None
        if replacement or lost or endless or (damaged and not bodiless):
            body = b"".join(blocks)
            # What the server says of its connection is not passed on. Werkzeug closes each, and would read away the
            # next request, were it sent there: its answer would never come.
            self.upstream.close()
            if lost:
                self.client.reset()
                return False
            if replacement is not None:
                return self._answer(replacement)
            return self._send_damaged(answer, body)
        self.status = self.upstream_status
        self.client.send(answer.without(*HOP_BY_HOP).encode())
        self._send_body(blocks, chunked and not bodiless)
        if (answer.get("connection") or "").lower() == "close":
            self.upstream.close()
        return True

    def _send_damaged(self, answer: Head, body: bytes) -> bool:
        kept, length = body, len(body)
        for struck in self.struck:
            if _flips_down(struck):
                kept = _flipped(kept, struck)
            elif isinstance(struck.action, Overlong):
                kept += b"x" * struck.action.extra
                length = len(kept)
            elif isinstance(struck.action, Truncate):
                kept = kept[: int(len(kept) * struck.action.share)]
        head = answer.without(*HOP_BY_HOP, "content-length", "transfer-encoding")
        head.fields.append(("Content-Length", str(length)))
        self.status = self.upstream_status
        self.client.send(head.encode())
        self._send_body([kept], chunked=False)
        return len(kept) == length

    def _send_body(self, blocks: Iterable[bytes], chunked: bool) -> None:
        for block in _paced(blocks, self._first(Bandwidth, upload=False), self.proxy.wait):
            self.client.send(_chunk(block) if chunked else block)
            self.response_bytes += len(block)
        if chunked:
            self.client.send(_chunk(b""))

    def _answer_instead(self, answer: Respond) -> bool:
        self.request_bytes = sum(len(block) for block in self.client.body(self.head))
        return self._answer(answer)

    def _answer(self, answer: Respond) -> bool:
        body = b"" if self.request.method == "HEAD" else answer.body.encode()
        fields = [("Date", formatdate(usegmt=True)), ("x-amz-request-id", "FAULTPROXY"), *answer.headers.items()]
        if answer.status not in (204, 304) and "Content-Length" not in answer.headers:
            fields.append(("Content-Length", str(len(body))))
        self.status = answer.status
        self.client.send(Head(f"HTTP/1.1 {answer.status} Injected", fields).encode())
        self._send_body([body] if body else [], chunked=False)
        return True


def _is_chunked(head: Head) -> bool:
    return "chunked" in (head.get("transfer-encoding") or "").lower()


def _chunk(block: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(block), block)


def _flips_down(struck: Struck) -> bool:
    return isinstance(struck.action, FlipBit) and not struck.action.upload


def _flipped(body: bytes, struck: Struck) -> bytes:
    """One bit changed, at a place of the rule's choosing; an empty body has none."""
    if not body:
        return body
    damaged = bytearray(body)
    damaged[struck.chance.randrange(len(body))] ^= 1 << struck.chance.randrange(8)
    return bytes(damaged)


def _paced(blocks: Iterable[bytes], pace: Bandwidth | None, wait: Callable[[float], object]) -> Iterator[bytes]:
    """The same bytes, no faster than *pace*."""
    if pace is None:
        yield from blocks
        return
    for block in blocks:
        for start in range(0, len(block), pace.chunk):
            piece = block[start : start + pace.chunk]
            wait(len(piece) / pace.bytes_per_second)
            yield piece
