"""One kept-alive HTTP connection over a libcurl without callbacks: the hot path of the wire, http and https alike.

A 2xx body is written into the caller's memory, a PUT's is sent from it, and no Python runs in between. libcurl
itself repeats a request whose reused connection turns out to be dead before any byte of an answer.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from storage.wire import libcurl
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
from storage.wire.failures import failed
from storage.wire.http1 import parse_head
from storage.wire.libcurl import Easy, GrowingFile, HeaderBlock, Library, Memory, MemoryFile, ReusedFile, address_of

HEAD_LIMIT = 64 * 1024
"""Bytes of an answer's head, 1xx answers and trailers with it; a longer one is refused."""
SMALL = 64 * 1024
"""A body of at most this many bytes goes to a buffer of ours and is copied: an error in its place may be longer."""
ASIDE = 2 * 1024 * 1024
"""Memory of ours, taken from the machine where it is touched. An error's body that is longer ends the connection, as
one does that is longer than a large body's own memory: what cannot be put anywhere cannot be read to its end."""
RECEIVE_BUFFER = 128 * 1024
SEND_BUFFER = 256 * 1024
SUPPRESSED = (b"Expect:", b"Accept:", b"Content-Type:")
"""A server that ignores Expect costs a second per PUT; the other two would be wrong."""


class DirectConnection:
    """Performs requests. One thread at a time; `close` may come from any."""

    def __init__(self, library: Library, ca_bundle: str | None, user_agent: str) -> None:
        """*ca_bundle*: path of a PEM file, or None for libcurl's own."""
        self._easy = Easy(library)
        self._library = library
        self._process = os.getpid()
        self._in_use = threading.Lock()
        self._closing = False
        self._lines = HeaderBlock(SUPPRESSED)
        head, aside = Memory(HEAD_LIMIT), Memory(ASIDE)
        self._head_bytes, self._aside_bytes = head.view, aside.view
        self._head, self._aside = ReusedFile(library, head), ReusedFile(library, aside)
        self._lends = False
        self._read: Callable[[int], bytes] | None = None
        self._read_at = 0
        self._read_error: BaseException | None = None
        self._mode = ""
        self._patience: Patience | None = None
        self._once = False
        self._writes_to = 0
        self._most = 0
        set_fixed_options(self._easy, ca_bundle, user_agent)
        self._easy.point(libcurl.HEADERDATA, self._head.file)

    def perform(self, request: Request) -> Answer:
        """Send and receive. Raises ExchangeFailed, or ReaderFailed with whatever *request.read* raised."""
        if self._closing or not self._in_use.acquire(blocking=False):
            raise RuntimeError("a connection is closed, or at work in another thread")
        try:
            return self._exchange(request)
        finally:
            self._read = None
            self._in_use.release()
            self._close_if_asked()

    def close(self) -> None:
        """Close the connection and free the handle, now or when the request in progress has ended."""
        self._closing = True
        self._close_if_asked()

    def _close_if_asked(self) -> None:
        if not self._closing or not self._in_use.acquire(blocking=False):
            return
        try:
            # A forked child holds copies of its parent's connections and must not shut them down.
            if os.getpid() == self._process:
                self._easy.close()
                self._head.close()
                self._aside.close()
        finally:
            self._in_use.release()

    def __del__(self) -> None:
        """A connection that is garbage collected closes its descriptors."""
        if hasattr(self, "_aside"):
            self.close()

    def _exchange(self, request: Request) -> Answer:
        into = request.into
        # Held until the answer is there: libcurl has only the address.
        held = self._prepare(request)
        self._head.rewind()
        if into is not None and len(into) > SMALL:
            body = MemoryFile(self._library, into)
            try:
                code = self._perform(body.file, 0)
                received = body.written()
            finally:
                body.close()
            del held
            return self._answer(code, request, into[:received])
        if into is None and request.method in ("GET", "POST"):
            growing = GrowingFile(self._library)
            try:
                code = self._perform(growing.file, ANSWER_BODY_LIMIT)
            finally:
                text = growing.take(ANSWER_BODY_LIMIT)
            return self._answer(code, request, memoryview(text))
        self._aside.rewind()
        code = self._perform(self._aside.file, 0)
        return self._answer(code, request, self._aside_bytes[: self._aside.written()])

    def _perform(self, file: int, most: int) -> int:
        easy = self._easy
        if file != self._writes_to:
            easy.point(libcurl.WRITEDATA, file)
            self._writes_to = file
        if most != self._most:
            easy.large(libcurl.MAXFILESIZE_LARGE, most)
            self._most = most
        return easy.perform()

    def _prepare(self, request: Request) -> object:
        """Set what this request needs; what must be held until it has ended."""
        easy, body = self._easy, request.body
        # As header_line makes them, without a call for each.
        lines = [f"{name}: {value}" if value else f"{name};" for name, value in request.headers]
        easy.aim(request.url.encode("ascii"), self._lines.lay(lines))
        if request.patience is not self._patience:
            easy.number(libcurl.LOW_SPEED_TIME, request.patience.slow_seconds)
            easy.number(libcurl.TIMEOUT, request.patience.seconds)
            easy.number(libcurl.CONNECTTIMEOUT_MS, round(request.patience.connect_seconds * 1000))
            self._patience = request.patience
        if request.once is not self._once:
            easy.number(libcurl.FRESH_CONNECT, request.once)
            self._once = request.once
        if request.read is not None:
            self._lend(request)
            return None
        # The mode is kept between requests of one kind: each option set costs half a microsecond.
        mode = request.method if body is None else f"{request.method}+body"
        if mode != self._mode:
            self._mode = mode
            self._set_method(request.method, body is not None)
        if body is None:
            return None
        data = body.cast("B") if isinstance(body, memoryview) else body
        address, held = address_of(data)
        easy.large(libcurl.POSTFIELDSIZE_LARGE, len(data))
        easy.point(libcurl.POSTFIELDS, address or self._head_bytes_address())
        return held

    def _head_bytes_address(self) -> int:
        """An address for an empty body, of which no byte is read: without one libcurl would call for data."""
        return address_of(self._head_bytes)[0]

    def _set_method(self, method: str, sends: bool) -> None:
        easy = self._easy
        if sends:
            easy.number(libcurl.POST, 1)
        elif method == "HEAD":
            easy.number(libcurl.NOBODY, 1)
        else:
            easy.number(libcurl.HTTPGET, 1)
        usual = "POST" if sends else "HEAD" if method == "HEAD" else "GET"
        easy.text(libcurl.CUSTOMREQUEST, None if method == usual else method.encode("ascii"))

    def _lend(self, request: Request) -> None:
        """A body that comes piece by piece from a reader: the only kind for which Python is called."""
        easy = self._easy
        if not self._lends:
            self._lends = True
            easy.lend(self._piece, self._sought)
        self._mode = "lent"
        self._read, self._read_at, self._read_error = request.read, 0, None
        easy.number(libcurl.UPLOAD, 1)
        easy.text(libcurl.CUSTOMREQUEST, None if request.method == "PUT" else request.method.encode("ascii"))
        easy.large(libcurl.INFILESIZE_LARGE, request.length)

    def _piece(self, most: int) -> bytes | None:
        read = self._read
        if read is None:
            return None
        try:
            piece = read(most)
            if len(piece) > most:
                raise ValueError(f"the body's reader returned {len(piece)} bytes where at most {most} were asked for")
        except BaseException as error:
            self._read_error = error
            return None
        self._read_at += len(piece)
        return piece

    def _sought(self, offset: int, origin: int) -> bool:
        """A body from a reader cannot be sent twice."""
        return origin == 0 and offset == self._read_at

    def _answer(self, code: int, request: Request, body: memoryview) -> Answer:
        """The answer to *request*; *body* is what was received, wherever it lies."""
        easy = self._easy
        read_error, self._read_error = self._read_error, None
        if read_error is not None and code:
            raise ReaderFailed(read_error)
        if code not in (libcurl.OK, libcurl.WRITE_ERROR, libcurl.FILE_TOO_LARGE):
            begun = self._head.written() > 0
            seconds, _ = easy.seconds()
            raise failed(code, easy.why(code), seconds, os_error=easy.os_error(), begun=begun)
        seconds, first_byte = easy.seconds()
        length = self._head.written()
        if code == libcurl.WRITE_ERROR and length >= HEAD_LIMIT:
            text = f"the answer's head is longer than {HEAD_LIMIT} bytes"
            raise ExchangeFailed(Fault.MALFORMED, text, seconds, number=code)
        status, headers = parse_head(bytes(self._head_bytes[:length]))
        if not status:
            raise ExchangeFailed(Fault.MALFORMED, "the answer has no head", seconds, number=code)
        answer = Answer(status, headers, b"", 0, seconds, first_byte)
        into = request.into
        if not 200 <= status < 300:
            answer.body = bytes(body[:ERROR_BODY_LIMIT])
        elif into is None:
            answer.body = bytes(body)
            answer.overflowed = code != libcurl.OK
        else:
            answer.overflowed = code != libcurl.OK or len(body) > len(into)
            answer.received = min(len(body), len(into))
            if len(into) <= SMALL:
                into[: answer.received] = body[: answer.received]
        return answer


def set_fixed_options(easy: Easy, ca_bundle: str | None, user_agent: str) -> None:
    """The options that hold for every request of a handle."""
    for option, value in (
        (libcurl.NOSIGNAL, 1),
        (libcurl.PATH_AS_IS, 1),
        (libcurl.PROTOCOLS, libcurl.HTTP_AND_HTTPS),
        (libcurl.HTTP_VERSION, libcurl.HTTP_1_1),
        (libcurl.FOLLOWLOCATION, 0),
        (libcurl.SSL_VERIFYPEER, 1),
        (libcurl.SSL_VERIFYHOST, 2),
        (libcurl.TCP_NODELAY, 1),
        (libcurl.TCP_KEEPALIVE, 1),
        (libcurl.LOW_SPEED_LIMIT, LOW_SPEED_BYTES),
        (libcurl.BUFFERSIZE, RECEIVE_BUFFER),
        (libcurl.UPLOAD_BUFFERSIZE, SEND_BUFFER),
        (libcurl.MAXCONNECTS, 1),
        (libcurl.NOPROGRESS, 1),
        (libcurl.SUPPRESS_CONNECT_HEADERS, 1),
    ):
        easy.number(option, value)
    easy.text(libcurl.USERAGENT, user_agent.encode("ascii"))
    if ca_bundle is not None:
        easy.text(libcurl.CAINFO, os.fsencode(ca_bundle))
