"""One kept-alive HTTP/1.1 connection over a socket, with TLS or without: the hot path of the wire.

A GET is one send and two or three receives straight into the caller's memory, without callbacks in between, at about
half of the processor time that libcurl takes (docs/decisions.md). A reused connection that turns out to be dead before
any byte of an answer is replaced once, where the body can be sent again.
"""

from __future__ import annotations

import errno
import mmap
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from storage.port import Reader
from storage.wire.channel import Channel, PlainChannel
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
    descriptors_spent,
)
from storage.wire.http1 import Head, HeadMalformed, Pieces, find_head
from storage.wire.openssl import Context, Session, ascii_name
from storage.wire.tunnel import Proxy, dig

BUFFER: Final = 64 * 1024
"""Holds a head (a longer one is refused) and the first bytes of a body."""
FRESH_SECONDS: Final = 0.2
"""A connection used this recently is not looked at before the next request: no server closes an idle one so soon, and
the look is a system call in which another thread takes the interpreter. One that is dead all the same gives no answer,
and the request is sent again where it may be."""
SAFE_SECONDS: Final = 1.0
"""A connection used this recently, and not closed as far as can be told, carries what must not be sent twice: servers
keep idle ones for seconds. A handshake for each such request costs more than a small object's bytes."""
DISTRUST_SECONDS: Final = 60.0
"""For so long after one that seemed alive gave no answer to such a request, each of them has a new connection: some
servers close after every answer without saying so."""
_IDLE_TOO_LONG: Final = 408
"""What some servers say of a connection, not of the request that meets it on its way."""
SEND_BUFFER: Final = 256 * 1024


class _Stale(Exception):
    """A reused connection was dead before any byte of an answer."""


class SocketConnection:
    """Performs requests to one origin after the other. One thread at a time; `close` may come from any."""

    def __init__(
        self, user_agent: str, secured: Callable[[], Context] | None = None, proxy: Proxy | None = None
    ) -> None:
        """*secured*: what https is spoken with, asked for each time it is connected; None: only http is.

        *proxy*: through which https goes.
        """
        self._channel: Channel | None = None
        self._secured = secured
        self._proxy = proxy
        self._in_use = threading.Lock()
        self._closing = False
        self._user_agent = user_agent
        self._origin = ""
        self._host = ""
        self._patience: Patience | None = None
        self._started = 0.0
        self._since = 0.0
        """Start of the window over which the answer's speed is judged; 0: no byte has come yet."""
        self._taken = 0
        self._half_sent = False
        self._have = 0
        """Bytes of the answer that are in the buffer already."""
        self._used_at = 0.0
        self._trusted_from = 0.0
        """From then on (monotonic) it may carry a request that must not be sent twice, though it has carried others."""
        # Pages that no head has needed take no memory: there may be a thousand connections.
        self._buffer = mmap.mmap(-1, BUFFER, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._view = memoryview(self._buffer)

    def perform(self, request: Request) -> Answer:
        """Send and receive. Raises ExchangeFailed, or ReaderFailed with whatever *request.read* raised."""
        if self._closing or not self._in_use.acquire(blocking=False):
            raise RuntimeError("a connection is closed, or at work in another thread")
        try:
            return self._perform(request)
        finally:
            self._in_use.release()
            self._close_if_asked()

    def close(self) -> None:
        """Close the connection, now or when the request in progress has ended."""
        self._closing = True
        self._close_if_asked()

    def _close_if_asked(self) -> None:
        if not self._closing or not self._in_use.acquire(blocking=False):
            return
        try:
            self._hang_up()
        finally:
            self._in_use.release()

    def __del__(self) -> None:
        """A connection that is garbage collected closes its descriptor."""
        if hasattr(self, "_in_use"):
            self.close()

    def _perform(self, request: Request) -> Answer:
        started = time.monotonic()
        target = self._aim(request.url)
        if request.once:
            return self._perform_once(request, target, started)
        try:
            return self._try(request, target, started, may_be_stale=self._channel is not None)
        except _Stale:
            return self._try(request, target, started, may_be_stale=False)

    def _perform_once(self, request: Request, target: str, started: float) -> Answer:
        """On a connection that died unnoticed it would be unknown whether the request was carried out."""
        held = self._channel
        trusted = self._trusted_from <= started <= self._used_at + SAFE_SECONDS
        if held is not None and (not trusted or held.has_input()):
            self._hang_up()
        distrusted = started + DISTRUST_SECONDS if self._channel is not None else self._trusted_from
        try:
            answer = self._try(request, target, started, may_be_stale=False)
        except ExchangeFailed:
            self._trusted_from = distrusted
            raise
        if answer.status == _IDLE_TOO_LONG:
            self._trusted_from = distrusted
        return answer

    def _try(self, request: Request, target: str, started: float, *, may_be_stale: bool) -> Answer:
        """One exchange. Raises _Stale, ExchangeFailed, ReaderFailed; after each of them the connection is closed."""
        try:
            return self._exchange(request, target, started, may_be_stale=may_be_stale)
        except TimeoutError:
            raise self._failed(Fault.TIMED_OUT, "no byte for too long", started) from None
        except HeadMalformed as error:
            raise self._failed(Fault.MALFORMED, str(error), started) from None
        except ExchangeFailed as failure:
            self._hang_up()
            failure.seconds = time.monotonic() - started
            raise
        except OSError as error:
            fault = Fault.CUT_SHORT if isinstance(error, ConnectionAbortedError) else Fault.RECEIVE_FAILED
            raise self._failed(fault, error.strerror or str(error), started) from None
        except BaseException:
            self._hang_up()
            raise

    def _hang_up(self) -> None:
        """The next request opens another connection."""
        held, self._channel = self._channel, None
        if held is not None:
            held.close()

    def _failed(self, fault: Fault, text: str, started: float) -> ExchangeFailed:
        self._hang_up()
        return ExchangeFailed(fault, text, time.monotonic() - started)

    def _aim(self, url: str) -> str:
        """The request target; another origin than before ends the connection."""
        origin = self._origin
        if not (origin and url.startswith(origin) and url[len(origin)] == "/"):
            parts = urlsplit(url)
            self._hang_up()
            self._origin = origin = f"{parts.scheme}://{parts.netloc}"
            self._host = parts.netloc
        return url[len(origin) :]

    def _exchange(self, request: Request, target: str, started: float, *, may_be_stale: bool) -> Answer:
        channel = self._ready(request.patience, started)
        self._started, self._since, self._have = started, 0.0, 0
        may_be_stale = may_be_stale and request.read is None
        try:
            self._send(channel, request, target)
        except (BrokenPipeError, ConnectionResetError):
            # The server may have refused early and closed: its answer says more than a broken pipe.
            if not channel.has_input():
                if may_be_stale:
                    raise _Stale from None
                raise ExchangeFailed(Fault.SEND_FAILED, "the connection was closed while sending", 0.0) from None
        head, have = self._receive_head(channel, may_be_stale)
        first_byte = time.monotonic() - started
        answer = self._receive_body(channel, request, head, have=have)
        self._used_at = time.monotonic()
        answer.seconds = self._used_at - started
        answer.first_byte_seconds = first_byte
        length = 0 if _is_bodiless(request, head) else head.length
        too_much = length is not None and have - head.end > length
        over = not head.keeps_alive or answer.overflowed or too_much or self._half_sent
        if over or (self._channel is not None and channel.has_leftover()):
            self._hang_up()
        return answer

    def _ready(self, patience: Patience, started: float) -> Channel:
        """A connection that is open as far as can be told."""
        held = self._channel
        if held is not None and started - self._used_at > FRESH_SECONDS and held.has_input():
            self._hang_up()  # without a request: closed, or unsolicited bytes
            held = None
        if held is None:
            held = self._channel = self._connect(patience.connect_seconds)
            self._patience = None
        if patience is not self._patience:
            held.allow(max(patience.slow_seconds, patience.seconds))
            self._patience = patience
        return held

    def _connect(self, seconds: float) -> Channel:
        parts = urlsplit(self._origin)
        safe = parts.scheme == "https"
        port = parts.port or (443 if safe else 80)
        host = ascii_name(parts.hostname or "").decode("ascii")
        if not host:
            raise ExchangeFailed(Fault.NO_HOST, f"{parts.hostname} is not a host's name", 0.0)
        context = None
        if safe:
            if self._secured is None:
                raise ExchangeFailed(Fault.NO_CONNECTION, "the endpoint has moved to https meanwhile", 0.0)
            context = self._secured()
        deadline = time.monotonic() + seconds
        proxy = self._proxy if context is not None else None
        opened = _connected(*(proxy[:2] if proxy else (host, port)), deadline=deadline)
        try:
            if proxy is not None:
                dig(opened, proxy, (host, port), deadline=deadline)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return PlainChannel(opened) if context is None else Session(context, opened, host, deadline=deadline)
        except TimeoutError:
            opened.close()
            raise ExchangeFailed(Fault.TIMED_OUT, f"no TLS session with {host}:{port} in time", 0.0) from None
        except BaseException:
            opened.close()
            raise

    def _send(self, channel: Channel, request: Request, target: str) -> None:
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
        if data is None or not len(data):
            channel.send(head)
        else:
            channel.send(head, data[:SEND_BUFFER])
            self._send_rest(channel, data)
        if request.read is not None:
            self._stream(channel, request.read, request.length)

    def _send_rest(self, channel: Channel, data: memoryview) -> None:
        """A long body from its second piece on, stopped as soon as the server answers before its end."""
        for start in range(SEND_BUFFER, len(data), SEND_BUFFER):
            if self._answered(channel):
                return
            channel.send(data[start : start + SEND_BUFFER])

    def _answered(self, channel: Channel) -> bool:
        """Whether the final answer is there, or the end, while the body is being sent. 1xx answers are passed over."""
        if not channel.has_input():
            return False
        try:
            got = channel.receive(self._view[self._have :])
        except (ConnectionResetError, ConnectionAbortedError):
            got = 0
        self._have += got
        head = self._next_head()
        self._half_sent = not got or self._have == BUFFER or head is not None
        return self._half_sent

    def _next_head(self) -> Head | None:
        """The final head in the buffer, if it is whole; heads of 1xx answers are dropped. Raises HeadMalformed."""
        if not self._have:
            return None
        while (head := find_head(self._buffer, self._have)) is not None and head.status < 200:
            self._buffer[: self._have - head.end] = self._buffer[head.end : self._have]
            self._have -= head.end
        return head

    def _stream(self, channel: Channel, read: Reader, length: int) -> None:
        """A body from a reader, stopped as soon as the server answers before its end."""
        left = length
        while left:
            if left < length and self._answered(channel):
                return
            try:
                piece = read(min(SEND_BUFFER, left))
                if len(piece) > left:
                    raise ValueError(f"the body's reader returned {len(piece)} bytes with {left} bytes left to send")
            except BaseException as error:
                raise ReaderFailed(error) from None
            if not piece:
                raise ExchangeFailed(Fault.CUT_SHORT, f"the body's reader ended {left} bytes early", 0.0)
            channel.send(piece)
            left -= len(piece)

    def _receive(self, channel: Channel, into: memoryview) -> int:
        """Some bytes; 0 at the end. Raises TimeoutError, also for bytes that only drip."""
        got = channel.receive(into)
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

    def _receive_head(self, channel: Channel, may_be_stale: bool) -> tuple[Head, int]:
        """The final answer's head, and how many bytes the buffer holds; 1xx answers are passed over."""
        while (head := self._next_head()) is None:
            if self._have == BUFFER:
                raise HeadMalformed(f"the answer's head is longer than {BUFFER} bytes")
            try:
                got = self._receive(channel, self._view[self._have :])
            except (ConnectionResetError, ConnectionAbortedError):
                got = 0
            if not got:
                if not self._have and may_be_stale:
                    raise _Stale
                begun = self._have > 0
                text = "the server closed the connection within its answer" if begun else "the server sent no answer"
                raise ExchangeFailed(Fault.CUT_SHORT if begun else Fault.NO_ANSWER, text, 0.0)
            self._have += got
        return head, self._have

    def _receive_body(self, channel: Channel, request: Request, head: Head, *, have: int) -> Answer:
        answer = Answer(head.status, head.fields, b"", 0, 0.0, 0.0)
        if _is_bodiless(request, head):
            return answer
        into = request.into if 200 <= head.status < 300 else None
        if head.chunked or head.length is None:
            pieces = Pieces(partial(self._receive, channel), self._view, start=head.end, have=have)
            self._take_pieces(answer, pieces.chunks() if head.chunked else pieces.to_the_end(), into)
            if not head.chunked:
                self._hang_up()
            return answer
        if into is None:
            return self._receive_text(channel, answer, head, have=have)
        if head.length > len(into):
            answer.overflowed = True
        wanted = min(head.length, len(into))
        first = min(have - head.end, wanted)
        into[:first] = self._view[head.end : head.end + first]
        self._fill(channel, into[:wanted], first)
        answer.received = wanted
        return answer

    def _fill(self, channel: Channel, into: memoryview, have: int) -> None:
        """The rest of *into*. Raises TimeoutError below 1 KiB/s, ExchangeFailed when the body ends early."""
        wanted = len(into)
        while have < wanted:
            began = time.monotonic()
            got = channel.receive_all(into[have:])
            if not got:
                raise ExchangeFailed(Fault.CUT_SHORT, f"the body ended {wanted - have} bytes early", 0.0)
            seconds = time.monotonic() - began
            if seconds > 1.0 and got < LOW_SPEED_BYTES * seconds and have + got < wanted:
                raise TimeoutError
            have += got

    def _receive_text(self, channel: Channel, answer: Answer, head: Head, *, have: int) -> Answer:
        """A document, or an error's body."""
        length = head.length or 0
        if length > ANSWER_BODY_LIMIT:
            answer.overflowed = True
            return answer
        text = bytearray(length)
        first = min(have - head.end, length)
        text[:first] = self._view[head.end : head.end + first]
        self._fill(channel, memoryview(text), first)
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


def _is_bodiless(request: Request, head: Head) -> bool:
    """Whether its answer ends with the head, whatever length that states."""
    return request.method == "HEAD" or head.status in (204, 304)


def _connected(host: str, port: int, *, deadline: float) -> socket.socket:
    """A socket that is, to the first address that answers. Raises ExchangeFailed.

    No address may use up the time of those behind it, of TLS and of a proxy: each has half of what is left.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        fault = Fault.NO_DESCRIPTORS if descriptors_spent() else Fault.NO_HOST
        text = error.strerror if isinstance(error, OSError) else "it is not a host's name"
        raise ExchangeFailed(fault, f"could not resolve host {host}: {text}", 0.0) from None
    failed = ExchangeFailed(Fault.NO_HOST, f"host {host} has no address", 0.0)
    for family, kind, protocol, _, address in addresses:
        left = (deadline - time.monotonic()) / 2
        if left <= 0:
            break
        try:
            opened = socket.socket(family, kind, protocol)
        except OSError as error:
            failed = _unconnected(host, port, error)
            continue
        try:
            opened.settimeout(left)
            opened.connect(address)
        except OSError as error:
            opened.close()
            failed = _unconnected(host, port, error)
        except BaseException:
            opened.close()
            raise
        else:
            return opened
    raise failed


def _unconnected(host: str, port: int, error: OSError) -> ExchangeFailed:
    if isinstance(error, TimeoutError):
        return ExchangeFailed(Fault.TIMED_OUT, f"could not connect to {host}:{port} in time", 0.0)
    spent = error.errno in (errno.EMFILE, errno.ENFILE)
    fault = Fault.NO_DESCRIPTORS if spent else Fault.NO_CONNECTION
    return ExchangeFailed(fault, f"could not connect to {host}:{port}: {error.strerror}", 0.0)
