"""A function that answers LIST as S3 does, from a set of keys, and the many ways of doing it wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus
from xml.sax.saxutils import escape

from schema.objects import ListedObject
from storage.listing import listing
from storage.listing.asking import ListedBucket
from storage.port import Listing

START = datetime(2024, 1, 1, tzinfo=UTC)
START_MS = int(START.timestamp()) * 1000


def listed(key: str, size: int = 1, **fields: object) -> ListedObject:
    """An entry of which only what matters to the test is said."""
    return ListedObject(key, size, "0" * 32, START_MS, **fields)  # type: ignore[arg-type]


def when(milliseconds: int) -> str:
    """ISO 8601 as S3 writes it."""
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


def contents(entry: ListedObject, *, encode: bool = True) -> str:
    """One <Contents>."""
    key = quote_plus(entry.key, safe="/") if encode else escape(entry.key)
    return (
        f"<Contents><Key>{key}</Key><LastModified>{when(entry.modified_ms)}</LastModified>"
        f"<ETag>&quot;{entry.etag}&quot;</ETag><Size>{entry.size}</Size>"
        f"<StorageClass>{entry.storage_class}</StorageClass></Contents>"
    )


def objects_page(
    entries: Iterable[ListedObject] = (),
    *,
    bucket: str = "bucket",
    token: str | None = None,
    truncated: str | None = None,
    encode: bool = True,
    extra: str = "",
) -> bytes:
    """A ListObjectsV2 answer."""
    said = truncated if truncated is not None else ("true" if token else "false")
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>{bucket}</Name><Prefix></Prefix>'
        + ("<EncodingType>url</EncodingType>" if encode else "")
        + (f"<IsTruncated>{said}</IsTruncated>" if said else "")
        + (f"<NextContinuationToken>{token}</NextContinuationToken>" if token else "")
        + "".join(contents(entry, encode=encode) for entry in entries)
        + f"{extra}</ListBucketResult>"
    ).encode()


def versions_page(
    entries: Iterable[ListedObject] = (), *, bucket: str = "bucket", following: tuple[str, str] | None = None
) -> bytes:
    """A ListObjectVersions answer."""
    rows = []
    for entry in entries:
        kind = "DeleteMarker" if entry.delete_marker else "Version"
        body = "" if entry.delete_marker else f"<ETag>&quot;{entry.etag}&quot;</ETag><Size>{entry.size}</Size>"
        rows.append(
            f"<{kind}><Key>{quote_plus(entry.key, safe='/')}</Key><VersionId>{entry.version_id}</VersionId>"
            f"<IsLatest>{str(entry.is_latest).lower()}</IsLatest>"
            f"<LastModified>{when(entry.modified_ms)}</LastModified>{body}</{kind}>"
        )
    markers = ""
    if following:
        markers = (
            f"<NextKeyMarker>{quote_plus(following[0], safe='/')}</NextKeyMarker>"
            f"<NextVersionIdMarker>{following[1]}</NextVersionIdMarker>"
        )
    return (
        f"<ListVersionsResult><Name>{bucket}</Name><EncodingType>url</EncodingType>"
        f"<IsTruncated>{'true' if following else 'false'}</IsTruncated>{markers}{''.join(rows)}</ListVersionsResult>"
    ).encode()


@dataclass
class ListingServer:
    """Answers LIST for *entries*, in the order given. Callable as a PageFetch, from many threads."""

    entries: Sequence[ListedObject]
    page_size: int = 1000
    ignores_start_after: bool = False
    before: Callable[[int, dict[str, str]], None] = lambda _number, _query: None
    """Told the number of each request (from 1) and its query; may raise or wait."""
    requests: int = 0
    queries: list[dict[str, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, pairs: list[tuple[str, str]]) -> bytes:
        query = dict(pairs)
        with self._lock:
            self.requests += 1
            number = self.requests
            self.queries.append(query)
        self.before(number, query)
        prefix = query.get("prefix", "")
        found = [entry for entry in self.entries if entry.key.startswith(prefix)]
        if "versions" in query:
            return self._versions(found, query)
        if "continuation-token" in query:
            begin = int(query["continuation-token"])
        elif self.ignores_start_after or "start-after" not in query:
            begin = 0
        else:
            begin = next((i for i, e in enumerate(found) if e.key > query["start-after"]), len(found))
        end = begin + self.page_size
        return objects_page(found[begin:end], token=str(end) if end < len(found) else None)

    def _versions(self, found: list[ListedObject], query: dict[str, str]) -> bytes:
        begin = 0
        if "key-marker" in query:
            key, version = query["key-marker"], query.get("version-id-marker")
            if version is None:
                begin = sum(entry.key <= key for entry in found) if not self.ignores_start_after else 0
            else:
                begin = 1 + [(entry.key, entry.version_id) for entry in found].index((key, version))
        page = found[begin : begin + self.page_size]
        more = begin + self.page_size < len(found)
        return versions_page(page, following=(page[-1].key, str(page[-1].version_id)) if more else None)


def server_of(keys: Iterable[str], **settings: object) -> ListingServer:
    """A well-behaved server holding *keys*."""
    return ListingServer([listed(key) for key in sorted(set(keys))], **settings)  # type: ignore[arg-type]


def bucket_of(fetch: Callable[[list[tuple[str, str]]], bytes], name: str = "bucket", **settings: Any) -> ListedBucket:
    """A bucket whose pages *fetch* answers; what is None is at its default."""
    return ListedBucket(name, fetch, **{name: value for name, value in settings.items() if value is not None})


def list_objects(fetch: Any, name: str, prefix: str, **settings: Any) -> Listing:
    """storage.listing.listing.list_objects with a ListedBucket made on the way."""
    how = {name: settings.pop(name) for name in ("start_after", "parallel", "believe") if name in settings}
    return listing.list_objects(bucket_of(fetch, name, **settings), prefix, **how)


def list_versions(fetch: Any, name: str, prefix: str, **settings: Any) -> Listing:
    """The same of list_versions."""
    return listing.list_versions(bucket_of(fetch, name, **settings), prefix)
