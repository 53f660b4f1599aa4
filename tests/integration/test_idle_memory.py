"""A run that waits gives its buffers back: when, in virtual time, and that a run does it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from support.memory_run import hurried, plan_of, run
from support.memory_store import MemoryStore
from support.postgres import PostgresServer

from executor.apply import workshop
from executor.ledger.leases import Leases
from executor.ledger.ledger import Ledger
from executor.ledger.values import RunState
from executor.machine import memory
from executor.machine.buffers import BufferPool
from executor.machine.memory import IdleMemory
from schema.errors import WhichSide
from schema.tiers import MIB

PATIENCE = 20.0


def test_buffers_are_given_back_after_five_seconds_without_use_and_again_after_more_work() -> None:
    idle = IdleMemory()
    assert not idle.due(lent=MIB, held=MIB, now=0)
    assert not idle.due(lent=0, held=MIB, now=1)
    assert not idle.due(lent=0, held=MIB, now=5.9)
    assert idle.due(lent=0, held=MIB, now=6)
    assert not idle.due(lent=0, held=0, now=6.1), "there is nothing more to give"
    assert not idle.due(lent=0, held=MIB, now=100), "held anew: it waits anew"
    assert not idle.due(lent=1, held=MIB, now=104)
    assert not idle.due(lent=0, held=MIB, now=105), "used in between"
    assert idle.due(lent=0, held=MIB, now=110)


class Halting:
    """Leases that hand out no work after the first object until memory was given back."""

    def __init__(self, leases: Leases, destination: MemoryStore, given_back: threading.Event) -> None:
        self._leases = leases
        self._destination = destination
        self._given_back = given_back
        self.halted = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._leases, name)

    def claim(self, *words: Any, **named: Any) -> Any:
        """Wait once something arrived."""
        if self._destination.state():
            self.halted = True
            assert self._given_back.wait(PATIENCE), "nothing was given back"
        return self._leases.claim(*words, **named)


def test_a_run_that_waits_gives_its_buffers_back(
    postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried(monkeypatch)
    monkeypatch.setattr(memory, "IDLE_SECONDS", 0.05)
    given_back, trimmed, sizes = threading.Event(), list[bool](), list[int]()

    def trim() -> bool:
        given_back.set()
        return True

    release = BufferPool.release_idle

    def spied(pool: BufferPool) -> int:
        trimmed.append(pool.budget.in_use == 0)
        sizes.append(release(pool))
        return sizes[-1]

    monkeypatch.setattr(BufferPool, "release_idle", spied)
    monkeypatch.setattr(workshop, "trim", trim)
    source, destination = MemoryStore("from", side=WhichSide.SOURCE), MemoryStore("to", side=WhichSide.DESTINATION)
    for number in range(30):
        source.hold(f"small/{number}", bytes(1000))
    plan, manifests = plan_of(source, destination, tmp_path)
    name = postgres_server.clone()
    ledger = Ledger(postgres_server.url_of(name))
    try:
        ledger.leases = halting = Halting(ledger.leases, destination, given_back)  # type: ignore[assignment]
        progress = run(plan, manifests, source, destination, ledger)
    finally:
        ledger.close()
        postgres_server.drop(name)
    assert halting.halted
    assert sizes[0] > 0 and trimmed[0]
    assert progress.state is RunState.COMPLETE
    assert source.state() == destination.state()
