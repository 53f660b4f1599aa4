"""TLS without Python's ssl: who is trusted, how a connection ends, what is input, which library is called."""

from __future__ import annotations

import ctypes
import errno
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.certificates import Certificate, self_signed, shared_certificate

from storage.wire import openssl
from storage.wire.connections import tls_library
from storage.wire.exchange import ExchangeFailed, Fault
from storage.wire.openssl import Context, Library, Session

Conversation = Callable[[ssl.SSLSocket], None]


@pytest.fixture
def library() -> Library:
    found = tls_library()
    assert found is not None, "on Linux OpenSSL can be called directly"
    return found


@contextmanager
def served(certificate: Certificate, converse: Conversation, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server's port, which takes one connection and converses."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        client, _ = server.accept()
        with client:
            try:
                with (context or certificate.server_context()).wrap_socket(client, server_side=True) as secured:
                    converse(secured)
            except OSError:
                return  # a client that refuses us is the test

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        thread.join(10)
        server.close()


def opened(library: Library, port: int, authorities: Path, host: str = "127.0.0.1") -> Session:
    context = Context(library, str(authorities))
    connected = socket.create_connection(("127.0.0.1", port))
    return Session(context, connected, host, deadline=time.monotonic() + 10)


def silence(_: ssl.SSLSocket) -> None:
    """Say nothing."""


def until_it_ends(client: ssl.SSLSocket) -> None:
    while client.recv(65_536):
        pass


@pytest.mark.parametrize(
    ("names", "host", "trusted"),
    [
        ((), "127.0.0.1", True),
        ((), "127.0.0.2", False),
        (("*.s3.example",), "my_bucket.s3.example", True),
        (("*.s3.example",), "my_bucket.s4.example", False),
        (("other.s3.example",), "my_bucket.s3.example", False),
        (("s3.example",), "s3.example", True),
        (("s3.example",), "S3.example.", True),
        (("s3.example",), "s4.example", False),
        (("*.s3.example",), "bucket.s3.example", True),
        (("*.s3.example",), "a.bucket.s3.example", False),
        (("b*.s3.example",), "bucket.s3.example", False),
        (("127.0.0.2",), "127.0.0.2", False),
    ],
)
def test_the_certificate_must_be_of_the_host(
    library: Library, tmp_path: Path, names: tuple[str, ...], host: str, trusted: bool
) -> None:
    certificate = self_signed(tmp_path, names=names)
    with served(certificate, silence) as port:
        if trusted:
            opened(library, port, certificate.file, host).close()
            return
        with pytest.raises(ExchangeFailed, match="mismatch") as refused:
            opened(library, port, certificate.file, host)
    assert refused.value.fault is Fault.TLS_REFUSED


def test_an_authority_that_is_not_named_is_not_trusted(library: Library, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    with served(certificate, silence) as port, pytest.raises(ExchangeFailed, match="self-signed") as refused:
        opened(library, port, shared_certificate().file)
    assert refused.value.fault is Fault.TLS_REFUSED


def test_a_certificate_of_yesterday_is_not_trusted(library: Library, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, expired=True)
    with served(certificate, silence) as port, pytest.raises(ExchangeFailed, match="expired"):
        opened(library, port, certificate.file)


@pytest.mark.parametrize("host", ["", ".example", "a" * 300 + "\u00e9", "a\u00e9..b"])
def test_a_host_that_no_certificate_can_bear(library: Library, host: str) -> None:
    certificate = shared_certificate()
    with served(certificate, silence) as port, pytest.raises(ExchangeFailed):
        opened(library, port, certificate.file, host)


def test_the_server_is_told_whom_it_is_asked_for(library: Library, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, names=("s3.example",))
    asked: list[str | None] = []
    context = certificate.server_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    spoken: list[str | None] = []
    with served(certificate, lambda client: spoken.append(client.selected_alpn_protocol()), context) as port:
        opened(library, port, certificate.file, "s3.example").close()
    assert (asked, spoken) == (["s3.example"], ["http/1.1"])


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_of_tls_are_not_spoken(library: Library) -> None:
    certificate = shared_certificate()
    context = certificate.server_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with served(certificate, silence, context) as port, pytest.raises(ExchangeFailed) as refused:
        opened(library, port, certificate.file)
    assert refused.value.fault is Fault.TLS_REFUSED


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_is_sent_arrives(library: Library, version: ssl.TLSVersion) -> None:
    certificate = shared_certificate()
    context = certificate.server_context()
    context.minimum_version = context.maximum_version = version
    arrived = bytearray()

    def echo(client: ssl.SSLSocket) -> None:
        while len(arrived) < 1_000_010:
            arrived.extend(client.recv(65_536))
        client.sendall(arrived)

    with served(certificate, echo, context) as port:
        session = opened(library, port, certificate.file)
        session.send(b"0123456789", memoryview(bytes(range(250)) * 4_000))
        got = memoryview(bytearray(1_000_010))
        assert session.receive_all(got) == 1_000_010
        session.close()
    assert got == arrived == b"0123456789" + bytes(range(250)) * 4_000


def test_tickets_are_no_input_and_an_answer_is(library: Library) -> None:
    certificate, asked = shared_certificate(), threading.Event()

    def answer(client: ssl.SSLSocket) -> None:
        assert asked.wait(10)
        client.sendall(b"early")
        until_it_ends(client)

    with served(certificate, answer) as port:
        session = opened(library, port, certificate.file)
        view = memoryview(bytearray(64))
        session.allow(0.2)
        with pytest.raises(TimeoutError):  # TLS 1.3's tickets have come meanwhile
            session.receive(view)
        assert not session.has_input()
        asked.set()
        session.allow(10)
        assert session.receive_all(view[:4]) == 4
        assert session.receive(view[4:]) == 1
        assert bytes(view[:5]) == b"early"
        session.close()


def test_an_end_that_was_announced_is_an_end(library: Library) -> None:
    certificate = shared_certificate()

    def say(client: ssl.SSLSocket) -> None:
        client.sendall(b"all of it")
        client.unwrap()

    with served(certificate, say) as port:
        session = opened(library, port, certificate.file)
        view = memoryview(bytearray(10_000))
        assert session.receive_all(view) == 9
        assert session.receive(view) == 0
        assert session.has_input()
        session.close()


def test_an_end_that_was_not_announced_is_an_error(library: Library) -> None:
    certificate = shared_certificate()
    with served(certificate, lambda client: client.sendall(b"some of it")) as port:
        session = opened(library, port, certificate.file)
        view = memoryview(bytearray(10_000))
        assert session.receive(view) == 10
        with pytest.raises(ConnectionAbortedError):
            session.receive(view)
        assert session.has_input()
        session.close()


@pytest.mark.parametrize("receive", [Session.receive, Session.receive_all])
def test_a_connection_that_was_reset_says_so(library: Library, receive: Callable[[Session, memoryview], int]) -> None:
    """The number of the system's error is the call's own, though the call keeps the interpreter's lock."""

    def reset(client: ssl.SSLSocket) -> None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    certificate = shared_certificate()
    with served(certificate, reset) as port:
        session = opened(library, port, certificate.file)
        ctypes.set_errno(errno.ENOENT)  # what another call has left
        with pytest.raises(ConnectionResetError):
            receive(session, memoryview(bytearray(1)))
        session.close()


def test_what_is_not_tls_is_an_error(library: Library) -> None:
    certificate = shared_certificate()

    def garble(client: ssl.SSLSocket) -> None:
        plain = socket.socket(fileno=client.detach())
        plain.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        plain.close()

    with served(certificate, garble) as port:
        session = opened(library, port, certificate.file)
        with pytest.raises(ExchangeFailed, match="TLS broke"):
            session.receive(memoryview(bytearray(64)))
        session.close()


def test_a_body_in_many_bursts_wakes_its_reader_now_and_then(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, body = shared_certificate(), bytes(range(250)) * 4_000
    pace, read, reads = threading.Event(), library.read_through, []

    def counted(reader: int, address: int, length: int) -> int:
        reads.append(length)
        return int(read(reader, address, length))

    def burst(client: ssl.SSLSocket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(body), 10_000):
            client.sendall(body[start : start + 10_000])
            pace.wait(0.002)
        client.sendall(b"next")
        until_it_ends(client)

    monkeypatch.setattr(library, "read_through", counted)
    with served(certificate, burst) as port:
        session = opened(library, port, certificate.file)
        view = memoryview(bytearray(len(body)))
        session.allow(10)
        assert session.receive_all(view) == len(body)
        assert view == body
        assert len(reads) < 20, "a hundred bursts"
        assert session.receive(view) == 4, "a few bytes wake it again"
        session.close()


def test_what_has_come_by_the_deadline_is_delivered(library: Library) -> None:
    certificate, over = shared_certificate(), threading.Event()

    def say(client: ssl.SSLSocket) -> None:
        client.sendall(bytes(100_000))
        over.wait(10)

    with served(certificate, say) as port:
        session = opened(library, port, certificate.file)
        view = memoryview(bytearray(1_000_000))
        session.allow(0.5)
        assert session.receive_all(view) == 100_000
        with pytest.raises(TimeoutError):
            session.receive_all(view)
        over.set()
        session.close()


def test_sending_to_one_who_does_not_read_ends(library: Library) -> None:
    certificate, over = shared_certificate(), threading.Event()
    with served(certificate, lambda _: over.wait(10) and None) as port:
        session = opened(library, port, certificate.file)
        session.allow(0.1)
        piece = memoryview(bytes(1024))
        with pytest.raises(TimeoutError):
            while True:
                session.send(piece)
        over.set()
        session.close()


def test_a_session_that_is_closed_does_nothing(library: Library) -> None:
    certificate, view = shared_certificate(), memoryview(bytearray(100_000))
    with served(certificate, until_it_ends) as port:
        session = opened(library, port, certificate.file)
        session.close()
        session.close()
    assert session.has_input()
    with pytest.raises(OSError, match="closed"):
        session.send(b"x")
    for receive in (session.receive, session.receive_all):
        with pytest.raises(OSError, match="closed"):
            receive(view)


def test_memory_that_cannot_be_written_to_is_an_error(library: Library) -> None:
    certificate = shared_certificate()
    with served(certificate, lambda client: client.sendall(b"some of it")) as port:
        session = opened(library, port, certificate.file)
        for view in (memoryview(bytes(64)), memoryview(bytearray(64))[::2]):
            with pytest.raises(TypeError):
                session.receive(view)
        session.close()


def test_bytes_behind_an_answer_are_known(library: Library) -> None:
    certificate = shared_certificate()
    with served(certificate, lambda client: client.sendall(b"an answer and more")) as port:
        session = opened(library, port, certificate.file)
        assert session.receive_all(memoryview(bytearray(9))) == 9
        assert session.has_leftover()
        assert session.receive_all(memoryview(bytearray(9))) == 9
        assert not session.has_leftover()
        session.close()


def test_slow_reading_is_waited_for_and_a_standstill_is_not(library: Library) -> None:
    certificate, over = shared_certificate(), threading.Event()

    def read(client: ssl.SSLSocket) -> None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(12):
            client.recv(16_384)
            over.wait(0.05)
        over.wait(10)

    with served(certificate, read) as port:
        connected = socket.create_connection(("127.0.0.1", port))
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)  # else nothing is seen of slow reading
        context = Context(library, str(certificate.file))
        session = Session(context, connected, "127.0.0.1", deadline=time.monotonic() + 10)
        session.allow(0.3)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            session.send(memoryview(bytes(64 << 20)))
        assert 0.6 < time.monotonic() - began < 5, "not by a bound on the whole, and soon after nothing moved"
        over.set()
        session.close()


def test_a_platform_that_was_not_tried_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openssl.sys, "platform", "darwin")
    with pytest.raises(openssl.Unusable, match="darwin"):
        openssl.load()


def test_a_module_without_openssl_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openssl, "_EXTENSIONS", ("no_such_module", "_ctypes", "_ssl"))
    assert openssl.load().version.startswith("OpenSSL 3.")
    monkeypatch.setattr(openssl, "_EXTENSIONS", ("no_such_module", "_ctypes"))
    with pytest.raises(openssl.Unusable, match=r"no_such_module.*; _ctypes: .*OpenSSL_version"):
        openssl.load()
