"""The run's story: a chain of events, each hashed together with the one before it (`ledger.audit_append`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from executor.ledger.database import Transaction
from schema.canonical import canonical_json

LEDGER = "ledger"
"""Who did it, in events that follow from a flush by themselves."""


class Event(NamedTuple):
    """Something that happened to a run."""

    kind: str
    body: Mapping[str, Any]
    """What has a canonical form (schema.canonical): strings, integers, no floats."""


def append(transaction: Transaction, run_id: int, event: Event, *, who: str = LEDGER) -> None:
    """Append *event* to the run's chain. Locks the run's row until the commit."""
    body = canonical_json(event.body).decode()
    transaction.run(
        "SELECT ledger.audit_append(:run_id, :actor, :kind, :body)",
        run_id=run_id,
        actor=who,
        kind=event.kind,
        body=body,
    )
