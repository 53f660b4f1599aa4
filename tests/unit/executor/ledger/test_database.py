"""The border to PostgreSQL: the driver is pinned, errors are ours, passwords stay inside."""

from __future__ import annotations

import socket
import traceback

import psycopg2
import psycopg2.errorcodes
import pytest
from psycopg2 import errors
from sqlalchemy import create_engine

from executor.ledger.database import ledger_url, plain_keywords, translated
from executor.ledger.ledger import Ledger
from schema.errors import LedgerSchemaError, LedgerUnavailable, UsageError


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_the_driver_is_pinned_whatever_the_scheme(scheme: str) -> None:
    url = ledger_url(f"{scheme}://me:pw@db.example:5433/ledger?sslmode=verify-full")
    assert url.render_as_string(hide_password=False) == (
        "postgresql+psycopg2://me:pw@db.example:5433/ledger?sslmode=verify-full"
    )


@pytest.mark.parametrize(
    "url", ["", "mysql://u:sesame@h/d", "sesame", "postgresql+asyncpg://u:sesame@h/d", "postgresql://u:sesame@h:x/d"]
)
def test_another_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        ledger_url(url)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg2://postgres@/postgres?host=/a/b/postgres/socket&port=5432",
        "postgresql://me:p%40s@db.example:5433/ledger?sslmode=verify-full",
        "postgres://h/",
        "postgresql:///ledger",
        "postgresql://u:@H.example/my-ledger_2",
        "postgresql://u:a+b@h/d?options=-clock_timeout%3D500&application_name=x+y&sslmode=",
    ],
)
def test_without_a_pool_the_server_is_told_what_sqlalchemy_would_tell_it(url: str) -> None:
    engine = create_engine(ledger_url(url))
    told = {name: str(value) for name, value in engine.dialect.create_connect_args(engine.url)[1].items()}

    assert plain_keywords(url) == told


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@/d?host=a&host=b",
        "postgresql://u@/d?host=a,b",
        "postgresql://u@/d?host=a%3A5433",
        "postgresql://[::1]:5433/d",
        "postgresql://h",
        "mysql://u:p@h/d",
        "postgresql://u:p@h:x/d",
    ],
)
def test_what_only_sqlalchemy_understands_is_left_to_it(url: str) -> None:
    assert plain_keywords(url) is None


@pytest.mark.parametrize(
    "error",
    [
        errors.DiskFull,
        errors.TooManyConnections,
        errors.OutOfMemory,
        errors.AdminShutdown,
        errors.CrashShutdown,
        errors.CannotConnectNow,
        errors.ConnectionFailure,
        errors.DeadlockDetected,
        errors.QueryCanceled,
        errors.ReadOnlySqlTransaction,
    ],
)
def test_what_waiting_may_cure_is_unavailable(error: type[psycopg2.Error]) -> None:
    assert isinstance(translated(with_code(error)), LedgerUnavailable)


@pytest.mark.parametrize("error", [errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName])
def test_a_missing_table_is_a_schema_error(error: type[psycopg2.Error]) -> None:
    assert isinstance(translated(with_code(error)), LedgerSchemaError)


@pytest.mark.parametrize("error", [errors.UniqueViolation, errors.SyntaxError, errors.CheckViolation])
def test_what_can_only_be_a_bug_is_not_translated(error: type[psycopg2.Error]) -> None:
    assert translated(with_code(error)) is None


def test_a_lost_connection_without_a_code_is_unavailable() -> None:
    assert isinstance(translated(psycopg2.OperationalError("server closed the connection")), LedgerUnavailable)
    assert isinstance(translated(psycopg2.InterfaceError("connection already closed")), LedgerUnavailable)


def test_nobody_listening_is_unavailable_and_the_password_is_not_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        ledger = Ledger(f"postgresql://me:open-sesame@127.0.0.1:{port}/ledger")
        with pytest.raises(LedgerUnavailable) as caught:
            ledger.schema.migrate()
    assert str(port) in str(caught.value)
    assert "open-sesame" not in "".join(traceback.format_exception(caught.value))
    assert "open-sesame" not in repr(ledger)


def test_a_password_in_the_servers_words_is_blotted_out() -> None:
    error = translated(psycopg2.OperationalError("no: open-sesame is wrong"), "open-sesame")
    assert "open-sesame" not in str(error)


def with_code(error: type[psycopg2.Error]) -> psycopg2.Error:
    """An error as the server sends it; psycopg2 sets pgcode only when it parses an answer."""
    code = next(code for code, found in errors_by_code().items() if found is error)

    class Coded(error):  # type: ignore[misc, valid-type]
        pgcode = code

    return Coded("as sent by a server")


def errors_by_code() -> dict[str, type[psycopg2.Error]]:
    codes = {}
    for name in dir(psycopg2.errorcodes):
        code = getattr(psycopg2.errorcodes, name)
        if isinstance(code, str) and len(code) == 5:
            try:
                codes[code] = errors.lookup(code)
            except KeyError:
                continue
    return codes
