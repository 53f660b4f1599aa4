"""One kept-alive HTTP connection: a libcurl easy handle and the callbacks that fill and drain it.

A connection belongs to one thread. libcurl itself repeats a request whose reused connection turns out to be dead
before any byte of an answer; that is why bodies can be rewound here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pycurl

ERROR_BODY_LIMIT = 64 * 1024
ANSWER_BODY_LIMIT = 64 * 1024 * 1024
"""A page of 1,000 keys of 1,024 bytes, each byte percent-encoded, is about 4 MB."""
RECEIVE_BUFFER = 128 * 1024
SEND_BUFFER = 256 * 1024
LOW_SPEED_BYTES = 1024
LOW_SPEED_SECONDS = 30


KEPT_OUT = [b"Expect:", b"Accept:"]
"""Lines that keep libcurl from adding headers: a server that ignores Expect costs one second per PUT."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request may be silent. 0: no bound."""

    slow_seconds: int
    """Slower than 1 KiB/s for so long, in either direction, is a failure."""
    seconds: int
    """From beginning to end."""
    connect_seconds: float = 10.0
    """To connect, TLS included."""


@dataclass(slots=True)
class Request:
    """One HTTP request, signed and encoded. At most one of *body*, *read*; at most one way to receive."""

    method: str
    url: str
    headers: list[tuple[str, str]] = field(repr=False)
    """Beside Host, User-Agent and Content-Length. No name or value may hold a line break."""
    body: bytes | bytearray | memoryview | None = field(default=None, repr=False)
    read: Callable[[int], bytes] | None = None
    length: int = 0
    """Bytes of *read*."""
    into: memoryview | None = None
    """Where a 2xx body goes. None: into Answer.body."""
    patience: Patience = Patience(LOW_SPEED_SECONDS, 0)
    once: bool = False
    """Sent on a new connection: on one it has used before, libcurl repeats a request that got no answer by itself."""


@dataclass(slots=True)
class Answer:
    """What came back. *received* counts the bytes placed in Request.into."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    received: int
    seconds: float
    first_byte_seconds: float
    overflowed: bool = False
    """More bytes came than Request.into holds, or an answer's text was longer than any we know."""


class CurlFailed(Exception):
    """libcurl gave up: no whole answer. Internal to storage; storage/wire/errors.py translates it."""

    def __init__(self, code: int, text: str, seconds: float) -> None:
        super().__init__(f"curl {code}: {text}")
        self.code = code
        self.text = text
        self.seconds = seconds


class ReaderFailed(Exception):
    """Request.read raised *error*; libcurl's frames lie between, so it is carried in here. Internal to storage."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(repr(error))
        self.error = error


class Connection:
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
        self._read: Callable[[int], bytes] | None = None
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
        """Send and receive. Raises CurlFailed, or ReaderFailed with whatever *request.read* raised."""
        curl = self._curl
        self._prepare(request)
        try:
            curl.perform()
        except pycurl.error as error:
            if self._read_error is not None:
                raise ReaderFailed(self._read_error) from None
            if not self._overflowed:
                code, text = cast(tuple[int, str], error.args)
                raise CurlFailed(code, text, curl.getinfo(pycurl.TOTAL_TIME)) from None
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
        curl.setopt(pycurl.HTTPHEADER, [*KEPT_OUT, *header_lines(request.headers)])
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
        self._status, self._headers = parse_head(self._lines)


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


def parse_head(lines: Sequence[bytes]) -> tuple[int, dict[str, str]]:
    """Status and headers of the last answer in *lines* (a 1xx may stand before it); trailers are left out.

    Names in lower case, values latin-1 decoded and stripped; a repeated header is joined by ', '.
    """
    start = 0
    if len(lines) > 1 and b"\r\n" in lines[:-1]:
        start = max((index for index, line in enumerate(lines) if line.startswith(b"HTTP/")), default=0)
    rows = b"".join(lines[start:]).decode("latin-1").replace("\r\n", "\n").split("\n") if lines else [""]
    words = rows[0].split(None, 2)
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    fields: dict[str, str] = {}
    for row in rows[1:]:
        name, colon, value = row.partition(":")
        if not colon:
            if not row:
                break
            continue
        name = name.lower()
        value = value.strip(" \t")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return status, fields


def header_lines(fields: Sequence[tuple[str, str]]) -> list[bytes]:
    """Header lines as libcurl takes them: 'name: value', or 'name;' for an empty value, which ':' would suppress.

    No name or value may hold a line break.
    """
    lines = "\n".join([f"{name}: {value}" if value else f"{name};" for name, value in fields])
    return lines.encode("latin-1").split(b"\n") if lines else []
