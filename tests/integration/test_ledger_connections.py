"""The two ways to the ledger, with a pool and without: the same statements, the same answers, the same errors."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import psycopg2
import pytest

from executor.ledger.database import STREAMED_ROWS, Database, by_name, database_at
from schema.errors import LedgerSchemaError, LedgerUnavailable

ENDED = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = :name"


@pytest.fixture(params=[(1, False), (4, False), (4, True)], ids=["one", "several", "pooled"])
def database(request: pytest.FixtureRequest, ledger_url: str) -> Iterator[Database]:
    connections, pooled = request.param
    opened = database_at(ledger_url, connections=connections, pooled=pooled, missed=None)
    yield opened
    opened.close()


def test_every_kind_of_statement_says_the_same(database: Database) -> None:
    with database.transaction() as transaction:
        transaction.script("CREATE TABLE ledger.t (n int PRIMARY KEY, word text); CREATE TABLE ledger.u (n int)")
        transaction.insert("t", [{"n": n, "word": f"{n} %"} for n in range(3)])
        transaction.insert("t", [{"n": 0, "word": "again"}], on_conflict="DO NOTHING")
        transaction.copy("t", "n, word", "3\ta:b\n4\t\\N\n")
    with database.transaction() as transaction:
        found = transaction.rows("SELECT n, word FROM ledger.t WHERE word LIKE '%' ORDER BY n")
        row = transaction.row("SELECT n, word FROM ledger.t WHERE n = ANY(:some)", some=[1, 99])

        assert [tuple(row) for row in found] == [(0, "0 %"), (1, "1 %"), (2, "2 %"), (3, "a:b")]
        assert row is not None and row.word == "1 %" and by_name(row) == {"n": 1, "word": "1 %"}
        assert transaction.row("SELECT 1 WHERE :never", never=False) is None
        assert transaction.value("SELECT (:n)::int + 1", n=1) == 2
        assert transaction.value("SELECT n FROM ledger.u") is None
        assert transaction.one("SELECT count(*) AS of_all FROM ledger.t").of_all == 5
        assert transaction.column("SELECT n FROM ledger.t WHERE n > :least ORDER BY n", least=2) == [3, 4]
        assert transaction.run("UPDATE ledger.t SET word = 'x' WHERE n < :most", most=2) == 2


def test_columns_may_have_the_same_name_or_one_that_python_keeps_for_itself(database: Database) -> None:
    with database.transaction() as transaction:
        first, second = transaction.one("SELECT 1 AS n, 2 AS n")
        row = transaction.one("SELECT 3 AS n, 4 AS class, 5")
        streamed = next(transaction.stream("SELECT 6 AS n, 7 AS n"))

        assert (first, second, *row, row.n, *streamed) == (1, 2, 3, 4, 5, 3, 6, 7)


def test_a_stream_goes_on_beyond_what_it_fetches_at_a_time_and_beside_another(database: Database) -> None:
    with database.transaction() as transaction:
        first, second = (transaction.stream("SELECT generate_series(0, :most) AS n", most=STREAMED_ROWS) for _ in "ab")

        assert [row.n for pair in zip(first, second, strict=True) for row in pair][-2:] == [STREAMED_ROWS] * 2


def test_what_fails_leaves_nothing_and_a_transaction_may_be_within_another(database: Database) -> None:
    with database.transaction() as outer, database.transaction() as inner:
        assert inner.value("SELECT pg_backend_pid()") != outer.value("SELECT pg_backend_pid()")
        inner.script("CREATE TABLE ledger.t (n int PRIMARY KEY)")
        inner.insert("t", [{"n": 1}])
    with pytest.raises(psycopg2.errors.UniqueViolation), database.transaction() as transaction:
        transaction.insert("t", [{"n": 2}])
        transaction.run("INSERT INTO ledger.t VALUES (:n)", n=1)
    with database.transaction() as transaction:
        assert transaction.column("SELECT n FROM ledger.t") == [1]


def test_a_missing_table_and_a_lost_server_have_our_names(ledger_url: str) -> None:
    for connections, pooled in ((1, False), (4, False), (4, True)):
        missed: list[int] = []
        note = partial(missed.append, 1)
        database = database_at(ledger_url, connections=connections, pooled=pooled, missed=note)
        with pytest.raises(LedgerSchemaError), database.transaction() as transaction:
            transaction.rows("SELECT 1 FROM ledger.nowhere")
        assert not missed
        with database.transaction(), database.transaction() as transaction:  # two that are as old
            name = transaction.value("SELECT current_database()")
        other = database_at(ledger_url, connections=1, pooled=False, missed=None)
        with other.transaction() as transaction:
            transaction.run(ENDED, name=name)
        other.close()

        with pytest.raises(LedgerUnavailable), database.transaction() as transaction:
            transaction.value("SELECT 1")
        assert missed == [1]
        with database.transaction() as transaction:
            assert transaction.value("SELECT 1") == 1
        database.close()


def test_what_apply_works_with_loads_no_pool(ledger_url: str) -> None:
    program = (
        "import sys, s3migrate.commands.apply\nfrom executor.ledger.ledger import Ledger\n"
        "ledger = Ledger(sys.argv[1])\nledger.schema.check()\nledger.close()\nprint(*sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program, ledger_url], capture_output=True, text=True, check=True)

    assert "sqlalchemy" not in ran.stdout.split()


def test_status_loads_neither_the_pool_nor_what_moves_objects(ledger_url: str) -> None:
    program = (
        "import sys\nfrom s3migrate.cli import cli\n"
        "try: cli(['status', '--all'])\nexcept SystemExit as end: assert not end.code\n"
        "print(*sys.modules)"
    )
    environment = os.environ | {"S3MIGRATE_LEDGER": ledger_url}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)

    loaded = set(ran.stdout.split())
    assert "psycopg2" in loaded
    assert not loaded & {"sqlalchemy", "asyncio", "botocore", "pycurl", "jsonschema", "networkx", "rich", "planner"}
