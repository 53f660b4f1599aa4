"""What a listing, a HEAD or a GET says about an object."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

_MD5: Final = re.compile(r"[0-9a-f]{32}").fullmatch
_OPAQUE_ETAG_ENCRYPTION: Final = frozenset({"aws:kms", "aws:kms:dsse", "aws:fsx", "aws:backup"})


def etag_may_be_md5(etag: str) -> bool:
    """Whether an *etag* (without quotes) looks like an MD5: it is not that of an upload in parts."""
    return _MD5(etag) is not None


def etag_is_opaque(headers: Mapping[str, str]) -> bool:
    """Whether the object of an answer's *headers* is encrypted in a way that its ETag is not an MD5."""
    return (
        headers.get("x-amz-server-side-encryption", "") in _OPAQUE_ETAG_ENCRYPTION
        or "x-amz-server-side-encryption-customer-algorithm" in headers
    )


class ListedObject(NamedTuple):
    """One entry of a listing. A named tuple: made by the million on the hot path of plan."""

    key: str
    """Byte-exact: the key's UTF-8 bytes decoded; Python orders it as S3 does."""
    size: int
    etag: str
    """Without quotes and without W/; '' where neither listing nor HEAD state one."""
    modified_ms: int
    """Last-Modified, milliseconds since the epoch, UTC."""
    storage_class: str = "STANDARD"
    checksum: str = ""
    """'ALGORITHM/TYPE' as listed (e.g. 'CRC64NVME/FULL_OBJECT'), or ''."""
    version_id: str | None = None
    is_latest: bool = True
    delete_marker: bool = False
    restored: bool = False
    """An archived object whose restored copy can be read now."""


class UnsupportedEntry(NamedTuple):
    """A listed key that cannot be migrated as listed, and why. All other keys are planned as usual."""

    key: str
    """As in ListedObject; a byte that is not UTF-8 is a lone surrogate U+DC80 to U+DCFF (surrogateescape)."""
    size: int | None
    """None: not known. So with the others."""
    etag: str | None
    modified_ms: int | None
    version_id: str | None
    delete_marker: bool
    reason: str
    """One sentence that says what to do. Without the key."""


ListedEntry = ListedObject | UnsupportedEntry
"""What a listing gives. The key is the first field of both."""


def supported(entries: Iterable[ListedEntry]) -> Iterator[ListedObject]:
    """Only the entries that can be migrated as listed, for callers that need no others."""
    return (entry for entry in entries if isinstance(entry, ListedObject))


@dataclass(frozen=True, slots=True)
class ObjectHead:
    """The answer's headers of a HEAD or GET: names in lower case, values latin-1 decoded (lossless)."""

    headers: Mapping[str, str]
    size: int
    """Of the whole object, also when the answer was a range. Always known: where a HEAD does not state it, a GET does.
    """
    etag: str | None
    """Without quotes and without W/. None: not stated, and equal to nothing."""

    @property
    def in_parts(self) -> bool:
        """The ETag is known, and is that of a multipart upload."""
        return self.etag is not None and "-" in self.etag

    @property
    def version_id(self) -> str | None:
        """The version answered. None: not stated, or the bucket has no versions."""
        return self.headers.get("x-amz-version-id")

    @property
    def last_modified(self) -> str | None:
        """The header's raw text (HTTP date, whole seconds). None: not told."""
        return self.headers.get("last-modified")

    @property
    def modified_seconds(self) -> int | None:
        """Last-Modified in whole seconds since the epoch; None when it is missing or cannot be read."""
        if self.last_modified is None:
            return None
        try:
            return int(parsedate_to_datetime(self.last_modified).timestamp())
        except (ValueError, IndexError):
            return None

    @property
    def tag_count(self) -> int | None:
        """x-amz-tagging-count. None: not stated; S3 means by it that there are no tags, or that they may not be read;
        other servers mean nothing by it (see Fact.TAG_COUNT)."""
        said = self.headers.get("x-amz-tagging-count", "")
        return int(said) if said.isascii() and said.isdigit() else None

    @property
    def storage_class(self) -> str:
        """x-amz-storage-class. S3 omits it for STANDARD only."""
        return self.headers.get("x-amz-storage-class", "STANDARD")

    def user_metadata(self) -> dict[str, str]:
        """User metadata without the x-amz-meta- prefix, names in lower case, raw values."""
        prefix = "x-amz-meta-"
        return {k[len(prefix) :]: v for k, v in self.headers.items() if prefix in k and k.startswith(prefix)}


class WriteResult(NamedTuple):
    """The result of a PUT, a Complete or a copy."""

    etag: str
    """Requested by a HEAD where the answer does not state it. '' of a delete, which has none."""
    version_id: str | None
    """None: not told, or the bucket has no versions."""
    headers: Mapping[str, str]


class PartResult(NamedTuple):
    """The result of an UploadPart or UploadPartCopy."""

    number: int
    etag: str
    """Requested by a ListParts where the answer does not state it."""
    headers: Mapping[str, str]


class ListedPart(NamedTuple):
    """One part of an open multipart upload, as ListParts says."""

    number: int
    size: int
    etag: str
    checksum_crc64nvme: str
    """Base64, or ''."""


class ListedUpload(NamedTuple):
    """One open multipart upload."""

    key: str
    upload_id: str
    initiated_ms: int
