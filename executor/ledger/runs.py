"""Runs: one per plan, one open run per lineage, one writer per destination."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from datetime import UTC
from typing import Any

from executor.ledger import audit
from executor.ledger.advance import complete, end_run
from executor.ledger.audit import Event
from executor.ledger.database import Database, Row, Transaction, by_name
from executor.ledger.enroll import enroll, write_closed_hours
from executor.ledger.leases import reap
from executor.ledger.locks import ACCEPT_LOCK, drop_scopes, hold_scopes
from executor.ledger.sql import NO_LEASE, RUN_UNFINISHED, UNLEASED, one_of
from executor.ledger.values import UNFINISHED, ChunkKind, ChunkSpec, ChunkState, Pause, Run, RunState
from schema.errors import StalePlan
from schema.formats.plain import build
from schema.limits import CLOSED, Closure
from schema.plan import Plan

RUN_COLUMNS = ", ".join(field.name for field in fields(Run) if field.name != "resumed")
"""Without the plan, which may be megabytes; callers rarely need it."""

_TURNED = {RunState.PAUSED: "paused", RunState.OPEN: "resumed"}
"""The audit chain's words for who paused a run, and who let it go on."""


class Runs:
    """The accepted plans: enrolled, looked up, changed and finished."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def accept(self, plan: Plan, chunks: Iterable[ChunkSpec], *, who: str, tool_version: str) -> Run:
        """Enroll *plan* with its *chunks*, or find it enrolled (`resumed`); *chunks* are not read then.

        An older unfinished run of the lineage is superseded and its workers fenced. Raises StalePlan when the
        lineage has accepted a newer serial or another plan of the same one, LockHeld when another unfinished run
        holds an overlapping destination, ValueError when *chunks* do not cover the plan's batches exactly.
        """
        with self._database.transaction() as transaction:
            transaction.lock(ACCEPT_LOCK)
            known = _find(transaction, "plan_id = :plan_id", plan_id=plan.plan_id)
            _refuse_stale(transaction, lineage=plan.lineage, serial=plan.serial, plan_id=plan.plan_id)
            if known is not None:
                if known.state in UNFINISHED:
                    hold_scopes(transaction, known.run_id, plan, who=who, tool_version=tool_version)
                    write_closed_hours(transaction, known.run_id, plan.limits)
                return replace(known, resumed=True)
            _supersede_older(transaction, plan, who=who)
            run_id = enroll(transaction, plan, chunks, who=who, tool_version=tool_version)
            write_closed_hours(transaction, run_id, plan.limits)
            return run_of(transaction.one(f"SELECT {RUN_COLUMNS} FROM ledger.run WHERE run_id = :id", id=run_id))

    def finish(self, run_id: int) -> RunState:
        """Recompute the run's state and return it.

        COMPLETE when every chunk is done, FAILED when only parked chunks and those blocked behind them are left;
        then the destination is released.
        """
        with self._database.transaction() as transaction:
            state = RunState(_locked(transaction, run_id).state)
            if state not in UNFINISHED:
                return state
            going_on, left = transaction.one(
                f"""
                SELECT {_some(ChunkState.READY)} OR {_some(ChunkState.LEASED)}, chunks_left
                  FROM ledger.run WHERE run_id = :run_id""",
                run_id=run_id,
            )
            if not left:
                complete(transaction, run_id)
                return RunState.COMPLETE
            if going_on:
                return state
            end_run(transaction, run_id, RunState.FAILED, event=Event("run-failed", {"chunks_left": left}))
            return RunState.FAILED

    def retry(self, run_id: int, *, who: str, tool_version: str) -> int:
        """Make the parked chunks ready again, and the run open if it had failed; returns the number of chunks.

        Raises LockHeld when another run has taken the destination since, StalePlan when a newer plan was accepted.
        """
        with self._database.transaction() as transaction:
            transaction.lock(ACCEPT_LOCK)
            run = _locked(transaction, run_id)
            if run.state == RunState.SUPERSEDED:
                raise StalePlan(f"run {run_id} was superseded by a newer plan of its lineage; apply that one")
            _refuse_stale(transaction, lineage=run.lineage, serial=run.serial, plan_id=run.plan_id)
            parked = _unpark(transaction, run_id)
            if parked:
                _block_early_verification(transaction, run_id)
                hold_scopes(transaction, run_id, _plan_of(transaction, run_id), who=who, tool_version=tool_version)
                transaction.run(
                    f"""
                    UPDATE ledger.run SET state = {RunState.OPEN:d}, finished_at = NULL
                     WHERE run_id = :run_id AND state = {RunState.FAILED:d}""",
                    run_id=run_id,
                )
                audit.append(transaction, run_id, Event("retried", {"chunks": parked}), who=who)
            return parked

    def pause(self, run_id: int, *, who: str) -> bool:
        """Drain the run's processes and refuse new ones until it is resumed.

        Returns whether it was open; nothing happens to one that is paused or has ended.
        """
        return self._turn(run_id, RunState.OPEN, RunState.PAUSED, who=who)

    def resume(self, run_id: int, *, who: str) -> bool:
        """Undo `pause`. Returns whether the run was paused."""
        return self._turn(run_id, RunState.PAUSED, RunState.OPEN, who=who)

    def _turn(self, run_id: int, old: RunState, new: RunState, *, who: str) -> bool:
        with self._database.transaction() as transaction:
            turned = transaction.run(
                "UPDATE ledger.run SET state = :new WHERE run_id = :run_id AND state = :old",
                new=new,
                run_id=run_id,
                old=old,
            )
            if turned:
                audit.append(transaction, run_id, Event(_TURNED[new], {}), who=who)
            return bool(turned)

    def paused_by(self, run_id: int) -> Pause | None:
        """Who paused the run, and since when; None: it is not paused."""
        with self._database.transaction() as transaction:
            row = transaction.row(
                f"""
                SELECT a.actor, a.at FROM ledger.run r JOIN ledger.audit a ON a.run_id = r.run_id
                 WHERE r.run_id = :run_id AND r.state = {RunState.PAUSED:d} AND a.kind = :kind
                 ORDER BY a.seq DESC LIMIT 1""",
                run_id=run_id,
                kind=_TURNED[RunState.PAUSED],
            )
        return None if row is None else Pause(row.actor, row.at)

    def closures(self, run_id: int) -> list[Closure]:
        """The hours of the coming weeks in which the run's calendar is closed, in order; none for an ended run.

        One whose `begins` has passed is in force now.
        """
        with self._database.transaction() as transaction:
            rows = transaction.rows(
                f"""
                SELECT c.begins, c.ends FROM ledger.closed_hours c JOIN ledger.run r USING (run_id)
                 WHERE c.run_id = :run_id AND c.ends > now() AND {RUN_UNFINISHED}
                   AND NOT EXISTS (SELECT 1 FROM ledger.run_limit l
                                    WHERE l.run_id = c.run_id AND l.name = :closed AND l.value = 0)
                 ORDER BY c.begins""",
                run_id=run_id,
                closed=CLOSED,
            )
        return [Closure(row.begins.astimezone(UTC), row.ends.astimezone(UTC)) for row in rows]

    def all(self) -> list[Run]:
        """Every run, newest first."""
        with self._database.transaction() as transaction:
            rows = transaction.rows(f"SELECT {RUN_COLUMNS} FROM ledger.run ORDER BY run_id DESC")
        return [run_of(row) for row in rows]

    def find(self, plan_id: str) -> Run | None:
        """The run of the plan with this id, if it was accepted."""
        with self._database.transaction() as transaction:
            return _find(transaction, "plan_id = :plan_id", plan_id=plan_id)

    def latest(self) -> Run | None:
        """The run accepted last."""
        with self._database.transaction() as transaction:
            return _find(transaction, "true ORDER BY run_id DESC LIMIT 1")

    def plan_of(self, run_id: int) -> Plan:
        """The plan that the run carries out, as it was accepted."""
        with self._database.transaction() as transaction:
            return _plan_of(transaction, run_id)

    def planned_seconds(self, run_id: int) -> int | None:
        """How long the plan expects the run to take; None: it does not say."""
        with self._database.transaction() as transaction:
            found: int | None = transaction.value(
                "SELECT CAST(plan #>> '{estimate,figures,seconds}' AS int) FROM ledger.run WHERE run_id = :run_id",
                run_id=run_id,
            )
        return found

    def set_limit(self, run_id: int, name: str, value: float) -> None:
        """Set a limit that every process of the run reads."""
        with self._database.transaction() as transaction:
            transaction.run(
                "INSERT INTO ledger.run_limit (run_id, name, value) VALUES (:run_id, :name, :value)"
                " ON CONFLICT (run_id, name) DO UPDATE SET value = excluded.value, set_at = now()",
                run_id=run_id,
                name=name,
                value=value,
            )

    def limits(self, run_id: int) -> Mapping[str, float]:
        """The limits set while the run is in progress."""
        with self._database.transaction() as transaction:
            return limits_of(transaction, run_id)


def run_of(row: Row) -> Run:
    """A row of RUN_COLUMNS as a value."""
    return Run(**{**by_name(row), "state": RunState(row.state)})


def limits_of(transaction: Transaction, run_id: int) -> dict[str, float]:
    """See Runs.limits."""
    rows = transaction.rows("SELECT name, value FROM ledger.run_limit WHERE run_id = :run_id", run_id=run_id)
    return {row.name: row.value for row in rows}


def _some(state: ChunkState) -> str:
    """Whether any chunk of the run is in *state*: answered by that state's index, whatever else there is."""
    return f"EXISTS (SELECT 1 FROM ledger.chunk WHERE run_id = :run_id AND state = {state:d})"


def _find(transaction: Transaction, where: str, **values: Any) -> Run | None:
    row = transaction.row(f"SELECT {RUN_COLUMNS} FROM ledger.run WHERE {where}", **values)
    return None if row is None else run_of(row)


def _locked(transaction: Transaction, run_id: int) -> Row:
    return transaction.one(
        "SELECT state, plan_id, lineage, serial FROM ledger.run WHERE run_id = :run_id FOR NO KEY UPDATE",
        run_id=run_id,
    )


def _unpark(transaction: Transaction, run_id: int) -> int:
    """Make the parked chunks ready; returns their number. Passes over those that a flush makes ready just now: see
    `reap`.
    """
    return transaction.run(
        f"""
        WITH parked AS (
            SELECT k.run_id, k.chunk_no FROM ledger.chunk k
             WHERE k.run_id = :run_id AND k.state = {ChunkState.PARKED:d}
             ORDER BY k.chunk_no FOR NO KEY UPDATE SKIP LOCKED)
        UPDATE ledger.chunk k SET {UNLEASED}, n_bad = 0, n_own = 0, not_before = NULL
          FROM parked WHERE k.run_id = parked.run_id AND k.chunk_no = parked.chunk_no""",
        run_id=run_id,
    )


def _block_early_verification(transaction: Transaction, run_id: int) -> None:
    """What is to be copied anew is verified behind it, also what somebody is verifying now: the fence drops that."""
    transaction.run(
        f"""
        WITH early AS (
            SELECT k.run_id, k.chunk_no FROM ledger.chunk k JOIN ledger.batch b USING (run_id, batch_no)
             WHERE k.run_id = :run_id AND k.kind = {ChunkKind.VERIFY:d} AND b.copy_left > 0
               AND k.state IN {one_of((ChunkState.READY, ChunkState.LEASED))}
             ORDER BY k.chunk_no FOR NO KEY UPDATE OF k SKIP LOCKED)
        UPDATE ledger.chunk k SET state = {ChunkState.BLOCKED:d}, {NO_LEASE}, n_bad = 0, n_own = 0
          FROM early WHERE k.run_id = early.run_id AND k.chunk_no = early.chunk_no""",
        run_id=run_id,
    )


def _plan_of(transaction: Transaction, run_id: int) -> Plan:
    return build(Plan, transaction.one("SELECT plan FROM ledger.run WHERE run_id = :run_id", run_id=run_id).plan)


def _refuse_stale(transaction: Transaction, *, lineage: str, serial: int, plan_id: str) -> None:
    """Raise StalePlan when the lineage has moved on from (*serial*, *plan_id*)."""
    newest = _find(transaction, "lineage = :lineage ORDER BY serial DESC LIMIT 1", lineage=lineage)
    if newest is None or newest.plan_id == plan_id or newest.serial < serial:
        return
    raise StalePlan(
        f"plan {newest.name!r} serial {serial} is stale: serial {newest.serial} was accepted as run {newest.run_id} "
        f"by {newest.created_by} at {newest.created_at:%Y-%m-%d %H:%M:%SZ}; apply that plan, or plan again"
    )


def _supersede_older(transaction: Transaction, plan: Plan, *, who: str) -> None:
    older = transaction.column(
        f"""
        UPDATE ledger.run r SET state = :superseded, epoch = r.epoch + 1, finished_at = now()
         WHERE r.lineage = :lineage AND {RUN_UNFINISHED} RETURNING r.run_id""",
        superseded=RunState.SUPERSEDED,
        lineage=plan.lineage,
    )
    for run_id in older:
        drop_scopes(transaction, run_id)
        reap(transaction, run_id)
        audit.append(transaction, run_id, Event("superseded", {"by": plan.plan_id, "serial": plan.serial}), who=who)
