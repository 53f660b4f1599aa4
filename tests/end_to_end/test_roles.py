"""A whole migration as the worker role, which owns nothing and can change nothing of what happened."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import psycopg2
import pytest
from support.corpus import CorpusObject, mixed
from support.operator import Operator
from support.oracle import compare, fill

from schema.tiers import MIB

Sql = Callable[..., list[tuple[object, ...]]]


def login(sql: Sql, url: str, role: str) -> Iterator[str]:
    """The ledger's URL for a new login in *role*."""
    name = f"login_{uuid.uuid4().hex[:12]}"
    sql(f"CREATE ROLE {name} LOGIN IN ROLE {role}")
    yield url.replace("postgres:", f"{name}:", 1).replace("//postgres@", f"//{name}@", 1)
    sql(f"DROP ROLE {name}")


@pytest.fixture
def worker_url(on_moto: Operator, sql: Sql) -> Iterator[str]:
    """The roles as `ledger sql --roles` prints them, run twice as after a migration, and a worker's login."""
    script = on_moto.run("ledger", "sql", "--roles")
    assert script.code == 0
    sql(script.out)
    sql(script.out)
    yield from login(sql, on_moto.ledger_url, "s3migrate_worker")


@pytest.fixture
def reader_url(on_moto: Operator, worker_url: str, sql: Sql) -> Iterator[str]:  # noqa: ARG001 - the roles are made
    yield from login(sql, on_moto.ledger_url, "s3migrate_reader")


def ask(url: str, statement: str) -> None:
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()


FORBIDDEN = [
    "UPDATE ledger.completion SET destination_etag = 'x'",
    "UPDATE ledger.completion_r1 SET destination_etag = 'x'",
    "DELETE FROM ledger.completion",
    "DELETE FROM ledger.completion_r1",
    "TRUNCATE ledger.completion_r1",
    "DROP TABLE ledger.completion_r1",
    "UPDATE ledger.failure SET message = ''",
    "DELETE FROM ledger.verification",
    "DELETE FROM ledger.audit",
    "UPDATE ledger.audit SET body = '{}'",
    "INSERT INTO ledger.audit SELECT run_id, seq + 1000, at, actor, kind, body, hash FROM ledger.audit LIMIT 1",
    "UPDATE ledger.run SET plan_id = 'another'",
    "UPDATE ledger.run SET audit_head = 'x'",
    "UPDATE ledger.batch SET manifest = 'another'",
    "UPDATE ledger.chunk SET hi = hi + 1",
    "DELETE FROM ledger.run",
    "CREATE TABLE ledger.mine (n int)",
    "ALTER TABLE ledger.audit DISABLE TRIGGER ALL",
    "UPDATE ledger.schema_version SET sha256 = 'x'",
]


def test_a_whole_run_as_the_worker(on_moto: Operator, worker_url: str, reader_url: str, seed: int) -> None:
    fill(
        on_moto.source.client(),
        on_moto.source_bucket,
        [*mixed(seed, 8, largest=5_000), CorpusObject("big", 11 * MIB, seed)],
    )
    on_moto.declare(limits={"memory": "12MiB"})
    on_moto.ledger_url = worker_url
    assert on_moto.plan().code == 0
    on_moto.apply().ok()
    assert compare(on_moto.source_side, on_moto.destination_side) == []
    assert on_moto.verify().code == 0
    assert on_moto.run("limit", "1", "bandwidth=20MiB/s").code == 0
    assert on_moto.run("cleanup", on_moto.plan_path).code == 0
    for statement in FORBIDDEN:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            ask(worker_url, statement)
    on_moto.ledger_url = reader_url
    assert on_moto.run("status").code == 0
    assert on_moto.run("ledger", "check").code == 0
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        ask(reader_url, "INSERT INTO ledger.run_limit VALUES (1, 'bandwidth', 1)")
    replacing = "SELECT ledger.replace_completion(1, 0, 3, 'other', '\\x00', NULL)"
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        ask(reader_url, replacing)
    ask(worker_url, replacing)  # without the audit event that a worker writes beside it
    found = on_moto.run("ledger", "check")
    assert found.code == 78 and "digest" in found.err, found.err
