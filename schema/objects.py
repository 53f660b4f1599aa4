"""What a listing says of an object, and what a HEAD or GET says of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

_OPAQUE_ETAG_ENCRYPTION: Final = frozenset({"aws:kms", "aws:kms:dsse", "aws:fsx", "aws:backup"})


def etag_is_opaque(headers: Mapping[str, str]) -> bool:
    """Whether the object that an answer's *headers* speak of is encrypted so that its ETag is no MD5 of anything."""
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
    """Without quotes and without W/; '' where neither listing nor HEAD tell one."""
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
    """A listed key that cannot be migrated as listed, and why. It keeps nothing else from being planned."""

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
    """Only what can be migrated as listed, for callers to whom the rest means nothing."""
    return (entry for entry in entries if isinstance(entry, ListedObject))


@dataclass(frozen=True, slots=True)
class ObjectHead:
    """The answer's headers of a HEAD or GET: names in lower case, values latin-1 decoded (lossless)."""

    headers: Mapping[str, str]
    size: int
    """Of the whole object, also when the answer was a range."""
    etag: str
    """Without quotes and without W/."""

    @property
    def version_id(self) -> str | None:
        """The version answered, or None where the bucket has no versions."""
        return self.headers.get("x-amz-version-id")

    @property
    def last_modified(self) -> str:
        """The header's raw text (HTTP date, whole seconds), or ''."""
        return self.headers.get("last-modified", "")

    @property
    def tag_count(self) -> int:
        """x-amz-tagging-count; 0 when absent, which may also mean that we may not read tags."""
        return int(self.headers.get("x-amz-tagging-count", "0"))

    @property
    def storage_class(self) -> str:
        """x-amz-storage-class; absent means STANDARD."""
        return self.headers.get("x-amz-storage-class", "STANDARD")

    def user_metadata(self) -> dict[str, str]:
        """User metadata without the x-amz-meta- prefix, names in lower case, raw values."""
        prefix = "x-amz-meta-"
        return {k[len(prefix) :]: v for k, v in self.headers.items() if prefix in k and k.startswith(prefix)}


class WriteResult(NamedTuple):
    """What a PUT, a Complete or a copy answered."""

    etag: str
    version_id: str | None
    headers: Mapping[str, str]


class PartResult(NamedTuple):
    """What an UploadPart or UploadPartCopy answered."""

    number: int
    etag: str
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
