"""A whole run between two stores in memory, with the real planner, runner and ledger: quick, every call in reach."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from executor.apply import feeder, runner
from executor.apply.settings import ApplySettings
from executor.apply.surroundings import RunSurroundings
from executor.flow.endpoint import EndpointGovernor
from executor.flow.governor import Governor
from executor.ledger.audit import Checks
from executor.ledger.checkpoints import Checkpoints
from executor.ledger.leases import Leases
from executor.ledger.ledger import Ledger
from executor.ledger.locks import DestinationLocks
from executor.ledger.reports import Reports
from executor.ledger.runs import Runs
from executor.ledger.samples import Samples
from executor.ledger.upkeep.migrate import Schema
from executor.ledger.uploads import Uploads
from executor.ledger.values import Progress
from executor.ledger.workers import Workers
from executor.route import routes_of
from executor.stop import Stop
from schema.files.plan_document import with_plan_id
from schema.plan import Plan
from schema.tiers import MIB
from support import planning
from support.memory_store import MemoryStore
from support.silent import Silent

BUDGET = 20 * MIB
"""Objects over 10 MiB travel in parts of 5 MiB."""
FACTS = {
    "if_none_match": "enforced",
    "if_match": "enforced",
    "etag_is_md5": "enforced",
    "content_md5": "enforced",
    "tagging": "enforced",
    "delete_if_match": "enforced",
}
SOURCE_FACTS = {"etag_is_md5": "enforced", "tagging": "enforced"}


def plan_of(
    source: MemoryStore,
    destination: MemoryStore,
    folder: Path,
    facts: dict[str, str] | None = None,
    source_facts: dict[str, str] | None = None,
    **more: Any,
) -> tuple[Plan, planning.MemoryManifests]:
    """Plan the whole bucket, cut for BUDGET."""
    manifests = planning.MemoryManifests()
    made = planning.plan(
        planning.declare(**more),
        list(source.list_objects("")),
        list(destination.list_objects("")),
        manifests=manifests,
        staging=folder,
        facts=(SOURCE_FACTS if source_facts is None else source_facts, FACTS if facts is None else facts),
    )
    return with_plan_id(dataclasses.replace(made, memory_budget=BUDGET)), manifests


def run(
    plan: Plan,
    manifests: planning.MemoryManifests,
    source: MemoryStore,
    destination: MemoryStore,
    ledger: Ledger,
    *,
    workers: int = 4,
    events: Silent | None = None,
    stop: Stop | None = None,
    lease_seconds: float = 60.0,
    budget: int = BUDGET,
) -> Progress:
    """One apply process."""
    ends = {"source": EndpointGovernor("source"), "destination": EndpointGovernor("destination")}
    surroundings = RunSurroundings(
        plan,
        routes_of(plan, {"main": (source, destination)}, budget),
        manifests,
        ledger,
        Governor(ends, workers, workers=workers),
        ApplySettings("test", "host", 1, "0", budget, lease_seconds=lease_seconds, grace_seconds=10.0),
        events or Silent(),
        stop or Stop(),
    )
    return runner.apply(surroundings)


def expire_leases(ledger_url: str) -> None:
    """Let a minute pass for the leases alone."""
    connection = psycopg2.connect(ledger_url.replace("+psycopg2", ""))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("UPDATE ledger.chunk SET lease_until = now() - interval '1 s' WHERE lease_until IS NOT NULL")
    connection.close()


def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look round more often than in earnest: the runs are small."""
    monkeypatch.setattr(runner, "TICK_SECONDS", 0.005)
    monkeypatch.setattr(feeder, "IDLE_SECONDS", 0.01)


PARTS = (Schema, Runs, DestinationLocks, Workers, Leases, Checkpoints, Uploads, Reports, Samples, Checks)
"""Of a ledger: a call of theirs is a call of the ledger."""


class Killed(BaseException):
    """The process is dead: raised by the call it died in, and by every call after it."""


class Mortal:
    """Counts calls of all its `wrapped` objects together and dies at one of them, before or after it acted."""

    def __init__(self, at: int, *, acted: bool) -> None:
        self.calls = 0
        self.dead = False
        self._at = at
        self._acted = acted
        self._lock = threading.Lock()

    def wrapped(self, inner: Any) -> Any:
        """*inner* with every call counted."""
        return _Wrapped(inner, self)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """One call."""
        with self._lock:
            self.calls += 1
            due = self.calls == self._at
            self.dead |= due and not self._acted
            if self.dead:
                raise Killed
        try:
            yield
        finally:  # also when the call itself failed: its caller hears nothing of that either
            with self._lock:
                self.dead |= due
                if self.dead:
                    raise Killed


class _Wrapped:
    def __init__(self, inner: Any, mortal: Mortal) -> None:
        self._inner = inner
        self._mortal = mortal

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if isinstance(found, PARTS):
            return _Wrapped(found, self._mortal)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._mortal.counted():
                return found(*args, **kwargs)

        return call
