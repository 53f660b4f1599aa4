"""The border to PostgreSQL: connections, transactions, statements, and errors translated into ours.

Nothing outside this file knows that psycopg2 speaks to the server and that SQLAlchemy keeps the connections of many
threads. SQLAlchemy is imported by what uses it: it takes longer to load than all else, and a command that asks a few
questions does without.
"""

from __future__ import annotations

import io
import itertools
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qsl, unquote

import psycopg2
from psycopg2.extras import NamedTupleCursor, execute_values, register_uuid

from schema.errors import LedgerError, LedgerSchemaError, LedgerUnavailable, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection, TextClause
    from sqlalchemy.engine import URL
    from sqlalchemy.exc import DBAPIError

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

PLAIN_URL = re.compile(
    r"(postgres|postgresql|postgresql\+psycopg2)://((?P<user>[^:/?#@]*)(:(?P<password>[^/?#@]*))?@)?"
    r"(?P<host>[\w.-]*)(:(?P<port>\d+))?/(?P<dbname>[^/?#@%]*)(\?(?P<query>[^#]*))?"
)
"""Of one server, with nothing that has to be understood; SQLAlchemy reads all others."""
NAMED_VALUE = re.compile(r"(?<![:\w]):(\w+)(?!:)")
"""`:name`, and no `::type`."""

STREAMED_ROWS = 2000
"""Rows that a streamed answer fetches at a time."""
EVERY_ONE_IN_USE = "every connection is in use; wait, or run fewer threads"
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


def plain_keywords(url: str) -> dict[str, str] | None:
    """The arguments of psycopg2.connect for *url*, as SQLAlchemy makes them; None where only SQLAlchemy can tell."""
    found = PLAIN_URL.fullmatch(url)
    if found is None:
        return None
    spelled = parse_qsl(found["query"] or "")
    query = dict(spelled)
    if len(query) < len(spelled) or re.search("[,:]", query.get("host", "")):
        return None  # several servers, one after the other
    named = {name: unquote(found[name]) for name in ("user", "password", "host", "port", "dbname") if found[name]}
    return named | query


def translated(error: psycopg2.Error, password: str | None = None) -> LedgerError | None:
    """Our error for what *error* means to the operator; None for what can only be a bug."""
    said = " ".join(str(error).split())
    if password:
        said = said.replace(password, "***")
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


def database_at(url: str, *, connections: int, missed: Callable[[], None] | None) -> Database:
    """The database at *url*, with that many connections kept open. *missed* is called on LedgerUnavailable.

    Raises UsageError when *url* is not a PostgreSQL URL.
    """
    keywords = plain_keywords(url) if connections == 1 else None
    if keywords is not None:
        return SparingDatabase(keywords, missed)
    return PooledDatabase(url, missed, connections=connections)


class Database(ABC):
    """Connections to one PostgreSQL, for any thread of this process.

    After a failure the broken connection is thrown away: the next transaction opens a new one, so that a caller only
    has to wait and try again.
    """

    def __init__(self, password: str | None, missed: Callable[[], None] | None) -> None:
        self._password = password
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
            ours = translated(error, self._password)
            if ours is None:
                raise
            if self._missed is not None and isinstance(ours, LedgerUnavailable):
                self._missed()
            # The original is not chained: its text may hold the statement's parameters or the password.
            raise ours from None

    @abstractmethod
    def _begun(self) -> AbstractContextManager[Transaction]:
        """A transaction on a connection of its own. What goes wrong is raised as psycopg2's error."""

    @abstractmethod
    def close(self) -> None:
        """Close every connection that is not in use."""


class PooledDatabase(Database):
    """A bounded pool of connections. When one is found dead, all that are as old are thrown away."""

    def __init__(self, url: str, missed: Callable[[], None] | None, *, connections: int) -> None:
        from sqlalchemy import create_engine

        parsed = ledger_url(url)
        super().__init__(None if parsed.password is None else str(parsed.password), missed)
        self._engine = create_engine(
            parsed, pool_size=connections, max_overflow=connections, pool_timeout=60, connect_args=CONNECT_ARGUMENTS
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
            raise psycopg2.OperationalError(EVERY_ONE_IN_USE) from None
        except DBAPIError as error:
            raise _original(error) from None

    def close(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()


class SparingDatabase(Database):
    """Connections without a pool, for a command that asks a few questions, mostly one after the other.

    It is ready in the time that psycopg2 takes to load. A connection is kept for the next transaction; while others are
    open, another one is made, without a bound.
    """

    def __init__(self, keywords: Mapping[str, str], missed: Callable[[], None] | None) -> None:
        super().__init__(keywords.get("password"), missed)
        self._keywords: dict[str, Any] = {**keywords, **CONNECT_ARGUMENTS}
        self._kept: list[psycopg2.extensions.connection] = []

    @contextmanager
    def _begun(self) -> Iterator[Transaction]:
        try:
            connection = self._kept.pop()
        except IndexError:
            connection = psycopg2.connect(**self._keywords, cursor_factory=NamedTupleCursor)
            register_uuid(conn_or_curs=connection)  # type: ignore[no-untyped-call]
        try:
            yield SparingTransaction(connection)
            connection.commit()
        except BaseException:
            connection.close()
            self.close()  # a server that broke one has broken those that are as old
            raise
        self._kept.append(connection)

    def close(self) -> None:
        """Close what is kept."""
        while self._kept:
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
            return cursor.fetchall()

    def stream(self, sql: str, /, **values: Any) -> Iterator[Row]:
        """See Transaction."""
        with self._connection.cursor(f"stream_{next(self._streams)}") as cursor:
            cursor.execute(_with_placeholders(sql), values)
            while rows := cursor.fetchmany(STREAMED_ROWS):
                yield from rows


def by_name(row: Row) -> Mapping[str, Any]:
    """Column -> value."""
    columns: Mapping[str, Any] = row._asdict()
    return columns


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
