"""Manifests in a bucket: the bucket is opened when one is asked for, and once."""

from __future__ import annotations

import pytest
from support.memory_store import MemoryStore
from support.sample_plan import digest

from schema.errors import CredentialsRefused, ManifestMissing
from storage.manifest_bucket import ManifestBucket


def test_the_bucket_is_opened_once_and_again_after_it_could_not_be() -> None:
    opened: list[int] = []

    def open_store() -> MemoryStore:
        opened.append(len(opened))
        if len(opened) == 1:
            raise CredentialsRefused("no key")
        return MemoryStore()

    manifests = ManifestBucket(open_store, "p")
    assert opened == []
    with pytest.raises(CredentialsRefused):
        manifests.has(digest("a"))
    assert not manifests.has(digest("a"))
    with pytest.raises(ManifestMissing, match=r"/p/a{64}\.jsonl\.gz"):
        manifests.open(digest("a"))
    assert opened == [0, 1]
