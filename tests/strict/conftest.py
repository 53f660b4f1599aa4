"""Fixtures of the strict server. All tests here are marked `soak`; `make strict` runs them."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.operator import Operator
from support.operator import moved as operator_moved
from support.oracle import Bucket
from support.seaweed_server import SeaweedServer
from support.servers import MotoServer, s3_client
from support.strict_server import StrictServer

KEYS = {"OLD_SSE_C": b"0123456789abcdef0123456789abcdef", "NEW_SSE_C": b"fedcba9876543210fedcba9876543210"}
"""Environment variable -> a customer's key."""
SEALED_CALLS = ("PutObject", "GetObject", "HeadObject", "CreateMultipartUpload", "UploadPart")


@pytest.fixture(scope="session")
def strict_server() -> Iterator[StrictServer]:
    """One for the whole run; take a fresh bucket. Its absence is an error."""
    with StrictServer() as server:
        yield server


@pytest.fixture
def on_strict(tmp_path: Path, ledger_url: str, strict_server: StrictServer) -> Operator:
    """Two fresh buckets of the strict server, a fresh ledger, an empty folder."""
    names = [strict_server.create_bucket(f"{side}-{uuid.uuid4().hex[:12]}") for side in ("src", "dst")]
    return Operator(tmp_path, ledger_url, strict_server, strict_server, *names)


@pytest.fixture(scope="session")
def seaweed_server() -> Iterator[SeaweedServer]:
    """One for the whole run; take a fresh bucket. Its absence is an error."""
    with SeaweedServer() as server:
        yield server


@pytest.fixture
def to_seaweed(tmp_path: Path, ledger_url: str, moto_server: MotoServer, seaweed_server: SeaweedServer) -> Operator:
    """From a bucket of moto's, which is laxer than MinIO, to one of SeaweedFS; a fresh ledger, an empty folder."""
    name = uuid.uuid4().hex[:12]
    moto_server.create_bucket(f"src-{name}")
    seaweed_server.create_bucket(f"dst-{name}")
    return Operator(tmp_path, ledger_url, moto_server, seaweed_server, f"src-{name}", f"dst-{name}")


class SealedClient:
    """A boto3 client that sends a customer's key with every call on an object's content; None: a plain one."""

    def __init__(self, server: StrictServer, key: bytes | None) -> None:
        self.client = s3_client(server.endpoint_url, max_pool_connections=16)
        if key is not None:
            for call in SEALED_CALLS:
                self.client.meta.events.register(f"provide-client-params.s3.{call}", self._seal)
        self._key = key

    def _seal(self, params: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {**params, "SSECustomerAlgorithm": "AES256", "SSECustomerKey": self._key}


@pytest.fixture
def sealed(strict_server: StrictServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str | None, Any]]:
    """Variable of a key (set in the environment), or None -> a client that uses that key."""
    made = {name: SealedClient(strict_server, key) for name, key in [*KEYS.items(), (None, None)]}
    for name, key in KEYS.items():
        monkeypatch.setenv(name, base64.b64encode(key).decode())
    yield {name: each.client for name, each in made.items()}
    for each in made.values():
        each.client.close()


moved = partial(operator_moved, levels=("head", "content"))
"""See support.operator; heads first, which name a field where content would only differ."""


def head(side: Bucket, key: str, **words: Any) -> dict[str, Any]:
    """All that boto3 tells of one object."""
    found: dict[str, Any] = side.client.head_object(Bucket=side.name, Key=key, **words)
    return found


def everything_written(folder: Path) -> str:
    """All files below, as text."""
    return "\n".join(p.read_bytes().decode("utf-8", "replace") for p in sorted(folder.rglob("*")) if p.is_file())
