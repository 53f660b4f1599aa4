"""What every kind of connection takes, returns and raises: the contract between the wire and its connections."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from storage.port import Reader

ERROR_BODY_LIMIT = 64 * 1024
"""Bytes of an error's body that are kept."""
ANSWER_BODY_LIMIT = 64 * 1024 * 1024
"""A page of 1,000 keys of 1,024 bytes, each byte percent-encoded, is about 4 MB."""
LOW_SPEED_BYTES = 1024
LOW_SPEED_SECONDS = 30
HANDSHAKE_REFUSED = re.compile(r"certificate|wrong version number|unsupported protocol|alert", re.IGNORECASE)
"""Words of a TLS handshake that was refused; without them the connection broke."""


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
    read: Reader | None = None
    length: int = 0
    """Bytes of *read*."""
    into: memoryview | None = None
    """Where a 2xx body goes. None: into Answer.body. Its content is undefined after anything but a whole 2xx body."""
    patience: Patience = Patience(LOW_SPEED_SECONDS, 0)
    once: bool = False
    """Never sent again by itself, and only on a connection that is new or was used just now: on one that died unnoticed
    it would be unknown whether it was carried out."""


@dataclass(slots=True)
class Answer:
    """What came back. *received* counts the bytes placed in Request.into."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; a repeated header is joined by ', '."""
    body: bytes
    received: int
    seconds: float
    first_byte_seconds: float
    overflowed: bool = False
    """More bytes came than Request.into holds, or an answer's text was longer than any we know."""


class Fault(Enum):
    """Why there is no whole answer."""

    NO_HOST = "no host"
    """The name does not resolve."""
    NO_CONNECTION = "no connection"
    TLS_REFUSED = "TLS refused"
    """A certificate or a handshake that was refused; a retry will not help."""
    TLS_BROKEN = "TLS broken"
    """The connection broke during the handshake."""
    TIMED_OUT = "timed out"
    NO_ANSWER = "no answer"
    """The connection ended before the first byte of an answer."""
    CUT_SHORT = "cut short"
    SEND_FAILED = "send failed"
    RECEIVE_FAILED = "receive failed"
    MALFORMED = "malformed"
    """The answer is not valid HTTP."""
    UNSENDABLE = "unsendable"
    """The URL is malformed."""
    NO_DESCRIPTORS = "no descriptors"
    """This process may open no more files and connections."""
    NO_MEMORY = "no memory"
    """Of this machine."""


class ExchangeFailed(Exception):
    """No whole answer. Internal to the wire: errors.py makes a StoreError of it."""

    def __init__(self, fault: Fault, text: str, seconds: float, *, number: int = 0) -> None:
        """*number*: libcurl's error number, for looking it up; 0: libcurl was not used."""
        super().__init__(f"{fault.value}: {text}")
        self.fault = fault
        self.text = text
        self.seconds = seconds
        self.number = number


def descriptors_spent() -> bool:
    """Whether no further file can be opened right now."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return False


class ReaderFailed(Exception):
    """Request.read raised *error*; C frames may lie between, so it is carried in here. Internal to storage."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(repr(error))
        self.error = error


class Connection(Protocol):
    """One kept-alive connection to one origin after the other. Not to be used from two threads at once."""

    def perform(self, request: Request) -> Answer:
        """Send and receive. Raises ExchangeFailed, or ReaderFailed with whatever *request.read* raised."""

    def close(self) -> None:
        """Close the connection. In use by another thread, it is closed when that request has ended."""
