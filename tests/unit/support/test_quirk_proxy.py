"""The quirk proxy: without quirks nothing changes; each quirk does what it says, and they combine."""

from __future__ import annotations

from typing import Any, Self

import pytest
from botocore.exceptions import ClientError
from support.quirk_proxy import Drops, Hides, Quirk, QuirkProxy, Refuses, Rewrites, ShowsLate, Tells, Which
from support.servers import MotoServer, s3_client

UNCHECKED = {"response_checksum_validation": "when_required"}


class Behind:
    """A client of a bucket in a moto behind the proxy."""

    def __init__(self, moto: MotoServer, bucket: str, *quirks: Quirk) -> None:
        self.proxy = QuirkProxy(moto.endpoint_url, *quirks)
        self.bucket = moto.create_bucket(bucket)

    def __enter__(self) -> Self:
        self.proxy.__enter__()
        self.client: Any = s3_client(self.proxy.endpoint_url, retries={"max_attempts": 0}, **UNCHECKED)
        return self

    def __exit__(self, *told: object) -> None:
        self.client.close()
        self.proxy.__exit__(None, None, None)

    def put(self, key: str = "k", **more: Any) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=b"body", **more)

    def get(self, key: str = "k") -> Any:
        return self.client.get_object(Bucket=self.bucket, Key=key)

    def head(self, key: str = "k") -> Any:
        return self.client.head_object(Bucket=self.bucket, Key=key)


def test_without_quirks_nothing_changes(moto_server: MotoServer, bucket_name: str) -> None:
    with Behind(moto_server, bucket_name) as behind:
        behind.put(Metadata={"a": "1"}, Tagging="t=1", ContentType="text/x")
        found = behind.get()
        assert (found["Body"].read(), found["Metadata"], found["TagCount"]) == (b"body", {"a": "1"}, 1)
        assert behind.head()["ContentLength"] == 4
        assert behind.client.list_objects_v2(Bucket=behind.bucket)["KeyCount"] == 1
        assert behind.proxy.count("put") == 1


def test_quirks_combine(moto_server: MotoServer, bucket_name: str) -> None:
    quirks = (
        Drops("x-amz-meta-.*_.*"),
        Hides("x-amz-tagging-count"),
        Tells("Cache-Control", lambda: "max-age=60", Which(("get", "head"))),
        Rewrites(bytes.upper, Which(("get",))),
    )
    with Behind(moto_server, bucket_name, *quirks) as behind:
        behind.put(Metadata={"a_b": "1", "c": "2"}, Tagging="t=1")
        found = behind.get()
        assert (found["Body"].read(), found["Metadata"]) == (b"BODY", {"c": "2"})
        assert (found.get("TagCount"), found["CacheControl"]) == (None, "max-age=60")
        assert behind.client.get_object_tagging(Bucket=behind.bucket, Key="k")["TagSet"]


def test_a_header_is_refused_and_other_requests_pass(moto_server: MotoServer, bucket_name: str) -> None:
    with Behind(moto_server, bucket_name, Refuses(501, "NotImplemented", Which(header="if-none-match"))) as behind:
        behind.put()
        with pytest.raises(ClientError, match="NotImplemented"):
            behind.put(IfNoneMatch="*")


def test_refusals_may_come_after_some_and_end(moto_server: MotoServer, bucket_name: str) -> None:
    with Behind(moto_server, bucket_name, Refuses(403, "AccessDenied", Which(("put",)), after=1, times=1)) as behind:
        behind.put()
        with pytest.raises(ClientError, match="AccessDenied"):
            behind.put()
        behind.put()


def test_an_object_shows_late(moto_server: MotoServer, bucket_name: str) -> None:
    with Behind(moto_server, bucket_name, ShowsLate(2)) as behind:
        behind.put()
        for _ in range(2):
            with pytest.raises(ClientError, match="404"):
                behind.head()
        assert behind.head()["ContentLength"] == 4
