"""The dumb oracle: reads both buckets through boto3 with its defaults and compares everything, field by field.

It shares no line of code with the product, knows nothing of plans and ledgers, and is slow. What it says of two
buckets is what the tests believe. `fill` writes a corpus the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from urllib.parse import urlencode

from support.corpus import CorpusObject

SYSTEM_HEADERS = (
    *("ContentType", "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage"),
    *("ExpiresString", "WebsiteRedirectLocation"),
)
FIELDS = ("bytes", *SYSTEM_HEADERS, "metadata", "tags")
"""What is compared unless a test says otherwise; "StorageClass" may be asked for as well."""

RCLONE_FIELDS = ("bytes", *SYSTEM_HEADERS[:5], "metadata")
"""What `rclone serve s3` 1.75.2 holds of it."""


class Bucket(NamedTuple):
    """One side of a comparison."""

    client: Any
    """A boto3 S3 client."""
    name: str
    prefix: str = ""


class Difference(NamedTuple):
    """One thing that is not the same on both sides."""

    key: str
    """The source's key; of an extra object the destination's."""
    field: str
    """"missing" at the destination, "extra" there, or one of FIELDS."""
    source: Any
    destination: Any


def keys(bucket: Bucket) -> list[str]:
    """All keys under the prefix, as listed."""
    pages = bucket.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name, Prefix=bucket.prefix)
    return [entry["Key"] for page in pages for entry in page.get("Contents", ())]


def compare(
    source: Bucket,
    destination: Bucket,
    *,
    fields: Sequence[str] = FIELDS,
    mapped: Callable[[str], str] | None = None,
    ignore_extra: Callable[[str], bool] = lambda _: False,
    threads: int = 8,
) -> list[Difference]:
    """Every difference, in order of keys; empty when the buckets are the same.

    *mapped* gives the destination's key of a source key; without it the prefixes are exchanged.
    *ignore_extra* excuses destination keys that are no copy of anything.
    """
    rename = mapped or (lambda key: destination.prefix + key[len(source.prefix) :])
    wanted = {key: rename(key) for key in keys(source)}
    there = set(keys(destination))
    found = [Difference(key, "missing", target, None) for key, target in wanted.items() if target not in there]
    extra = there - set(wanted.values())
    found += [Difference(key, "extra", None, key) for key in extra if not ignore_extra(key)]
    both = [(key, target) for key, target in wanted.items() if target in there]
    with ThreadPoolExecutor(threads) as pool:
        for differences in pool.map(lambda pair: _compare_one(source, destination, pair[0], pair[1], fields), both):
            found += differences
    return sorted(found, key=lambda difference: (difference.key, difference.field))


def describe(bucket: Bucket, key: str, fields: Sequence[str] = FIELDS) -> dict[str, Any]:
    """Everything in *fields* that the server holds of one object."""
    answer = bucket.client.get_object(Bucket=bucket.name, Key=key)
    found: dict[str, Any] = {name: answer.get(name) for name in fields if name not in ("bytes", "metadata", "tags")}
    body = answer["Body"].read()
    if "bytes" in fields:
        found["bytes"] = body
    if "metadata" in fields:
        found["metadata"] = {name.lower(): value for name, value in answer["Metadata"].items()}
    if "tags" in fields:
        tags = bucket.client.get_object_tagging(Bucket=bucket.name, Key=key)["TagSet"]
        found["tags"] = {tag["Key"]: tag["Value"] for tag in tags}
    return found


def fill(client: Any, bucket: str, objects: Iterable[CorpusObject], *, threads: int = 8) -> int:
    """Write a corpus; returns the number of objects."""
    with ThreadPoolExecutor(threads) as pool:
        return sum(1 for _ in pool.map(lambda item: write(client, bucket, item), objects))


def write(client: Any, bucket: str, item: CorpusObject) -> None:
    """Write one object with its headers, metadata and tags."""
    words: dict[str, Any] = {"Bucket": bucket, "Key": item.key, **item.headers}
    if item.metadata:
        words["Metadata"] = dict(item.metadata)
    if item.tags:
        words["Tagging"] = urlencode(item.tags)
    if item.part_size is None:
        client.put_object(Body=item.content(), **words)
        return
    upload = client.create_multipart_upload(**words)["UploadId"]
    named = {"Bucket": bucket, "Key": item.key, "UploadId": upload}
    content, parts = item.content(), []
    for number, start in enumerate(range(0, item.size, item.part_size), 1):
        piece = content[start : start + item.part_size]
        etag = client.upload_part(PartNumber=number, Body=piece, **named)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    client.complete_multipart_upload(MultipartUpload={"Parts": parts}, **named)


def _compare_one(source: Bucket, destination: Bucket, key: str, target: str, fields: Sequence[str]) -> list[Difference]:
    ours, theirs = describe(source, key, fields), describe(destination, target, fields)
    return [
        Difference(key, name, _shown(ours[name]), _shown(theirs[name])) for name in fields if ours[name] != theirs[name]
    ]


def _shown(value: Any) -> Any:
    """A body as its length and first bytes: a failing test should be readable."""
    return f"{len(value)} bytes {value[:16].hex()}" if isinstance(value, bytes) else value
