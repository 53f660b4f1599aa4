"""Connections are lent, shared by the stores of an origin, and never more than they need be."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.certificates import Certificate, shared_certificate
from support.scripted_server import answer, scripted, speaking

from storage.wire import connections, openssl
from storage.wire.connections import Contexts, Shared
from storage.wire.curl import CurlConnection
from storage.wire.exchange import Answer, Connection, ExchangeFailed, Fault, Request
from storage.wire.sockets import SocketConnection

ROOT = Path(__file__).parents[4]


class Counted:
    """A connection that only says whether it is closed."""

    opened: list[Counted]

    def __init__(self) -> None:
        self.closed = False
        Counted.opened.append(self)

    def perform(self, request: Request) -> Answer:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def counted() -> list[Counted]:
    Counted.opened = []
    return Counted.opened


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Shared:
    """A process without connections, in which none is real."""
    made = Shared()
    monkeypatch.setattr(connections, "_SHARED", made)
    monkeypatch.setattr(connections, "open_connection", lambda _origin, _ca: Counted())
    return made


def still_open() -> int:
    return sum(not connection.closed for connection in Counted.opened)


def test_there_are_as_many_as_requests_at_once(shared: Shared) -> None:
    lent_by = shared.of("https://a", None)
    first, second = lent_by.take(), lent_by.take()
    assert first is not second
    lent_by.give(first)
    lent_by.give(second)
    assert lent_by.take() is second, "the one used last is the likeliest to be alive"
    assert len(Counted.opened) == 2


def test_stores_of_one_origin_share_them_and_the_last_closes_them(shared: Shared) -> None:
    one, other = shared.of("https://a", None), shared.of("https://a", None)
    assert one is other
    assert shared.of("https://a", "/ca.pem") is not one
    assert shared.of("https://b", None) is not one
    one.give(one.take())
    shared.release(one)
    assert still_open() == 1
    lent = other.take()
    shared.release(other)
    assert still_open() == 1, "it is in use"
    other.give(lent)
    assert still_open() == 0


def test_a_child_inherits_none(shared: Shared) -> None:
    lent_by = shared.of("https://a", None)
    idle, busy = lent_by.take(), lent_by.take()
    lent_by.give(idle)
    child = os.fork()
    if child == 0:
        os._exit(still_open())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1, "one is in use"
    assert still_open() == 1
    lent_by.give(busy)
    assert lent_by.take() is busy


def test_before_there_are_too_many_the_oldest_idle_ones_go(shared: Shared) -> None:
    shared.keep_open(3)
    one, other = shared.of("https://a", None), shared.of("https://b", None)
    lent = [one.take() for _ in range(3)]
    for connection in lent:
        one.give(connection)
    held = [other.take(), other.take()]
    assert [connection.closed for connection in lent] == [True, True, False]  # type: ignore[attr-defined]
    assert still_open() == 3
    del held


def test_many_threads_lose_none(shared: Shared) -> None:
    lent_by = shared.of("https://a", None)

    def use() -> None:
        for _ in range(200):
            lent_by.give(lent_by.take())

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert 1 <= len(Counted.opened) <= 8
    shared.release(lent_by)
    assert still_open() == 0


@pytest.mark.parametrize(
    ("origin", "proxy", "kind"),
    [
        ("http://127.0.0.1:9000", None, SocketConnection),
        ("https://s3.example", None, SocketConnection),
        ("http://s3.example", "http://proxy.example:3128", CurlConnection),
        ("https://s3.example", "http://proxy.example:3128", SocketConnection),
        ("https://s3.example", "proxy.example:3128", SocketConnection),
        ("https://s3.example", "socks5h://proxy.example", CurlConnection),
        ("https://s3.example", "https://proxy.example", CurlConnection),
    ],
)
def test_sockets_unless_a_proxy_asks_for_more(
    origin: str, proxy: str | None, kind: type[Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    if proxy:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("https_proxy", proxy)
    opened = connections.open_connection(origin, None)
    assert type(opened) is kind
    assert connections.descriptors_each(origin) == (1 if kind is SocketConnection else connections.LIBCURL_DESCRIPTORS)
    opened.close()


@pytest.fixture
def without_openssl(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A platform on which OpenSSL cannot be called directly."""

    def unusable() -> openssl.Library:
        raise openssl.Unusable("this library is odd")

    monkeypatch.setattr(openssl, "load", unusable)
    connections.tls_library.cache_clear()
    yield
    connections.tls_library.cache_clear()


@pytest.mark.usefixtures("without_openssl")
def test_where_openssl_cannot_be_called_libcurl_is_and_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            opened = connections.open_connection("https://s3.example", None)
            assert type(opened) is CurlConnection
            opened.close()
        plain = connections.open_connection("http://s3.example", None)
        assert type(plain) is SocketConnection
        assert connections.descriptors_each("https://s3.example") == connections.LIBCURL_DESCRIPTORS
    assert [record.getMessage() for record in caplog.records] == [
        "https requests go through libcurl and cost twice the processor time: this library is odd"
    ]


@pytest.fixture
def library() -> openssl.Library:
    found = connections.tls_library()
    assert found is not None, "on Linux OpenSSL can be called directly"
    return found


def test_authorities_are_read_once_for_all_connections(library: openssl.Library) -> None:
    contexts, file = Contexts(), str(shared_certificate().file)
    assert contexts.of(library, file) is contexts.of(library, file)
    assert contexts.of(library, None) is not contexts.of(library, file)


def test_authorities_that_have_changed_are_read_again(library: openssl.Library, tmp_path: Path) -> None:
    contexts, file = Contexts(), tmp_path / "ca.pem"
    text = shared_certificate().file.read_bytes()
    file.write_bytes(text)
    first = contexts.of(library, str(file))
    file.write_bytes(text + text)
    second = contexts.of(library, str(file))
    assert second is not first
    file.write_bytes(text[:100])
    assert contexts.of(library, str(file)) is second, "it is being written: what was read still holds"
    file.unlink()
    assert contexts.of(library, str(file)) is second


@pytest.mark.parametrize("text", [None, b"", b"not a certificate\n"])
def test_authorities_that_cannot_be_read_are_an_error(
    library: openssl.Library, tmp_path: Path, text: bytes | None
) -> None:
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_bytes(text)
    with pytest.raises(ExchangeFailed, match=r"ca\.pem") as failed:
        Contexts().of(library, str(file))
    assert failed.value.fault is Fault.TLS_REFUSED


WITHOUT_DESCRIPTORS = """
import os, resource, sys
from storage.wire import connections
from storage.wire.exchange import ExchangeFailed, Fault, Request
url, ca, spared = sys.argv[1], sys.argv[2] or None, int(sys.argv[3])
opened = connections.open_connection(url, ca)
used = len(os.listdir("/proc/self/fd")) - 1
resource.setrlimit(resource.RLIMIT_NOFILE, (used + spared, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
try:
    print(opened.perform(Request("GET", url + "/k", [])).status)
except ExchangeFailed as failed:
    print(failed.fault.name)
"""


@pytest.mark.parametrize("certificate", [None, shared_certificate()], ids=["http", "https"])
@pytest.mark.parametrize(("spared", "said"), [(0, "NO_DESCRIPTORS"), (20, "200")])
def test_a_process_without_descriptors_says_so_and_not_that_the_endpoint_is_away(
    certificate: Certificate | None, spared: int, said: str
) -> None:
    authority = str(certificate.file) if certificate else ""
    with speaking(certificate), scripted(answer()) as server:
        command = [sys.executable, "-c", WITHOUT_DESCRIPTORS, server.url, authority, str(spared)]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == said
