"""Which versions of a key are at the destination already, where the ETags say it and where they cannot."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from executor.attempts import Retrier
from executor.copy.history import KeyHistory
from executor.copy.job import Tools
from executor.machine.buffers import BufferPool, ByteBudget
from executor.route import Route
from executor.stop import Stop
from schema.facts import Capabilities
from schema.objects import ListedObject, ObjectHead
from schema.plan import Action, Entry
from storage.port import Pin

MD5_ETAGS = Capabilities({"etag_is_md5": "enforced"})
ONE, OTHER = "1" * 32, "2" * 32
BY_KMS = {"x-amz-server-side-encryption": "aws:kms"}
BY_CUSTOMER = {"x-amz-server-side-encryption-customer-algorithm": "AES256"}


class OneVersion:
    """A store that holds one version of the key `k`."""

    def __init__(self, etag: str, body: bytes, headers: dict[str, str]) -> None:
        self.answer, self.body, self.reads = ObjectHead(headers, len(body), etag), body, 0

    def list_versions(self, _prefix: str) -> Any:
        return iter([ListedObject("k", len(self.body), self.answer.etag, 0, version_id="v")])

    def head(self, _key: str, **_: Any) -> ObjectHead:
        return self.answer

    def get(self, _key: str, into: memoryview, *, pin: Pin, **_: Any) -> ObjectHead:
        assert pin.version_id == "v"
        self.reads += 1
        into[:] = self.body
        return self.answer


def landed(source: OneVersion, destination: OneVersion) -> bool:
    """Whether the source's version is found at the destination."""
    section = SimpleNamespace(
        source=source, destination=destination, source_facts=MD5_ETAGS, destination_facts=MD5_ETAGS,
        pin=lambda entry: Pin(entry.etag, entry.version_id), destination_pin=Pin,
    )  # fmt: skip
    tools = Tools(BufferPool(ByteBudget(1 << 20)), Retrier(Stop(), lambda: 0.0, lambda _stop: None), Stop())
    entry = Entry("k", len(source.body), source.answer.etag, Action.COPY, version_id="v")
    return KeyHistory(cast(Route, section), "k", tools, recorded=()).landed([entry]) != []


@pytest.mark.parametrize("headers", [BY_KMS, BY_CUSTOMER])
@pytest.mark.parametrize("encrypted", ["source", "destination"])
def test_an_encrypted_version_is_known_by_its_content(headers: dict[str, str], encrypted: str) -> None:
    """Its ETag looks like an MD5 and is none; taken for one, the version would be written twice."""
    ours, theirs = (headers, {}) if encrypted == "source" else ({}, headers)
    assert landed(OneVersion(ONE, b"same", ours), OneVersion(OTHER, b"same", theirs))
    assert not landed(OneVersion(ONE, b"same", ours), OneVersion(OTHER, b"else", theirs))


@pytest.mark.parametrize("etag", [ONE, OTHER])
def test_two_md5s_say_it_without_a_read(etag: str) -> None:
    source, destination = OneVersion(ONE, b"same", {}), OneVersion(etag, b"same", {})
    assert landed(source, destination) == (etag == ONE)
    assert source.reads == destination.reads == 0
