"""Kept-alive connections, lent for one request at a time: never more to an origin than requests were in flight at once.

Stores of different buckets behind one origin share them. Before a connection beyond this process's limit is opened, the
oldest idle ones are closed, to whatever origin.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from functools import cache, partial
from pathlib import Path

from storage.credentials import proxy_named
from storage.wire import openssl
from storage.wire.curl import CurlConnection
from storage.wire.exchange import Connection, ExchangeFailed
from storage.wire.openssl import Context
from storage.wire.sockets import SocketConnection
from storage.wire.tunnel import proxy_at

USER_AGENT = "s3migrate"
LIBCURL_DESCRIPTORS = 4
"""Of one of libcurl's connections: a socket, two wake-up descriptors, and briefly the certificates' file."""
_log = logging.getLogger(__name__)


@cache
def tls_library() -> openssl.Library | None:
    """OpenSSL to be called directly; None, with one note in the log, where it cannot be."""
    try:
        return openssl.load()
    except openssl.Unusable as error:
        _log.warning("https requests go through libcurl and cost twice the processor time: %s", error)
        return None


def open_connection(origin: str, ca_bundle: str | None) -> Connection:
    """A connection that has not yet connected: over a socket, or through libcurl where that is not enough."""
    if not is_direct(origin):
        return CurlConnection(ca_bundle, USER_AGENT)
    library = None if origin.startswith("http://") else tls_library()
    if library is None:
        return SocketConnection(USER_AGENT)
    named = proxy_named(origin)
    return SocketConnection(USER_AGENT, partial(context_of, library, ca_bundle), proxy_at(named) if named else None)


def is_direct(origin: str) -> bool:
    """Whether a socket of our own is enough for *origin*: for http without a proxy, for https also through one."""
    named = proxy_named(origin)
    if origin.startswith("http://"):
        return named is None
    return tls_library() is not None and (named is None or proxy_at(named) is not None)


def descriptors_each(origin: str) -> int:
    """How many descriptors a connection to *origin* takes at most."""
    return 1 if is_direct(origin) else LIBCURL_DESCRIPTORS


class Contexts:
    """TLS contexts by the file of their authorities, which is read again once it has changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str | None, tuple[object, Context]] = {}

    def of(self, library: openssl.Library, ca_bundle: str | None) -> Context:
        """For authorities in this PEM file; None: OpenSSL's own. Raises ExchangeFailed where it cannot be read."""
        with self._lock:
            state, (known, context) = _state(ca_bundle), self._held.get(ca_bundle, (None, None))
            if context is None or (state is not None and state != known):
                try:
                    context = Context(library, ca_bundle)
                except ExchangeFailed:
                    if context is None:
                        raise
                    return context  # a file that is being written: what was read still holds
                self._held[ca_bundle] = state, context
            return context


def _state(file: str | None) -> object:
    """What changes when *file* does; None: nothing is known of it."""
    try:
        found = Path(file).stat() if file is not None else None
    except OSError:
        return None
    return found and (found.st_mtime_ns, found.st_size, found.st_ino)


context_of = Contexts().of


class Connections:
    """Those to one origin. Safe to use from many threads."""

    def __init__(self, origin: str, ca_bundle: str | None) -> None:
        self._origin, self._ca_bundle = origin, ca_bundle
        self._idle: deque[Connection] = deque()
        self.users = 0
        """Guarded by the lock of the pool."""

    def take(self) -> Connection:
        """A connection for one request, to be given back by `give`: the most recently used one, which is most likely
        alive.
        """
        try:
            return self._idle.pop()
        except IndexError:
            return _SHARED.opened(self._origin, self._ca_bundle)

    def give(self, connection: Connection) -> None:
        """Return it as idle; it is closed when no user is left."""
        self._idle.append(connection)
        if not self.users:
            self.close_idle()

    def close_idle(self, most: int | None = None) -> int:
        """Close at most *most* idle connections, the oldest first. Returns their number."""
        closed = 0
        while most is None or closed < most:
            try:
                connection = self._idle.popleft()
            except IndexError:
                break
            connection.close()
            closed += 1
        _SHARED.closed(closed)
        return closed


class Shared:
    """The connections of this process, by origin."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_origin: dict[tuple[str, str | None], Connections] = {}
        self._open = 0
        self._most = 1024

    def of(self, origin: str, ca_bundle: str | None) -> Connections:
        """The connections to *origin*, to be released by `release`."""
        with self._lock:
            found = self._by_origin.setdefault((origin, ca_bundle), Connections(origin, ca_bundle))
            found.users += 1
            return found

    def release(self, connections: Connections) -> None:
        """One user fewer; without any, what is idle is closed now and the rest when it is given back."""
        with self._lock:
            connections.users -= 1
            over = not connections.users
            if over:
                self._by_origin = {key: held for key, held in self._by_origin.items() if held is not connections}
        if over:
            connections.close_idle()

    def keep_open(self, most: int) -> None:
        """Have no more than *most* open, as far as idle ones can be closed for it."""
        self._most = most

    def opened(self, origin: str, ca_bundle: str | None) -> Connection:
        """One more."""
        with self._lock:
            self._open += 1
            excess, others = self._open - self._most, list(self._by_origin.values())
        for connections in others:
            if excess > 0:
                excess -= connections.close_idle(excess)
        try:
            return open_connection(origin, ca_bundle)
        except BaseException:
            self.closed(1)
            raise

    def rest(self) -> None:
        """Close what is idle. Before a fork: a child must not share connections, nor close them by their numbers."""
        with self._lock:
            resting = list(self._by_origin.values())
        for connections in resting:
            connections.close_idle()

    def closed(self, count: int) -> None:
        """So many fewer are open."""
        with self._lock:
            self._open -= count


_SHARED = Shared()
connections_of = _SHARED.of
release = _SHARED.release
keep_open = _SHARED.keep_open


def _before_fork() -> None:
    _SHARED.rest()


os.register_at_fork(before=_before_fork)
