"""Everything an object carries, over a real server; boto3 is the oracle, our own comparison must agree with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.attributes import carried, differing
from support.servers import MotoServer

from schema.declaration import Preserve, Side
from schema.facts import Capabilities
from storage.open_store import open_store
from storage.port import ObjectStore

KEPT = Capabilities({"user_metadata_utf8": "enforced", "tagging": "enforced"})
PRESERVE = Preserve(
    encryption={"mode": "keep", "key_map": {"arn:aws:kms:us-east-1:1:key/a": "arn:aws:kms:us-east-1:2:key/b"}},
    last_modified="original-modified",
)
TAGS = (("k 1", "v+é"), ("empty", ""))


@pytest.fixture
def stores(
    moto_server: MotoServer, bucket_name: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[ObjectStore, ObjectStore]]:
    monkeypatch.setenv("T_AWS_ACCESS_KEY_ID", "accesskey1")
    monkeypatch.setenv("T_AWS_SECRET_ACCESS_KEY", "secretkey1")
    opened = []
    for bucket in (bucket_name, f"{bucket_name}-to"):
        moto_server.create_bucket(bucket)
        opened.append(open_store(Side(bucket, endpoint_url=moto_server.endpoint_url, credentials={"env": "T"})))
    yield opened[0], opened[1]
    for store in opened:
        store.close()


def test_every_attribute_arrives_and_each_change_is_seen(
    stores: tuple[ObjectStore, ObjectStore], moto_server: MotoServer
) -> None:
    source, destination = stores
    client = moto_server.client()
    client.put_object(
        Bucket=source.bucket, Key="o", Body=b"x", ContentType="text/plain", CacheControl="no-cache",
        ContentDisposition="inline", ContentEncoding="gzip", ContentLanguage="fr",
        Expires="Thu, 01 Jan 2037 00:00:00 GMT",
        Metadata={"plain": "a b", "words": "=?UTF-8?B?w6k=?="}, StorageClass="STANDARD_IA",
        WebsiteRedirectLocation="/elsewhere", Tagging="k%201=v%2B%C3%A9&empty=", ServerSideEncryption="aws:kms",
        SSEKMSKeyId="arn:aws:kms:us-east-1:1:key/a",
    )  # fmt: skip
    head, tags = source.head("o"), source.get_tags("o")
    assert tuple(sorted(tags)) == tuple(sorted(TAGS))
    write = carried(head, PRESERVE, KEPT, tags, key="o")
    assert (write.tags_after, write.dropped) == (None, ())
    destination.put("o", b"x", write.headers)

    arrived = client.head_object(Bucket=destination.bucket, Key="o")
    original = client.head_object(Bucket=source.bucket, Key="o")
    for name in ("ContentType", "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage",
                 "ExpiresString", "StorageClass", "WebsiteRedirectLocation", "ServerSideEncryption"):  # fmt: skip
        assert arrived[name] == original[name], name
    assert arrived["SSEKMSKeyId"] == "arn:aws:kms:us-east-1:2:key/b"
    assert arrived["Metadata"] == original["Metadata"] | {"original-modified": head.last_modified}
    assert sorted(destination.get_tags("o")) == sorted(TAGS)

    there = destination.head("o")
    assert differing(head, there, tags, destination.get_tags("o"), PRESERVE) == []
    for name, value, field in (
        ("x-amz-meta-plain", "a c", "x-amz-meta-plain"),
        ("x-amz-storage-class", "GLACIER_IR", "storage-class"),
        ("x-amz-website-redirect-location", "/other", "website-redirect"),
        ("content-language", "en", "content-language"),
    ):
        changed = [(n, value if n == name else v) for n, v in write.headers]
        destination.put("o", b"x", changed)
        found = differing(head, destination.head("o"), tags, destination.get_tags("o"), PRESERVE)
        assert [difference.field for difference in found] == [field]


@pytest.mark.parametrize("raw", ["h\xc3\xa9 \xe6\x96\x87", "latin \xe9", "=?ISO-8859-1?Q?caf=E9?="])
@pytest.mark.parametrize("utf8", ["enforced", "ignored"])
def test_text_arrives_in_any_dress(stores: tuple[ObjectStore, ObjectStore], raw: str, utf8: str) -> None:
    source, destination = stores
    source.put("o", b"", [("x-amz-meta-t", raw)])
    head = source.head("o")
    write = carried(head, Preserve(), Capabilities({"user_metadata_utf8": utf8}))
    destination.put("o", b"", write.headers)
    assert differing(head, destination.head("o"), (), (), Preserve()) == []


def test_tags_too_long_for_the_header_follow(stores: tuple[ObjectStore, ObjectStore]) -> None:
    source, destination = stores
    tags = [(f"key-{number}", "é" * 200) for number in range(10)]
    source.put("o", b"", [])
    source.put_tags("o", tags)
    write = carried(source.head("o"), Preserve(), KEPT, source.get_tags("o"))
    destination.put("o", b"", write.headers)
    assert write.tags_after is not None
    destination.put_tags("o", write.tags_after)
    assert sorted(destination.get_tags("o")) == sorted(tags)
