"""Small XML answers: what is read, and what is refused instead of being taken for an answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.objects import ListedPart, ListedUpload
from storage.wire import documents
from storage.wire.http1 import header_line, parse_head

READERS: list[Callable[[bytes], object]] = [
    documents.upload_id,
    lambda body: documents.written_etag(body, "CompleteMultipartUploadResult"),
    lambda body: documents.written_etag(body, "CopyObjectResult"),
    documents.parts_page,
    documents.uploads_page,
    lambda body: documents.tags(body or b"."),  # an empty answer holds no tags
    documents.access_control,
    documents.refused_deletes,
    documents.annotation_count,
]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>welcome</body></html>",
        b"<CopyObjectResult></CopyObjectResult",
        b"<CompleteMultipartUploadResult/>",
        b"<!DOCTYPE x [<!ENTITY a 'b'>]><Tagging/>",
        b"\xff\xfe",
        b"<ListPartsResult><IsTruncated>true</IsTruncated></ListPartsResult>",
        b"<ListMultipartUploadsResult><IsTruncated>true</IsTruncated></ListMultipartUploadsResult>",
    ],
)
def test_refused(reader: Callable[[bytes], object], body: bytes) -> None:
    with pytest.raises(ValueError, match=r"answer|without"):
        reader(body)


@given(st.binary(max_size=200))
def test_garbage_is_a_value_error(body: bytes) -> None:
    for reader in READERS:
        with pytest.raises(ValueError):
            reader(body)


HARMLESS = '<?xml version="1.0"{}?><Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>'
KEY = "<Tagging><TagSet><Tag><Key>&e;</Key></Tag></TagSet></Tagging>"
ENTITY = '<?xml version="1.0"{}?><!DOCTYPE x [<!ENTITY e "b">]>' + KEY


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [("utf-8", ""), ("utf-16-le", ""), ("utf-16-be", ""), ("utf-16", ' encoding="utf-16"'),
     ("latin-1", ' encoding="iso-8859-1"')],
)  # fmt: skip
def test_a_document_type_is_refused_in_every_encoding(encoding: str, declared: str) -> None:
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    assert documents.tags((mark + HARMLESS.format(declared)).encode(encoding)) == (("a", "b"),)
    with pytest.raises(ValueError, match="document type"):
        documents.tags((mark + ENTITY.format(declared)).encode(encoding))


def test_prefixes_need_not_be_declared() -> None:
    policy = (
        b'<s:AccessControlPolicy xmlns:s="x"><s:Owner><s:ID>me</s:ID></s:Owner><s:AccessControlList>'
        b'<s:Grant><s:Grantee xsi:type="Group"><s:URI> http://all </s:URI></s:Grantee>'
        b"<s:Permission>READ</s:Permission></s:Grant>"
        b"<s:Grant><s:Grantee/><s:Permission>READ</s:Permission></s:Grant></s:AccessControlList>"
        b"</s:AccessControlPolicy>"
    )
    assert documents.access_control(policy) == ("me", (("uri", "http://all", "READ"),))


def test_refused_deletes_and_annotations() -> None:
    body = b"<DeleteResult><Deleted><Key>a</Key></Deleted><Error><Key>b&amp;c</Key></Error></DeleteResult>"
    assert documents.refused_deletes(body) == {"b&c"}
    assert documents.refused_deletes(b"<DeleteResult/>") == set()
    found = b"<ListObjectAnnotationsOutput><A><AnnotationName>a</AnnotationName></A></ListObjectAnnotationsOutput>"
    assert documents.annotation_count(found) == 1


def test_reads_with_namespace_and_leading_space() -> None:
    body = b'  \n<CompleteMultipartUploadResult xmlns="http://x/"><ETag>&quot;abc-2&quot;</ETag></CompleteMultipartUploadResult>'
    assert documents.written_etag(body, "CompleteMultipartUploadResult") == "abc-2"
    untold = b"<CopyObjectResult><LastModified>2026</LastModified></CopyObjectResult>"
    assert documents.written_etag(untold, "CopyObjectResult") is None
    assert documents.tags(b"") == ()


def test_parts_page() -> None:
    body = (
        b"<ListPartsResult><IsTruncated>true</IsTruncated><NextPartNumberMarker>2</NextPartNumberMarker>"
        b"<Part><PartNumber>2</PartNumber><Size>5</Size><ETag>&quot;e&quot;</ETag>"
        b"<ChecksumCRC64NVME>c=</ChecksumCRC64NVME></Part></ListPartsResult>"
    )
    assert documents.parts_page(body) == ([ListedPart(2, 5, "e", "c=")], "2")


def test_uploads_page_decodes_keys_only_when_told() -> None:
    def page(encoding: str) -> bytes:
        return (
            f"<ListMultipartUploadsResult>{encoding}<IsTruncated>false</IsTruncated><Upload><Key>a+b%2Fc</Key>"
            "<UploadId>U</UploadId><Initiated>2026-11-24T19:48:00.909Z</Initiated></Upload>"
            "</ListMultipartUploadsResult>"
        ).encode()

    raw = documents.uploads_page(page("")).uploads
    decoded = documents.uploads_page(page("<EncodingType>url</EncodingType>")).uploads
    assert raw == [ListedUpload("a+b%2Fc", "U", 1_795_549_680_909)]
    assert decoded[0].key == "a b/c"


xml_text = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=20)


@given(st.lists(st.tuples(xml_text, xml_text), max_size=10))
def test_tags_survive_a_round_trip(pairs: list[tuple[str, str]]) -> None:
    assert documents.tags(documents.tagging_document(pairs)) == tuple(pairs)


def test_complete_document_quotes_and_escapes() -> None:
    assert b'<PartNumber>1</PartNumber><ETag>"a&lt;b"</ETag>' in documents.complete_document([(1, "a<b")])


@pytest.mark.parametrize(
    ("lines", "status", "headers"),
    [
        ([b"HTTP/1.1 200 OK\r\n", b'ETag: "x"\r\n', b"\r\n"], 200, {"etag": '"x"'}),
        ([b"HTTP/1.1 100 Continue\r\n", b"\r\n", b"HTTP/1.1 503 Slow\r\n", b"A:b\r\n", b"\r\n"], 503, {"a": "b"}),
        ([b"HTTP/1.1 200\r\n", b"A: 1\r\n", b"a: 2\r\n", b"\r\n", b"Trailer: t\r\n"], 200, {"a": "1, 2"}),
        (
            [b"HTTP/1.1 200 OK\r\n", b"X-Amz-Meta-N: \xc3\xa9\x85\xa0 \r\n", b"\r\n"],
            200,
            {"x-amz-meta-n": "\xc3\xa9\x85\xa0"},
        ),
        ([b"HTTP/1.1 200 OK\n", b"A: b\n", b"\n"], 200, {"a": "b"}),
        ([b"nonsense\r\n"], 0, {}),
        ([], 0, {}),
    ],
)
def test_parse_head(lines: list[bytes], status: int, headers: dict[str, str]) -> None:
    assert parse_head(b"".join(lines)) == (status, headers)


def test_header_lines_keep_bytes_and_empty_values() -> None:
    assert [header_line("a", "\xc3\xa9"), header_line("b", "")] == ["a: \xc3\xa9", "b;"]


@pytest.mark.parametrize("encoding", ["no-such-encoding", "utf-32", "gb18030"])
def test_an_encoding_that_nobody_knows_is_no_bug_of_ours(encoding: str) -> None:
    with pytest.raises(ValueError, match="XML"):
        documents.tags(f'<?xml version="1.0" encoding="{encoding}"?><Tagging/>'.encode())
