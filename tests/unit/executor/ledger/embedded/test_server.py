"""Who misses the ledger calls the reviver: it answers at once, and one try at a time starts the server."""

from __future__ import annotations

import threading
from typing import cast

from executor.ledger.embedded.server import EmbeddedPostgres, Reviver
from schema.errors import LocalDiskError

DEADLINE = 30.0


class Server:
    """A server that does not start at the first try, and takes its time at the second."""

    def __init__(self) -> None:
        self.tries = 0
        self.up = False
        self.first_over = threading.Event()
        self.second_began = threading.Event()
        self.may_start = threading.Event()
        self.started = threading.Event()

    def running(self) -> bool:
        return self.up

    def url(self) -> str:
        self.tries += 1
        if self.tries == 1:
            self.first_over.set()
            raise LocalDiskError("full")
        self.second_began.set()
        assert self.may_start.wait(DEADLINE)
        self.up = True
        self.started.set()
        return "postgresql://"


def test_one_try_at_a_time_and_again_after_a_failure() -> None:
    server = Server()
    reviver = Reviver(cast("EmbeddedPostgres", server), pause=0.0)
    reviver()
    assert server.first_over.wait(DEADLINE)
    while not server.second_began.wait(0.001):
        reviver()
    for _ in range(100):
        reviver()
    assert server.tries == 2 and not server.up, "nobody waited, and nobody else tried"
    server.may_start.set()
    assert server.started.wait(DEADLINE)
    for _ in range(100):
        reviver()
    assert server.tries == 2, "a server that runs is left alone"
