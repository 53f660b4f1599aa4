"""S3Store: the ObjectStore port over the wire."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from schema.declaration import Side
from schema.errors import FeatureUnsupported, ObjectMissing, ObjectRefused, StoreError, WhichSide
from schema.objects import ListedPart, ListedUpload, ObjectHead, PartResult, WriteResult
from schema.timeouts import DEFAULT_TIMEOUTS, Timeouts
from storage.credentials import Secrets
from storage.listing import listing
from storage.listing.asking import ListedBucket
from storage.port import (
    UNGUARDED,
    UNOBSERVED,
    UNPINNED,
    Believe,
    Body,
    ByteRange,
    CopySource,
    Guard,
    HeaderList,
    Listing,
    Pin,
    Reader,
    RequestObserver,
    UploadPart,
)
from storage.s3 import uploads
from storage.s3.answers import pinned_range, told_etag, told_size, told_version
from storage.s3.heads import Heads
from storage.wire import documents
from storage.wire.addressing import copy_source, locate
from storage.wire.errors import Purpose, printable
from storage.wire.exchange import Answer
from storage.wire.signer import encode_path
from storage.wire.wire import Operation, Wire, WireSettings


class S3Store:
    """One bucket at one endpoint; see storage/port.py for what each method promises."""

    def __init__(
        self,
        side: Side,
        secrets: Secrets,
        *,
        observer: RequestObserver = UNOBSERVED,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        which: WhichSide = WhichSide.UNKNOWN,
    ) -> None:
        """*which*: the end of the pair this store is; its errors say so.

        Without side.ca_bundle OpenSSL's own authorities apply.
        """
        self._side = side
        settings = WireSettings(
            observer,
            timeouts,
            side=which,
            ca_bundle=side.ca_bundle,
            signed_payload=side.signed_payload,
        )
        self._wire = Wire(side.bucket, locate(side), secrets.credentials, settings=settings)
        self._listed = ListedBucket(side.bucket, self.fetch_page, self._head_listed)
        self._always: tuple[tuple[str, str], ...] = ()
        if side.requester_pays:
            self._always = (("x-amz-request-payer", "requester"),)
        self._key = customer_key_headers(secrets.customer_key) if secrets.customer_key else ()
        self._data = (*self._always, *self._key)
        self._acl = (("x-amz-acl", side.acl),) if side.acl else ()
        self._dispenses = False
        self._heads = Heads(self._wire, self._read)

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self._side.bucket

    @property
    def descriptors(self) -> int:
        """How many descriptors a request takes at most while it is under way."""
        return self._wire.descriptors

    def move_to(self, endpoint_url: str) -> None:
        """Send what follows to another endpoint of the same bucket."""
        self._wire.move(locate(replace(self._side, endpoint_url=endpoint_url)))

    def list_objects(
        self, prefix: str, *, start_after: str = "", parallel: int = 1, believe: Believe = Believe.LISTING
    ) -> Listing:
        return listing.list_objects(self._listed, prefix, start_after=start_after, parallel=parallel, believe=believe)

    def _head_listed(self, key: str, version_id: str | None) -> ObjectHead:
        return self.head(key, version_id=version_id)

    def ask_listing(self, prefix: str) -> None:
        listing.ask_listing(self._listed, prefix)

    def list_versions(self, prefix: str, *, start_after: str = "", believe: Believe = Believe.LISTING) -> Listing:
        return listing.list_versions(self._listed, prefix, start_after=start_after, believe=believe)

    def fetch_page(self, query: list[tuple[str, str]]) -> bytes:
        """The body of a GET on the bucket with *query* (storage.listing.PageFetch)."""
        names = {name for name, _ in query}
        name = (
            "ListObjectVersions" if "versions" in names else "ListObjectsV2" if "list-type" in names else "ListObjects"
        )
        return self._wire.send(Operation(name, Purpose.BUCKET, "GET", query=query, headers=self._always)).body

    def head(self, key: str, *, version_id: str | None = None, extra: HeaderList = ()) -> ObjectHead:
        return self._heads.ask(key, version_query(version_id), extra)

    def get(
        self,
        key: str,
        into: memoryview,
        *,
        pin: Pin = UNPINNED,
        start: int | None = None,
        extra: HeaderList = (),
    ) -> ObjectHead:
        if start is not None and not len(into):
            raise ValueError("a ranged read has at least one byte")
        headers = list(extra)
        if pin.etag is not None and pin.sent:
            headers.append(("if-match", f'"{pin.etag}"'))
        if start is not None:
            headers.append(("range", f"bytes={start}-{start + len(into) - 1}"))
        query = version_query(pin.version_id)
        asked = partial(Operation, "GetObject", Purpose.READ, "GET", key, query, headers, into=into.cast("B"))
        operation = asked()
        answer = self._read(operation)
        found = pinned_range(answer, pin, start=start, length=len(into))
        if found is not None and self._wire.unpacks:
            operation = asked(packed=True)  # perhaps it came unpacked
            answer = self._read(operation)
            found = pinned_range(answer, pin, start=start, length=len(into))
        if found is None:
            size = len(into) if start is None else told_size(answer.headers)
            if size is None:
                size = self.head(key, version_id=pin.version_id).size
            return ObjectHead(answer.headers, size, told_etag(answer.headers))
        if found.leaf is None:
            raise self._wire.unreadable(operation, answer, found.reason)
        raise found.leaf(
            f"GetObject s3://{self.bucket}/{printable(key)}: {found.reason}",
            operation="GetObject",
            key=key,
            status=answer.status,
            side=self._wire.side,
        )

    def put(self, key: str, body: Body, headers: HeaderList, *, guard: Guard = UNGUARDED) -> WriteResult:
        operation = self._put_operation(key, headers, guard)
        operation.body = body
        return self._put(operation, len(body))

    def put_from(
        self, key: str, read: Reader, headers: HeaderList, *, length: int, guard: Guard = UNGUARDED
    ) -> WriteResult:
        operation = self._put_operation(key, headers, guard)
        operation.read, operation.length = read, length
        return self._put(operation, length)

    def _put_operation(self, key: str, headers: HeaderList, guard: Guard) -> Operation:
        return Operation(
            "PutObject",
            Purpose.WRITE,
            "PUT",
            key,
            headers=[*headers, *self._data, *self._acl, *guard_headers(guard)],
            guarded=guard != UNGUARDED,
            once=guard == UNGUARDED,
        )

    def _put(self, operation: Operation, size: int) -> WriteResult:
        answer = self._wire.send(operation)
        etag = told_etag(answer.headers) or self._etag_there(operation, answer, size)
        return WriteResult(etag, told_version(answer.headers), answer.headers)

    def _etag_there(self, write: Operation, answer: Answer, size: int | None = None) -> str:
        """The ETag of what *write* made, whose *answer* does not state it. *size*: what was written, where known.

        Raises ResponseUnreadable where nothing of the kind is there: then the answer did not come from S3.
        """
        version = told_version(answer.headers)
        try:
            head = self.head(write.key, version_id=None if version == "null" else version)
        except ObjectMissing:
            raise self._wire.unreadable(write, answer, "it has no ETag, and no such object is there") from None
        if head.etag is None or size not in (None, head.size):
            raise self._wire.unreadable(write, answer, "it has no ETag, and the object that is there is another")
        return head.etag

    def _written(self, write: Operation, root: str) -> WriteResult:
        """The result of Complete or a copy, from a document of that *root*."""
        answer = self._wire.send(write)
        etag = self._wire.parsed(write, answer, partial(documents.written_etag, root=root))
        return WriteResult(etag or self._etag_there(write, answer), told_version(answer.headers), answer.headers)

    def create_upload(self, key: str, headers: HeaderList) -> str:
        return uploads.create_upload(self._wire, key, [*headers, *self._data, *self._acl])

    def upload_part(self, part: UploadPart, body: Body, headers: HeaderList = ()) -> PartResult:
        operation = uploads.part_upload(part, [*headers, *self._data], body=body)
        return uploads.send_part(self._wire, operation, part, headers=self._data)

    def upload_part_from(self, part: UploadPart, read: Reader, *, length: int) -> PartResult:
        operation = uploads.part_upload(part, self._data, read=read, length=length)
        return uploads.send_part(self._wire, operation, part, headers=self._data)

    def complete_upload(
        self,
        key: str,
        upload_id: str,
        parts: Sequence[tuple[int, str]],
        *,
        headers: HeaderList = (),
        guard: Guard = UNGUARDED,
    ) -> WriteResult:
        sent = [*headers, *self._data, *guard_headers(guard)]
        operation = uploads.completion(key, upload_id, parts, headers=sent, guarded=guard != UNGUARDED)
        return self._written(operation, "CompleteMultipartUploadResult")

    def abort_upload(self, key: str, upload_id: str) -> None:
        uploads.abort_upload(self._wire, key, upload_id, headers=self._always)

    def list_parts(self, key: str, upload_id: str) -> Iterator[ListedPart]:
        return uploads.list_parts(self._wire, key, upload_id, headers=self._data)

    def list_uploads(self, prefix: str) -> Iterator[ListedUpload]:
        return uploads.list_uploads(self._wire, prefix, self._always)

    def copy(self, source: CopySource, key: str, headers: HeaderList, *, guard: Guard = UNGUARDED) -> WriteResult:
        operation = Operation(
            "CopyObject",
            Purpose.COPY,
            "PUT",
            key,
            headers=[
                *headers,
                *self._data,
                *self._acl,
                *copy_source_headers(source),
                *guard_headers(guard),
            ],
            document=b"",
            guarded=guard != UNGUARDED,
            once=guard == UNGUARDED,
        )
        return self._written(operation, "CopyObjectResult")

    def copy_part(self, source: CopySource, part: UploadPart, *, span: ByteRange | None = None) -> PartResult:
        copied = [*self._data, *copy_source_headers(source)]
        if span is not None:
            copied.append(("x-amz-copy-source-range", f"bytes={span.start}-{span.start + span.length - 1}"))
        return uploads.send_part(self._wire, uploads.part_copy(part, copied), part, headers=self._data)

    def delete(self, key: str, *, version_id: str | None = None, if_match: str | None = None) -> WriteResult:
        guard = guard_headers(Guard(if_match=if_match))
        answer = self._wire.send(
            Operation(
                "DeleteObject",
                Purpose.WRITE,
                "DELETE",
                key,
                version_query(version_id),
                [*self._always, *guard],
                guarded=bool(guard),
                once=not guard and version_id is None,
            )
        )
        return WriteResult("", told_version(answer.headers), answer.headers)

    def get_tags(self, key: str, *, version_id: str | None = None) -> tuple[tuple[str, str], ...]:
        query = [("tagging", ""), *version_query(version_id)]
        operation = Operation("GetObjectTagging", Purpose.READ, "GET", key, query, self._always)
        try:
            answer = self._wire.send(operation)
        except ObjectMissing as missing:
            if missing.code != "NoSuchTagSet":
                raise
            return ()
        try:
            return documents.tags(answer.body)
        except ValueError as error:
            raise self._wire.unreadable(operation, answer, str(error)) from None

    def put_tags(self, key: str, tags: Sequence[tuple[str, str]], *, version_id: str | None = None) -> None:
        document = documents.tagging_document(tags)
        query = [("tagging", ""), *version_query(version_id)]
        headers = [*self._always, content_md5(document)]
        self._wire.send(Operation("PutObjectTagging", Purpose.WRITE, "PUT", key, query, headers, document=document))

    def subresource(
        self, method: str, key: str | None, query: HeaderList, *, body: bytes = b"", headers: HeaderList = ()
    ) -> tuple[Mapping[str, str], bytes]:
        """See the port. A body gets a Content-MD5, which S3 demands for most of these calls."""
        given = list(headers)
        if body and not any(name.lower() == "content-md5" for name, _ in given):
            given.append(content_md5(body))
        reads = method in ("GET", "HEAD")
        purpose = Purpose.BUCKET if key is None else Purpose.READ if reads else Purpose.WRITE
        document = body if body or method in ("PUT", "POST") else None
        name = f"{method} ?{query[0][0]}" if query else method
        operation = Operation(name, purpose, method, key or "", query, given, document=document)
        if reads and any(name == "partNumber" for name, _ in query):
            answer = self._read(operation)  # a part of the object's content, which S3 shows to the key alone
        else:
            operation.headers = (*given, *self._always)
            answer = self._wire.send(operation)
        return answer.headers, answer.body

    def dispense(self) -> None:
        """From now on a read that is refused is sent again without the headers it can do without.

        What an endpoint refuses of every read is for a probe to find out, which therefore insists.
        """
        self._dispenses = True

    def close(self) -> None:
        self._wire.close()

    def _read(self, operation: Operation) -> Answer:
        """Read an object's content or its head; see `dispense`."""
        asked = operation.headers
        try:
            return self._read_with_key(operation)
        except (FeatureUnsupported, ObjectRefused) as refused:
            plain = tuple(header for header in asked if header[0] not in _DISPENSABLE)
            if not self._dispenses or len(plain) == len(asked):
                raise
            operation.headers = plain
            try:
                return self._read_with_key(operation)
            except StoreError:
                raise refused from None

    def _read_with_key(self, operation: Operation) -> Answer:
        """With the customer's key when there is one.

        One bucket may hold objects with and without a key, and S3 answers 400 to a key for an object that has none,
        as to a missing key; so after a 400 the request is repeated without it.
        """
        asked = operation.headers
        operation.headers = (*asked, *self._data)
        try:
            return self._wire.send(operation)
        except StoreError as refused:
            if refused.status != 400 or not self._key:
                raise
            operation.headers = (*asked, *self._always)
            try:
                return self._wire.send(operation)
            except StoreError as again:
                raise refused if again.status == 400 else again from None

    def __repr__(self) -> str:
        return f"S3Store({self._wire!r})"


_DISPENSABLE = frozenset(("x-amz-checksum-mode", "if-match"))
"""Of reads: they ask for more, or for what is compared with the answer anyway, as a pin is with its ETag."""


def version_query(version_id: str | None) -> tuple[tuple[str, str], ...]:
    """The query that names a version."""
    return () if version_id is None else (("versionId", version_id),)


def guard_headers(guard: Guard) -> list[tuple[str, str]]:
    """The preconditions of a write."""
    headers = [("if-none-match", "*")] if guard.if_none_match else []
    if guard.if_match is not None:
        headers.append(("if-match", f'"{guard.if_match}"'))
    return headers


def copy_source_headers(source: CopySource) -> list[tuple[str, str]]:
    """The source of a server-side copy and its precondition."""
    pin = source.pin
    named = encode_path(copy_source(source.bucket, source.key))
    if pin.version_id is not None:
        named += f"?versionId={encode_path(pin.version_id)}"
    headers = [("x-amz-copy-source", named)]
    if pin.etag is not None:
        headers.append(("x-amz-copy-source-if-match", f'"{pin.etag}"'))
    return headers


def customer_key_headers(key: bytes) -> tuple[tuple[str, str], ...]:
    """The three headers of SSE-C."""
    digest = hashlib.md5(key, usedforsecurity=False).digest()
    return (
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-server-side-encryption-customer-key", base64.b64encode(key).decode()),
        ("x-amz-server-side-encryption-customer-key-md5", base64.b64encode(digest).decode()),
    )


def content_md5(document: bytes) -> tuple[str, str]:
    """The Content-MD5 header of a small document."""
    digest = hashlib.md5(document, usedforsecurity=False).digest()
    return ("content-md5", base64.b64encode(digest).decode())
