"""Pages of a listing: every key byte for byte, or a refusal that names it."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.listing_server import START_MS, listed, objects_page, versions_page

from schema.errors import ListingRefused, ResponseUnreadable, ServerFault, StoreError
from schema.objects import ListedObject
from storage.listing.entry import PartialEntry, ShownEntry
from storage.listing.page import GROUPED, Page, PageReader

ODD_KEYS = [
    "a//b", "/a", "a/", "./x", "a/../b", "a+b", "a b", "a%2Fb", "a%20b", "%", "%zz", "\n", "\r", "\x01", "\x7f", " ",
    "  lead", "trail ", "\u00e9", "e\u0301", "\U0001f600", "\ufffe", "\ufffd", "yes", "null", "\x85", "\u2028",
    "<&>\"'", "\x00", "soap", "a;b=c?d#e", "\\", "k" * 1024,
]  # fmt: skip


def parse_page(body: bytes, bucket: str, *, prefix: str = "") -> Page:
    return PageReader(bucket, prefix).objects(body)


def parse_versions_page(body: bytes, bucket: str, *, prefix: str = "") -> Page:
    return PageReader(bucket, prefix).versions(body)


def page_of(fields: str, *, encoding: str = "<EncodingType>url</EncodingType>", around: str = "") -> bytes:
    """A page with one entry made of *fields*, which may replace or drop anything."""
    return (
        f"<ListBucketResult><Name>b</Name>{encoding}<IsTruncated>false</IsTruncated>"
        f"<Contents>{around}{fields}</Contents></ListBucketResult>"
    ).encode()


GOOD = {
    "Key": "<Key>k</Key>",
    "LastModified": "<LastModified>2024-01-01T00:00:00.000Z</LastModified>",
    "ETag": "<ETag>&quot;e&quot;</ETag>",
    "Size": "<Size>3</Size>",
}


def only(**replaced: str) -> ShownEntry:
    """The single entry of a page whose elements are *replaced*."""
    (entry,) = parse_page(page_of("".join({**GOOD, **replaced}.values())), "b").entries
    return entry


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_arrive_byte_for_byte(key: str) -> None:
    page = parse_page(objects_page([listed(key)]), "bucket")

    assert [entry.key for entry in page.entries] == [key]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True, max_size=20))
@settings(max_examples=200, deadline=None)
def test_any_key_arrives_byte_for_byte_and_order_is_that_of_the_bytes(names: list[str]) -> None:
    page = parse_page(objects_page(map(listed, names)), "bucket")

    assert [entry.key for entry in page.entries] == names
    assert page.ascending == (names == sorted(names, key=str.encode))


def test_raw_keys_of_a_server_that_ignores_encoding_type_are_taken_as_they_are() -> None:
    names = ["  lead", "a b", "a%20b", "a+b", "\u00e9", "\U0001f600"]
    page = parse_page(objects_page(map(listed, names), encode=False), "bucket")

    assert [entry.key for entry in page.entries] == names


@pytest.mark.parametrize("encode", [True, False])
def test_white_space_between_elements_means_nothing(encode: bool) -> None:
    body = objects_page([listed("  a b"), listed("c")], encode=encode).replace(b"><", b">\n \t<")
    page = parse_page(body, "bucket")

    assert page.entries == [listed("  a b"), listed("c")]


@pytest.mark.parametrize("sent", ["%FF", "%C3%28", "a%ED%A0%80", "%C0%AF"])
def test_a_key_that_is_not_utf8_is_kept_byte_for_byte_and_flawed_by_name(sent: str) -> None:
    entry = only(Key=f"<Key>{sent}</Key>")

    assert isinstance(entry, PartialEntry)
    assert entry.key.encode("utf-8", "surrogateescape") == unquote_to_bytes(sent)
    assert "not valid UTF-8" in entry.flaw


@pytest.mark.parametrize("sent", ["100%", "%z1", "a b"])
def test_a_key_declared_encoded_that_is_not_is_taken_as_it_is(sent: str) -> None:
    assert only(Key=f"<Key>{sent}</Key>").key == sent


def test_an_encoding_we_do_not_know_is_refused() -> None:
    with pytest.raises(ListingRefused):
        parse_page(page_of("".join(GOOD.values()), encoding="<EncodingType>base64</EncodingType>"), "b")


def test_an_entry_without_a_key_is_refused() -> None:
    with pytest.raises(ListingRefused, match="without a key"):
        only(Key="")


@pytest.mark.parametrize(("missing", "place"), [("LastModified", 3), ("Size", 1), ("ETag", 2)])
def test_what_an_entry_does_not_tell_is_unknown(missing: str, place: int) -> None:
    entry = only(**{missing: ""})

    assert isinstance(entry, PartialEntry)
    assert [value is None for value in entry[:4]] == [number == place for number in range(4)]
    assert entry.flaw == ""


@pytest.mark.parametrize("size", ["-1", "1e3", "", "\u00b2", "0x10", str(2**63), "9" * 5000])
def test_a_size_that_is_no_size_is_unknown(size: str) -> None:
    entry = only(Size=f"<Size>{size}</Size>")

    assert isinstance(entry, PartialEntry)
    assert entry.size is None


def test_the_largest_size_and_an_empty_object_are_sizes() -> None:
    assert only(Size=f"<Size>{2**63 - 1}</Size>").size == 2**63 - 1
    assert isinstance(only(Size="<Size>0</Size>"), ListedObject)


def test_no_bytes_in_several_parts_are_doubted() -> None:
    entry = only(Size="<Size>0</Size>", ETag="<ETag>&quot;abc-2&quot;</ETag>")

    assert isinstance(entry, PartialEntry)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("2024-01-01T00:00:00.000Z", 0),
        ("2024-01-01T00:00:00.123Z", 123),
        ("2024-01-01T00:00:00.5Z", 500),
        ("2024-01-01T00:00:00.123456789Z", 123),
        ("2024-01-01T00:00:01Z", 1000),
        ("2024-01-01T01:00:00.250+01:00", 250),
        ("2024-01-01T00:00:00", 0),
        ("1970-01-01T00:00:00.000Z", -START_MS),
        ("1969-12-31T23:59:59.250Z", -START_MS - 750),
        ("Mon, 01 Jan 2024 00:00:05 GMT", 5000),
        ("Mon, 01 Jan 2024 01:00:05 +0100", 5000),
        ("2024-01-01 00:00:05", 5000),
    ],
)
def test_times_become_milliseconds(text: str, milliseconds: int) -> None:
    one = GOOD | {"LastModified": f"<LastModified>{text}</LastModified>"}
    # Twice, so that the time of a second already met is read too.
    body = page_of("".join(one.values()) + "</Contents><Contents>" + "".join(one.values()))

    assert [entry.modified_ms for entry in parse_page(body, "b").entries] == [START_MS + milliseconds] * 2


@pytest.mark.parametrize("text", ["", "yesterday", "2024-13-01T00:00:00Z", "2024-01-01T00:00:00.abcZ"])
def test_a_time_that_is_none_is_unknown(text: str) -> None:
    entry = only(LastModified=f"<LastModified>{text}</LastModified>")

    assert isinstance(entry, PartialEntry)
    assert entry.modified_ms is None


def test_what_an_entry_says_beside_key_and_size() -> None:
    extra = (
        "<StorageClass>GLACIER</StorageClass><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>"
        "<ChecksumType>FULL_OBJECT</ChecksumType><Owner><ID>o</ID><DisplayName>Key</DisplayName></Owner>"
        "<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress>"
        "<RestoreExpiryDate>2026-01-01T00:00:00Z</RestoreExpiryDate></RestoreStatus>"
    )
    entry = only(ETag="<ETag>W/&quot;abc-2&quot;</ETag>", extra=extra)

    assert entry == ListedObject("k", 3, "abc-2", START_MS, "GLACIER", "CRC64NVME/FULL_OBJECT", restored=True)


def test_a_restore_under_way_is_not_restored() -> None:
    assert not only(extra="<RestoreStatus><IsRestoreInProgress>true</IsRestoreInProgress></RestoreStatus>").restored
    assert only().storage_class == "STANDARD"
    assert only(extra="<StorageClass></StorageClass>").storage_class == "STANDARD"


def test_fields_of_the_page_may_stand_behind_the_entries() -> None:
    body = (
        b"<ListBucketResult><Contents><Key>a+b</Key><LastModified>2024-01-01T00:00:00Z</LastModified><Size>1</Size>"
        b"</Contents><EncodingType>url</EncodingType>"
        b"<NextContinuationToken>t</NextContinuationToken><IsTruncated>true</IsTruncated><Name>b</Name>"
        b"</ListBucketResult>"
    )
    page = parse_page(body, "b")

    assert (page.entries[0].key, page.following) == ("a b", (("continuation-token", "t"),))


def test_prefixes_that_stand_for_their_keys_are_flawed_entries_in_their_place() -> None:
    groups = "".join(f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>" for name in ("b%2B/", "d/", ""))
    page = parse_page(objects_page([listed("a"), listed("c"), listed("d/x")], extra=groups), "bucket")

    assert [entry.key for entry in page.entries] == ["a", "b+/", "c", "d/x"]
    assert [getattr(entry, "flaw", "") for entry in page.entries] == ["", GROUPED, "", ""]
    assert (page.ascending, page.shown) == (True, 4)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it is empty"),
        (b"<html><body>hello</body></html>", "is a <html>"),
        (b"<!doctype html><html></html>", "incomplete XML|document type"),
        (objects_page([listed("a")])[:-1], "incomplete XML"),
        (objects_page([listed("a")])[:200], "incomplete XML"),
        (versions_page(), "is a <ListVersionsResult>"),
        (b"\x00\x01", "incomplete XML"),
        (b'<?xml version="1.0" encoding="latin-99"?>' + objects_page([listed("a")])[39:], "incomplete XML"),
        (b'<?xml version="1.0" encoding="gb18030"?>' + objects_page([listed("a")])[39:], "incomplete XML"),
    ],
)
def test_what_is_no_page_is_unreadable_and_may_be_asked_for_again(body: bytes, said: str) -> None:
    with pytest.raises((ResponseUnreadable, ListingRefused), match=said):
        parse_page(body, "bucket")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (objects_page(bucket="other"), "of bucket 'other'"),
        (objects_page().replace(b"<Name>bucket</Name>", b""), "does not name its bucket"),
        (objects_page(truncated=""), "no IsTruncated"),
        (objects_page(truncated="True"), "IsTruncated='True'"),
        (objects_page(truncated="true"), "no continuation token and no key"),
        (b'<!DOCTYPE l [<!ENTITY k "v">]><l>&k;</l>', "document type"),
    ],
)
def test_a_whole_page_that_cannot_be_trusted_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(ListingRefused, match=said):
        parse_page(body, "bucket")


def test_an_error_document_is_an_error() -> None:
    body = b"<Error><Code>InternalError</Code><Message>try</Message><RequestId>42</RequestId></Error>"
    with pytest.raises(ServerFault, match="InternalError try") as caught:
        parse_page(body, "bucket")
    assert (caught.value.code, caught.value.request_id) == ("InternalError", "42")


@pytest.mark.parametrize("names", [["b", "p/a"], ["p/a", "q"], ["p/a", "o", "p/b"]])
def test_a_key_outside_the_prefix_is_refused(names: list[str]) -> None:
    with pytest.raises(ListingRefused, match="not under the prefix"):
        parse_page(objects_page(map(listed, names)), "bucket", prefix="p/")


@pytest.mark.parametrize(
    ("names", "ascending"),
    [([], True), (["a"], True), (["a", "a"], False), (["b", "a"], False), (["~", "\u00e9"], True)],
)
def test_disorder_and_repeats_within_a_page_are_seen(names: list[str], ascending: bool) -> None:
    assert parse_page(objects_page(map(listed, names)), "bucket").ascending is ascending


def history() -> Page:
    entries = [
        ListedObject("a b", 0, "", START_MS + 3, version_id="v3", delete_marker=True),
        ListedObject("a b", 1, "0" * 32, START_MS + 2, version_id="v2", is_latest=False),
        ListedObject("a b", 0, "", START_MS + 1, version_id="v1", is_latest=False, delete_marker=True),
        ListedObject("c", 1, "0" * 32, START_MS, version_id="null"),
    ]
    page = parse_versions_page(versions_page(entries, following=("c+d", "x")), "bucket")
    assert page.entries == entries
    return page


def test_versions_and_markers_keep_their_order_and_both_next_markers() -> None:
    page = history()

    assert page.ascending
    assert page.following == (("key-marker", "c+d"), ("version-id-marker", "x"))


def test_versions_that_go_on_without_a_marker_are_refused() -> None:
    body = versions_page(following=("k", "v")).replace(b"<NextKeyMarker>k</NextKeyMarker>", b"")
    with pytest.raises(ListingRefused, match="no next key marker"):
        parse_versions_page(body, "bucket")


SOUND = objects_page([listed("a/b"), listed("c")])


@given(st.data())
@settings(deadline=None)
def test_whatever_stands_in_a_body_is_a_page_or_a_store_error(data: st.DataObject) -> None:
    """A sound page with a piece replaced by bytes, by a piece of itself, or by what often breaks parsers."""
    lo = data.draw(st.integers(0, len(SOUND)))
    hi = data.draw(st.integers(lo, min(len(SOUND), lo + 60)))
    bad = [b"", b"&a;", b"<!DOCTYPE x [<!ENTITY a 'b'>]>", b"\0", b"\xff", b"<Key>", b"-1", b"9" * 40, SOUND[lo:hi] * 2]
    piece = data.draw(st.binary(max_size=12) | st.sampled_from(bad))
    for parse in (parse_page, parse_versions_page):
        try:
            page = parse(SOUND[:lo] + piece + SOUND[hi:], "bucket")
        except StoreError:
            continue
        assert all(entry.key for entry in page.entries)
