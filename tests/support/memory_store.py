"""An ObjectStore in memory that keeps the port's promises: for tests of what decides, not of the wire.

Faults are injected by `before`, which is told of every call and may raise; and by `after`, told when the store
has acted and before the caller hears of it. `damaged_get` and `damaged_put` may change bytes on their way.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from awscrt import checksums

from schema import errors
from schema.objects import ListedObject, ListedPart, ListedUpload, ObjectHead, PartResult, WriteResult
from storage.port import (
    UNGUARDED,
    UNPINNED,
    Believe,
    Body,
    ByteRange,
    CopySource,
    Guard,
    HeaderList,
    Listing,
    PageTally,
    Pin,
    Reader,
    UploadPart,
)
from support.digests import content_md5, md5

CRC = "x-amz-checksum-crc64nvme"
MODIFIED = 1_700_000_000_000
KEPT = ("content-", "cache-control", "expires", "x-amz-meta-", "x-amz-storage-class", "x-amz-website")


class Call(NamedTuple):
    """One call, as the hooks see it."""

    operation: str
    key: str
    number: int
    """Part number, or 0."""


@dataclass(slots=True)
class Held:
    """An object."""

    body: bytes
    headers: dict[str, str]
    etag: str
    tags: tuple[tuple[str, str], ...] = ()
    checksum: str = ""
    """Base64 CRC64NVME of the whole; '' when none was sent."""


@dataclass(slots=True)
class Upload:
    """An open multipart upload."""

    key: str
    headers: HeaderList
    parts: dict[int, tuple[bytes, str]] = field(default_factory=dict)


def crc_of(body: Body) -> int:
    """CRC64NVME."""
    return int(checksums.crc64nvme(bytes(body)))


def crc_base64(body: Body) -> str:
    """CRC64NVME as S3 writes it."""
    return base64.b64encode(crc_of(body).to_bytes(8, "big")).decode()


def _quiet(_call: Call) -> None:
    return None


def _same(_call: Call, body: bytes) -> bytes:
    return body


class MemoryStore:
    """One bucket. With *guards* False it ignores preconditions, as some servers do; *returns_checksums*: says the
    CRC64NVME it holds."""

    def __init__(
        self,
        bucket: str = "memory",
        *,
        guards: bool = True,
        returns_checksums: bool = False,
        side: errors.WhichSide = errors.WhichSide.UNKNOWN,
    ) -> None:
        self._bucket = bucket
        self._side = side
        self.guards = guards
        self._returns_checksums = returns_checksums
        self.objects: dict[str, Held] = {}
        self.open: dict[str, Upload] = {}
        self.calls: list[Call] = []
        self.before: Callable[[Call], None] = _quiet
        self.after: Callable[[Call], None] = _quiet
        self.damaged_get: Callable[[Call, bytes], bytes] = _same
        self.damaged_put: Callable[[Call, bytes], bytes] = _same
        self._lock = threading.RLock()
        self._uploads = 0

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self._bucket

    def count(self, *operations: str, key: str | None = None) -> int:
        """Calls so far."""
        return sum(call.operation in operations and key in (None, call.key) for call in self.calls)

    def hold(self, key: str, body: bytes, headers: HeaderList = (), tags: Sequence[tuple[str, str]] = ()) -> Held:
        """Put an object there behind everybody's back."""
        self.objects[key] = Held(body, _kept(headers), md5(body), tuple(tags))
        return self.objects[key]

    def state(self) -> dict[str, tuple[bytes, dict[str, str], tuple[tuple[str, str], ...]]]:
        """Everything that a copy should carry, for comparison."""
        return {key: (o.body, o.headers, tuple(sorted(o.tags))) for key, o in self.objects.items()}

    def _did(self, operation: str, key: str, act: Callable[[Call], Any], number: int = 0) -> Any:
        call = Call(operation, key, number)
        with self._lock:
            self.calls.append(call)
        try:
            self.before(call)
            with self._lock:
                answer = act(call)
            self.after(call)
        except errors.StoreError as error:
            if error.side is errors.WhichSide.UNKNOWN:
                error.side = self._side
            raise
        return answer

    # Reading

    def list_objects(
        self,
        prefix: str,
        *,
        start_after: str = "",
        parallel: int = 1,  # noqa: ARG002
        believe: Believe = Believe.LISTING,  # noqa: ARG002
    ) -> Listing:
        """Ascending."""

        def act(_call: Call) -> list[ListedObject]:
            return [
                ListedObject(key, len(held.body), held.etag, MODIFIED)
                for key, held in sorted(self.objects.items())
                if key.startswith(prefix) and key > start_after
            ]

        found = self._did("ListObjectsV2", prefix, act)
        return Listing((entry for entry in found), PageTally(len(found)))

    def ask_listing(self, prefix: str) -> None:
        """Always answered."""
        self._did("ListObjectsV2", prefix, lambda _call: None)

    def list_versions(
        self,
        prefix: str,
        *,
        start_after: str = "",
        believe: Believe = Believe.LISTING,  # noqa: ARG002
    ) -> Listing:
        """The bucket keeps no versions."""
        return self.list_objects(prefix, start_after=start_after)

    def head(self, key: str, *, version_id: str | None = None, extra: HeaderList = ()) -> ObjectHead:  # noqa: ARG002
        """The object's head."""
        return self._did("HeadObject", key, lambda call: self._head(key, call))  # type: ignore[no-any-return]

    def get(
        self,
        key: str,
        into: memoryview,
        *,
        pin: Pin = UNPINNED,
        start: int | None = None,
        extra: HeaderList = (),  # noqa: ARG002
    ) -> ObjectHead:
        """Fill *into*."""

        def act(call: Call) -> ObjectHead:
            head = self._head(key, call)
            if (pin.etag is not None and head.etag != pin.etag) or (start is None and head.size != len(into)):
                raise errors.ObjectChanged(f"{key} changed", operation="GetObject", key=key)
            piece = self.objects[key].body[start or 0 :][: len(into)]
            into[:] = self.damaged_get(call, piece)
            return head

        return self._did("GetObject", key, act)  # type: ignore[no-any-return]

    def _head(self, key: str, call: Call) -> ObjectHead:
        held = self.objects.get(key)
        if held is None:
            raise errors.ObjectMissing(f"{key} is not there", operation=call.operation, key=key, status=404)
        headers = dict(held.headers)
        if held.tags:
            headers["x-amz-tagging-count"] = str(len(held.tags))
        if held.checksum and self._returns_checksums:
            headers[CRC] = held.checksum
        return ObjectHead(headers, len(held.body), held.etag)

    # Writing

    def put(self, key: str, body: Body, headers: HeaderList, *, guard: Guard = UNGUARDED) -> WriteResult:
        """One PUT."""

        def act(call: Call) -> WriteResult:
            self._check(key, guard, "PutObject")
            arrived = self.damaged_put(call, bytes(body))
            _check_digest(arrived, headers, key)
            return self._publish(key, arrived, md5(arrived), headers)

        return self._did("PutObject", key, act)  # type: ignore[no-any-return]

    def put_from(
        self, key: str, read: Reader, headers: HeaderList, *, length: int, guard: Guard = UNGUARDED
    ) -> WriteResult:
        """Read piece by piece."""
        return self.put(key, _delivered(read, length), headers, guard=guard)

    def create_upload(self, key: str, headers: HeaderList) -> str:
        """An id."""

        def act(_call: Call) -> str:
            self._uploads += 1
            self.open[f"upload-{self._uploads}"] = Upload(key, tuple(headers))
            return f"upload-{self._uploads}"

        return self._did("CreateMultipartUpload", key, act)  # type: ignore[no-any-return]

    def upload_part(self, part: UploadPart, body: Body, headers: HeaderList = ()) -> PartResult:
        """One part."""

        def act(call: Call) -> PartResult:
            upload = self._upload(part.key, part.upload_id, "UploadPart")
            arrived = self.damaged_put(call, bytes(body))
            _check_digest(arrived, headers, part.key)
            upload.parts[part.number] = (arrived, md5(arrived))
            answered = {CRC: crc_base64(arrived)} if CRC in dict(headers) else {}
            return PartResult(part.number, md5(arrived), answered)

        return self._did("UploadPart", part.key, act, part.number)  # type: ignore[no-any-return]

    def upload_part_from(self, part: UploadPart, read: Reader, *, length: int) -> PartResult:
        """One part, read piece by piece."""
        return self.upload_part(part, _delivered(read, length))

    def complete_upload(
        self,
        key: str,
        upload_id: str,
        parts: Sequence[tuple[int, str]],
        *,
        headers: HeaderList = (),
        guard: Guard = UNGUARDED,
    ) -> WriteResult:
        """Publish."""

        def act(_call: Call) -> WriteResult:
            upload = self._upload(key, upload_id, "CompleteMultipartUpload")
            for number, etag in parts:
                if upload.parts.get(number, (b"", ""))[1] != etag:
                    raise errors.PartRefused("InvalidPart", operation="CompleteMultipartUpload", key=key)
            self._check(key, guard, "CompleteMultipartUpload")
            body = b"".join(upload.parts[number][0] for number, _ in parts)
            stated = dict(headers).get(CRC)
            if stated is not None and stated != crc_base64(body):
                raise errors.DigestMismatch("BadDigest", operation="CompleteMultipartUpload", key=key)
            digests = b"".join(bytes.fromhex(etag) for _, etag in parts)
            del self.open[upload_id]
            return self._publish(key, body, f"{md5(digests)}-{len(parts)}", upload.headers)

        return self._did("CompleteMultipartUpload", key, act)  # type: ignore[no-any-return]

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Gone is what was wanted."""
        self._did("AbortMultipartUpload", key, lambda _call: self.open.pop(upload_id, None))

    def list_parts(self, key: str, upload_id: str) -> Iterator[ListedPart]:
        """Ascending."""

        def act(_call: Call) -> list[ListedPart]:
            parts = self._upload(key, upload_id, "ListParts").parts
            return [ListedPart(number, len(body), etag, "") for number, (body, etag) in sorted(parts.items())]

        return iter(self._did("ListParts", key, act))

    def list_uploads(self, prefix: str) -> Iterator[ListedUpload]:
        """All open uploads."""

        def act(_call: Call) -> list[ListedUpload]:
            return [ListedUpload(u.key, name, MODIFIED) for name, u in self.open.items() if u.key.startswith(prefix)]

        return iter(self._did("ListMultipartUploads", prefix, act))

    def copy(self, source: CopySource, key: str, headers: HeaderList, *, guard: Guard = UNGUARDED) -> WriteResult:
        """Within the bucket."""

        def act(call: Call) -> WriteResult:
            head = self._head(source.key, call)
            if source.pin.etag not in (None, head.etag):
                raise errors.ObjectChanged(f"{source.key} changed", operation="CopyObject", key=source.key)
            self._check(key, guard, "CopyObject")
            return self._publish(key, self.objects[source.key].body, head.etag, headers)

        return self._did("CopyObject", key, act)  # type: ignore[no-any-return]

    def copy_part(self, source: CopySource, part: UploadPart, *, span: ByteRange | None = None) -> PartResult:
        """Within the bucket."""
        body = self.objects[source.key].body
        return self.upload_part(part, body if span is None else body[span.start : span.start + span.length])

    def delete(self, key: str, *, version_id: str | None = None, if_match: str | None = None) -> WriteResult:  # noqa: ARG002
        """One DELETE."""

        def act(_call: Call) -> WriteResult:
            held = self.objects.get(key)
            if self.guards and if_match is not None and held is not None and held.etag != if_match:
                raise errors.DestinationChanged(f"{key} changed", operation="DeleteObject", key=key, status=412)
            self.objects.pop(key, None)
            return WriteResult("", None, {})

        return self._did("DeleteObject", key, act)  # type: ignore[no-any-return]

    def get_tags(self, key: str, *, version_id: str | None = None) -> tuple[tuple[str, str], ...]:  # noqa: ARG002
        """Tags."""

        def act(call: Call) -> tuple[tuple[str, str], ...]:
            self._head(key, call)
            return self.objects[key].tags

        return self._did("GetObjectTagging", key, act)  # type: ignore[no-any-return]

    def put_tags(self, key: str, tags: Sequence[tuple[str, str]], *, version_id: str | None = None) -> None:  # noqa: ARG002
        """Replaces all tags."""

        def act(call: Call) -> None:
            self._head(key, call)
            self.objects[key].tags = tuple(tags)

        self._did("PutObjectTagging", key, act)

    def subresource(
        self,
        method: str,  # noqa: ARG002
        key: str | None,
        query: HeaderList,
        body: bytes = b"",  # noqa: ARG002
        headers: HeaderList = (),  # noqa: ARG002
    ) -> tuple[Mapping[str, str], bytes]:
        """Only ?versioning."""
        if key is None and query[0][0] == "versioning":
            return {"content-type": "application/xml"}, b"<VersioningConfiguration/>"
        raise errors.FeatureUnsupported(f"{query} is not implemented", operation="Subresource", key=key or "")

    def close(self) -> None:
        """Nothing is open."""

    # Inside

    def _upload(self, key: str, upload_id: str, operation: str) -> Upload:
        upload = self.open.get(upload_id)
        if upload is None or upload.key != key:
            raise errors.UploadMissing(f"no upload {upload_id}", operation=operation, key=key, status=404)
        return upload

    def _check(self, key: str, guard: Guard, operation: str) -> None:
        if not self.guards:
            return
        held = self.objects.get(key)
        unmet = guard.if_none_match and held is not None
        unmet |= guard.if_match is not None and (held is None or held.etag != guard.if_match)
        if unmet:
            raise errors.DestinationChanged(f"{key}: precondition", operation=operation, key=key, status=412)

    def _publish(self, key: str, body: bytes, etag: str, headers: HeaderList) -> WriteResult:
        named = {name.lower(): value for name, value in headers}
        tags = tuple(parse_qsl(named.get("x-amz-tagging", ""), keep_blank_values=True))
        checksum = crc_base64(body) if self._returns_checksums else named.get(CRC, "")
        self.objects[key] = Held(body, _kept(headers), etag, tags, checksum)
        return WriteResult(etag, None, {CRC: checksum} if checksum else {})


def _kept(headers: HeaderList) -> dict[str, str]:
    named = {name.lower(): value for name, value in headers}
    return {name: value for name, value in named.items() if name.startswith(KEPT) and name != "content-md5"}


def _delivered(read: Reader, length: int) -> bytes:
    pieces = b""
    while len(pieces) < length and (piece := read(1 << 20)):
        pieces += piece
    if len(pieces) != length:
        raise AssertionError(f"{length} bytes were announced, {len(pieces)} delivered")
    return pieces


def _check_digest(body: bytes, headers: HeaderList, key: str) -> None:
    named = {name.lower(): value for name, value in headers}
    digest = content_md5(body)
    if named.get("content-md5", digest) != digest or named.get(CRC, crc_base64(body)) != crc_base64(body):
        raise errors.DigestMismatch(f"{key}: BadDigest", operation="PutObject", key=key, status=400)
