"""The ledger: what work there is, who holds it, and the result of every object.

One PostgreSQL schema, many processes. Every method of the parts is one or a few short transactions and may be called
from any thread. Raised by all of them: LedgerUnavailable (wait and call again; also when the answer to a commit was
lost, in which case the repeated call has no second effect) and LedgerSchemaError. What a lease protects is fenced in
the same transaction that writes: a worker that lost its lease writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from executor.ledger.audit import Checks
from executor.ledger.checkpoints import Checkpoints
from executor.ledger.database import database_at
from executor.ledger.leases import Leases
from executor.ledger.locks import DestinationLocks
from executor.ledger.reports import Reports
from executor.ledger.runs import Runs
from executor.ledger.samples import Samples
from executor.ledger.upkeep.migrate import Schema
from executor.ledger.upkeep.prune import Pruning
from executor.ledger.uploads import Uploads
from executor.ledger.workers import Workers


class Ledger:
    """The ledger at *url* (postgresql://...; the driver is pinned to psycopg2).

    Connects on first use. *connections*: how many stay open; up to SPARING_CONNECTIONS may be open briefly. *pooled*:
    SQLAlchemy's pool keeps them, which takes its time to load, and as many again may be open briefly. *missed* is
    called whenever the ledger cannot be reached, and must not block.
    """

    def __init__(
        self, url: str, *, connections: int = 4, pooled: bool = False, missed: Callable[[], None] | None = None
    ) -> None:
        self._database = database = database_at(url, connections=connections, pooled=pooled, missed=missed)
        self.schema = Schema(database)
        self.runs = Runs(database)
        self.locks = DestinationLocks(database)
        self.workers = Workers(database)
        self.leases = Leases(database)
        self.checkpoints = Checkpoints(database)
        self.uploads = Uploads(database)
        self.reports = Reports(database)
        self.samples = Samples(database)
        self.checks = Checks(database)
        self.pruning = Pruning(database)

    def close(self) -> None:
        """Close the connections. The ledger may be used again: it opens new ones."""
        self._database.close()
