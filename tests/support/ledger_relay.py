"""A relay in front of a real PostgreSQL that makes it slow: every answer comes late, or none for a while.

    with LedgerRelay(ledger_url, delay=0.2) as relay:
        ...  # use relay.url
        relay.stall()
        ...
        relay.go_on()

What clients say goes on at once: a commit may be done long before its answer is heard.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
from types import TracebackType
from typing import Self

from sqlalchemy.engine import make_url

BLOCK = 65_536


class LedgerRelay:
    """Two threads a connection. *delay*: seconds before each answer; may be changed at any time."""

    def __init__(self, ledger_url: str, *, delay: float = 0.0) -> None:
        self._ledger = make_url(ledger_url)
        self.delay = delay
        self.late_answers = math.inf
        """So many more; then all are passed on at once."""
        self._flowing = threading.Event()
        self._flowing.set()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        self._listener: socket.socket | None = None

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        threading.Thread(target=self._accept, name="ledger-relay", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._flowing.set()
        assert self._listener is not None
        _shut(self._listener)
        self._listener.close()
        with self._lock:
            for end in self._ends:
                _shut(end)

    @property
    def url(self) -> str:
        """The same ledger, by way of the relay."""
        assert self._listener is not None
        through = self._ledger.set(host="127.0.0.1", port=self._listener.getsockname()[1], query={"sslmode": "disable"})
        return through.render_as_string(hide_password=False)

    def stall(self) -> None:
        """From now on no answer."""
        self._flowing.clear()

    def go_on(self) -> None:
        """Pass on what was kept back, and what follows."""
        self._flowing.set()

    def _accept(self) -> None:
        assert self._listener is not None
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
                server = self._connected()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._ends |= {client, server}
            threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _connected(self) -> socket.socket:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.connect(f"{self._ledger.query['host']}/.s.PGSQL.{self._ledger.query['port']}")
        return server

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        answers = threading.Thread(target=self._pass_on, args=(server, client, True), daemon=True)
        answers.start()
        self._pass_on(client, server, False)
        answers.join()
        with self._lock:
            self._ends -= {client, server}
        client.close()
        server.close()

    def _pass_on(self, sender: socket.socket, receiver: socket.socket, late: bool) -> None:
        """Until one of the two is gone; then the other hears of it."""
        with contextlib.suppress(OSError):
            while block := sender.recv(BLOCK):
                if late:
                    self._closing.wait(self._lateness())
                    self._flowing.wait()
                receiver.sendall(block)
        _shut(receiver)

    def _lateness(self) -> float:
        with self._lock:
            if not self.delay or not self.late_answers:
                return 0.0
            self.late_answers -= 1
            return self.delay


def _shut(end: socket.socket) -> None:
    """Wake whoever is blocked on it."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
