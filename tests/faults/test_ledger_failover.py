"""PostgreSQL fails over to a server that lacks the last commits: the world is ahead of it, and nothing is lost."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.memory_run import Killed, Mortal, expire_leases, hurried, plan_of, run
from support.memory_store import MemoryStore
from support.postgres import PostgresServer

from executor.ledger.ledger import Ledger
from executor.ledger.values import Outcome, RunState
from schema.errors import WhichSide
from schema.tiers import MIB

SMALL = 40
PARTED = 2


@pytest.fixture
def stores(rng: random.Random) -> tuple[MemoryStore, MemoryStore]:
    """A source of forty small objects and two in parts."""
    source, destination = MemoryStore("from", side=WhichSide.SOURCE), MemoryStore("to", side=WhichSide.DESTINATION)
    for number in range(SMALL):
        source.hold(f"small/{number:02}", rng.randbytes(500), [("x-amz-meta-n", str(number))])
    for number in range(PARTED):
        source.hold(f"big/{number}", rng.randbytes(11 * MIB))
    return source, destination


@pytest.fixture
def databases(postgres_server: PostgresServer) -> Iterator[list[str]]:
    """Names of databases to be dropped."""
    names: list[str] = []
    yield names
    for name in names:
        postgres_server.drop(name)


@pytest.mark.parametrize("ended", [False, True], ids=["killed", "ended"])
def test_the_lost_commits_are_found_again_at_the_destination(
    stores: tuple[MemoryStore, MemoryStore],
    postgres_server: PostgresServer,
    databases: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ended: bool,
) -> None:
    """The replica is the ledger as it was at a first death; the primary went on until a second one, or the end."""
    hurried(monkeypatch)
    source, destination = stores
    plan, manifests = plan_of(source, destination, tmp_path)
    databases.append(postgres_server.clone())
    primary = Ledger(postgres_server.url_of(databases[0]))
    mortal = Mortal(50, acted=True)
    with pytest.raises(Killed):
        run(plan, manifests, mortal.wrapped(source), mortal.wrapped(destination), mortal.wrapped(primary))
    primary.close()
    databases.append(postgres_server.clone(databases[0]))
    expire_leases(postgres_server.url_of(databases[0]))
    primary = Ledger(postgres_server.url_of(databases[0]))
    if ended:
        assert run(plan, manifests, source, destination, primary).state is RunState.COMPLETE
    else:
        mortal = Mortal(70, acted=True)
        with pytest.raises(Killed):
            run(plan, manifests, mortal.wrapped(source), mortal.wrapped(destination), mortal.wrapped(primary))
    primary.close()
    ahead = set(destination.objects)

    replica = Ledger(postgres_server.url_of(databases[1]))
    try:
        expire_leases(postgres_server.url_of(databases[1]))
        known = len(_outcomes(replica, plan.plan_id, len(plan.batches)))
        assert known < len(ahead), "commits were lost"
        assert run(plan, manifests, source, destination, replica).state is RunState.COMPLETE
        outcomes = _outcomes(replica, plan.plan_id, len(plan.batches))
        run_of = replica.runs.find(plan.plan_id)
        assert run_of is not None and replica.checks.contradictions(run_of.run_id) == []
        assert list(replica.uploads.unfinished(run_of.run_id)) == []
    finally:
        replica.close()
    assert source.state() == destination.state()
    assert len(outcomes) == SMALL + PARTED
    assert set(outcomes) <= {Outcome.COPIED, Outcome.ALREADY_THERE}
    assert outcomes.count(Outcome.ALREADY_THERE) >= len(ahead) - known, "what had arrived was recognised"


def _outcomes(ledger: Ledger, plan_id: str, batches: int) -> list[Outcome]:
    """Of every completion row."""
    run_of = ledger.runs.find(plan_id)
    assert run_of is not None
    return [
        Outcome(row.outcome) for number in range(batches) for row in ledger.reports.completions(run_of.run_id, number)
    ]
