"""Certificates are verified, always; a private authority is trusted when it is named; silence has an end."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import pytest
from support.certificates import Certificate, self_signed

from schema.declaration import Side
from schema.errors import InputMissing, RequestTimedOut, StoreError, TlsRefused
from schema.tiers import MIB
from schema.timeouts import Timeouts
from storage.credentials import FixedKeys
from storage.open_store import open_store
from storage.retrying import Retry, RetryPolicy
from storage.wire.addressing import locate
from storage.wire.errors import Purpose
from storage.wire.exchange import Patience
from storage.wire.wire import Operation, Wire, WireSettings


class HeadOnly(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("ETag", '"e"')
        self.send_header("Content-Length", "7")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Port and certificate of an https server."""
    certificate = self_signed(tmp_path)
    context = certificate.server_context()
    server = ThreadingHTTPServer(("127.0.0.1", 0), HeadOnly)
    server.handle_error = lambda *_: None  # type: ignore[method-assign] - clients that refuse us are the test
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port, certificate.file
    server.shutdown()
    thread.join(10)
    server.server_close()


def head_size(url: str, ca_bundle: str | None) -> int:
    store = open_store(Side("bucket", endpoint_url=url, credentials={"anonymous": True}, ca_bundle=ca_bundle))
    try:
        return store.head("k").size
    finally:
        store.close()


def test_a_named_authority_is_trusted(tls_server: tuple[int, Path]) -> None:
    port, certificate = tls_server
    assert head_size(f"https://127.0.0.1:{port}", str(certificate)) == 7


def test_authority_named_by_the_environment(tls_server: tuple[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    port, certificate = tls_server
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    assert head_size(f"https://127.0.0.1:{port}", None) == 7


def test_an_unknown_authority_is_refused(tls_server: tuple[int, Path]) -> None:
    with pytest.raises(TlsRefused, match="ca_bundle"):
        head_size(f"https://127.0.0.1:{tls_server[0]}", None)


def test_a_certificate_of_another_host_is_refused(tls_server: tuple[int, Path]) -> None:
    port, certificate = tls_server
    with pytest.raises(TlsRefused):
        head_size(f"https://localhost:{port}", str(certificate))


def test_http_to_an_https_port_is_a_store_error(tls_server: tuple[int, Path]) -> None:
    with pytest.raises(StoreError):
        head_size(f"http://127.0.0.1:{tls_server[0]}", None)


def test_a_bundle_that_is_not_there() -> None:
    with pytest.raises(InputMissing, match="/no/such/file"):
        head_size("https://127.0.0.1:1", "/no/such/file")


class Hesitant:
    """A server that meets its first connections with silence, at one point or another, or next to it, and then answers.

    Without a *certificate* it speaks plain HTTP.
    """

    def __init__(self, certificate: Certificate | None, silences: list[str]) -> None:
        self._context = certificate.server_context() if certificate else None
        self._silences = silences
        self._held: list[socket.socket] = []
        self._over = threading.Event()
        self.met: list[str] = []
        """What each connection was met with."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()
        for client in self._held:
            client.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                silence = self._silences.pop(0) if self._silences else "none"
                self.met.append(silence)
                self._held.append(client)
                if silence != "no handshake":
                    threading.Thread(target=self._converse, args=(client, silence), daemon=True).start()

    def _drip_a_record(self, client: socket.socket, context: ssl.SSLContext) -> None:
        """One TLS record, byte by byte: nothing of it can be read before its end."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = context.wrap_bio(incoming, outgoing, server_side=True)
        for step in (session.do_handshake, session.read):
            while True:
                try:
                    step()
                    break
                except ssl.SSLWantReadError:
                    client.sendall(outgoing.read())
                    incoming.write(client.recv(65_536))
        session.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n<List/>")
        for byte in outgoing.read():
            client.sendall(bytes([byte]))
            if self._over.wait(0.1):
                return

    def _converse(self, client: socket.socket, silence: str) -> None:
        with suppress(OSError):
            if self._context is not None and silence == "a record that drips":
                self._drip_a_record(client, self._context)
                return
            if self._context is not None:
                client = self._context.wrap_socket(client, server_side=True)
                self._held.append(client)
            asked = client.recv(65_536)
            if silence == "none" and asked:
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n<List/>")
            elif silence != "no answer":
                client.sendall(b"HTTP/1.1 200 OK\r\nETag: ")
            if silence == "chunks that drip":
                client.sendall(b"e\r\nTransfer-Encoding: chunked\r\n\r\n")
            drop = {"a head that drips": b"e", "chunks that drip": b"1\r\n<\r\n"}.get(silence)
            while drop and not self._over.wait(0.05):
                client.sendall(drop)


def asked_twice(server: Hesitant, certificate: Certificate, patience: Patience) -> bytes | None:
    """What at most two attempts at a document bring; None: both timed out."""
    address = locate(Side("bucket", endpoint_url=server.url))
    wire = Wire("bucket", address, FixedKeys(None), settings=WireSettings(ca_bundle=str(certificate.file)))
    operation = Operation("ListObjectsV2", Purpose.READ, "GET", patience=patience)
    try:
        answer = Retry(RetryPolicy(attempts=2), wait=lambda _seconds: None).call(lambda: wire.send(operation))
    except RequestTimedOut:
        return None
    finally:
        wire.close()
    return answer.body


SILENCES = ["no answer", "half a head", "a head that drips", "chunks that drip"]
SHORT = [pytest.param(Patience(1, 0, 0.3), id="no data"), pytest.param(Patience(0, 1, 0.3), id="no end")]


@pytest.mark.parametrize("patience", SHORT)
def test_a_server_that_never_answers_the_handshake_times_out_each_time(tmp_path: Path, patience: Patience) -> None:
    certificate = self_signed(tmp_path)
    with Hesitant(certificate, ["no handshake", "no handshake"]) as server:
        began = time.monotonic()
        assert asked_twice(server, certificate, patience) is None
        assert time.monotonic() - began >= 0.6, "the patience was used up, twice"
        assert server.met == ["no handshake", "no handshake"]


@pytest.mark.parametrize("patience", SHORT)
@pytest.mark.parametrize("silence", ["no handshake", "a record that drips", *SILENCES])
def test_after_a_silence_the_request_is_sent_again(tmp_path: Path, silence: str, patience: Patience) -> None:
    certificate = self_signed(tmp_path)
    with Hesitant(certificate, [silence]) as server:
        assert asked_twice(server, certificate, patience) == b"<List/>"
        assert server.met == [silence, "none"]


@pytest.mark.parametrize("patience", SHORT)
@pytest.mark.parametrize("silence", SILENCES)
def test_silence_without_tls_has_an_end_as_well(tmp_path: Path, silence: str, patience: Patience) -> None:
    certificate = self_signed(tmp_path)
    with Hesitant(None, [silence]) as server:
        assert asked_twice(server, certificate, patience) == b"<List/>"
        assert server.met == [silence, "none"]


@pytest.mark.parametrize("secured", [False, True], ids=["http", "https"])
def test_a_body_from_a_reader_is_given_up_as_soon_as_any_other(tmp_path: Path, secured: bool) -> None:
    certificate = self_signed(tmp_path)
    with Hesitant(certificate if secured else None, ["no answer"]) as server:
        address = locate(Side("bucket", endpoint_url=server.url))
        settings = WireSettings(timeouts=Timeouts(put=1), ca_bundle=str(certificate.file))
        wire = Wire("bucket", address, FixedKeys(None), settings=settings)
        operation = Operation("PutObject", Purpose.WRITE, "PUT", "k", read=bytes, length=50 * MIB)
        began = time.monotonic()
        with pytest.raises(RequestTimedOut):
            wire.send(operation)
        assert time.monotonic() - began < 10, "not after the ten minutes that libcurl's clock needs"
        wire.close()
