"""Buckets to be probed and surveyed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.certificates import shared_certificate
from support.scripted_server import speaking
from support.servers import S3Server

from schema.declaration import Side
from storage.open_store import open_store
from storage.port import ObjectStore
from storage.probe.canary import FOLDER
from storage.wire import connections
from storage.wire.curl import CurlConnection
from storage.wire.exchange import Connection


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A reference to the test servers' credentials, as a declaration has it."""
    monkeypatch.setenv("PROBE_AWS_ACCESS_KEY_ID", "accesskey1")
    monkeypatch.setenv("PROBE_AWS_SECRET_ACCESS_KEY", "secretkey1")
    return {"env": "PROBE"}


@pytest.fixture
def moto(moto_server: S3Server, bucket_name: str, keys: dict[str, str]) -> Iterator[ObjectStore]:
    """A bucket of moto's, in which no probe may leave anything."""
    moto_server.create_bucket(bucket_name)
    store = open_store(Side(bucket_name, endpoint_url=moto_server.endpoint_url, credentials=keys))
    yield store
    assert [found.key for found in store.list_objects("") if FOLDER in found.key] == []
    assert list(store.list_uploads("")) == []
    store.close()


@pytest.fixture
def rclone(rclone_server: S3Server, bucket_name: str, keys: dict[str, str]) -> Iterator[ObjectStore]:
    """A bucket of rclone's, which must be empty in the end."""
    rclone_server.create_bucket(bucket_name)
    store = open_store(Side(bucket_name, endpoint_url=rclone_server.endpoint_url, credentials=keys))
    yield store
    assert list(store.list_objects("")) == []
    store.close()


CARRIERS = {
    "sockets over http": False,
    "sockets over https": True,
    "pycurl over http": False,
    "pycurl over https": True,
}
"""Each kind of connection -> whether it is tried over TLS."""


@pytest.fixture(params=CARRIERS)
def carried(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Requests to scripted servers go over this kind of connection; the servers speak TLS where it does."""
    kind = request.param

    def called_back(_origin: str, ca_bundle: str | None) -> Connection:
        return CurlConnection(ca_bundle, connections.USER_AGENT)

    if "pycurl" in kind:
        monkeypatch.setattr(connections, "open_connection", called_back)
    with speaking(shared_certificate() if CARRIERS[kind] else None):
        yield
