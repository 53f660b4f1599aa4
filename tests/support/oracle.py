"""The dumb oracle: reads both buckets through boto3 with its defaults and compares everything, field by field.

It shares no line of code with the product, knows nothing of plans and ledgers, and is slow. What it says of two
buckets is what the tests believe. `fill` writes a corpus the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

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


def describe(bucket: Bucket, key: str, fields: Sequence[str] = FIELDS, version: str | None = None) -> dict[str, Any]:
    """Everything in *fields* that the server holds of one object, or of that version of it."""
    named = {"Bucket": bucket.name, "Key": key, **({"VersionId": version} if version is not None else {})}
    answer = bucket.client.get_object(**named)
    found: dict[str, Any] = {name: answer.get(name) for name in fields if name not in ("bytes", "metadata", "tags")}
    body = answer["Body"].read()
    if "bytes" in fields:
        found["bytes"] = body
    if "metadata" in fields:
        found["metadata"] = {name.lower(): value for name, value in answer["Metadata"].items()}
    if "tags" in fields:
        tags = bucket.client.get_object_tagging(**named)["TagSet"]
        found["tags"] = {tag["Key"]: tag["Value"] for tag in tags}
    return found


def histories(bucket: Bucket) -> dict[str, list[str | None]]:
    """Each key's versions by id, oldest first; None: a delete marker.

    S3 lists the newest first. Servers that list markers apart are put right by the times, where these differ, and by
    which is the latest. Read
    without boto3's parser, which tells markers apart from versions and so loses their order. One page.
    """
    named = {"Bucket": bucket.name, "Prefix": bucket.prefix}
    bodies: list[bytes] = []

    def keep(response_dict: dict[str, Any], **_: Any) -> None:
        bodies.append(response_dict["body"])

    bucket.client.meta.events.register("before-parse.s3.ListObjectVersions", keep)
    try:
        bucket.client.list_object_versions(**named)
    finally:
        bucket.client.meta.events.unregister("before-parse.s3.ListObjectVersions", keep)
    root = ET.fromstring(bodies[0])
    space = root.tag.rpartition("}")[0] + "}" if root.tag.startswith("{") else ""
    assert root.findtext(f"{space}IsTruncated") == "false"
    found: dict[str, list[tuple[str, bool, str | None]]] = {}
    for row in reversed([row for row in root if row.tag in (f"{space}Version", f"{space}DeleteMarker")]):
        version = None if row.tag.endswith("DeleteMarker") else str(row.findtext(f"{space}VersionId"))
        when = datetime.fromisoformat(str(row.findtext(f"{space}LastModified"))).isoformat()
        latest = row.findtext(f"{space}IsLatest") == "true"
        found.setdefault(str(row.findtext(f"{space}Key")), []).append((when, latest, version))
    return {key: [row[2] for row in sorted(rows, key=lambda row: row[:2])] for key, rows in found.items()}


def compare_versions(source: Bucket, destination: Bucket, *, fields: Sequence[str] = FIELDS) -> list[Difference]:
    """Every difference between two histories, key by key; those of two versions carry the field's name."""
    ours, theirs = histories(source), histories(destination)
    found = [Difference(key, "extra", None, key) for key in theirs.keys() - ours.keys()]
    for key, rows in sorted(ours.items()):
        there = theirs.get(key, [])
        shape, other = ([version is None for version in side] for side in (rows, there))
        if shape != other:
            found.append(Difference(key, "versions", shape, other))
            continue
        for mine, copied in zip(rows, there, strict=True):
            if mine is not None:
                found += _compare_one(source, destination, key, key, fields, (mine, copied))
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


def _compare_one(
    source: Bucket,
    destination: Bucket,
    key: str,
    target: str,
    fields: Sequence[str],
    versions: tuple[str | None, str | None] = (None, None),
) -> list[Difference]:
    ours = describe(source, key, fields, versions[0])
    theirs = describe(destination, target, fields, versions[1])
    return [
        Difference(key, name, _shown(ours[name]), _shown(theirs[name])) for name in fields if ours[name] != theirs[name]
    ]


def _shown(value: Any) -> Any:
    """A body as its length and first bytes: a failing test should be readable."""
    return f"{len(value)} bytes {value[:16].hex()}" if isinstance(value, bytes) else value
