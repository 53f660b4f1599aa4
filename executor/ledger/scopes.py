"""Who may write where: scope locks on destinations, epochs, and leases taken back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, delete, insert, select, text

from executor.ledger.database import Database, audit
from schema.declaration import Side
from schema.ends import server_of
from schema.errors import LockHeld, UsageError
from schema.plan import Plan
from schema.tables import run as run_table
from schema.tables import scope_lock

ACCEPT_LOCK = 0x53334D02
"""Advisory lock key: plans are accepted, and scopes taken again, one at a time."""


class Scope(NamedTuple):
    """A destination, as far as one run may write."""

    endpoint: str
    bucket: str
    prefix: bytes

    def overlaps(self, other: Scope) -> bool:
        """True when a key could lie under both."""
        same_bucket = (self.endpoint, self.bucket) == (other.endpoint, other.bucket)
        return same_bucket and (self.prefix.startswith(other.prefix) or other.prefix.startswith(self.prefix))


def scope_of(side: Side) -> Scope:
    """The scope that writing to *side* needs."""
    return Scope(server_of(side.endpoint_url), side.bucket, side.prefix.encode(errors="surrogatepass"))


def scopes_of(side: Side) -> set[Scope]:
    """The same under every endpoint declared for *side*: the run may move from one to another."""
    urls = {side.endpoint_url, *side.endpoint_candidates}
    return {scope_of(replace(side, endpoint_url=url)) for url in urls}


def scope_of_plan_row(plan: Any) -> set[Scope]:
    """The destinations of a plan as the run's row keeps it."""
    return {
        scope
        for end in (section["destination"] for section in plan["sections"])
        for scope in scopes_of(
            Side(
                bucket=end["bucket"],
                prefix=end["prefix"],
                endpoint_url=end["endpoint_url"],
                endpoint_candidates=tuple(end.get("endpoint_candidates", ())),
            )
        )
    }


def hold_scope(connection: Connection, run_id: int, plan: Plan, *, who: str, tool_version: str) -> None:
    """Take the plan's destinations for *run_id*, or see that it has them. Call under ACCEPT_LOCK.

    Raises LockHeld when another run has an overlapping one.
    """
    wanted = {scope for section in plan.sections for scope in scopes_of(section.destination)}
    hold_scopes(connection, run_id, wanted, who=who, tool_version=tool_version)


def hold_scopes(connection: Connection, run_id: int, wanted: set[Scope], *, who: str, tool_version: str) -> None:
    """The same for scopes already known."""
    locks = connection.execute(
        select(scope_lock, run_table.c.name).join(run_table, run_table.c.run_id == scope_lock.c.run_id)
    ).all()
    for lock in locks:
        theirs = Scope(lock.endpoint, lock.bucket, bytes(lock.prefix))
        if lock.run_id != run_id and any(theirs.overlaps(scope) for scope in wanted):
            raise LockHeld(lock_message(lock, theirs))
    held = {Scope(lock.endpoint, lock.bucket, bytes(lock.prefix)) for lock in locks if lock.run_id == run_id}
    lock_id = next((lock.lock_id for lock in locks if lock.run_id == run_id), None) or uuid4()
    common = {"run_id": run_id, "lock_id": lock_id, "operation": "apply", "who": who, "tool_version": tool_version}
    rows = [{**scope._asdict(), **common} for scope in sorted(wanted - held)]
    if rows:
        connection.execute(insert(scope_lock), rows)


def lock_message(lock: Row[Any], scope: Scope) -> str:
    """Who holds *scope*, since when, and how to get it."""
    prefix = scope.prefix.decode(errors="backslashreplace")
    return (
        f"the destination s3://{scope.bucket}/{prefix} at {scope.endpoint} is held by run {lock.run_id} "
        f"({lock.name!r}): {lock.operation} by {lock.who} since {lock.created_at:%Y-%m-%d %H:%M:%SZ}, "
        f"s3migrate {lock.tool_version}, lock id {lock.lock_id}. Finish that run first; if it is given up for good: "
        f"s3migrate unlock {lock.lock_id}"
    )


def drop_scope(connection: Connection, run_id: int) -> None:
    """Let go of every destination *run_id* holds."""
    connection.execute(delete(scope_lock).where(scope_lock.c.run_id == run_id))


def unlock(database: Database, lock_id: str, who: str) -> int:
    """Break a lock: its run's workers are fenced, their leases dropped, and the destination is free.

    The run's id. Applying the same plan again takes the lock anew. Raises UsageError for an unknown id.
    """
    with database.transaction() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ACCEPT_LOCK})
        run_id = None
        try:
            query = select(scope_lock.c.run_id).where(scope_lock.c.lock_id == UUID(lock_id)).limit(1)
            run_id = connection.execute(query).scalar_one_or_none()
        except ValueError:
            pass
        if run_id is None:
            raise UsageError(f"no lock has the id {lock_id}; an apply that is refused with exit code 6 names it")
        connection.execute(text("UPDATE ledger.run SET epoch = epoch + 1 WHERE run_id = :id"), {"id": run_id})
        drop_scope(connection, run_id)
        audit(connection, run_id, who, "unlocked", f'{{"lock_id":"{UUID(lock_id)}"}}')
        reap_in(connection, int(run_id))
        return int(run_id)


def reap_in(connection: Connection, run_id: int) -> int:
    """Make chunks ready whose lease has run out or belongs to an older epoch; how many.

    Rows that a flush is just writing to are left for the next time: it holds them and waits for the run's row,
    so whoever holds the run's row must not wait for them.
    """
    done = connection.execute(
        text("""
            WITH late AS (
                SELECT k.run_id, k.chunk_no FROM ledger.chunk k JOIN ledger.run r ON r.run_id = k.run_id
                 WHERE k.run_id = :run_id AND k.state = 2 AND (k.lease_until < now() OR k.epoch <> r.epoch)
                 ORDER BY k.chunk_no FOR NO KEY UPDATE OF k SKIP LOCKED)
            UPDATE ledger.chunk k SET state = 1, lease_id = NULL, worker_id = NULL, lease_until = NULL
              FROM late WHERE k.run_id = late.run_id AND k.chunk_no = late.chunk_no"""),
        {"run_id": run_id},
    )
    return done.rowcount
