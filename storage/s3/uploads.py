"""The calls of a multipart upload, as functions over a Wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from schema.errors import UploadMissing
from schema.objects import ListedPart, ListedUpload, PartResult, WriteResult
from storage.port import Body, HeaderList
from storage.s3.answers import write_result
from storage.wire import documents
from storage.wire.errors import Purpose
from storage.wire.exchange import Answer
from storage.wire.wire import Operation, Wire

T = TypeVar("T")


def read_answer(wire: Wire, operation: Operation, answer: Answer, reader: Callable[[bytes], T]) -> T:
    """*reader* of the answer's body; its ValueError becomes ResponseUnreadable."""
    try:
        return reader(answer.body)
    except ValueError as error:
        raise wire.unreadable(operation, answer, str(error)) from None


def create_upload(wire: Wire, key: str, headers: HeaderList) -> str:
    """CreateMultipartUpload; the upload id."""
    operation = Operation(
        "CreateMultipartUpload", Purpose.WRITE, "POST", key, (("uploads", ""),), headers, document=b""
    )
    return read_answer(wire, operation, wire.send(operation), documents.upload_id)


def upload_part(
    wire: Wire,
    key: str,
    upload_id: str,
    number: int,
    headers: HeaderList,
    *,
    body: Body | None = None,
    read: Callable[[int], bytes] | None = None,
    length: int = 0,
) -> PartResult:
    """UploadPart from memory (*body*) or of *length* bytes from *read*."""
    operation = Operation(
        "UploadPart",
        Purpose.UPLOAD,
        "PUT",
        key,
        part_query(upload_id, number),
        headers,
        body=body,
        read=read,
        length=length,
    )
    result = write_result(wire, operation, wire.send(operation))
    return PartResult(number, result.etag, result.headers)


def copy_part(wire: Wire, key: str, upload_id: str, number: int, headers: HeaderList) -> PartResult:
    """UploadPartCopy; *headers* name the source and the range."""
    operation = Operation(
        "UploadPartCopy",
        Purpose.COPY,
        "PUT",
        key,
        part_query(upload_id, number),
        headers,
        document=b"",
    )
    answer = wire.send(operation)
    etag = read_answer(wire, operation, answer, lambda body: documents.copied_etag(body, "CopyPartResult"))
    return PartResult(number, etag, answer.headers)


def complete_upload(
    wire: Wire,
    key: str,
    upload_id: str,
    parts: Sequence[tuple[int, str]],
    headers: HeaderList,
    *,
    guarded: bool,
) -> WriteResult:
    """CompleteMultipartUpload."""
    operation = Operation(
        "CompleteMultipartUpload",
        Purpose.COMPLETE,
        "POST",
        key,
        (("uploadId", upload_id),),
        headers,
        document=documents.complete_document(parts),
        guarded=guarded,
    )
    answer = wire.send(operation)
    etag = read_answer(wire, operation, answer, documents.completed_etag)
    return WriteResult(etag, answer.headers.get("x-amz-version-id"), answer.headers)


def abort_upload(wire: Wire, key: str, upload_id: str, headers: HeaderList) -> None:
    """AbortMultipartUpload; an upload that is gone is what was wanted."""
    query = (("uploadId", upload_id),)
    try:
        wire.send(Operation("AbortMultipartUpload", Purpose.UPLOAD, "DELETE", key, query, headers))
    except UploadMissing:
        return


def list_parts(wire: Wire, key: str, upload_id: str, headers: HeaderList) -> Iterator[ListedPart]:
    """ListParts, page by page."""
    marker: str | None = ""
    while marker is not None:
        query = [("uploadId", upload_id)]
        if marker:
            query.append(("part-number-marker", marker))
        operation = Operation("ListParts", Purpose.UPLOAD, "GET", key, query, headers)
        answer = wire.send(operation)
        page = read_answer(wire, operation, answer, documents.parts_page)
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
        page = read_answer(wire, operation, answer, documents.uploads_page)
        if page.markers == markers:
            raise wire.unreadable(operation, answer, "the next page begins where this one began")
        # A server that ignores the prefix must not make us abort other people's uploads.
        yield from (upload for upload in page.uploads if upload.key.startswith(prefix))
        markers = page.markers


def part_query(upload_id: str, number: int) -> tuple[tuple[str, str], ...]:
    """The query that names a part."""
    return (("partNumber", str(number)), ("uploadId", upload_id))
