"""Fixtures of an operator between two buckets, on moto or on rclone."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from support.operator import Operator
from support.servers import MotoServer, RcloneServer


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
