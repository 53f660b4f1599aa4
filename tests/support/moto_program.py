"""moto's own server, made for hundreds of small requests a second. Runs as a process; `MotoServer` starts it.

It takes a free port, prints its address and serves until it is killed. It answers as moto does but for the manner:
connections are kept, where werkzeug's handler closes each after one answer; a small body goes out with its head; what
moto looks up anew for each request and each error, in its own folders and in botocore's model, it looks up once.
Together that is two thirds of a request's time. Nothing is logged.
"""

from __future__ import annotations

import functools
import http.client
import io
import logging
import string
import threading
from collections.abc import Iterable
from email.message import Message
from types import SimpleNamespace
from typing import BinaryIO

from moto.core import errors
from moto.moto_api._internal.moto_random import MotoRandom
from moto.moto_server import threaded_moto_server, werkzeug_app
from moto.s3.responses import S3Response
from werkzeug.datastructures import Headers
from werkzeug.exceptions import InternalServerError
from werkzeug.test import run_wsgi_app

BODILESS = frozenset({204, 304})
COPIED = 1 << 16
"""Bytes of a body that are worth a copy, for one write less."""


class KeptConnections(werkzeug_app.MotoRequestHandler):
    """A handler that reads each request to its end before it answers, so that the next one can follow."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def run_wsgi(self) -> None:
        """Answer one request."""
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        environ = self.make_environ()
        size = -1 if environ.get("wsgi.input_terminated") else int(self.headers.get("Content-Length") or 0)
        body = environ["wsgi.input"].read(size)
        if len(body) < size:  # the client is gone in the middle of its request
            self.close_connection = True
            return
        environ["wsgi.input"] = io.BytesIO(body)
        try:
            answer = run_wsgi_app(self.server.app, environ, buffered=True)
        except Exception:
            answer = run_wsgi_app(InternalServerError(), environ, buffered=True)
        self._answer(*answer)

    def log_request(self, _code: object = "-", _size: object = "-") -> None:
        """Say nothing."""

    def _answer(self, pieces: Iterable[bytes], status: str, headers: Headers) -> None:
        code = int(status.split()[0])
        bodiless = code in BODILESS or self.command == "HEAD"
        body = b"" if bodiless else b"".join(pieces)
        if not bodiless:
            headers.setdefault("Content-Length", str(len(body)))
        self.send_response(code, status.partition(" ")[2])
        for name, value in headers:
            self.send_header(name, value)
        self._headers_buffer.append(b"\r\n")
        head = b"".join(self._headers_buffer)
        self._headers_buffer.clear()
        for piece in (head + body,) if len(body) < COPIED else (head, body):
            self.wfile.write(piece)


def head_of(file: BinaryIO, _class: type[Message]) -> Message:
    """The headers up to the empty line, as http.client.parse_headers: none of our clients folds a header."""
    head = _class()
    while line := file.readline().decode("latin-1").rstrip("\r\n"):
        name, _, value = line.partition(":")
        head[name] = value.strip(" \t")
    return head


def look_up_once() -> None:
    """Keep what moto would list and build for each request."""
    dispatcher, lookups = werkzeug_app.DomainDispatcherApplication, errors.ErrorLookupFactory()
    dispatcher.get_backend_for_host = functools.cache(dispatcher.get_backend_for_host)
    errors.ErrorLookupFactory = lambda: lookups
    werkzeug_app.DISABLE_GLOBAL_CORS = True  # no browser asks here
    by_subdomain = S3Response.subdomain_based_buckets
    by_host = functools.cache(lambda host: by_subdomain(SimpleNamespace(headers={"host": host})))
    S3Response.subdomain_based_buckets = staticmethod(lambda request: by_host(request.headers["host"]))
    MotoRandom.get_random_string = at_once


def at_once(
    self: MotoRandom, length: int = 20, include_digits: bool = True, lower_case: bool = False
) -> str:  # moto's own signature
    """As moto's, which chooses one character after the other for the id of each request."""
    pool = string.ascii_lowercase if lower_case else string.ascii_letters
    return "".join(self.choices(pool + string.digits if include_digits else pool, k=length))


def main() -> None:
    """Serve."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    look_up_once()
    http.client.parse_headers = head_of
    threaded_moto_server.MotoRequestHandler = KeptConnections
    server = threaded_moto_server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    print("http://{}:{}".format(*server.get_host_and_port()), flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
