"""Pages whose XML says the same in another way: elements with a prefix or in lower case, blanks before the beginning.

They are rewritten as S3 writes them before anything is read or counted, so that the reader knows only one form.
"""

from __future__ import annotations

import re
from typing import Final

_NAMES: Final = (
    *("ListBucketResult", "ListVersionsResult", "Error", "Code", "Message", "RequestId"),
    *("Name", "Prefix", "Marker", "NextMarker", "MaxKeys", "IsTruncated", "EncodingType", "Delimiter", "KeyCount"),
    *("ContinuationToken", "NextContinuationToken", "StartAfter", "CommonPrefixes", "Contents", "Key", "LastModified"),
    *("ETag", "Size", "StorageClass", "ChecksumAlgorithm", "ChecksumType", "Owner", "ID", "DisplayName"),
    *("RestoreStatus", "IsRestoreInProgress", "RestoreExpiryDate", "Version", "DeleteMarker", "VersionId", "IsLatest"),
    *("KeyMarker", "NextKeyMarker", "VersionIdMarker", "NextVersionIdMarker"),
)
_CANONICAL: Final = {name.lower().encode(): name.encode() for name in _NAMES}
_TAG: Final = re.compile(rb"<(/?)(?:[A-Za-z_][\w.-]*:)?([A-Za-z_][\w.-]*)")
_BEGINNING: Final = 1024
"""Where a page's root must be, after its declaration and comments."""


def plain(body: bytes, root: str) -> bytes:
    """*body* as it is where its root is *root*; else with the names and the beginning that S3 would give it."""
    if body[:1].isspace():
        body = body.lstrip()
    name = root.encode()
    if b"<" + name in body[:_BEGINNING]:
        return body
    first = next((found for found in _TAG.finditer(body, 0, _BEGINNING)), None)
    if first is None or first[2].lower() != name.lower():
        return body
    return _TAG.sub(_renamed, body)


def _renamed(found: re.Match[bytes]) -> bytes:
    return b"<" + found[1] + _CANONICAL.get(found[2].lower(), found[2])
