"""The small XML documents that S3 sends and takes: uploads, parts, copies, tags, ACLs; listings are in
storage/listing/.

Every reader checks the document's root and the elements it needs, and raises ValueError for anything else: an
empty or HTML 200 is never taken for an answer.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from urllib.parse import unquote_to_bytes
from xml.parsers import expat
from xml.sax.saxutils import escape

from schema.objects import ListedPart, ListedUpload

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


class PartsPage(NamedTuple):
    """One page of ListParts; *marker* is where the next begins, None after the last."""

    parts: list[ListedPart]
    marker: str | None


class UploadsPage(NamedTuple):
    """One page of ListMultipartUploads; *markers* are key and upload id of where the next begins."""

    uploads: list[ListedUpload]
    markers: tuple[str, str] | None


class Grant(NamedTuple):
    """One entry of an access control list."""

    kind: str
    """id | uri | emailAddress, as the grant headers name it."""
    grantee: str
    permission: str


class AccessControlPolicy(NamedTuple):
    """An object's owner and its grants."""

    owner: str
    """Its id; '' where the document names none."""
    grants: tuple[Grant, ...]


def parse_document(body: bytes, *roots: str) -> ET.Element:
    """The document's element tree without prefixes. Raises ValueError unless its root is one of *roots*.

    Expat reports a document type in whatever encoding it is written; where there is none there are no entities.
    Prefixes need not be declared: some servers forget to.
    """
    builder = ET.TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse_document_type
    parser.buffer_text = True
    try:
        parser.Parse(body.strip(), True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # also an encoding that nobody knows
        raise ValueError(f"the answer is not XML: {error}") from None
    tree: ET.Element = builder.close()
    for element in tree.iter():
        element.tag = element.tag.rpartition(":")[2]
    if tree.tag not in roots:
        raise ValueError(f"the answer is <{tree.tag}>, expected <{roots[0]}>")
    return tree


def _refuse_document_type(*_: object) -> None:
    raise ValueError("the answer declares a document type, which S3 never does")


def bare_etag(text: str) -> str:
    """An ETag without quotes and without W/."""
    text = text.strip()
    return text.removeprefix("W/").strip('"')


def upload_id(body: bytes) -> str:
    """Of an InitiateMultipartUploadResult (rclone leaves out the last word)."""
    return _needed(parse_document(body, "InitiateMultipartUploadResult", "InitiateMultipartUpload"), "UploadId")


def written_etag(body: bytes, root: str) -> str | None:
    """Of a CompleteMultipartUploadResult, CopyObjectResult or CopyPartResult; None: not stated.

    Without a word nothing says that anything was written, which raises ValueError.
    """
    tree = parse_document(body, root)
    if not len(tree):
        raise ValueError(f"the answer is an empty <{root}>")
    return bare_etag(tree.findtext("ETag") or "") or None


def parts_page(body: bytes) -> PartsPage:
    """Of a ListPartsResult (moto says ListPartsResponse)."""
    tree = parse_document(body, "ListPartsResult", "ListPartsResponse")
    parts = [
        ListedPart(
            int(_needed(part, "PartNumber")),
            int(_needed(part, "Size")),
            bare_etag(_needed(part, "ETag")),
            part.findtext("ChecksumCRC64NVME") or "",
        )
        for part in tree.findall("Part")
    ]
    marker = tree.findtext("NextPartNumberMarker") if _truncated(tree) else None
    if _truncated(tree) and not marker:
        raise ValueError("a truncated list of parts without NextPartNumberMarker")
    return PartsPage(parts, marker)


def uploads_page(body: bytes) -> UploadsPage:
    """Of a ListMultipartUploadsResult; keys are decoded when the server says that it encoded them."""
    tree = parse_document(body, "ListMultipartUploadsResult")
    encoded = tree.findtext("EncodingType") == "url"
    uploads = [
        ListedUpload(
            _key(_needed(upload, "Key"), encoded),
            _needed(upload, "UploadId"),
            _milliseconds(upload.findtext("Initiated") or ""),
        )
        for upload in tree.findall("Upload")
    ]
    if not _truncated(tree):
        return UploadsPage(uploads, None)
    next_key = tree.findtext("NextKeyMarker")
    if not next_key:
        raise ValueError("a truncated list of uploads without NextKeyMarker")
    return UploadsPage(uploads, (_key(next_key, encoded), tree.findtext("NextUploadIdMarker") or ""))


def tags(body: bytes) -> tuple[tuple[str, str], ...]:
    """Of a Tagging document, in the server's order. An empty answer holds none."""
    if not body:
        return ()
    tree = parse_document(body, "Tagging")
    return tuple((tag.findtext("Key") or "", tag.findtext("Value") or "") for tag in tree.iterfind("TagSet/Tag"))


def access_control(body: bytes) -> AccessControlPolicy:
    """Of an AccessControlPolicy document; grants without a grantee are left out."""
    tree = parse_document(body, "AccessControlPolicy")
    found = []
    for grant in tree.iterfind("AccessControlList/Grant"):
        for kind, name in (("id", "ID"), ("uri", "URI"), ("emailAddress", "EmailAddress")):
            grantee = (grant.findtext(f"Grantee/{name}") or "").strip()
            if grantee:
                found.append(Grant(kind, grantee, (grant.findtext("Permission") or "").strip()))
                break
    return AccessControlPolicy((tree.findtext("Owner/ID") or "").strip(), tuple(found))


def refused_deletes(body: bytes) -> frozenset[str]:
    """Keys that a DeleteResult says are still there."""
    return frozenset(_needed(error, "Key") for error in parse_document(body, "DeleteResult").iterfind("Error"))


def annotation_count(body: bytes) -> int:
    """Of an answer to ListObjectAnnotations, whose root AWS's model does not name."""
    tree = parse_document(body, "ListObjectAnnotationsResult", "ListObjectAnnotationsOutput")
    return sum(1 for _ in tree.iter("AnnotationName"))


def complete_document(parts: Sequence[tuple[int, str]]) -> bytes:
    """The body of CompleteMultipartUpload for (number, ETag without quotes) pairs."""
    rows = "".join([f'<Part><PartNumber>{n}</PartNumber><ETag>"{escape(etag)}"</ETag></Part>' for n, etag in parts])
    return f'<CompleteMultipartUpload xmlns="{_NAMESPACE}">{rows}</CompleteMultipartUpload>'.encode()


def tagging_document(pairs: Sequence[tuple[str, str]]) -> bytes:
    """The body of PutObjectTagging."""
    rows = "".join([f"<Tag><Key>{escape(k)}</Key><Value>{escape(v)}</Value></Tag>" for k, v in pairs])
    return f'<Tagging xmlns="{_NAMESPACE}"><TagSet>{rows}</TagSet></Tagging>'.encode()


def _needed(element: ET.Element, name: str) -> str:
    text = element.findtext(name)
    if not text:
        raise ValueError(f"<{element.tag}> without <{name}>")
    return text


def _truncated(tree: ET.Element) -> bool:
    """Absent means no, as rclone says it; a body cut short would not have parsed."""
    return (tree.findtext("IsTruncated") or "false").strip() == "true"


def _key(text: str, encoded: bool) -> str:
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8") if encoded else text


def _milliseconds(timestamp: str) -> int:
    if not timestamp:
        return 0
    moment = datetime.fromisoformat(timestamp)
    return round(moment.timestamp() * 1000)
