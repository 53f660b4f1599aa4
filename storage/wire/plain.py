"""One kept-alive HTTP/1.1 connection over a plain socket, without TLS: the hot path of the wire.

A third less processor time per object than libcurl through Python (docs/decisions.md): a GET is one send and two or
three receives straight into the caller's memory, without callbacks in between. A connection belongs to one thread. A
reused connection that turns out to be dead before any byte of an answer is replaced once, where the body can be sent
again.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from storage.wire.exchange import (
    ANSWER_BODY_LIMIT,
    ERROR_BODY_LIMIT,
    LOW_SPEED_BYTES,
    Answer,
    ExchangeFailed,
    Fault,
    Patience,
    ReaderFailed,
    Request,
)
from storage.wire.http1 import Head, HeadMalformed, Pieces, find_head

BUFFER: Final = 64 * 1024
"""Holds a head (a longer one is refused) and the first bytes of a body."""
FRESH_SECONDS: Final = 0.2
"""A connection used this recently is not looked at before the next request: no server closes an idle one so soon, and
the look is a system call in which another thread takes the interpreter. One that is dead all the same gives no answer,
and the request is sent again where it may be."""
SEND_BUFFER: Final = 256 * 1024


class _Stale(Exception):
    """A reused connection was dead before any byte of an answer."""


class SocketConnection:
    """Performs requests to one origin after the other. Not safe to use from two threads at once."""

    def __init__(self, user_agent: str) -> None:
        self._socket: socket.socket | None = None
        self._user_agent = user_agent
        self._origin = ""
        self._host = ""
        self._patience: Patience | None = None
        self._started = 0.0
        self._since = 0.0
        """Start of the window over which the answer's speed is judged; 0: no byte has come yet."""
        self._taken = 0
        self._half_sent = False
        self._used_at = 0.0
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)

    def perform(self, request: Request) -> Answer:
        """Send and receive. Raises ExchangeFailed, or ReaderFailed with whatever *request.read* raised."""
        started = time.monotonic()
        target = self._aim(request.url)
        if request.once:
            self.close()  # on a connection that died unnoticed it would be unknown whether the request was carried out
        for again in (False, True):
            reused = self._socket is not None
            try:
                return self._exchange(request, target, started, reused=reused and not again)
            except _Stale:
                self.close()
            except TimeoutError:
                raise self._failed(Fault.TIMED_OUT, "no byte for too long", started) from None
            except HeadMalformed as error:
                raise self._failed(Fault.MALFORMED, str(error), started) from None
            except ExchangeFailed as failure:
                self.close()
                failure.seconds = time.monotonic() - started
                raise
            except OSError as error:
                raise self._failed(Fault.RECEIVE_FAILED, error.strerror or str(error), started) from None
            except BaseException:
                self.close()
                raise
        raise AssertionError("a fresh connection is never stale")

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        held, self._socket = self._socket, None
        if held is not None:
            held.close()

    def __del__(self) -> None:
        """A thread that ends takes its connection with it."""
        self.close()

    def _failed(self, fault: Fault, text: str, started: float) -> ExchangeFailed:
        self.close()
        return ExchangeFailed(fault, text, time.monotonic() - started)

    def _aim(self, url: str) -> str:
        """The request target; another origin than before ends the connection."""
        origin = self._origin
        if not (origin and url.startswith(origin) and url[len(origin)] == "/"):
            parts = urlsplit(url)
            self.close()
            self._origin = origin = f"{parts.scheme}://{parts.netloc}"
            self._host = parts.netloc
        return url[len(origin) :]

    def _exchange(self, request: Request, target: str, started: float, *, reused: bool) -> Answer:
        connection = self._ready(request.patience, started)
        self._started, self._since = started, 0.0
        may_repeat = reused and request.read is None
        try:
            self._send(connection, request, target)
        except (BrokenPipeError, ConnectionResetError):
            # The server may have refused early and closed: its answer says more than a broken pipe.
            if not self._has_answer(connection):
                if may_repeat:
                    raise _Stale from None
                raise ExchangeFailed(Fault.SEND_FAILED, "the connection was closed while sending", 0.0) from None
        head, have = self._receive_head(connection, may_repeat)
        first_byte = time.monotonic() - started
        answer = self._receive_body(connection, request, head, have=have)
        self._used_at = time.monotonic()
        answer.seconds = self._used_at - started
        answer.first_byte_seconds = first_byte
        too_much = head.length is not None and have - head.end > head.length
        if not head.keeps_alive or answer.overflowed or too_much or self._half_sent:
            self.close()
        return answer

    def _ready(self, patience: Patience, started: float) -> socket.socket:
        """A connection that is open as far as can be told."""
        held = self._socket
        if held is not None and started - self._used_at > FRESH_SECONDS and self._has_answer(held):
            self.close()  # readable without a request: closed, or unsolicited bytes
            held = None
        if held is None:
            held = self._connect(patience.connect_seconds)
            self._patience = None
        if patience is not self._patience:
            seconds = max(patience.slow_seconds, patience.seconds)
            limit = struct.pack("ll", seconds, 0)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            self._patience = patience
        return held

    def _connect(self, seconds: float) -> socket.socket:
        parts = urlsplit(self._origin)
        host, port = parts.hostname or "", parts.port or 80
        try:
            opened = socket.create_connection((host, port), timeout=seconds)
        except socket.gaierror as error:
            raise ExchangeFailed(Fault.NO_HOST, f"could not resolve host {host}: {error.strerror}", 0.0) from None
        except TimeoutError:
            raise ExchangeFailed(Fault.TIMED_OUT, f"could not connect to {host}:{port} in time", 0.0) from None
        except OSError as error:
            spent = error.errno in (errno.EMFILE, errno.ENFILE)
            fault = Fault.NO_DESCRIPTORS if spent else Fault.NO_CONNECTION
            raise ExchangeFailed(fault, f"could not connect to {host}:{port}: {error.strerror}", 0.0) from None
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            # The kernel's own timeouts: Python's would cost a poll before every call.
            opened.settimeout(None)
        except BaseException:
            opened.close()
            raise
        self._socket = opened
        return opened

    def _send(self, connection: socket.socket, request: Request, target: str) -> None:
        body = request.body
        self._half_sent = False
        sends = body is not None or request.read is not None
        data = memoryview(body).cast("B") if body is not None else None
        length = f"Content-Length: {len(data) if data is not None else request.length}\r\n" if sends else ""
        fields = "".join([f"{name}: {value}\r\n" for name, value in request.headers])
        head = (
            f"{request.method} {target} HTTP/1.1\r\nHost: {self._host}\r\nUser-Agent: {self._user_agent}\r\n"
            f"{length}{fields}\r\n"
        ).encode("latin-1")
        try:
            if data is None or not len(data):
                connection.sendall(head)
            elif len(data) <= SEND_BUFFER:
                sent = connection.sendmsg([head, data])
                if sent < len(head) + len(data):
                    rest = sent - len(head)
                    connection.sendall(data[rest:] if rest >= 0 else head[sent:] + data)
            else:
                connection.sendall(head)
                self._send_pieces(connection, data)
            if request.read is not None:
                self._stream(connection, request.read, request.length)
        except BlockingIOError:
            raise TimeoutError from None

    def _send_pieces(self, connection: socket.socket, data: memoryview) -> None:
        """A long body, stopped as soon as the server answers before its end."""
        for start in range(0, len(data), SEND_BUFFER):
            if start and self._has_answer(connection):
                self._half_sent = True
                return
            connection.sendall(data[start : start + SEND_BUFFER])

    def _stream(self, connection: socket.socket, read: Callable[[int], bytes], length: int) -> None:
        left = length
        while left:
            try:
                piece = read(min(SEND_BUFFER, left))
                if len(piece) > left:
                    raise ValueError(f"the body's reader returned {len(piece)} bytes with {left} bytes left to send")
            except BaseException as error:
                raise ReaderFailed(error) from None
            if not piece:
                raise ExchangeFailed(Fault.CUT_SHORT, f"the body's reader ended {left} bytes early", 0.0)
            connection.sendall(piece)
            left -= len(piece)

    def _has_answer(self, connection: socket.socket) -> bool:
        readable = select.poll()  # select() cannot take descriptors above 1,023
        readable.register(connection, select.POLLIN)
        return bool(readable.poll(0))

    def _receive(self, connection: socket.socket, into: memoryview) -> int:
        """Some bytes; 0 at the end. Raises TimeoutError, also for bytes that only drip."""
        try:
            got = connection.recv_into(into)
        except BlockingIOError:
            raise TimeoutError from None
        self._judge_pace(got)
        return got

    def _judge_pace(self, got: int) -> None:
        """The kernel's timeout begins anew with each byte; this one does not."""
        now = time.monotonic()
        if not self._since:
            self._since, self._taken = now, 0
            return
        self._taken += got
        slow, overall = (self._patience.slow_seconds, self._patience.seconds) if self._patience else (0, 0)
        if overall and now - self._started > overall:
            raise TimeoutError
        if slow and now - self._since > slow:
            if self._taken < LOW_SPEED_BYTES * (now - self._since):
                raise TimeoutError
            self._since, self._taken = now, 0

    def _receive_head(self, connection: socket.socket, may_be_stale: bool) -> tuple[Head, int]:
        """The final answer's head, and how many bytes the buffer holds; 1xx answers are passed over."""
        have = 0
        while True:
            try:
                got = self._receive(connection, self._view[have:])
            except ConnectionResetError:
                got = 0
            if not got:
                if not have and may_be_stale:
                    raise _Stale
                text = "the server closed the connection within its answer" if have else "the server sent no answer"
                raise ExchangeFailed(Fault.CUT_SHORT if have else Fault.NO_ANSWER, text, 0.0)
            have += got
            while (head := find_head(self._buffer, have)) is not None:
                if head.status >= 200:
                    return head, have
                self._buffer[: have - head.end] = self._buffer[head.end : have]
                have -= head.end
            if have == BUFFER:
                raise HeadMalformed(f"the answer's head is longer than {BUFFER} bytes")

    def _receive_body(self, connection: socket.socket, request: Request, head: Head, *, have: int) -> Answer:
        answer = Answer(head.status, head.fields, b"", 0, 0.0, 0.0)
        if request.method == "HEAD" or head.status in (204, 304):
            return answer
        into = request.into if 200 <= head.status < 300 else None
        if head.chunked or head.length is None:
            pieces = Pieces(partial(self._receive, connection), self._view, start=head.end, have=have)
            self._take_pieces(answer, pieces.chunks() if head.chunked else pieces.to_the_end(), into)
            if not head.chunked:
                self.close()
            return answer
        if into is None:
            return self._receive_text(connection, answer, head, have=have)
        if head.length > len(into):
            answer.overflowed = True
        wanted = min(head.length, len(into))
        first = min(have - head.end, wanted)
        into[:first] = self._view[head.end : head.end + first]
        self._fill(connection, into[:wanted], first)
        answer.received = wanted
        return answer

    def _fill(self, connection: socket.socket, into: memoryview, have: int) -> None:
        """The rest of *into*. Raises TimeoutError below 1 KiB/s, ExchangeFailed when the body ends early."""
        wanted = len(into)
        while have < wanted:
            began = time.monotonic()
            try:
                got = connection.recv_into(into[have:], 0, socket.MSG_WAITALL)
            except BlockingIOError:
                raise TimeoutError from None
            if not got:
                raise ExchangeFailed(Fault.CUT_SHORT, f"the body ended {wanted - have} bytes early", 0.0)
            seconds = time.monotonic() - began
            if seconds > 1.0 and got < LOW_SPEED_BYTES * seconds and have + got < wanted:
                raise TimeoutError
            have += got

    def _receive_text(self, connection: socket.socket, answer: Answer, head: Head, *, have: int) -> Answer:
        """A document, or an error's body."""
        length = head.length or 0
        if length > ANSWER_BODY_LIMIT:
            answer.overflowed = True
            return answer
        text = bytearray(length)
        first = min(have - head.end, length)
        text[:first] = self._view[head.end : head.end + first]
        self._fill(connection, memoryview(text), first)
        answer.body = bytes(text if head.status < 300 else text[:ERROR_BODY_LIMIT])
        return answer

    def _take_pieces(self, answer: Answer, pieces: Iterator[memoryview], into: memoryview | None) -> None:
        text = bytearray()
        for piece in pieces:
            if into is not None:
                end = answer.received + len(piece)
                if end > len(into):
                    answer.overflowed = True
                    return
                into[answer.received : end] = piece
                answer.received = end
            elif answer.status >= 300:
                text += piece[: ERROR_BODY_LIMIT - len(text)]
            else:
                text += piece
                if len(text) > ANSWER_BODY_LIMIT:
                    answer.overflowed = True
                    return
        answer.body = bytes(text)
