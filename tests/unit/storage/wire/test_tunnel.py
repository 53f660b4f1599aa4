"""https through an HTTP proxy: what the proxy is asked, and what is made of its answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.certificates import shared_certificate
from support.scripted_server import ScriptedServer, answer, scripted, speaking

from schema.errors import DeclarationError
from storage.credentials import proxy_named
from storage.wire.connections import open_connection
from storage.wire.exchange import Answer, ExchangeFailed, Fault, Patience, Request
from storage.wire.tunnel import Proxy, proxy_at

DUG = b"HTTP/1.1 200 Connection established\r\nVia: me\r\n\r\n"


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://proxy.example:3128", Proxy("proxy.example", 3128, "")),
        ("http://proxy.example", Proxy("proxy.example", 1080, "")),
        ("proxy.example:3128/", Proxy("proxy.example", 3128, "")),
        ("http://[::1]:3128", Proxy("::1", 3128, "")),
        ("http://me:p%40ss@proxy.example:1", Proxy("proxy.example", 1, "Basic bWU6cEBzcw==")),
        ("http://me@proxy.example:1", Proxy("proxy.example", 1, "Basic bWU6")),
        ("https://proxy.example:3128", None),
        ("socks5h://proxy.example:3128", None),
    ],
)
def test_what_a_proxys_url_says(url: str, proxy: Proxy | None) -> None:
    assert proxy_at(url) == proxy


@pytest.mark.parametrize(
    "url",
    ["http://me:topsecret#x@proxy:3128", "http://me:topsecret/x@proxy:1", "http://proxy:topsecret", "http://[::1", ""],
)
def test_what_is_no_url_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(DeclarationError, match="user:password@host:port") as refused:
        proxy_at(url)
    assert "topsecret" not in str(refused.value)


@pytest.mark.parametrize(
    ("origin", "environ", "found"),
    [
        ("https://s3.example", {}, None),
        ("https://s3.example", {"https_proxy": "p", "HTTPS_PROXY": "q"}, "p"),
        ("https://s3.example", {"https_proxy": "", "HTTPS_PROXY": "q"}, "q"),
        ("https://s3.example", {"http_proxy": "p"}, None),
        ("https://s3.example", {"ALL_PROXY": "p"}, "p"),
        ("http://s3.example", {"HTTP_PROXY": "p"}, None),
        ("http://s3.example", {"http_proxy": "p"}, "p"),
        ("https://s3.example", {"https_proxy": "p", "no_proxy": "other.example, EXAMPLE"}, None),
        ("https://s3.example", {"https_proxy": "p", "no_proxy": ".s3.example"}, None),
        ("https://s3.example", {"https_proxy": "p", "no_proxy": "3.example"}, "p"),
        ("https://s3.example", {"https_proxy": "p", "no_proxy": "", "NO_PROXY": "*"}, None),
        ("https://s3.example.", {"https_proxy": "p", "no_proxy": "s3.example"}, None),
        ("https://10.1.2.3:9000", {"https_proxy": "p", "no_proxy": "10.0.0.0/8"}, None),
        ("https://10.1.2.3:9000", {"https_proxy": "p", "no_proxy": "11.0.0.0/8,10.1.2"}, "p"),
        ("https://127.0.0.1", {"https_proxy": "p", "no_proxy": "127.0.0.1."}, None),
        ("https://[::1]:9000", {"https_proxy": "p", "no_proxy": "127.0.0.1,[::1]"}, None),
    ],
)
def test_the_proxy_of_an_origin(origin: str, environ: dict[str, str], found: str | None) -> None:
    assert proxy_named(origin, environ) == found


class ProxyServer:
    """Answers one CONNECT with *said*, and passes bytes on if that is a 200."""

    def __init__(self, said: list[bytes]) -> None:
        self._said = said
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.asked = b""
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        with client:
            while b"\r\n\r\n" not in self.asked:
                self.asked += client.recv(4096)
            for piece in self._said:
                client.sendall(piece)
            if self._said and b" 200 " in self._said[0]:
                host, _, port = self.asked.split()[1].decode().rpartition(":")
                with socket.create_connection((host, int(port))) as server:
                    back = threading.Thread(target=self._pass_on, args=(server, client))
                    back.start()
                    self._pass_on(client, server)
                    back.join(10)
            elif not self._said:
                self.over.wait(10)

    @staticmethod
    def _pass_on(source: socket.socket, destination: socket.socket) -> None:
        try:
            while piece := source.recv(65_536):
                destination.sendall(piece)
            destination.shutdown(socket.SHUT_WR)
        except OSError:
            return  # the other way has ended


@contextmanager
def proxied(monkeypatch: pytest.MonkeyPatch, *said: bytes) -> Iterator[ProxyServer]:
    """A proxy that the environment names, with a user and a password."""
    proxy = ProxyServer(list(said))
    proxy.thread.start()
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://me:secret@127.0.0.1:{proxy.port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    try:
        yield proxy
    finally:
        proxy.over.set()
        proxy.thread.join(10)
        proxy._listener.close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with speaking(shared_certificate()), scripted(answer(body=b"<a/>"), answer(body=b"<b/>")) as made:
        yield made


def asked(server: ScriptedServer, times: int = 1) -> list[Answer]:
    connection = open_connection(server.url, str(shared_certificate().file))
    try:
        return [
            connection.perform(Request("GET", server.url + "/k", [], patience=Patience(5, 0, 0.5)))
            for _ in range(times)
        ]
    finally:
        connection.close()


def test_requests_go_through_the_tunnel(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxied(monkeypatch, DUG[:20], DUG[20:]) as proxy:
        assert [found.body for found in asked(server, 2)] == [b"<a/>", b"<b/>"]
    place = f"127.0.0.1:{server.port}".encode()
    assert proxy.asked.startswith(b"CONNECT " + place + b" HTTP/1.1\r\nHost: " + place + b"\r\n")
    assert b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n" in proxy.asked
    for request in server.requests:
        assert "proxy-authorization" not in request.headers, "the proxy's secret is not the endpoint's"


@pytest.mark.parametrize("said", [b"HTTP/1.1 407 Who are you?\r\n\r\nsecret page", b"SSH-2.0-x\r\n\r\n", b"HTTP"])
def test_a_proxy_that_refuses_is_named_without_its_secret(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    with proxied(monkeypatch, said) as proxy, pytest.raises(ExchangeFailed) as failed:
        asked(server)
    assert failed.value.fault is Fault.NO_CONNECTION
    assert f"the proxy 127.0.0.1:{proxy.port} did not connect to 127.0.0.1:{server.port}" in str(failed.value)
    assert "secret" not in str(failed.value) and "bWU6" not in str(failed.value)
    assert server.requests == []


def test_a_proxy_that_says_nothing_times_out(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxied(monkeypatch), pytest.raises(ExchangeFailed) as failed:
        asked(server)
    assert failed.value.fault is Fault.TIMED_OUT
