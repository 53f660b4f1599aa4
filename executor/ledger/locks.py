"""Who may write where: locks on destinations."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple
from uuid import UUID, uuid4

from executor.ledger import audit
from executor.ledger.audit import Event
from executor.ledger.database import Database, Row, Transaction
from executor.ledger.leases import reap
from schema.declaration import Side
from schema.ends import server_of
from schema.errors import LockHeld, UsageError
from schema.plan import Plan

ACCEPT_LOCK = 0x53334D02
"""Advisory lock key: plans are accepted, and scopes taken again, one at a time."""


class DestinationScope(NamedTuple):
    """A destination, as far as one run may write."""

    endpoint: str
    bucket: str
    prefix: bytes

    def overlaps(self, other: DestinationScope) -> bool:
        """True when a key could lie under both."""
        same_bucket = (self.endpoint, self.bucket) == (other.endpoint, other.bucket)
        return same_bucket and (self.prefix.startswith(other.prefix) or other.prefix.startswith(self.prefix))


def scope_of(side: Side) -> DestinationScope:
    """The scope that writing to *side* takes."""
    return DestinationScope(server_of(side.endpoint_url), side.bucket, side.prefix.encode(errors="surrogatepass"))


def scopes_of(side: Side) -> set[DestinationScope]:
    """The same under every endpoint declared for *side*: the run may move from one to another."""
    urls = {side.endpoint_url, *side.endpoint_candidates}
    return {scope_of(replace(side, endpoint_url=url)) for url in urls}


class DestinationLocks:
    """The locks an operator may break."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def unlock(self, lock_id: str, *, who: str) -> int:
        """Break a lock: its run's workers are fenced, their leases dropped, and the destination is free.

        Returns the run's id. Applying the same plan again takes the lock anew. Raises UsageError for an unknown id.
        """
        try:
            known = UUID(lock_id)
        except ValueError:
            raise unknown_lock(lock_id) from None
        with self._database.transaction() as transaction:
            transaction.lock(ACCEPT_LOCK)
            run_id = transaction.value("SELECT DISTINCT run_id FROM ledger.scope_lock WHERE lock_id = :id", id=known)
            if run_id is None:
                raise unknown_lock(lock_id)
            transaction.run("UPDATE ledger.run SET epoch = epoch + 1 WHERE run_id = :run_id", run_id=run_id)
            drop_scopes(transaction, run_id)
            audit.append(transaction, run_id, Event("unlocked", {"lock_id": str(known)}), who=who)
            reap(transaction, run_id)
            return int(run_id)


def unknown_lock(lock_id: str) -> UsageError:
    """The error for an id that no lock has."""
    return UsageError(f"no lock has the id {lock_id}; an apply that is refused with exit code 6 names it")


def hold_scopes(transaction: Transaction, run_id: int, plan: Plan, *, who: str, tool_version: str) -> None:
    """Lock the plan's destinations for *run_id*, unless it holds them already. Call under ACCEPT_LOCK.

    Raises LockHeld when another run has an overlapping one.
    """
    wanted = {scope for section in plan.sections for scope in scopes_of(section.destination)}
    locks = transaction.rows(
        "SELECT l.endpoint, l.bucket, l.prefix, l.run_id, l.lock_id, l.operation, l.who, l.tool_version, l.created_at,"
        " r.name FROM ledger.scope_lock l JOIN ledger.run r ON r.run_id = l.run_id"
    )
    held, lock_id = set(), uuid4()
    for lock in locks:
        scope = DestinationScope(lock.endpoint, lock.bucket, bytes(lock.prefix))
        if lock.run_id == run_id:
            held.add(scope)
            lock_id = lock.lock_id
        elif any(scope.overlaps(ours) for ours in wanted):
            raise LockHeld(lock_message(lock, scope))
    common = {"run_id": run_id, "lock_id": lock_id, "operation": "apply", "who": who, "tool_version": tool_version}
    transaction.insert("scope_lock", [{**scope._asdict(), **common} for scope in sorted(wanted - held)])


def lock_message(lock: Row, scope: DestinationScope) -> str:
    """Who holds *scope*, since when, and how to get it."""
    prefix = scope.prefix.decode(errors="backslashreplace")
    return (
        f"the destination s3://{scope.bucket}/{prefix} at {scope.endpoint} is held by run {lock.run_id} "
        f"({lock.name!r}): {lock.operation} by {lock.who} since {lock.created_at:%Y-%m-%d %H:%M:%SZ}, "
        f"s3migrate {lock.tool_version}, lock id {lock.lock_id}. Finish that run first; if it is given up for good: "
        f"s3migrate unlock {lock.lock_id}"
    )


def drop_scopes(transaction: Transaction, run_id: int) -> None:
    """Release every destination *run_id* holds."""
    transaction.run("DELETE FROM ledger.scope_lock WHERE run_id = :run_id", run_id=run_id)
