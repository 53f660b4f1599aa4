"""The migrations and tables.py say the same, and a schema that does not fit is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect
from sqlalchemy.dialects import postgresql

from executor.ledger.ledger import Ledger, migrate
from schema.errors import LedgerSchemaError
from schema.tables import SCHEMA, metadata

Sql = Callable[..., list[tuple[object, ...]]]
ALL = [migration.version for migration in migrate.migrations()]


@pytest.fixture
def empty_ledger(empty_database_url: str) -> Iterator[Ledger]:
    opened = Ledger(empty_database_url)
    yield opened
    opened.close()


def test_migrating_from_empty_gives_exactly_the_tables(ledger_url: str) -> None:
    engine = create_engine(ledger_url)
    found = inspect(engine)
    partitions = {f"{name}_r" for name in ("completion", "failure", "verification")}
    names = {name for name in found.get_table_names(SCHEMA) if not name.startswith(tuple(partitions))}
    assert names == {table.name for table in metadata.sorted_tables}
    dialect = postgresql.dialect()
    for table in metadata.sorted_tables:
        columns = found.get_columns(table.name, SCHEMA)
        assert [(c["name"], c["type"].compile(dialect), c["nullable"]) for c in columns] == [
            (c.name, c.type.compile(dialect), c.nullable) for c in table.columns
        ], table.name
        assert found.get_pk_constraint(table.name, SCHEMA)["constrained_columns"] == [c.name for c in table.primary_key]
    engine.dispose()


def test_migrate_applies_what_is_missing_once(empty_ledger: Ledger) -> None:
    with pytest.raises(LedgerSchemaError, match="ledger migrate"):
        empty_ledger.check_schema()
    assert empty_ledger.migrate() == ALL
    assert empty_ledger.migrate() == []
    empty_ledger.check_schema()


def test_four_processes_may_migrate_at_once(empty_database_url: str) -> None:
    def migrate(_: int) -> list[int]:
        ledger = Ledger(empty_database_url)
        try:
            return ledger.migrate()
        finally:
            ledger.close()

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(migrate, range(4))) == [[], [], [], ALL]


def test_the_script_for_a_dba_makes_the_same_schema(empty_database_url: str, empty_ledger: Ledger) -> None:
    engine = create_engine(empty_database_url)
    with engine.begin() as connection:
        connection.connection.cursor().execute(Ledger.sql())
    engine.dispose()
    empty_ledger.check_schema()


def test_an_empty_database_is_told_to_migrate(empty_ledger: Ledger) -> None:
    with pytest.raises(LedgerSchemaError, match="s3migrate ledger migrate"):
        empty_ledger.runs()


def test_a_newer_ledger_is_refused(ledger: Ledger, sql: Sql) -> None:
    sql("INSERT INTO ledger.schema_version (version, name, sha256) VALUES (99, 'future', 'x')")
    for refused in (ledger.check_schema, ledger.migrate):
        with pytest.raises(LedgerSchemaError, match="99"):
            refused()


def test_an_altered_migration_is_refused(ledger: Ledger, sql: Sql) -> None:
    sql("UPDATE ledger.schema_version SET sha256 = 'other' WHERE version = 1")
    with pytest.raises(LedgerSchemaError, match="differs"):
        ledger.check_schema()


def test_migrations_are_numbered_without_gaps_and_hashed_as_they_are(tmp_path: Path) -> None:
    found = migrate.migrations()
    assert [migration.version for migration in found] == list(range(1, len(found) + 1))
    (tmp_path / "0001_x.sql").write_text("SELECT 1")
    assert migrate.migrations(tmp_path)[0].sha256 == hashlib.sha256(b"SELECT 1").hexdigest()
