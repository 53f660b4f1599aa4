"""A way through an HTTP proxy to an https endpoint: CONNECT, and what the proxy says to it."""

from __future__ import annotations

import base64
import socket
import time
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from schema.errors import DeclarationError
from storage.wire.exchange import ExchangeFailed, Fault

_USUAL_PORT = 1080
"""curl's, where a proxy's URL names none."""
_LONGEST_HEAD = 64 * 1024


class Proxy(NamedTuple):
    """An HTTP proxy that is spoken to without TLS."""

    host: str
    port: int
    authorization: str
    """The header's value, a secret; '': none."""


def proxy_at(url: str) -> Proxy | None:
    """The proxy that *url* names; None where it is of another kind (SOCKS, https). Raises DeclarationError."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port or _USUAL_PORT
    except ValueError:  # its text would repeat a part of the password
        port = 0
    if not port or not parts.hostname:
        raise DeclarationError(
            "the proxy that the environment names is no URL: write http://user:password@host:port, and in user and "
            "password each of / ? # @ [ ] and : as % and two digits"
        )
    if parts.scheme != "http":
        return None
    named = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()
    authorization = f"Basic {base64.b64encode(named).decode()}" if parts.username is not None else ""
    return Proxy(parts.hostname, port, authorization)


def dig(connected: socket.socket, proxy: Proxy, place: tuple[str, int], *, deadline: float) -> None:
    """Have *proxy* connect to *place* (host, port). Raises TimeoutError at *deadline* (monotonic), ExchangeFailed."""
    host, port = place
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    secret = f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
    _hurry(connected, deadline)
    connected.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{secret}\r\n".encode("latin-1"))
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _LONGEST_HEAD:
        _hurry(connected, deadline)
        piece = connected.recv(4096)
        if not piece:
            break
        head += piece
    words = head.split(b"\r\n", 1)[0].split(None, 2)
    said = words[1].decode("latin-1") if len(words) > 1 and words[0].startswith(b"HTTP/") else "nothing that is HTTP"
    if not said.startswith("2"):
        text = f"the proxy {proxy.host}:{proxy.port} did not connect to {target}: it answered {said[:20]}"
        raise ExchangeFailed(Fault.NO_CONNECTION, text, 0.0)


def _hurry(connected: socket.socket, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connected.settimeout(left)
