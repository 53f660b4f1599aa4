"""The border to PostgreSQL: the driver is pinned, errors are ours, passwords stay inside."""

from __future__ import annotations

import socket
import traceback
from contextlib import ExitStack

import psycopg2
import psycopg2.errorcodes
import pytest
from psycopg2 import errors
from sqlalchemy import create_engine

from executor.ledger import database
from executor.ledger.address import connect_keywords, ledger_url, plain_keywords, redacted, shown_url
from executor.ledger.database import SPARING_CONNECTIONS, SparingDatabase, translated
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
    ("url", "said"),
    [
        ("postgresql://joe:Tr0ub4dor@zebra@127.0.0.1:1/db", "@ is %40"),
        ("postgresql://joe:zeb@ra/sesame@h/db", "@ is %40"),
        ("postgresql://joe:zeb@ra?sesame=x@h/db", "@ is %40"),
        ("postgresql://joe:zeb@h:sesame@h/db", "@ is %40"),
        ("postgresql://u@h/db?schema=sesame", "'schema'"),
        ("postgresql://u@h/db?plugin=sesame", "'plugin'"),
        ("postgresql://u@h/db?cursor_factory=sesame", "'cursor_factory'"),
        ("postgresql://u@h/db?async=1", "'async'"),
        ("postgresql://u@h/db?dsn=sesame", "'dsn'"),
        ("postgresql://u@h/db?host%3D''%20sslmode=sesame", "option \"host=''"),
        ("postgresql://u@h/db?sslmode=require&sslmode=sesame", "'sslmode' more than once"),
        ("postgresql://u@/db?host=a:1&port=sesame", "hosts and ports"),
        ("postgresql://u:%00sesame@h/db", "a character in its password"),
        ("postgresql://u%00:sesame@[::1]/db", "a character in its user"),
        ("postgresql://u:sesame\udc80@h/db", "a character in its password"),
    ],
)
def test_what_the_client_cannot_be_told_is_named_without_its_value(url: str, said: str) -> None:
    for asked in (connect_keywords, shown_url):
        with pytest.raises(UsageError) as caught:
            asked(url)
        told = "".join(traceback.format_exception(caught.value)).split("schema.errors.UsageError")[1]
        assert said in told
        assert not any(secret in told for secret in ("sesame", "zeb", "Tr0ub4dor"))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgres://u:sesame@h:1/db?sslmode=require", "postgresql://u:***@h:1/db?sslmode=require"),
        ("postgresql://u@h/db?password=sesame&sslpassword=x", "postgresql://u@h/db?password=***&sslpassword=***"),
        ("postgresql://me@corp:p%40ss@h/db", "postgresql://me%40corp:***@h/db"),
        ("postgresql://u@h/a@b?application_name=me@x", "postgresql://u@h/a%40b?application_name=me%40x"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert shown_url(url) == shown


def test_only_words_that_are_the_secret_are_blotted_out() -> None:
    said = 'connection failed: "lost it", @il, lostit'
    for short in ("ail", "failed:"[:3], "st it"[1:], "lost"[:3]):
        assert redacted(said, {"password": short, "host": "failed"}) == said
    assert redacted(said, {"sslpassword": "lost it"}) == 'connection failed: "***", @il, lostit'
    assert redacted(said, {"password": "lostit"}) == 'connection failed: "lost it", @il, ***'
    assert redacted(said, {"password": '"lost'}) == 'connection failed: *** it", @il, lostit'


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
    assert isinstance(translated(with_code(error), {}), LedgerUnavailable)


@pytest.mark.parametrize("error", [errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName])
def test_a_missing_table_is_a_schema_error(error: type[psycopg2.Error]) -> None:
    assert isinstance(translated(with_code(error), {}), LedgerSchemaError)


@pytest.mark.parametrize("error", [errors.UniqueViolation, errors.SyntaxError, errors.CheckViolation])
def test_what_can_only_be_a_bug_is_not_translated(error: type[psycopg2.Error]) -> None:
    assert translated(with_code(error), {}) is None


def test_a_lost_connection_without_a_code_is_unavailable() -> None:
    assert isinstance(translated(psycopg2.OperationalError("server closed the connection"), {}), LedgerUnavailable)
    assert isinstance(translated(psycopg2.InterfaceError("connection already closed"), {}), LedgerUnavailable)


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
    error = translated(psycopg2.OperationalError("no: open-sesame is wrong"), {"password": "open-sesame"})
    assert "open-sesame" not in str(error)


class Connection:
    """Of nothing, as psycopg2's."""

    def __init__(self) -> None:
        self.open = True

    def commit(self) -> None: ...

    def close(self) -> None:
        self.open = False


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Connection]:
    """Every connection that a database opens."""
    opened: list[Connection] = []

    def connect(**_told: object) -> Connection:
        opened.append(Connection())
        return opened[-1]

    monkeypatch.setattr(database, "register_uuid", lambda **_told: None)
    monkeypatch.setattr(psycopg2, "connect", connect)
    return opened


def test_without_a_pool_one_connection_is_kept_and_so_many_are_open_at_most(
    made: list[Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "WAIT_SECONDS", 0.0)
    missed: list[bool] = []
    sparing = SparingDatabase({}, lambda: missed.append(True))
    with ExitStack() as open_ones:
        for _ in range(SPARING_CONNECTIONS):
            open_ones.enter_context(sparing.transaction())
        with pytest.raises(LedgerUnavailable) as caught, sparing.transaction():
            raise AssertionError("one more than may be open")
    assert "reached" not in str(caught.value) and "in use" in str(caught.value)
    assert (len(made), sum(one.open for one in made), missed) == (SPARING_CONNECTIONS, 1, [])
    with sparing.transaction():
        assert len(made) == SPARING_CONNECTIONS
    sparing.close()
    assert not any(one.open for one in made)


def test_as_many_are_kept_as_were_asked_for_and_none_after_a_failure(made: list[Connection]) -> None:
    sparing = SparingDatabase({}, None, connections=2)
    with sparing.transaction(), sparing.transaction(), sparing.transaction():
        pass
    assert [one.open for one in made] == [False, True, True]
    with sparing.transaction(), sparing.transaction():
        assert len(made) == 3
    with pytest.raises(LedgerUnavailable), sparing.transaction():
        raise psycopg2.OperationalError("gone")
    assert not any(one.open for one in made)


def test_two_that_close_the_same_connections_do_not_disturb_the_error(made: list[Connection]) -> None:
    class TakenByAnother(list[Connection]):
        def __bool__(self) -> bool:
            full = len(self) > 0
            self.clear()
            return full

    sparing = SparingDatabase({}, None)
    with pytest.raises(LedgerUnavailable, match="gone"), sparing.transaction():
        sparing._kept = TakenByAnother([Connection()])  # type: ignore[assignment]
        raise psycopg2.OperationalError("gone")
    assert [one.open for one in made] == [False]


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
