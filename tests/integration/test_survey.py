"""What a survey finds of a source that it only reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.probes import AT_ONCE, Denying, Through
from support.servers import S3Server

from schema.declaration import Preserve
from schema.errors import (
    AccessRefused,
)
from schema.objects import ListedObject
from storage.port import ObjectStore
from storage.probe.source import choose, survey_source


def test_a_source_is_only_read(moto: ObjectStore, moto_server: S3Server) -> None:
    client = moto_server.client()
    client.put_object(Bucket=moto.bucket, Key="a", Body=b"hello", Tagging="k=v", WebsiteRedirectLocation="/x")
    client.put_object(Bucket=moto.bucket, Key="b", Body=b"")
    before = list(moto.list_objects(""))
    capabilities, sampled = survey_source(moto, before, Preserve(acl=True), conduct=AT_ONCE)
    assert dict(capabilities.facts) == {
        "acl_readable": "enforced", "bucket_payer": "none", "bucket_versioning": "none",
        "checksums_returned": "enforced", "etag_is_md5": "enforced", "get_if_match": "enforced",
        "listed_etag": "enforced",
        "sample_carries": "tags, website-redirect", "server_headers": "none", "tag_count": "enforced",
        "tags_readable": "enforced",
    }  # fmt: skip
    assert [(s.key, s.tags, s.grants) for s in sampled] == [("a", (("k", "v"),), ()), ("b", (), ())]
    assert list(moto.list_objects("")) == before


def test_a_survey_of_a_far_source_finds_the_same(moto: ObjectStore, moto_server: S3Server) -> None:
    client = moto_server.client()
    for number in range(12):
        tags = {"Tagging": f"n={number}"} if number % 3 else {}
        client.put_object(Bucket=moto.bucket, Key=f"k{number:02}", Body=b"x" * number, **tags)
    listed, preserve = list(moto.list_objects("")), Preserve(acl=True)

    found = [survey_source(moto, listed, preserve, conduct=replace(AT_ONCE, far_seconds=far)) for far in (10.0, 0.0)]
    in_turn, side_by_side = ((can, [(s.key, s.head.etag, s.tags, s.grants) for s in seen]) for can, seen in found)
    assert side_by_side == in_turn
    assert [len(tags or ()) for _key, _etag, tags, _grants in in_turn[1]] == [0, 1, 1] * 4


def test_the_sample_has_one_of_each_kind_and_the_ends() -> None:
    listed = [ListedObject(f"k{n:04}", 1 << 30, "0" * 32, 0) for n in range(1_000)]
    listed[500] = listed[500]._replace(storage_class="GLACIER")
    listed[501] = listed[501]._replace(etag="0-2")
    listed[502] = listed[502]._replace(size=5)
    listed[503] = listed[503]._replace(version_id="v1", is_latest=False)
    listed[0] = listed[0]._replace(delete_marker=True)
    chosen = choose(listed)
    assert 18 <= len(chosen) <= 24
    assert chosen == sorted(chosen)
    assert {listed[1], listed[500], listed[501], listed[502], listed[503]} <= set(chosen)
    assert chosen[-1].key == "k0999"
    assert choose(listed[:10]) == listed[1:10]


def test_a_source_whose_etag_is_no_md5(moto: ObjectStore) -> None:
    class Opaque(Through):
        def get(self, key: str, into: memoryview, **options: Any) -> Any:
            head = self._store.get(key, into, **options)
            into[:] = b"other"[: len(into)]
            return head

    moto.put("a", b"hello", [])
    listed = list(moto.list_objects(""))
    assert survey_source(Opaque(moto), listed, conduct=AT_ONCE)[0].facts["etag_is_md5"] == "ignored"


def test_hidden_tags_and_missing_permissions_of_a_source(moto: ObjectStore) -> None:
    moto.put("a", b"hello", [])
    listed = list(moto.list_objects(""))
    facts = survey_source(Denying(moto, "get_tags"), listed, conduct=AT_ONCE)[0].facts
    assert facts["tags_readable"] == "rejected"
    with pytest.raises(AccessRefused, match="s3:GetObject"):
        survey_source(Denying(moto, "head"), listed, conduct=AT_ONCE)


def test_a_source_that_knows_no_tags(rclone: ObjectStore) -> None:
    rclone.put("a", b"hello", [])
    facts = survey_source(rclone, list(rclone.list_objects("")), Preserve(acl=True), conduct=AT_ONCE)[0].facts
    assert (facts["tags_readable"], facts["acl_readable"], facts["tagging"]) == ("ignored", "ignored", "rejected")
    assert (facts["get_if_match"], facts["etag_is_md5"]) == ("ignored", "enforced")
    rclone.delete("a")


def test_an_empty_source(moto: ObjectStore) -> None:
    capabilities, sampled = survey_source(moto, [], conduct=AT_ONCE)
    assert sampled == ()
    assert capabilities.facts["etag_is_md5"] == "unknown"
