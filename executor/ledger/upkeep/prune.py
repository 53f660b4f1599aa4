"""Freeing the rows that a finished run no longer needs.

Kept is what proves the run: the plan, its batches and chunks with their digests, every completion, every verification
that says ok, the audit chain; `ledger check` finds a pruned run whole. Kept as well is what is still open: objects
given up, intents of objects without a completion, so that `retry` works as before; uploads, which `cleanup` has yet
to abort; and why objects were left alone, which `status` shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from executor.ledger import audit
from executor.ledger.audit import Event
from executor.ledger.database import Database, Transaction
from executor.ledger.sql import left_alone_in
from executor.ledger.values import UNFINISHED, ChunkKind, RunState
from schema.errors import UsageError

COMPLETED = (
    "EXISTS (SELECT 1 FROM ledger.completion c WHERE (c.run_id, c.batch_no, c.ord) = (x.run_id, x.batch_no, x.ord))"
)
PROVEN = """EXISTS (SELECT 1 FROM ledger.verification v
                     WHERE (v.run_id, v.batch_no, v.ord) = (x.run_id, x.batch_no, x.ord) AND v.ok)"""
OF_PARTITIONS = {
    "failure": f"""NOT {left_alone_in("x")}
        AND (NOT x.terminal OR CASE WHEN x.kind = {ChunkKind.VERIFY:d} THEN {PROVEN} ELSE {COMPLETED} END)""",
    "verification": f"NOT x.ok AND {PROVEN}",
}
"""Table with a partition for each run -> which of its rows (x) are removed."""
OF_TABLES = {"intent": COMPLETED, "flow_sample": "true", "run_limit": "true", "closed_hours": "true"}
"""Table of all runs -> which of its rows (x) are removed."""


class Pruned(NamedTuple):
    """What a prune removed."""

    rows: Mapping[str, int]
    """By table."""
    bytes: int
    """Of disk, at once; the space of tables that runs share is used again by the next run."""
    kept_bytes: int
    """Bytes the run's own tables still hold."""


class Pruning:
    """Pruning of runs that have ended."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def prune(self, run_id: int, *, who: str) -> Pruned:
        """Remove the rows of the run that are no longer needed. Idempotent.

        Raises UsageError for a run that has not ended: its workers still read what would be removed.
        """
        with self._database.transaction() as transaction:
            found = transaction.value(
                "SELECT state FROM ledger.run WHERE run_id = :run_id FOR NO KEY UPDATE", run_id=run_id
            )
            if found is None:
                raise UsageError(f"there is no run {run_id}")
            if RunState(found) in UNFINISHED:
                raise UsageError(f"run {run_id} has not ended; finish it, or let a newer plan supersede it, then prune")
            before = _disk(transaction, run_id)
            rows = {table: _emptied(transaction, run_id, table, useless=useless)
                    for table, useless in OF_PARTITIONS.items()}  # fmt: skip
            rows |= {
                table: transaction.run(f"DELETE FROM ledger.{table} x WHERE x.run_id = :run_id AND {useless}",
                                       run_id=run_id)
                for table, useless in OF_TABLES.items()
            }  # fmt: skip
            transaction.run("UPDATE ledger.worker SET seen = NULL WHERE run_id = :run_id", run_id=run_id)
            after = _disk(transaction, run_id)
            if any(rows.values()):
                audit.append(transaction, run_id, Event("pruned", {"rows": sum(rows.values())}), who=who)
        return Pruned({table: count for table, count in rows.items() if count}, before - after, after)


def _disk(transaction: Transaction, run_id: int) -> int:
    """Bytes that the run's own partitions take."""
    return int(
        transaction.value(
            "SELECT sum(pg_total_relation_size(p)) FROM unnest(CAST(:names AS regclass[])) p",
            names=[f"ledger.{table}_r{run_id}" for table in ("completion", *OF_PARTITIONS)],
        )
    )


def _emptied(transaction: Transaction, run_id: int, table: str, *, useless: str) -> int:
    """Remove the *useless* rows of the run's partition by rewriting the others.

    Returns the number removed. A DELETE would keep the space for rows that never come: nothing is written to this
    partition any more.
    """
    partition = f"ledger.{table}_r{run_id:d}"
    before = transaction.value(f"SELECT count(*) FROM {partition}")
    gone = int(transaction.value(f"SELECT count(*) FROM {partition} x WHERE {useless}"))
    if gone:
        transaction.run(
            f"CREATE TEMPORARY TABLE kept_{table} ON COMMIT DROP AS SELECT * FROM {partition} x WHERE NOT ({useless})"
        )
        transaction.run(f"TRUNCATE {partition}")
        transaction.run(f"INSERT INTO {partition} SELECT * FROM kept_{table}")
        left = transaction.value(f"SELECT count(*) FROM {partition}")
        if left != before - gone:
            raise ValueError(f"{partition} holds {left} rows after pruning, not {before - gone}")
    return gone
