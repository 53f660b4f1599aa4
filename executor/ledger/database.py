"""The border to PostgreSQL: connections, transactions, statements, and errors translated into ours.

Nothing outside this file and address.py knows that psycopg2 speaks to the server and that SQLAlchemy keeps the
connections of what stays for days. SQLAlchemy is imported by what uses it: it takes longer to load than all else, and
its first use of each statement takes as long as the answer.
"""

from __future__ import annotations

import io
import itertools
import re
import threading
from abc import ABC, abstractmethod
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import psycopg2
from psycopg2.extras import execute_values, register_uuid

from executor.ledger.address import DRIVER, connect_keywords, redacted
from schema.errors import LedgerError, LedgerSchemaError, LedgerUnavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection, TextClause
    from sqlalchemy.exc import DBAPIError

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

NAMED_VALUE = re.compile(r"(?<![:\w]):(\w+)(?!:)")
"""`:name`, and no `::type`."""

STREAMED_ROWS = 2000
"""Rows that a streamed answer fetches at a time."""
WAIT_SECONDS = 60.0
"""How long a transaction waits for a connection while all are in use."""
EVERY_ONE_IN_USE = "every connection to the ledger is in use; wait, or run fewer threads"
SPARING_CONNECTIONS = 8
"""Open at the same time, at most, without a pool."""
INSERTED_ROWS = 1000
"""Rows that one INSERT statement carries."""


def translated(error: psycopg2.Error, keywords: Mapping[str, str]) -> LedgerError | None:
    """Our error for what *error* means to the operator, without the secrets among *keywords*; None for what can only be
    a bug."""
    said = " ".join(redacted(str(error), keywords).split())
    code: str | None = error.pgcode
    if code in SCHEMA_CODES:
        return LedgerSchemaError(f"the ledger lacks something this build needs ({said}); run: s3migrate ledger migrate")
    if code == "53100" or (code is None and "No space left on device" in said):
        return LedgerUnavailable(f"the ledger's disk is full ({said}); free some space: a run then continues")
    if code is not None:
        passing = code in PASSING_CODES or code[:2] in PASSING_CLASSES
        return LedgerUnavailable(f"the ledger cannot serve now: {said}") if passing else None
    lost = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
    if lost or type(error) is psycopg2.DatabaseError:
        return LedgerUnavailable(f"the ledger cannot be reached: {said}")
    return None


def database_at(url: str, *, connections: int, pooled: bool, missed: Callable[[], None] | None) -> Database:
    """The database at *url*, with that many connections kept open, in a pool of SQLAlchemy's or (not *pooled*) without.

    *missed* is called when it cannot be reached. Raises UsageError when *url* is not one that PostgreSQL's client can
    use.
    """
    keywords = connect_keywords(url)
    if pooled:
        return PooledDatabase(keywords, missed, connections=connections)
    return SparingDatabase(keywords, missed, connections=connections)


class Database(ABC):
    """Connections to one PostgreSQL, for any thread of this process.

    After a failure the broken connection is thrown away: the next transaction opens a new one, so that a caller only
    has to wait and try again.
    """

    def __init__(self, keywords: Mapping[str, str], missed: Callable[[], None] | None) -> None:
        """*keywords*: the arguments of psycopg2.connect."""
        self._keywords = keywords
        self._missed = missed

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One transaction: committed when the block ends well, rolled back otherwise.

        Raises LedgerUnavailable (also when the answer to COMMIT was lost: it may have happened) and
        LedgerSchemaError; psycopg2's own errors pass when a statement was wrong or broke a constraint.
        """
        try:
            with self._begun() as transaction:
                yield transaction
        except psycopg2.Error as error:
            ours = translated(error, self._keywords)
            if ours is None:
                raise
            if self._missed is not None and isinstance(ours, LedgerUnavailable):
                self._missed()
            # The original is not chained: its text may hold the statement's parameters or the password.
            raise ours from None

    @abstractmethod
    def _begun(self) -> AbstractContextManager[Transaction]:
        """A transaction on a connection of its own. What goes wrong is raised as psycopg2's error."""

    def _connect(self) -> psycopg2.extensions.connection:
        told: dict[str, Any] = {**self._keywords, **CONNECT_ARGUMENTS}
        made: psycopg2.extensions.connection = psycopg2.connect(**told)
        return made

    @abstractmethod
    def close(self) -> None:
        """Close every connection that is not in use."""


class PooledDatabase(Database):
    """A bounded pool of connections. When one is found dead, all that are as old are thrown away."""

    def __init__(self, keywords: Mapping[str, str], missed: Callable[[], None] | None, *, connections: int) -> None:
        from sqlalchemy import create_engine

        super().__init__(keywords, missed)
        self._engine = create_engine(
            f"{DRIVER}://",
            creator=self._connect,
            pool_size=connections,
            max_overflow=connections,
            pool_timeout=WAIT_SECONDS,
        )

    @contextmanager
    def _begun(self) -> Iterator[Transaction]:
        from sqlalchemy.exc import DBAPIError
        from sqlalchemy.exc import TimeoutError as PoolTimeout

        try:
            with self._engine.connect() as connection, connection.begin():
                try:
                    yield PooledTransaction(connection)
                except psycopg2.Error:
                    # Raised by a raw cursor, so SQLAlchemy has not seen it and would pool a dead connection.
                    if connection.connection.dbapi_connection is None or _raw(connection).closed:
                        connection.invalidate()
                    raise
        except PoolTimeout:
            raise LedgerUnavailable(EVERY_ONE_IN_USE) from None
        except DBAPIError as error:
            raise _original(error) from None

    def close(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()


class SparingDatabase(Database):
    """Connections of psycopg2's, ready in the time that it takes to load.

    So many are kept for the next transactions; while they are in use, others are made, at most SPARING_CONNECTIONS in
    all. After a failure none of those that are as old is used again.
    """

    def __init__(self, keywords: Mapping[str, str], missed: Callable[[], None] | None, *, connections: int = 1) -> None:
        super().__init__(keywords, missed)
        self._most_kept = connections
        self._kept: list[psycopg2.extensions.connection] = []
        self._places = threading.BoundedSemaphore(SPARING_CONNECTIONS)

    @contextmanager
    def _begun(self) -> Iterator[Transaction]:
        if not self._places.acquire(timeout=WAIT_SECONDS):
            raise LedgerUnavailable(EVERY_ONE_IN_USE)
        try:
            connection = self._kept_or_new()
            try:
                yield SparingTransaction(connection)
                connection.commit()
            except BaseException:
                connection.close()
                self.close()  # a server that broke one has broken those that are as old
                raise
            self._keep(connection)
        finally:
            self._places.release()

    def _kept_or_new(self) -> psycopg2.extensions.connection:
        try:
            return self._kept.pop()
        except IndexError:
            connection = self._connect()
            register_uuid(conn_or_curs=connection)  # type: ignore[no-untyped-call]
            return connection

    def _keep(self, connection: psycopg2.extensions.connection) -> None:
        if len(self._kept) >= self._most_kept:
            connection.close()
        else:
            self._kept.append(connection)

    def close(self) -> None:
        """Close what is kept."""
        with suppress(IndexError):  # an empty list, also where another thread has just taken the last
            while True:
                self._kept.pop().close()


class Transaction(ABC):
    """The statements of one transaction. A statement names its values (`:name`); they are bound, never written in."""

    @property
    @abstractmethod
    def _raw(self) -> psycopg2.extensions.connection:
        """psycopg2's own connection, for COPY, for many rows in one INSERT and for scripts."""

    @abstractmethod
    def run(self, sql: str, /, **values: Any) -> int:
        """The number of rows that the statement touched."""

    @abstractmethod
    def rows(self, sql: str, /, **values: Any) -> Sequence[Row]:
        """Every row."""

    @abstractmethod
    def stream(self, sql: str, /, **values: Any) -> Iterator[Row]:
        """Every row, fetched STREAMED_ROWS at a time by a cursor of the server."""

    def row(self, sql: str, /, **values: Any) -> Row | None:
        """The only row, or None."""
        found = self.rows(sql, **values)
        if len(found) > 1:
            raise AssertionError(f"{len(found)} rows instead of one or none: {sql}")
        return found[0] if found else None

    def one(self, sql: str, /, **values: Any) -> Row:
        """The row of a statement that always returns one."""
        (only,) = self.rows(sql, **values)
        return only

    def column(self, sql: str, /, **values: Any) -> list[Any]:
        """The first column of every row."""
        return [row[0] for row in self.rows(sql, **values)]

    def value(self, sql: str, /, **values: Any) -> Any:
        """The first column of the only row; None when there is no row."""
        found = self.row(sql, **values)
        return None if found is None else found[0]

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]], *, on_conflict: str = "") -> None:
        """Insert *rows*, all with the first one's columns, into ledger.*table*; *on_conflict*: what then, as SQL."""
        if not rows:
            return
        statement = f"INSERT INTO ledger.{table} ({', '.join(rows[0])}) VALUES %s"
        if on_conflict:
            statement += f" ON CONFLICT {on_conflict}"
        with self._raw.cursor() as cursor:
            execute_values(cursor, statement, [tuple(row.values()) for row in rows], page_size=INSERTED_ROWS)

    def copy(self, table: str, columns: str, lines: str) -> None:
        """Append *lines*, in COPY's text form, to ledger.*table*. Text that is not UTF-8 is written with backslash
        escapes.
        """
        with self._raw.cursor() as cursor:
            data = io.BytesIO(lines.encode(errors="backslashreplace"))
            cursor.copy_expert(f"COPY ledger.{table} ({columns}) FROM STDIN", data)

    def script(self, sql: str) -> None:
        """Run several statements as they stand."""
        with self._raw.cursor() as cursor:
            cursor.execute(sql)

    def lock(self, key: int) -> None:
        """Hold the advisory lock *key* until the end of the transaction."""
        self.run("SELECT pg_advisory_xact_lock(:key)", key=key)


class PooledTransaction(Transaction):
    """On a connection of SQLAlchemy's."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def _raw(self) -> psycopg2.extensions.connection:
        return _raw(self._connection)

    def run(self, sql: str, /, **values: Any) -> int:
        """See Transaction."""
        return self._connection.execute(_parsed(sql), values).rowcount

    def rows(self, sql: str, /, **values: Any) -> Sequence[Row]:
        """See Transaction."""
        return self._connection.execute(_parsed(sql), values).all()

    def stream(self, sql: str, /, **values: Any) -> Iterator[Row]:
        """See Transaction."""
        options = {"stream_results": True, "max_row_buffer": STREAMED_ROWS}
        return iter(self._connection.execute(_parsed(sql), values, execution_options=options))


class SparingTransaction(Transaction):
    """On a connection of psycopg2's."""

    def __init__(self, connection: psycopg2.extensions.connection) -> None:
        self._connection = connection
        self._streams = itertools.count()

    @property
    def _raw(self) -> psycopg2.extensions.connection:
        return self._connection

    def run(self, sql: str, /, **values: Any) -> int:
        """See Transaction."""
        with self._connection.cursor() as cursor:
            cursor.execute(_with_placeholders(sql), values)
            return cursor.rowcount

    def rows(self, sql: str, /, **values: Any) -> Sequence[Row]:
        """See Transaction."""
        with self._connection.cursor() as cursor:
            cursor.execute(_with_placeholders(sql), values)
            return _named(cursor, cursor.fetchall())

    def stream(self, sql: str, /, **values: Any) -> Iterator[Row]:
        """See Transaction."""
        with self._connection.cursor(f"stream_{next(self._streams)}") as cursor:
            cursor.execute(_with_placeholders(sql), values)
            while rows := cursor.fetchmany(STREAMED_ROWS):
                yield from _named(cursor, rows)


def by_name(row: Row) -> Mapping[str, Any]:
    """Column -> value."""
    columns: Mapping[str, Any] = row._asdict()
    return columns


def _named(cursor: psycopg2.extensions.cursor, rows: Sequence[tuple[Any, ...]]) -> list[Row]:
    """*rows* with their columns' names; what is no name (a keyword, a second one of the same) has none."""
    row = _row_of(tuple(column.name for column in cursor.description or ()))
    return [row(values) for values in rows]


@lru_cache(maxsize=256)
def _row_of(columns: tuple[str, ...]) -> Callable[[tuple[Any, ...]], Row]:
    row: Any = namedtuple("Row", columns, rename=True)  # type: ignore[misc]  # noqa: PYI024  its columns are not known here
    return cast("Callable[[tuple[Any, ...]], Row]", row._make)


@lru_cache(maxsize=256)
def _parsed(sql: str) -> TextClause:
    from sqlalchemy import text

    return text(sql)


@lru_cache(maxsize=256)
def _with_placeholders(sql: str) -> str:
    """*sql* with psycopg2's spelling of the values."""
    return NAMED_VALUE.sub(r"%(\1)s", sql.replace("%", "%%"))


def _raw(connection: Connection) -> psycopg2.extensions.connection:
    """psycopg2's own connection, for COPY, for many rows in one INSERT and for scripts."""
    return connection.connection.dbapi_connection  # type: ignore[return-value]


def _original(error: DBAPIError) -> BaseException:
    """psycopg2's error without SQLAlchemy's wrapping, which repeats the statement's values; it keeps the statement."""
    if error.orig is None:
        return error
    error.orig.add_note(f"in the statement: {error.statement}")
    return error.orig
