"""The border to PostgreSQL: connections, transactions, and errors told in our own words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg2
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from schema.errors import LedgerError, LedgerSchemaError, LedgerUnavailable, UsageError

DRIVER = "postgresql+psycopg2"
"""Pinned: SQLAlchemy 2.1 takes `postgresql://` to mean psycopg 3."""
ACCEPTED_SCHEMES = frozenset({"postgres", "postgresql", DRIVER})

CONNECT_ARGUMENTS = {
    "connect_timeout": 10,
    "application_name": "s3migrate",
    "client_encoding": "utf8",
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A peer that is gone without a word is noticed within half a minute."""

PASSING_CODES = frozenset({"25006", "40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03", "57P05", "58030"})
"""Read-only standby, serialization, deadlock, lock or statement timeout, shutdown, crash, starting, I/O error."""
PASSING_CLASSES = frozenset({"08", "53"})
"""Connection exceptions; resources exhausted (53100 disk full, 53300 too many connections)."""
SCHEMA_CODES = frozenset({"3F000", "42P01", "42703", "42883"})
"""No such schema, table, column or function."""


def ledger_url(url: str) -> URL:
    """*url* with the pinned driver. Raises UsageError, which never repeats the URL: it may hold a password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.drivername not in ACCEPTED_SCHEMES:
        raise UsageError("the ledger's URL must look like postgresql://user@host:5432/database")
    return parsed.set(drivername=DRIVER)


def translated(error: BaseException, password: str | None = None) -> LedgerError | None:
    """The error of ours that says what *error* means to the operator; None for what can only be a bug."""
    original = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(original, PoolTimeout):
        return LedgerUnavailable("every connection to the ledger is in use; wait, or run fewer threads")
    if not isinstance(original, psycopg2.Error):
        return None
    said = " ".join(str(original).split())
    if password:
        said = said.replace(password, "***")
    code: str | None = original.pgcode
    if code in SCHEMA_CODES:
        return LedgerSchemaError(f"the ledger lacks something this build needs ({said}); run: s3migrate ledger migrate")
    if code == "53100" or (code is None and "No space left on device" in said):
        return LedgerUnavailable(f"the ledger's disk is full ({said}); free some space: a run goes on by itself then")
    if code is not None:
        passing = code in PASSING_CODES or code[:2] in PASSING_CLASSES
        return LedgerUnavailable(f"the ledger cannot serve now: {said}") if passing else None
    lost = isinstance(original, psycopg2.OperationalError | psycopg2.InterfaceError)
    if lost or type(original) is psycopg2.DatabaseError:
        return LedgerUnavailable(f"the ledger cannot be reached: {said}")
    return None


class Database:
    """A bounded pool of connections, shared by the threads of this process. *missed* is told of LedgerUnavailable.

    After a failure the broken connection is thrown away: the next transaction opens a new one, so that
    whoever waits and tries again needs to do nothing else.
    """

    def __init__(self, url: str, *, connections: int = 4, missed: Callable[[], None] | None = None) -> None:
        self._missed = missed
        parsed = ledger_url(url)
        self._password = None if parsed.password is None else str(parsed.password)
        self._engine = create_engine(
            parsed, pool_size=connections, max_overflow=connections, pool_timeout=60, connect_args=CONNECT_ARGUMENTS
        )

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction: committed when the block ends well, rolled back otherwise.

        Raises LedgerUnavailable (also when the answer to COMMIT was lost: it may have happened) and
        LedgerSchemaError; psycopg2's and SQLAlchemy's errors pass only when they tell of a bug.
        """
        try:
            with self._engine.connect() as connection, connection.begin():
                try:
                    yield connection
                except psycopg2.Error:
                    # Raised by a raw cursor, so SQLAlchemy has not seen it and would pool a dead connection.
                    if connection.connection.dbapi_connection is None or raw(connection).closed:
                        connection.invalidate()
                    raise
        except (DBAPIError, psycopg2.Error, PoolTimeout) as error:
            ours = translated(error, self._password)
            if ours is None:
                raise
            if self._missed is not None and isinstance(ours, LedgerUnavailable):
                self._missed()
            # The original is not chained: its text may hold the statement's parameters or the password.
            raise ours from None

    def close(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()


def raw(connection: Connection) -> psycopg2.extensions.connection:
    """psycopg2's own connection, for COPY and for statements on the hot path."""
    return connection.connection.dbapi_connection  # type: ignore[return-value]


def audit(connection: Connection, run_id: int, actor: str, kind: str, body: str) -> None:
    """Append one event (*body*: canonical JSON) to the run's chain. Locks the run's row until the commit."""
    connection.execute(
        text("SELECT ledger.audit_append(:run_id, :actor, :kind, :body)"),
        {"run_id": run_id, "actor": actor, "kind": kind, "body": body},
    )
