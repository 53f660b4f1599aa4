"""One embedded PostgreSQL for the whole test run, one freshly cloned ledger per test; nothing left running.

Fixtures: `postgres_server` (session), `ledger_url` (a migrated, empty ledger of the test's own),
`empty_database_url` (no schema at all) and `ledger` (a Ledger on `ledger_url`, closed afterwards).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest

from executor.ledger.embedded.server import EmbeddedPostgres
from executor.ledger.ledger import Ledger

TEMPLATE = "ledger_template"


def server_folder() -> Path:
    """A new folder for a server's data: on the RAM disk where there is one, with a path short enough for a socket."""
    ram = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    return Path(tempfile.mkdtemp(prefix="s3m-pg-", dir=ram))


def undertaker(folder: Path) -> subprocess.Popen[bytes]:
    """A process that stops the server in *folder* and removes it, once we let go of it or die, even of kill -9."""
    code = (
        "import shutil, sys; from pathlib import Path; from executor.ledger.embedded.server import EmbeddedPostgres;"
        "sys.stdin.read(); folder = Path(sys.argv[1]);"
        "EmbeddedPostgres(folder).stop(immediate=True); shutil.rmtree(folder, ignore_errors=True)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, folder],
        cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": ".", "PATH": os.defpath},
        stdin=subprocess.PIPE,
        start_new_session=True,
    )


class PostgresServer:
    """A server of the tests' own in a temporary folder, with a template that holds a migrated ledger."""

    def __init__(self) -> None:
        self.folder = server_folder()
        self.embedded = EmbeddedPostgres(self.folder)
        self._undertaker = undertaker(self.folder)
        self.url = self.embedded.url()
        # Tests need no durability over power loss, and the clones are made faster.
        self._run("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()", f"CREATE DATABASE {TEMPLATE}")
        ledger = Ledger(self.url_of(TEMPLATE))
        ledger.schema.migrate()
        ledger.close()

    def url_of(self, database: str) -> str:
        """The URL of another database of this server."""
        return self.url.replace("/postgres?", f"/{database}?")

    def clone(self, template: str = TEMPLATE) -> str:
        """A new database's name; *template* `template0` gives an empty one."""
        name = f"t{uuid.uuid4().hex[:12]}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")  # half the time of wal_log here
        return name

    def drop(self, database: str) -> None:
        """Drop a database, also when somebody is still connected."""
        self._run(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def close(self) -> None:
        """Stop the server at once and remove its folder."""
        self._undertaker.communicate()

    def _run(self, *statements: str) -> None:
        connection = psycopg2.connect(self.url.replace("+psycopg2", ""))
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
        finally:
            connection.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The run's server."""
    owner = os.getpid()
    server = PostgresServer()
    yield server
    if os.getpid() == owner:
        server.close()


@pytest.fixture
def ledger_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A migrated, empty ledger that nobody else uses."""
    name = postgres_server.clone()
    yield postgres_server.url_of(name)
    postgres_server.drop(name)


@pytest.fixture
def empty_database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database without a ledger."""
    name = postgres_server.clone("template0")
    yield postgres_server.url_of(name)
    postgres_server.drop(name)


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """A ledger of the test's own."""
    opened = Ledger(ledger_url)
    yield opened
    opened.close()


@pytest.fixture
def sql(ledger_url: str) -> Iterator[Callable[..., list[tuple[object, ...]]]]:
    """Runs one statement on the test's ledger behind its back; its rows, if it has any."""
    connection = psycopg2.connect(ledger_url.replace("+psycopg2", ""))
    connection.autocommit = True

    def run(statement: str, *parameters: object) -> list[tuple[object, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    yield run
    connection.close()
