"""A faulty network in front of any S3 server: an HTTP/1.1 proxy that delays, throttles, lies, cuts and flips.

    with FaultProxy(server.endpoint_url, seed=seed) as proxy:
        proxy.rules = [Rule(slow_down(), operations=("get",), probability=0.3)]
        ...  # use proxy.endpoint_url
        assert proxy.count("put") == 10

The client's Host header is passed on unchanged, since SigV4 signs it. One thread and one upstream connection
per client connection, kept alive on both sides. As a process of its own, for clients that would otherwise
share this interpreter's lock: `python -m support.fault_proxy --upstream URL --control-file rules.json`
(see FaultProxyProcess in support/fault_process.py).
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

from support.certificates import Certificate
from support.fault_relay import Exchange, Relay, Upstream
from support.fault_rules import Request, Respond, Rule, RuleBook, error, parse_request
from support.http_relay import Connection

_KEY_LOCKS = 64


class FaultProxy:
    """The proxy as an object. `rules` may be replaced at any time; their counters start anew.

    *credentials* (access key, secret) are needed for EnforceConditions only. *wait* sleeps: tests may pass
    their own. With a *certificate* it speaks TLS to its clients.
    """

    relay: ClassVar[type[Relay]] = Relay

    def __init__(
        self,
        upstream: str,
        *,
        seed: int = 0,
        port: int = 0,
        credentials: tuple[str, str] | None = None,
        wait: Callable[[float], object] | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        where = urlsplit(upstream)
        if where.scheme != "http" or where.hostname is None:
            raise ValueError(f"the upstream must be http://host:port, not {upstream}")
        self.upstream = upstream
        self._address = (where.hostname, where.port or 80)
        self._context = certificate.server_context() if certificate else None
        self._seed = seed
        self._port = port
        self._credentials = credentials
        self._closing = threading.Event()
        self._wait = wait or self._closing.wait
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._book = RuleBook((), seed, time.monotonic)
        self._key_locks = [threading.Lock() for _ in range(_KEY_LOCKS)]
        self._clients: set[Connection] = set()
        self._upstreams: set[Upstream] = set()
        self._listener: socket.socket | None = None
        self._client: Any = None
        self._in_flight = 0
        self._history: list[Exchange] = []
        self.peak_in_flight = 0
        """The most requests ever in progress at once."""
        self.peak_connections = 0
        """The most client connections ever open at once."""

    # --- life ---

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", self._port), backlog=1024)
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="fault-proxy", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        assert self._listener is not None
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.break_connections()
        if self._client is not None:
            self._client.close()

    @property
    def endpoint_url(self) -> str:
        """What clients are given."""
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self._port}"

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in force."""
        return self._book.rules

    @rules.setter
    def rules(self, rules: Iterable[Rule]) -> None:
        with self._lock:
            self._book = RuleBook(rules, self._seed, time.monotonic)

    @property
    def history(self) -> list[Exchange]:
        """One Exchange per request, in the order they ended.

        A client may have its answer before the exchange is written down: so this waits, a second at most,
        until no request is in progress.
        """
        with self._idle:
            self._idle.wait_for(lambda: self._in_flight == 0, timeout=1.0)
            return list(self._history)

    def count(self, *operations: str, status: int | None = None) -> int:
        """Requests so far of these operations (none: all), with this status to the client when given.

        Waits as `history` does.
        """
        return sum((not operations or e.operation in operations) and status in (None, e.status) for e in self.history)

    def history_from(self, place: int) -> list[Exchange]:
        """The exchanges from that place on, without waiting: for watching a run in progress."""
        with self._lock:
            return self._history[place:]

    def forget(self) -> None:
        """Start the history and the peaks anew."""
        with self._lock:
            self._history = []
            self.peak_in_flight = self._in_flight
            self.peak_connections = len(self._clients)

    def break_connections(self) -> None:
        """Cut every open connection now."""
        with self._lock:
            for connection in self._clients:
                connection.shut()
            for upstream in self._upstreams:
                upstream.shut()

    # --- one connection ---

    def _accept(self) -> None:
        assert self._listener is not None
        while not self._closing.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._welcome, args=(sock,), daemon=True).start()

    def _welcome(self, sock: socket.socket) -> None:
        """Shake hands first, where TLS is spoken."""
        try:
            spoken = sock if self._context is None else self._context.wrap_socket(sock, server_side=True)
        except OSError:
            sock.close()
            return
        self._serve(Connection(spoken))

    def _serve(self, client: Connection) -> None:
        upstream = Upstream(self._address)
        with self._lock:
            self._clients.add(client)
            self._upstreams.add(upstream)
            self.peak_connections = max(self.peak_connections, len(self._clients))
        try:
            while not self._closing.is_set() and self._exchange(client, upstream):
                pass
        except (OSError, ValueError):
            client.reset()
        finally:
            with self._lock:
                self._clients.discard(client)
                self._upstreams.discard(upstream)
            upstream.close()
            client.close()

    def _exchange(self, client: Connection, upstream: Upstream) -> bool:
        """One request and its answer; False when the client connection ends with it."""
        head = client.read_head()
        if head is None:
            return False
        method, target, _ = head.first.split(" ", 2)
        request = parse_request(method, target, head.lower())
        started = time.monotonic()
        with self._lock:
            struck = self._book.strike(request)
            self._in_flight += 1
            self.peak_in_flight = max(self.peak_in_flight, self._in_flight)
        relay = self.relay(self, client, upstream, head, request, struck)
        try:
            return relay.run() and (head.get("connection") or "").lower() != "close"
        finally:
            with self._lock:
                self._in_flight -= 1
                self._history.append(relay.exchange(started, time.monotonic() - started))
                self._idle.notify_all()

    def lock_of(self, request: Request) -> threading.Lock:
        """Held over check and write of one key, so that an enforced condition has no gap."""
        return self._key_locks[hash((request.bucket, request.key)) % _KEY_LOCKS]

    def wait(self, seconds: float) -> None:
        """Sleep, but not beyond the proxy's end."""
        self._wait(seconds)

    def intercept(self, request: Request) -> Respond | None:
        """None: the server answers. A subclass may answer some requests itself."""

    def refused_condition(self, request: Request) -> Respond | None:
        """The 412 or 404 that a server enforcing the request's conditions would answer."""
        none_match, match = request.headers.get("if-none-match"), request.headers.get("if-match")
        if request.operation not in ("put", "complete", "copy") or (none_match is None and match is None):
            return None
        etag = self._etag_upstream(request)
        if none_match is not None and etag is not None:
            return error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
        if match is not None and etag is None:
            return error(404, "NoSuchKey", "The specified key does not exist.")
        if match is not None and match.strip('"') != etag:
            return error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
        return None

    def _etag_upstream(self, request: Request) -> str | None:
        from botocore.exceptions import ClientError

        from support.servers import s3_client

        if self._credentials is None:
            raise ValueError("EnforceConditions needs the proxy's credentials")
        with self._lock:
            if self._client is None:
                self._client = s3_client(self.upstream, *self._credentials, max_pool_connections=_KEY_LOCKS)
        try:
            return str(self._client.head_object(Bucket=request.bucket, Key=request.key)["ETag"]).strip('"')
        except ClientError:
            return None


if __name__ == "__main__":
    from support.fault_process import main

    main()
