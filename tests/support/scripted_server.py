"""A server that answers from a script, and a store before it: what the wire sends, byte for byte, and what it hears."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BufferedReader

from schema.declaration import Side
from schema.objects import ObjectHead
from storage.credentials import Fetched, FixedKeys, Keys, RenewedKeys, Secrets
from storage.port import Pin, RequestSample
from storage.s3.store import S3Store
from support.certificates import Certificate

KEYS = FixedKeys(Keys("AK", "canary-secret"))
PINNED = Pin("e")
CLOSE = b""
"""In a script: close the connection without a byte of an answer."""


def answer(status: str = "200 OK", body: bytes = b"", **headers: str) -> bytes:
    """An answer on the wire; `_` in a header's name stands for `-`. Content-Length is added where none is given."""
    lines = [f"HTTP/1.1 {status}"] + [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if "Content_Length" not in headers and "Transfer_Encoding" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@dataclass
class Received:
    """One request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass
class ScriptedServer:
    """Answers the n-th request of all connections with the n-th item of the script; then closes."""

    script: Sequence[bytes]
    close_after: frozenset[int] = frozenset()
    """Answers after which the connection is closed, silently."""
    early: frozenset[int] = frozenset()
    """Answers that come as soon as the request's head is there; its body is then dropped, up to the connection's end.
    """
    certificate: Certificate | None = None
    """It speaks TLS with it; None: plain HTTP."""
    interim: bytes = b""
    """Sent before each body is read."""
    requests: list[Received] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}"

    def serve(self, listener: socket.socket) -> None:
        """A thread for each connection, until the listener is gone."""
        connections = 0
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            connections += 1
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a TLS record at a time, without a wait
            threading.Thread(target=self.converse, args=(client, connections), daemon=True).start()

    def converse(self, client: socket.socket, connection: int) -> None:
        """One connection, from its first request to its end, which may be the client's."""
        with suppress(OSError), self._secured(client) as secured, secured.makefile("rb") as reader:
            self.answer(secured, reader, connection)

    def _secured(self, client: socket.socket) -> socket.socket:
        if self.certificate is None:
            return client
        return self.certificate.server_context().wrap_socket(client, server_side=True)

    def answer(self, client: socket.socket, reader: BufferedReader, connection: int) -> None:
        """Every request of a connection in turn."""
        while line := reader.readline():
            headers: dict[str, str] = {}
            while (row := reader.readline()) not in (b"\r\n", b""):
                name, _, value = row.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip(" \r\n")
            client.sendall(self.interim)
            number = len(self.requests)
            soon = number in self.early
            body = b"" if soon else reader.read(int(headers.get("content-length", "0")))
            self.requests.append(Received(line.decode("latin-1").strip(), headers, body, connection))
            if number >= len(self.script) or self.script[number] == CLOSE:
                return
            client.sendall(self.script[number])
            while soon and reader.read1():
                pass
            if soon or number in self.close_after:
                return


_SPEAKS: list[Certificate | None] = [None]


@contextmanager
def speaking(certificate: Certificate | None) -> Iterator[None]:
    """All scripted servers made meanwhile speak TLS with *certificate*; None: plain HTTP."""
    _SPEAKS.append(certificate)
    yield
    _SPEAKS.pop()


@contextmanager
def scripted(
    *script: bytes,
    close_after: frozenset[int] = frozenset(),
    early: frozenset[int] = frozenset(),
    interim: bytes = b"",
) -> Iterator[ScriptedServer]:
    """A server with this script, on a port of its own."""
    server = ScriptedServer(script, close_after, early, _SPEAKS[-1], interim)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.port = listener.getsockname()[1]
        thread = threading.Thread(target=server.serve, args=(listener,), daemon=True)
        thread.start()
        yield server
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def side_at(server: ScriptedServer, **settings: bool) -> Side:
    """The bucket `bucket` at *server*."""
    trusted = str(server.certificate.file) if server.certificate else None
    return Side("bucket", endpoint_url=server.url, ca_bundle=trusted, **settings)  # type: ignore[arg-type]


@contextmanager
def store_at(
    server: ScriptedServer, credentials: FixedKeys | RenewedKeys = KEYS, **options: object
) -> Iterator[S3Store]:
    """A store of the bucket `bucket` at *server*."""
    store = S3Store(side_at(server), Secrets(credentials), **options)  # type: ignore[arg-type]
    try:
        yield store
    finally:
        store.close()


def get(store: S3Store, size: int = 5, pin: Pin = PINNED) -> tuple[bytes, ObjectHead]:
    """The object `k`, of *size* bytes."""
    buffer = bytearray(size)
    head = store.get("k", memoryview(buffer), pin=pin)
    return bytes(buffer), head


EXPIRED = answer("400 Bad Request", b"<Error><Code>ExpiredToken</Code></Error>")


def renewed_keys() -> RenewedKeys:
    """Keys whose token is token1, and after each refresh the next."""
    fetched: list[bool] = []

    def fetch(anew: bool) -> Fetched:
        fetched.append(anew)
        return Fetched(Keys("AK", "s", f"token{len(fetched)}"), 1e12)

    return RenewedKeys(fetch)


class Observer:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        self.samples: list[RequestSample] = []

    def before(self, operation: str, size: int) -> None:
        self.begun.append((operation, size))

    def after(self, sample: RequestSample) -> None:
        self.samples.append(sample)
