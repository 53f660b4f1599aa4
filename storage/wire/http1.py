"""Heads of HTTP/1.1 answers, and bodies without a length. Strict: what is not HTTP is refused, never guessed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from mmap import mmap

END = b"\r\n\r\n"
LONGEST_CHUNK_LINE = 256


class HeadMalformed(Exception):
    """The server does not speak HTTP/1.1 as it should. Internal to storage."""


@dataclass(slots=True)
class Head:
    """Status line and fields of one answer."""

    status: int
    fields: dict[str, str]
    """Names in lower case, values latin-1 decoded and stripped; a repeated field is joined by ', ', but for one
    that says the same again, as where a proxy and a server both add it."""
    end: int
    """Where the body begins."""
    length: int | None
    """Content-Length; None: not given."""
    chunked: bool
    keeps_alive: bool


def find_head(buffer: bytearray | mmap, have: int) -> Head | None:
    """The head that begins *buffer*, of which *have* bytes are filled; None while it is not whole.

    Raises HeadMalformed.
    """
    end = buffer.find(END, 0, have)
    if end < 0:
        if have >= 5 and buffer[:5] != b"HTTP/":
            raise HeadMalformed(f"the answer is not HTTP: it begins with {bytes(buffer[:24])!r}")
        return None
    rows = buffer[:end].decode("latin-1").split("\r\n")
    first = rows[0]
    if not first.startswith("HTTP/1.") or not first[9:12].isdigit():
        raise HeadMalformed(f"the answer's first line is {first[:60]!r}")
    fields: dict[str, str] = {}
    for row in rows[1:]:
        name, colon, value = row.partition(":")
        if not colon or not name or name != name.strip() or "\n" in row or "\r" in row:
            raise HeadMalformed(f"the answer has a malformed header line: {row[:60]!r}")
        name = name.lower()
        value = value.strip(" \t")
        held = fields.get(name)
        fields[name] = value if held is None or held == value else f"{held}, {value}"
    encoding = fields.get("transfer-encoding", "identity").lower()
    if encoding not in ("identity", "chunked"):
        raise HeadMalformed(f"the answer's Transfer-Encoding is {encoding[:60]!r}")
    chunked = encoding == "chunked"
    length: int | None = None
    stated = fields.get("content-length")
    if stated is not None and not chunked:
        if not (stated.isascii() and stated.isdigit()):
            raise HeadMalformed(f"the answer's Content-Length is {stated[:60]!r}")
        length = int(stated)
    keeps_alive = "close" not in fields.get("connection", "").lower() and first[7] != "0"
    return Head(int(first[9:12]), fields, end + 4, length, chunked, keeps_alive)


class Pieces:
    """A body whose length is not known: chunked, or up to the connection's end."""

    def __init__(self, receive: Callable[[memoryview], int], view: memoryview, *, start: int, have: int) -> None:
        """*view* holds bytes [start, have) of the body already; *receive* fills more, 0 at the end."""
        self._receive = receive
        self._view = view
        self._start = start
        self._have = have

    def to_the_end(self) -> Iterator[memoryview]:
        """Everything until the server closes."""
        while True:
            if self._start < self._have:
                yield self._view[self._start : self._have]
            self._start, self._have = 0, self._receive(self._view)
            if not self._have:
                return

    def chunks(self) -> Iterator[memoryview]:
        """The chunks' data; trailers are dropped. Raises HeadMalformed for a broken or unfinished chunk."""
        while True:
            size = self._chunk_size()
            if size == 0:
                while self._line():
                    pass
                return
            while size:
                if self._start == self._have:
                    self._more()
                piece = self._view[self._start : min(self._have, self._start + size)]
                self._start += len(piece)
                size -= len(piece)
                yield piece
            if self._line():
                raise HeadMalformed("a chunk is longer than it says")

    def _chunk_size(self) -> int:
        words = self._line().split(b";", 1)[0].strip()
        try:
            size = int(words, 16)
        except ValueError:
            raise HeadMalformed(f"a chunk's size is {words[:20]!r}") from None
        if size < 0:
            raise HeadMalformed(f"a chunk's size is {words[:20]!r}")
        return size

    def _line(self) -> bytes:
        """Up to the next line end, without it."""
        line = bytearray()
        while not line.endswith(b"\r\n"):
            if self._start == self._have:
                self._more()
            line.append(self._view[self._start])
            self._start += 1
            if len(line) > LONGEST_CHUNK_LINE:
                raise HeadMalformed("a chunk's first line does not end")
        return bytes(line[:-2])

    def _more(self) -> None:
        self._start, self._have = 0, self._receive(self._view)
        if not self._have:
            raise HeadMalformed("the server closed the connection within a chunked body")


def parse_head(raw: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers of the final answer in *raw*, which libcurl has found to be HTTP.

    1xx answers before it and trailers behind it are left out. Status 0: there is no status. Names in lower case, values
    latin-1 decoded and stripped; a repeated header is joined by ', '.
    """
    rows = raw.decode("latin-1").replace("\r\n", "\n").split("\n")
    start, status = 0, _status(rows[0])
    while 100 <= status < 200 and "" in rows[start:-1]:
        start = rows.index("", start) + 1
        status = _status(rows[start])
    rows = rows[start + 1 :]
    rows = rows[: rows.index("")] if "" in rows else rows
    fields = {name.lower(): value.strip(" \t") for name, colon, value in [row.partition(":") for row in rows] if colon}
    return status, fields if len(fields) == len(rows) else _joined(rows)


def _joined(rows: list[str]) -> dict[str, str]:
    """The fields of *rows* where a name occurs more than once, or a row is not a field."""
    fields: dict[str, str] = {}
    for row in rows:
        name, colon, value = row.partition(":")
        if colon:
            name = name.lower()
            value = value.strip(" \t")
            held = fields.get(name)
            fields[name] = value if held is None or held == value else f"{held}, {value}"
    return fields


def _status(row: str) -> int:
    words = row.split(None, 2)
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


def header_line(name: str, value: str) -> str:
    """A header as libcurl takes it: 'name: value', or 'name;' for an empty value, which ':' would suppress.

    Neither may hold a line break.
    """
    return f"{name}: {value}" if value else f"{name};"
