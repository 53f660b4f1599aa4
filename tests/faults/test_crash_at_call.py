"""The process dies at call n of store or ledger, for every n; the next one ends with the same result."""

from __future__ import annotations

import functools
import random
from collections import Counter
from pathlib import Path

import pytest
from support.memory_run import Killed, Mortal, expire_leases, hurried, plan_of, run
from support.memory_store import MemoryStore
from support.planning import MemoryManifests
from support.postgres import PostgresServer

from executor.ledger.ledger import Ledger
from executor.ledger.values import Outcome, RunState
from schema.declaration import Guards, Policy
from schema.errors import WhichSide
from schema.plan import Plan
from schema.tiers import MIB

OBJECTS = 6
"""Four whole ones, one of them overwritten, one in parts, and one in one PUT through windows."""
STEP = 23
"""Calls between two deaths; `make soak` dies at every call."""


@functools.cache
def bodies(seed: int) -> tuple[bytes, ...]:
    """Three small and two big ones, made once: each trial begins with the same."""
    rng = random.Random(seed)
    return tuple(rng.randbytes(size) for size in (0, 100, 200, 11 * MIB, 10 * MIB + 1))


def filled(seed: int) -> tuple[MemoryStore, MemoryStore]:
    *small, first, second = bodies(seed)
    source, destination = MemoryStore("from", side=WhichSide.SOURCE), MemoryStore("to", side=WhichSide.DESTINATION)
    for number, body in enumerate(small):
        tags = (("a", "b c"),) if number else ()
        source.hold(f"small/{number}", body, [("content-type", "x/y")], tags)
    source.hold("over", b"new", [("x-amz-meta-a", "new")])
    destination.hold("over", b"older")
    source.hold("big/1", first, [("x-amz-meta-take", "1")], (("k", "v"),))
    source.hold("big/2", second)
    return source, destination


def planned(source: MemoryStore, destination: MemoryStore, folder: Path) -> tuple[Plan, MemoryManifests]:
    policy = Policy(on_destination_newer="overwrite")
    return plan_of(source, destination, folder, policy=policy, guards=Guards(max_overwrites=9))


def survive(
    postgres_server: PostgresServer, folder: Path, seed: int, at: int, *, acted: bool, workers: int = 4
) -> bool:
    """Die at call *at*, run again, look at everything. False: the run ended before that call."""
    source, destination = filled(seed)
    plan, manifests = planned(source, destination, folder)
    name = postgres_server.clone()
    url = postgres_server.url_of(name)
    ledger = Ledger(url)
    try:
        mortal = Mortal(at, acted=acted)
        ends = mortal.wrapped(source), mortal.wrapped(destination)
        died = False
        try:
            run(plan, manifests, *ends, mortal.wrapped(ledger), workers=workers)
        except Killed:
            died = True
        assert died == mortal.dead
        if not died:
            return False
        recorded = _recorded(ledger, plan)
        nameless = _nameless(destination, ledger, plan)
        expire_leases(url)
        destination.calls.clear()
        progress = run(plan, manifests, source, destination, ledger, workers=workers)
        for upload_id in nameless:
            del destination.open[upload_id]
        _all_is_well(progress.state, source, destination, ledger, plan)
        assert recorded.items() <= _recorded(ledger, plan).items()
        written = {call.key for call in destination.calls if call.operation in ("PutObject", "UploadPart")}
        assert not written & set(recorded), "copied again after its checkpoint"
    finally:
        ledger.close()
        postgres_server.drop(name)
    return True


def _nameless(destination: MemoryStore, ledger: Ledger, plan: Plan) -> set[str]:
    """Uploads that nobody can know of: the process died between the server's answer and the ledger's record.

    At most one a worker; only a listing of uploads, or a lifecycle rule, finds such a one.
    """
    run_of = ledger.runs.find(plan.plan_id)
    known = set() if run_of is None else {upload.upload_id for upload in ledger.uploads.unfinished(run_of.run_id)}
    nameless = set(destination.open) - known
    assert all(not destination.open[upload_id].parts for upload_id in nameless), "a part before its upload's record"
    return nameless


def _recorded(ledger: Ledger, plan: Plan) -> dict[str, tuple[int, str]]:
    """Key -> (outcome, ETag) of every completion row; keys of one batch line each, so none can be doubled."""
    run_of = ledger.runs.find(plan.plan_id)
    if run_of is None:
        return {}
    found = {}
    for number, batch in enumerate(plan.batches):
        rows = list(ledger.reports.completions(run_of.run_id, number))
        assert len({row.ord for row in rows}) == len(rows)
        found |= {f"{batch.id}:{row.ord}": (int(row.outcome), row.destination_etag) for row in rows}
    return found


def _all_is_well(state: RunState, source: MemoryStore, destination: MemoryStore, ledger: Ledger, plan: Plan) -> None:
    assert state is RunState.COMPLETE
    assert source.state() == destination.state()
    assert destination.open == {}, "an upload was left behind"
    run_of = ledger.runs.find(plan.plan_id)
    assert run_of is not None
    assert list(ledger.uploads.unfinished(run_of.run_id)) == []
    outcomes = Counter(Outcome(outcome) for outcome, _ in _recorded(ledger, plan).values())
    assert sum(outcomes.values()) == OBJECTS
    assert set(outcomes) <= {Outcome.COPIED, Outcome.ALREADY_THERE}
    assert ledger.checks.contradictions(run_of.run_id) == []


def calls_of_a_run(postgres_server: PostgresServer, folder: Path, seed: int) -> int:
    """How many calls an undisturbed run makes."""
    source, destination = filled(seed)
    plan, manifests = planned(source, destination, folder)
    name = postgres_server.clone()
    ledger = Ledger(postgres_server.url_of(name))
    mortal = Mortal(10**9, acted=True)
    try:
        ends = mortal.wrapped(source), mortal.wrapped(destination)
        progress = run(plan, manifests, *ends, mortal.wrapped(ledger), workers=1)
        _all_is_well(progress.state, source, destination, ledger, plan)
        assert destination.count("CreateMultipartUpload") == destination.count("PutObject", key="big/2") == 1
    finally:
        ledger.close()
        postgres_server.drop(name)
    return mortal.calls


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurried(monkeypatch)
    # The larger of the big objects goes in parts, the other in one PUT.
    monkeypatch.setattr("schema.plan.WHOLE_MAX", 10 * MIB)
    monkeypatch.setattr("schema.plan.SINGLE_PUT_MAX", 10 * MIB + 1)


@pytest.mark.parametrize("acted", [False, True], ids=["before", "after"])
def test_death_at_some_calls(postgres_server: PostgresServer, tmp_path: Path, seed: int, acted: bool) -> None:
    calls = calls_of_a_run(postgres_server, tmp_path, seed)
    assert calls > 30
    for at in range(1 + random.Random(f"{seed}{acted}").randrange(STEP), calls, STEP):
        survive(postgres_server, tmp_path, seed, at, acted=acted, workers=1)


@pytest.mark.soak
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("acted", [False, True], ids=["before", "after"])
def test_death_at_every_call(
    postgres_server: PostgresServer, tmp_path: Path, seed: int, acted: bool, workers: int
) -> None:
    calls = calls_of_a_run(postgres_server, tmp_path, seed)
    survived = sum(survive(postgres_server, tmp_path, seed, at, acted=acted, workers=workers) for at in range(1, calls))
    assert survived > calls // 2
