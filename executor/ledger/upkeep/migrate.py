"""Bringing the ledger's schema up to this build, and refusing one that does not fit."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import schema
from executor.ledger.database import Database, Transaction
from executor.ledger.leases import reap
from executor.ledger.locks import ACCEPT_LOCK
from executor.ledger.sql import RUN_UNFINISHED
from schema.errors import LedgerSchemaError

MIGRATIONS = Path(schema.__file__).parent / "migrations"
ROLES = Path(schema.__file__).parent / "roles.sql"
MIGRATION_LOCK = 0x53334D01
"""Advisory lock key: one process migrates at a time."""


class Migration(NamedTuple):
    """One numbered SQL file."""

    version: int
    name: str
    sql: str
    sha256: str


def migrations(folder: Path = MIGRATIONS) -> list[Migration]:
    """Every migration this build knows, in order of version."""
    found = []
    for path in sorted(folder.glob("[0-9]*.sql")):
        number, _, name = path.stem.partition("_")
        content = path.read_bytes()
        found.append(Migration(int(number), name, content.decode(), hashlib.sha256(content).hexdigest()))
    return found


def script() -> str:
    """The whole schema as one SQL script, with the rows that `check` looks for, for a DBA to apply."""
    parts = ["BEGIN;"]
    for migration in migrations():
        parts += [migration.sql, recording(migration) + ";"]
    return "\n".join([*parts, "COMMIT;", ""])


def recording(migration: Migration) -> str:
    """The statement that records *migration* as applied. Its values are digits, hex and a file name of ours."""
    return (
        "INSERT INTO ledger.schema_version (version, name, sha256) "
        f"VALUES ({migration.version}, '{migration.name}', '{migration.sha256}')"
    )


class Schema:
    """The ledger's schema against this build's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def migrate(self) -> list[int]:
        """Apply the missing migrations, all or nothing. Returns the versions applied. Safe in several processes at
        once. Workers of unfinished runs are fenced: an older build does not write what the new schema counts.

        Raises LedgerSchemaError when the ledger is newer than this build or a migration was altered since.
        """
        with self._database.transaction() as transaction:
            transaction.lock(MIGRATION_LOCK)
            missing = unapplied(transaction)
            in_use = missing and transaction.value("SELECT to_regclass('ledger.chunk')::text") is not None
            if in_use:
                _drain(transaction)
            for migration in missing:
                transaction.script(migration.sql)
                transaction.script(recording(migration))
            if in_use:
                _fence(transaction)
            return [migration.version for migration in missing]

    def check(self) -> None:
        """Raise LedgerSchemaError unless the ledger's schema is exactly this build's."""
        with self._database.transaction() as transaction:
            missing = unapplied(transaction)
        if missing:
            versions = ", ".join(str(migration.version) for migration in missing)
            raise LedgerSchemaError(f"the ledger lacks migration {versions}; run: s3migrate ledger migrate")


def _drain(transaction: Transaction) -> None:
    """Wait for the flushes in progress, and let none begin before the commit.

    Chunks are what a flush locks first: one that has them ends undisturbed, one that has none holds nothing that a
    migration needs.
    """
    transaction.lock(ACCEPT_LOCK)
    transaction.run("LOCK TABLE ledger.chunk IN ACCESS EXCLUSIVE MODE")


def _fence(transaction: Transaction) -> None:
    """Take the leases of every unfinished run from workers that joined before the migration."""
    runs = transaction.column(f"UPDATE ledger.run r SET epoch = r.epoch + 1 WHERE {RUN_UNFINISHED} RETURNING r.run_id")
    for run_id in runs:
        reap(transaction, run_id)


def unapplied(transaction: Transaction) -> list[Migration]:
    """This build's migrations that the ledger does not record. Raises LedgerSchemaError on any contradiction."""
    applied: dict[int, str] = {}
    if transaction.value("SELECT to_regclass('ledger.schema_version')::text") is not None:
        rows = transaction.rows("SELECT version, sha256 FROM ledger.schema_version")
        applied = {row.version: row.sha256 for row in rows}
    known = {migration.version: migration for migration in migrations()}
    newer = sorted(applied.keys() - known.keys())
    if newer:
        raise LedgerSchemaError(
            f"the ledger has migration {newer[-1]}, which this build does not know; upgrade s3migrate"
        )
    for version, sha256 in applied.items():
        if known[version].sha256 != sha256:
            raise LedgerSchemaError(
                f"migration {version} was applied to the ledger from a file that differs from this build's; "
                "use the build that made the ledger, or an empty database"
            )
    return [migration for version, migration in sorted(known.items()) if version not in applied]
