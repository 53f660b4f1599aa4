"""The oracle sees every kind of difference, and none where there is none."""

from __future__ import annotations

from typing import Any

import pytest
from support import corpus, oracle
from support.oracle import Bucket, Difference
from support.servers import MotoServer, RcloneServer


@pytest.fixture
def pair(moto_server: MotoServer, bucket_name: str, seed: int) -> tuple[Bucket, Bucket]:
    """Two buckets on moto with the same ten dressed objects."""
    client = moto_server.client()
    sides = Bucket(client, f"{bucket_name}-a"), Bucket(client, f"{bucket_name}-b")
    for side in sides:
        moto_server.create_bucket(side.name)
        oracle.fill(client, side.name, corpus.mixed(seed, 10, largest=2000))
    return sides


def test_equal_buckets_have_no_differences(pair: tuple[Bucket, Bucket]) -> None:
    assert oracle.compare(*pair) == []


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"Body": b"other"}, "bytes"),
        ({"ContentType": "text/other"}, "ContentType"),
        ({"CacheControl": "other"}, "CacheControl"),
        ({"ContentDisposition": "other"}, "ContentDisposition"),
        ({"ContentEncoding": "other"}, "ContentEncoding"),
        ({"ContentLanguage": "fr"}, "ContentLanguage"),
        ({"Expires": "Thu, 01 Dec 2050 16:00:00 GMT"}, "ExpiresString"),
        ({"Metadata": {"word": "other"}}, "metadata"),
        ({"Tagging": "tag=other"}, "tags"),
    ],
)
def test_one_changed_field_is_named(pair: tuple[Bucket, Bucket], changed: dict[str, Any], field: str) -> None:
    source, destination = pair
    same = {"Key": "one", "Body": b"x", "ContentType": "text/plain"}
    source.client.put_object(Bucket=source.name, **same)
    destination.client.put_object(Bucket=destination.name, **same | changed)

    assert [(d.key, d.field) for d in oracle.compare(source, destination)] == [("one", field)]


def test_missing_and_extra_keys_are_named(pair: tuple[Bucket, Bucket]) -> None:
    source, destination = pair
    source.client.put_object(Bucket=source.name, Key="only-here", Body=b"")
    destination.client.put_object(Bucket=destination.name, Key="only-there", Body=b"")

    assert oracle.compare(source, destination) == [
        Difference("only-here", "missing", "only-here", None),
        Difference("only-there", "extra", None, "only-there"),
    ]
    assert oracle.compare(source, destination, ignore_extra=lambda key: key == "only-there")[0].field == "missing"


def test_keys_are_mapped_by_prefix(pair: tuple[Bucket, Bucket]) -> None:
    source, destination = pair
    source.client.put_object(Bucket=source.name, Key="in/x", Body=b"1")
    destination.client.put_object(Bucket=destination.name, Key="out/x", Body=b"1")

    assert oracle.compare(source._replace(prefix="in/"), destination._replace(prefix="out/")) == []


def test_moto_holds_what_it_is_said_to_hold(moto_server: MotoServer, bucket_name: str, seed: int) -> None:
    moto_server.create_bucket(bucket_name)
    odd = corpus.odd(seed, (*corpus.ODD_KEYS, *corpus.SLASHED_KEYS))
    objects = [o for o in odd if corpus.holdable_by_moto(o.key)]

    oracle.fill(moto_server.client(), bucket_name, objects)

    assert oracle.keys(Bucket(moto_server.client(), bucket_name)) == sorted(o.key for o in objects)


def test_rclone_holds_what_it_is_said_to_hold(rclone_server: RcloneServer, bucket_name: str, seed: int) -> None:
    rclone_server.create_bucket(bucket_name)
    bucket = Bucket(rclone_server.client(), bucket_name)
    objects = [o for o in corpus.odd(seed, tags=False) if corpus.holdable_by_rclone(o.key)]

    oracle.fill(bucket.client, bucket.name, objects)

    assert sorted(oracle.keys(bucket)) == sorted(o.key for o in objects)
    assert len(objects) > 60
    for item in objects:
        held = oracle.describe(bucket, item.key, oracle.RCLONE_FIELDS)
        assert (held["bytes"], held["metadata"]) == (item.content(), dict(item.metadata))


def test_a_seed_repeats_its_corpus() -> None:
    assert corpus.mixed(1, 50) == corpus.mixed(1, 50)
    assert corpus.mixed(1, 50) != corpus.mixed(2, 50)
    assert len({o.key for o in corpus.mixed(1, 500)}) == 500


def test_a_multipart_object_has_a_multipart_etag(moto_server: MotoServer, bucket_name: str) -> None:
    moto_server.create_bucket(bucket_name)
    item = corpus.CorpusObject("big", 6 * corpus.MIB, 1, part_size=5 * corpus.MIB)

    oracle.write(moto_server.client(), bucket_name, item)

    head = moto_server.client().head_object(Bucket=bucket_name, Key="big")
    assert (head["ETag"].strip('"')[-2:], head["ContentLength"]) == ("-2", item.size)
    assert oracle.describe(Bucket(moto_server.client(), bucket_name), "big")["bytes"] == item.content()
