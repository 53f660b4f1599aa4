"""An assumed role, from a real (moto) STS."""

from __future__ import annotations

import pytest
from support.servers import MotoServer

from schema.declaration import Side
from storage.credentials import resolve_credentials
from storage.open_store import open_store

ROLE = {"role_arn": "arn:aws:iam::123456789012:role/migration", "external_id": "x-1", "source": {"env": "P"}}


def test_role_is_assumed_and_renewed(
    moto_server: MotoServer, bucket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto_server.endpoint_url)
    monkeypatch.setenv("P_AWS_ACCESS_KEY_ID", moto_server.access_key)
    monkeypatch.setenv("P_AWS_SECRET_ACCESS_KEY", moto_server.secret_key)

    credentials = resolve_credentials(ROLE)
    first = credentials.current()
    assert first is not None
    assert first.token
    assert first.access_key.startswith("ASIA")
    assert credentials.current() == first
    assert credentials.refresh(first)
    assert credentials.current() != first

    moto_server.create_bucket(bucket_name)
    store = open_store(Side(bucket_name, endpoint_url=moto_server.endpoint_url, credentials=ROLE))
    store.put("k", b"x", [])
    assert store.head("k").size == 1
    store.close()
