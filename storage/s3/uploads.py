"""The calls of a multipart upload, as functions over a Wire."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from schema.errors import UploadMissing
from schema.objects import ListedPart, ListedUpload, PartResult
from storage.port import Body, HeaderList, Reader, UploadPart
from storage.s3.answers import told_etag
from storage.wire import documents
from storage.wire.errors import Purpose
from storage.wire.wire import Operation, Wire


def create_upload(wire: Wire, key: str, headers: HeaderList) -> str:
    """CreateMultipartUpload; the upload id."""
    operation = Operation(
        "CreateMultipartUpload", Purpose.WRITE, "POST", key, (("uploads", ""),), headers, document=b""
    )
    return wire.parsed(operation, wire.send(operation), documents.upload_id)


def _named(part: UploadPart) -> tuple[tuple[str, str], ...]:
    """The query that names *part*."""
    return (("partNumber", str(part.number)), ("uploadId", part.upload_id))


def part_upload(
    part: UploadPart,
    headers: HeaderList,
    *,
    body: Body | None = None,
    read: Reader | None = None,
    length: int = 0,
) -> Operation:
    """UploadPart from memory (*body*) or of *length* bytes from *read*."""
    return Operation(
        "UploadPart",
        Purpose.UPLOAD,
        "PUT",
        part.key,
        _named(part),
        headers,
        body=body,
        read=read,
        length=length,
    )


def part_copy(part: UploadPart, headers: HeaderList) -> Operation:
    """UploadPartCopy; *headers* name the source and the range."""
    return Operation(
        "UploadPartCopy",
        Purpose.COPY,
        "PUT",
        part.key,
        _named(part),
        headers,
        document=b"",
    )


def send_part(wire: Wire, operation: Operation, part: UploadPart, *, headers: HeaderList) -> PartResult:
    """Send a part_upload or part_copy.

    *headers*: those of a ListParts, sent where the answer states no ETag. Raises ResponseUnreadable where that lists
    none either: then the answer did not come from S3.
    """
    answer = wire.send(operation)
    if operation.document is None:
        etag = told_etag(answer.headers)
    else:
        etag = wire.parsed(operation, answer, partial(documents.written_etag, root="CopyPartResult"))
    if etag is None:
        listed = list_parts(wire, part.key, part.upload_id, headers=headers, after=part.number - 1)
        etag = next((there.etag for there in listed if there.number == part.number), None)
    if etag is None:
        raise wire.unreadable(operation, answer, "it has no ETag, and no part of that number is listed")
    return PartResult(part.number, etag, answer.headers)


def completion(
    key: str, upload_id: str, parts: Sequence[tuple[int, str]], *, headers: HeaderList, guarded: bool
) -> Operation:
    """CompleteMultipartUpload."""
    return Operation(
        "CompleteMultipartUpload",
        Purpose.COMPLETE,
        "POST",
        key,
        (("uploadId", upload_id),),
        headers,
        document=documents.complete_document(parts),
        guarded=guarded,
    )


def abort_upload(wire: Wire, key: str, upload_id: str, *, headers: HeaderList) -> None:
    """AbortMultipartUpload; an upload that is gone already is fine."""
    query = (("uploadId", upload_id),)
    try:
        wire.send(Operation("AbortMultipartUpload", Purpose.UPLOAD, "DELETE", key, query, headers))
    except UploadMissing:
        return


def list_parts(wire: Wire, key: str, upload_id: str, *, headers: HeaderList, after: int = 0) -> Iterator[ListedPart]:
    """ListParts, page by page. *after*: only parts of higher numbers."""
    marker: str | None = str(after or "")
    while marker is not None:
        query = [("uploadId", upload_id)]
        if marker:
            query.append(("part-number-marker", marker))
        operation = Operation("ListParts", Purpose.UPLOAD, "GET", key, query, headers)
        answer = wire.send(operation)
        page = wire.parsed(operation, answer, documents.parts_page)
        if page.marker == marker:
            raise wire.unreadable(operation, answer, "the next page begins where this one began")
        yield from page.parts
        marker = page.marker


def list_uploads(wire: Wire, prefix: str, headers: HeaderList) -> Iterator[ListedUpload]:
    """ListMultipartUploads, page by page."""
    markers: tuple[str, str] | None = ("", "")
    while markers is not None:
        query = [("uploads", ""), ("encoding-type", "url"), ("prefix", prefix)]
        if markers[0]:
            query.append(("key-marker", markers[0]))
        if markers[1]:
            query.append(("upload-id-marker", markers[1]))
        operation = Operation("ListMultipartUploads", Purpose.BUCKET, "GET", "", query, headers)
        answer = wire.send(operation)
        page = wire.parsed(operation, answer, documents.uploads_page)
        if page.markers == markers:
            raise wire.unreadable(operation, answer, "the next page begins where this one began")
        # A server that ignores the prefix must not make us abort other people's uploads.
        yield from (upload for upload in page.uploads if upload.key.startswith(prefix))
        markers = page.markers
