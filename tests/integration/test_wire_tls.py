"""Certificates are verified, always; a private authority is trusted when it is named."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from schema.declaration import Side
from schema.errors import InputMissing, StoreError, TlsRefused
from storage.open_store import open_store


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 (and not for localhost) that is its own authority; and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "s3migrate test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "server.pem", folder / "server.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


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
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), HeadOnly)
    server.handle_error = lambda *_: None  # type: ignore[method-assign] - clients that refuse us are the test
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port, certificate
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
