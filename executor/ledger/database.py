"""The border to PostgreSQL: connections, transactions, statements, and errors translated into ours.

Nothing outside this file knows that SQLAlchemy keeps the connections and psycopg2 speaks to the server. SQLAlchemy is
imported by the functions that use it: it takes longer to load than all else, and `--help` and `show` open no ledger.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import psycopg2
from psycopg2.extras import execute_values

from schema.errors import LedgerError, LedgerSchemaError, LedgerUnavailable, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection, TextClause
    from sqlalchemy.engine import URL

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
"""A peer that vanished silently is noticed within half a minute."""

PASSING_CODES = frozenset({"25006", "40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03", "57P05", "58030"})
"""Read-only standby, serialization, deadlock, lock or statement timeout, shutdown, crash, starting, I/O error."""
PASSING_CLASSES = frozenset({"08", "53"})
"""Connection exceptions; resources exhausted (53100 disk full, 53300 too many connections)."""
SCHEMA_CODES = frozenset({"3F000", "42P01", "42703", "42883"})
"""No such schema, table, column or function."""

Row: TypeAlias = Any
"""A row of an answer: unpacked like a tuple, its columns also by name (`row.run_id`, `by_name(row)`)."""

STREAMED_ROWS = 2000
"""Rows that a streamed answer fetches at a time."""
INSERTED_ROWS = 1000
"""Rows that one INSERT statement carries."""


def ledger_url(url: str) -> URL:
    """*url* with the pinned driver. Raises UsageError, which never repeats the URL: it may hold a password."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.drivername not in ACCEPTED_SCHEMES:
        raise UsageError("the ledger's URL must look like postgresql://user@host:5432/database")
    return parsed.set(drivername=DRIVER)


def translated(error: BaseException, password: str | None = None) -> LedgerError | None:
    """Our error for what *error* means to the operator; None for what can only be a bug."""
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.exc import TimeoutError as PoolTimeout

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
    """A bounded pool of connections, shared by the threads of this process. *missed* is called on LedgerUnavailable.

    After a failure the broken connection is thrown away: the next transaction opens a new one, so that a caller only
    has to wait and try again.
    """

    def __init__(self, url: str, *, connections: int = 4, missed: Callable[[], None] | None = None) -> None:
        from sqlalchemy import create_engine

        self._missed = missed
        parsed = ledger_url(url)
        self._password = None if parsed.password is None else str(parsed.password)
        self._engine = create_engine(
            parsed, pool_size=connections, max_overflow=connections, pool_timeout=60, connect_args=CONNECT_ARGUMENTS
        )

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One transaction: committed when the block ends well, rolled back otherwise.

        Raises LedgerUnavailable (also when the answer to COMMIT was lost: it may have happened) and
        LedgerSchemaError; psycopg2's own errors pass when a statement was wrong or broke a constraint.
        """
        from sqlalchemy.exc import DBAPIError
        from sqlalchemy.exc import TimeoutError as PoolTimeout

        try:
            with self._engine.connect() as connection, connection.begin():
                try:
                    yield Transaction(connection)
                except psycopg2.Error:
                    # Raised by a raw cursor, so SQLAlchemy has not seen it and would pool a dead connection.
                    if connection.connection.dbapi_connection is None or _raw(connection).closed:
                        connection.invalidate()
                    raise
        except (DBAPIError, psycopg2.Error, PoolTimeout) as error:
            ours = translated(error, self._password)
            if ours is None:
                raise _original(error) from None
            if self._missed is not None and isinstance(ours, LedgerUnavailable):
                self._missed()
            # The original is not chained: its text may hold the statement's parameters or the password.
            raise ours from None

    def close(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()


class Transaction:
    """The statements of one transaction. A statement names its values (`:name`); they are bound, never written in."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, sql: str, /, **values: Any) -> int:
        """The number of rows that the statement touched."""
        return self._connection.execute(_parsed(sql), values).rowcount

    def rows(self, sql: str, /, **values: Any) -> Sequence[Row]:
        """Every row."""
        return self._connection.execute(_parsed(sql), values).all()

    def row(self, sql: str, /, **values: Any) -> Row | None:
        """The only row, or None."""
        return self._connection.execute(_parsed(sql), values).one_or_none()

    def one(self, sql: str, /, **values: Any) -> Row:
        """The row of a statement that always returns one."""
        return self._connection.execute(_parsed(sql), values).one()

    def column(self, sql: str, /, **values: Any) -> list[Any]:
        """The first column of every row."""
        return list(self._connection.execute(_parsed(sql), values).scalars())

    def value(self, sql: str, /, **values: Any) -> Any:
        """The first column of the only row; None when there is no row."""
        return self._connection.execute(_parsed(sql), values).scalar_one_or_none()

    def stream(self, sql: str, /, **values: Any) -> Iterator[Row]:
        """Every row, fetched STREAMED_ROWS at a time by a cursor of the server."""
        options = {"stream_results": True, "max_row_buffer": STREAMED_ROWS}
        return iter(self._connection.execute(_parsed(sql), values, execution_options=options))

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]], *, on_conflict: str = "") -> None:
        """Insert *rows*, all with the first one's columns, into ledger.*table*; *on_conflict*: what then, as SQL."""
        if not rows:
            return
        statement = f"INSERT INTO ledger.{table} ({', '.join(rows[0])}) VALUES %s"
        if on_conflict:
            statement += f" ON CONFLICT {on_conflict}"
        with _raw(self._connection).cursor() as cursor:
            execute_values(cursor, statement, [tuple(row.values()) for row in rows], page_size=INSERTED_ROWS)

    def copy(self, table: str, columns: str, lines: str) -> None:
        """Append *lines*, in COPY's text form, to ledger.*table*. Text that is not UTF-8 is written with backslash
        escapes.
        """
        with _raw(self._connection).cursor() as cursor:
            data = io.BytesIO(lines.encode(errors="backslashreplace"))
            cursor.copy_expert(f"COPY ledger.{table} ({columns}) FROM STDIN", data)

    def script(self, sql: str) -> None:
        """Run several statements as they stand."""
        with _raw(self._connection).cursor() as cursor:
            cursor.execute(sql)

    def lock(self, key: int) -> None:
        """Hold the advisory lock *key* until the end of the transaction."""
        self.run("SELECT pg_advisory_xact_lock(:key)", key=key)


def by_name(row: Row) -> Mapping[str, Any]:
    """Column -> value."""
    columns: Mapping[str, Any] = row._mapping  # noqa: SLF001 (SQLAlchemy's public name for it)
    return columns


@lru_cache(maxsize=256)
def _parsed(sql: str) -> TextClause:
    from sqlalchemy import text

    return text(sql)


def _raw(connection: Connection) -> psycopg2.extensions.connection:
    """psycopg2's own connection, for COPY, for many rows in one INSERT and for scripts."""
    return connection.connection.dbapi_connection  # type: ignore[return-value]


def _original(error: BaseException) -> BaseException:
    """psycopg2's error without SQLAlchemy's wrapping, which repeats the statement's values; it keeps the statement."""
    from sqlalchemy.exc import DBAPIError

    if not isinstance(error, DBAPIError) or error.orig is None:
        return error
    error.orig.add_note(f"in the statement: {error.statement}")
    return error.orig
