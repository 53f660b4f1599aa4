"""What requests cost the processor of this machine, timed in some tens of milliseconds without any network.

A canned answer comes over a loopback socket from a thread of this process; the thread that asks signs, sends, receives
and reads as the wire does, and only its own processor time counts. So the figures are those of this machine as busy as
it is now, of one process, without TLS.
"""

from __future__ import annotations

import hashlib
import socket
import statistics
import threading
import time
from contextlib import closing, suppress
from typing import NamedTuple

from storage.credentials import Keys
from storage.wire.exchange import Request
from storage.wire.plain import SocketConnection
from storage.wire.signer import EMPTY_PAYLOAD, Signer

BATCHES = 5
REQUESTS = 40
"""In a batch."""
SMALL = 1024
LARGE = 16 << 20
"""Bytes; of a part."""
LARGE_ONES = 2
_MIB = 1 << 20
_KEYS = Keys("AKIDEXAMPLE", "secret")


class ProcessorCost(NamedTuple):
    """Of this machine, as it was."""

    request_us: int
    """Processor time to sign and send a small request, and to read its answer of 1 KiB."""
    mib_us: int
    """Processor time to receive a MiB of a body."""
    md5_us: int
    """Processor time for the MD5 of a MiB."""


def processor_cost() -> ProcessorCost:
    """As it is now. Raises OSError where there is no loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5.0)
        thread = threading.Thread(target=_answer, args=(server,), name="canned", daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/bucket"
        with closing(SocketConnection("s3migrate")) as connection:
            _timed(connection, f"{url}/{SMALL}", SMALL, requests=REQUESTS)  # caches are warm in a run, too
            small = [_timed(connection, f"{url}/{SMALL}", SMALL, requests=REQUESTS) for _ in range(BATCHES)]
            large = [_timed(connection, f"{url}/{LARGE}", LARGE, requests=1) for _ in range(LARGE_ONES)]
        thread.join(5.0)
    request = statistics.median(small)
    mib = (min(large) - request) * _MIB / LARGE
    hashed = min(_hashed(LARGE // 4) for _ in range(LARGE_ONES)) * _MIB / (LARGE // 4)
    return ProcessorCost(*(max(1, round(seconds * 1e6)) for seconds in (request, mib, hashed)))


def _hashed(size: int) -> float:
    """Processor seconds for the MD5 of so many bytes."""
    body = bytes(size)
    began = time.thread_time()
    hashlib.md5(body, usedforsecurity=False)
    return time.thread_time() - began


def _timed(connection: SocketConnection, url: str, size: int, *, requests: int) -> float:
    """Processor seconds of this thread for each of so many requests."""
    signer, into = Signer("us-east-1"), memoryview(bytearray(size))
    host, _, path = url.removeprefix("http://").partition("/")
    began = time.thread_time()
    for _ in range(requests):
        headers = signer.sign(
            _KEYS, method="GET", host=host, path=f"/{path}", query="", headers=[], payload=EMPTY_PAYLOAD
        )
        connection.perform(Request("GET", url, headers, into=into))
    return (time.thread_time() - began) / requests


def _answer(server: socket.socket) -> None:
    """Answer one connection's requests with as many bytes as their path ends in, until it is closed."""
    bodies = {size: b"x" * size for size in (SMALL, LARGE)}
    with suppress(OSError):
        connection, _ = server.accept()
        with connection:
            while head := connection.recv(64 * 1024):
                size = int(head.split(b" ", 2)[1].rpartition(b"/")[2])
                fields = f'HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nETag: "0"\r\nServer: canned\r\n\r\n'
                connection.sendall(fields.encode() + bodies[size])
