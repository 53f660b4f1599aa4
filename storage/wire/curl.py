"""One kept-alive HTTP connection over pycurl, with Python callbacks for all data: used where sockets.py cannot be.

A connection belongs to one thread. libcurl itself repeats a request whose reused connection turns out to be dead
before any byte of an answer; that is why bodies can be rewound here.
"""

from __future__ import annotations

import errno
from typing import Any, cast

import pycurl

from storage.port import Reader
from storage.wire.exchange import (
    ANSWER_BODY_LIMIT,
    ERROR_BODY_LIMIT,
    HANDSHAKE_REFUSED,
    LOW_SPEED_BYTES,
    Answer,
    ExchangeFailed,
    Fault,
    Patience,
    ReaderFailed,
    Request,
    descriptors_spent,
)
from storage.wire.http1 import header_line, parse_head

RECEIVE_BUFFER = 128 * 1024
SEND_BUFFER = 256 * 1024
KEPT_OUT = [b"Expect:", b"Accept:"]
"""Lines that keep libcurl from adding headers: a server that ignores Expect costs one second per PUT."""
_FAULTS: dict[int, Fault] = {
    **dict.fromkeys((5, 6), Fault.NO_HOST),
    7: Fault.NO_CONNECTION,
    3: Fault.UNSENDABLE,
    **dict.fromkeys((1, 8, 23, 61), Fault.MALFORMED),
    18: Fault.CUT_SHORT,
    27: Fault.NO_MEMORY,
    28: Fault.TIMED_OUT,
    35: Fault.TLS_BROKEN,
    52: Fault.NO_ANSWER,
    55: Fault.SEND_FAILED,
    56: Fault.RECEIVE_FAILED,
    **dict.fromkeys((53, 54, 58, 59, 60, 64, 66, 77, 80, 82, 83, 90, 91), Fault.TLS_REFUSED),
}
"""Source of the numbers: libcurl-errors(3)."""
_TLS_CONNECT_ERROR = 35
_UNEXPECTED_END = "unexpected eof"
_NEEDS_DESCRIPTORS = frozenset({2, 5, 6, 7, 27, 35, 45, 77})
"""What libcurl says where it could open no socket, no file of certificates, no queue of its own."""


class CurlConnection:
    """A reusable handle. Not safe to use from two threads at once."""

    def __init__(self, ca_bundle: str | None, user_agent: str) -> None:
        """*ca_bundle*: path of a PEM file, or None for libcurl's own."""
        curl = pycurl.Curl()
        self._curl = curl
        self._lines: list[bytes] = []
        self._headers: dict[str, str] | None = None
        self._status = 0
        self._into: memoryview | None = None
        self._filling: memoryview | None = None
        self._received = 0
        self._text = bytearray()
        self._overflowed = False
        self._source = memoryview(b"")
        self._position = 0
        self._read: Reader | None = None
        self._read_error: BaseException | None = None
        self._method = ""
        self._patience: Patience | None = None
        self._once = False
        set_fixed_options(curl, ca_bundle, user_agent)
        # list.append is called by pycurl for each header line without a Python frame of ours in between.
        curl.setopt(pycurl.HEADERFUNCTION, self._lines.append)
        curl.setopt(pycurl.WRITEFUNCTION, self._receive, use_memoryview=True)
        curl.setopt(pycurl.READFUNCTION, self._lend)
        curl.setopt(pycurl.SEEKFUNCTION, self._seek)

    def perform(self, request: Request) -> Answer:
        """Send and receive. Raises ExchangeFailed, or ReaderFailed with whatever *request.read* raised."""
        curl = self._curl
        self._prepare(request)
        try:
            curl.perform()
        except pycurl.error as error:
            if self._read_error is not None:
                raise ReaderFailed(self._read_error) from None
            if not self._overflowed:
                code, text = cast(tuple[int, str], error.args)
                os_error, begun = curl.getinfo(pycurl.OS_ERRNO), bool(self._lines)
                raise failed(code, text, curl.getinfo(pycurl.TOTAL_TIME), os_error=os_error, begun=begun) from None
        finally:
            self._into = self._filling = None
            self._read = None
            self._source = memoryview(b"")
        if self._headers is None:
            self._read_head()
        return Answer(
            self._status,
            self._headers or {},
            bytes(self._text),
            self._received,
            curl.getinfo(pycurl.TOTAL_TIME),
            curl.getinfo(pycurl.STARTTRANSFER_TIME),
            self._overflowed,
        )

    def close(self) -> None:
        """Close the connection and free the handle."""
        self._curl.close()

    def _prepare(self, request: Request) -> None:
        curl = self._curl
        self._lines.clear()
        self._headers = None
        self._into = request.into
        self._received = 0
        self._overflowed = False
        self._read_error = None
        if self._text:
            self._text = bytearray()
        if request.patience is not self._patience:
            curl.setopt(pycurl.LOW_SPEED_TIME, request.patience.slow_seconds)
            curl.setopt(pycurl.TIMEOUT, request.patience.seconds)
            curl.setopt(pycurl.CONNECTTIMEOUT_MS, round(request.patience.connect_seconds * 1000))
            self._patience = request.patience
        if request.once is not self._once:
            curl.setopt(pycurl.FRESH_CONNECT, int(request.once))
            self._once = request.once
        curl.setopt(pycurl.URL, request.url)
        curl.setopt(
            pycurl.HTTPHEADER,
            [*KEPT_OUT, *[header_line(name, value).encode("latin-1") for name, value in request.headers]],
        )
        sends = request.body is not None or request.read is not None
        # The mode is kept between requests of one kind, because each option set costs as much as a callback.
        mode = f"{request.method}+body" if sends else request.method
        if mode != self._method:
            self._method = mode
            set_method(curl, request.method, sends)
        if sends:
            self._read = request.read
            self._position = 0
            if request.body is not None:
                self._source = memoryview(request.body).cast("B")
                curl.setopt(pycurl.INFILESIZE_LARGE, len(self._source))
            else:
                curl.setopt(pycurl.INFILESIZE_LARGE, request.length)

    def _receive(self, chunk: memoryview) -> int | None:
        """libcurl has body bytes; None: taken."""
        if self._headers is None:
            self._read_head()
            self._filling = self._into if 200 <= self._status < 300 else None
        into = self._filling
        if into is None:
            return self._receive_text(chunk)
        start = self._received
        end = start + len(chunk)
        if end > len(into):
            self._overflowed = True
            return 0
        into[start:end] = chunk
        self._received = end
        return None

    def _receive_text(self, chunk: memoryview) -> int | None:
        """Body bytes of an error, or of a document."""
        if self._status >= 300:
            # The rest of a long error body is read and dropped, so that the connection can be used again.
            self._text += chunk[: ERROR_BODY_LIMIT - len(self._text)]
        elif len(self._text) + len(chunk) > ANSWER_BODY_LIMIT:
            self._overflowed = True
            return 0
        else:
            self._text += chunk
        return None

    def _lend(self, size: int) -> bytes | memoryview | int:
        """libcurl wants up to *size* bytes of the body."""
        if self._read is None:
            start = self._position
            self._position = start + size
            return self._source[start : start + size]
        try:
            piece = self._read(size)
            if len(piece) > size:
                raise ValueError(f"the body's reader returned {len(piece)} bytes where at most {size} were asked for")
        except BaseException as error:
            self._read_error = error
            return pycurl.READFUNC_ABORT
        self._position += len(piece)
        return piece

    def _seek(self, offset: int, origin: int) -> int:
        """libcurl wants to send the body again from *offset*."""
        if origin != 0 or (self._read is not None and offset != self._position):
            return pycurl.SEEKFUNC_FAIL
        self._position = offset
        return pycurl.SEEKFUNC_OK

    def _read_head(self) -> None:
        self._status, self._headers = parse_head(b"".join(self._lines))


def set_fixed_options(curl: Any, ca_bundle: str | None, user_agent: str) -> None:
    """The options that hold for every request of a handle."""
    for option, value in (
        (pycurl.NOSIGNAL, 1),
        (pycurl.PATH_AS_IS, 1),
        (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
        (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
        (pycurl.FOLLOWLOCATION, 0),
        (pycurl.SSL_VERIFYPEER, 1),
        (pycurl.SSL_VERIFYHOST, 2),
        (pycurl.TCP_NODELAY, 1),
        (pycurl.TCP_KEEPALIVE, 1),
        (pycurl.LOW_SPEED_LIMIT, LOW_SPEED_BYTES),
        (pycurl.BUFFERSIZE, RECEIVE_BUFFER),
        (pycurl.UPLOAD_BUFFERSIZE, SEND_BUFFER),
        (pycurl.MAXCONNECTS, 1),
        (pycurl.USERAGENT, user_agent),
        (pycurl.NOPROGRESS, 1),
    ):
        curl.setopt(option, value)
    if ca_bundle is not None:
        curl.setopt(pycurl.CAINFO, ca_bundle)


def set_method(curl: Any, method: str, sends: bool) -> None:
    """Put a handle into the mode of *method*, with or without a body."""
    if sends:
        curl.setopt(pycurl.UPLOAD, 1)
    elif method == "HEAD":
        curl.setopt(pycurl.NOBODY, 1)
    else:
        curl.setopt(pycurl.HTTPGET, 1)
    if (sends and method == "PUT") or (not sends and method in ("GET", "HEAD")):
        curl.unsetopt(pycurl.CUSTOMREQUEST)
    else:
        curl.setopt(pycurl.CUSTOMREQUEST, method)


def failed(number: int, text: str, seconds: float, *, os_error: int = 0, begun: bool = False) -> ExchangeFailed:
    """The failure behind libcurl's *number* and *text*.

    *os_error*: of its last connect, 0: unknown. *begun*: some of the answer had come.
    """
    if number in _NEEDS_DESCRIPTORS and (os_error in (errno.EMFILE, errno.ENFILE) or descriptors_spent()):
        fault = Fault.NO_DESCRIPTORS
    elif number == _TLS_CONNECT_ERROR and HANDSHAKE_REFUSED.search(text):
        fault = Fault.TLS_REFUSED
    elif begun and _UNEXPECTED_END in text:
        # Over TLS: a connection closed without close_notify.
        fault = Fault.CUT_SHORT
    else:
        fault = _FAULTS.get(number, Fault.RECEIVE_FAILED)
    return ExchangeFailed(fault, text, seconds, number=number)
