"""Fixtures of an operator between two buckets, on moto or on rclone."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from executor import attempts
from storage import retrying
from support.operator import Operator
from support.servers import MotoServer, RcloneServer

BRIEFER = 20.0
"""Times, with `brief_waits`."""


@pytest.fixture
def on_moto(tmp_path: Path, ledger_url: str, moto_server: MotoServer) -> Operator:
    """Two fresh buckets of the moto server, a fresh ledger, an empty folder."""
    names = [moto_server.create_bucket(f"{side}-{uuid.uuid4().hex[:12]}") for side in ("src", "dst")]
    return Operator(tmp_path, ledger_url, moto_server, moto_server, *names)


@pytest.fixture
def on_rclone(tmp_path: Path, ledger_url: str, rclone_servers: tuple[RcloneServer, RcloneServer]) -> Operator:
    """A bucket on each of two rclone servers, which ignore conditions, a fresh ledger, an empty folder."""
    source, destination = rclone_servers
    name = uuid.uuid4().hex[:12]
    source.create_bucket(f"src-{name}")
    destination.create_bucket(f"dst-{name}")
    return Operator(tmp_path, ledger_url, source, destination, f"src-{name}", f"dst-{name}")


@pytest.fixture
def brief_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are repeated as often as in earnest, after a twentieth of the wait: for tests that ask how it ends."""
    in_earnest = retrying.delay

    def brief(*args: Any, **named: Any) -> float:
        return in_earnest(*args, **named) / BRIEFER

    for module in (retrying, attempts):
        monkeypatch.setattr(module, "delay", brief)
