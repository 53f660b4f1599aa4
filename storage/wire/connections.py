"""Kept-alive connections, lent for one request at a time: never more to an origin than requests were in flight at once.

Stores of different buckets behind one origin share them. Before a connection beyond this process's limit is opened, the
oldest idle ones are closed, to whatever origin.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from functools import cache

from storage.credentials import proxy_named
from storage.wire import libcurl
from storage.wire.curl import CurlConnection
from storage.wire.direct import DirectConnection
from storage.wire.exchange import Connection
from storage.wire.plain import SocketConnection

USER_AGENT = "s3migrate"
LIBCURL_DESCRIPTORS = 4
"""Of one of libcurl's connections: a socket, two wake-up descriptors, and briefly the certificates' file."""
_log = logging.getLogger(__name__)


@cache
def direct_library() -> libcurl.Library | None:
    """libcurl to be called without callbacks; None, with one note in the log, where it cannot be."""
    try:
        return libcurl.load()
    except libcurl.Unusable as error:
        _log.warning("requests go through pycurl's own interface and cost more processor time: %s", error)
        return None


def open_connection(origin: str, ca_bundle: str | None) -> Connection:
    """A connection that has not yet connected: sockets for plain HTTP without a proxy, libcurl for all else."""
    if is_plain(origin):
        return SocketConnection(USER_AGENT)
    library = direct_library()
    if library is None:
        return CurlConnection(ca_bundle, USER_AGENT)
    return DirectConnection(library, ca_bundle, USER_AGENT)


def is_plain(origin: str) -> bool:
    """Whether sockets alone reach *origin*."""
    return origin.startswith("http://") and not proxy_named(origin)


def descriptors_each(origin: str) -> int:
    """How many descriptors a connection to *origin* takes at most."""
    return 1 if is_plain(origin) else LIBCURL_DESCRIPTORS


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

    def closed(self, count: int) -> None:
        """So many fewer are open."""
        with self._lock:
            self._open -= count


_SHARED = Shared()
connections_of = _SHARED.of
release = _SHARED.release
keep_open = _SHARED.keep_open
