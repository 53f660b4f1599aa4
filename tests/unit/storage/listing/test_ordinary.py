"""The quick way through a page and the parser's way give one outcome, whatever the page."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.listing_server import START_MS, listed, objects_page

from schema.errors import StoreError
from schema.objects import ListedObject
from storage.listing import ordinary
from storage.listing.page import Page, PageReader

OWNER = "<Owner><ID>abc</ID><DisplayName>me</DisplayName></Owner>"
SUMS = "<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>"


def page(*entries: str, declared: bool = True, extra: str = "", head: str = "") -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{head}<ListBucketResult xmlns="http://s3.amazonaws.com/doc/">'
        f"<Name>b</Name><Prefix/>{'<EncodingType>url</EncodingType>' if declared else ''}<KeyCount>2</KeyCount>"
        f"<IsTruncated>false</IsTruncated>{''.join(entries)}{extra}</ListBucketResult>"
    ).encode()


def entry(
    key: str,
    etag: str = "&quot;0f&quot;",
    size: str = "7",
    when: str = "2024-01-01T00:00:01.250Z",
    more: str = "<StorageClass>STANDARD</StorageClass>",
) -> str:
    return f"<Contents><Key>{key}</Key><LastModified>{when}</LastModified><ETag>{etag}</ETag><Size>{size}</Size>{more}</Contents>"  # noqa: E501


def outcome(body: bytes, quick: bool) -> Page | type[StoreError]:
    kept = ordinary.cut
    if not quick:
        ordinary.cut = lambda _body: None
    try:
        return PageReader("b").objects(body)
    except StoreError as error:
        return type(error)
    finally:
        ordinary.cut = kept


def is_ordinary(body: bytes) -> bool:
    return ordinary.cut(body) is not None


@pytest.mark.parametrize(
    "body",
    [
        page(entry("a"), entry("b")),
        page(entry("a+b"), entry("a%20c")),
        page(entry("a", '"0f"'), entry("b", '"1"')),
        page(entry("a", "0f"), entry("b", "1-2")),
        page(entry("\u00e9", more=OWNER), entry("\U0001f600", more=OWNER), declared=False),
        page(entry("a", more=SUMS + OWNER)),
        page(entry("b"), entry("a")),
    ],
)
def test_pages_of_servers_are_ordinary_and_read_alike(body: bytes) -> None:
    assert is_ordinary(body)
    found = outcome(body, quick=True)
    assert isinstance(found, Page)
    assert found == outcome(body, quick=False)
    assert [type(each) for each in found.entries] == [type(each) for each in outcome(body, quick=False).entries]  # type: ignore[union-attr]


def test_what_is_read_quickly_is_what_was_sent() -> None:
    (found,) = PageReader("b").objects(page(entry("a+b%2Bc", more=SUMS))).entries

    assert found == ListedObject("a b+c", 7, "0f", START_MS + 1250, "STANDARD", "CRC64NVME/FULL_OBJECT")


@pytest.mark.parametrize(
    "body",
    [
        page(),
        page(entry("a&amp;b")),
        page(entry("a") + "\n" + entry("b")),
        page(entry("a"), entry("b", more="")),
        page(entry("a"), entry("b", size="-1")),
        page(entry("a", when="2024-01-01T00:00:01Z")),
        page(entry("a"), "<!--" + entry("b") + "-->"),
        page("<![CDATA[" + entry("b") + "]]>"),
        page("<x>" + entry("a") + "</x>"),
        page(entry("a"), head="<!DOCTYPE x>"),
        page(entry("a", more="<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress></RestoreStatus>")),
        page(entry("a", more="<VersionId>v</VersionId>")),
        page(entry("a", more="<Key>b</Key>")),
        page(entry("\ufffd"), declared=False),
        page(entry("a\x01b"), declared=False),
        page(entry("a")).replace(b"UTF-8", b"latin-1"),
        page(entry("a")).replace(b"<Key>a", b"<Key>\xff"),
    ],
)
def test_pages_of_other_shapes_go_the_long_way(body: bytes) -> None:
    assert not is_ordinary(body)
    assert outcome(body, quick=True) == outcome(body, quick=False)


@pytest.mark.parametrize("declared", [True, False])
def test_pages_of_plain_keys_are_read_the_quick_way_alone(declared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise all is right and takes four times as long."""
    monkeypatch.setattr(PageReader, "_entries", lambda *_: pytest.fail("read the long way"))
    body = page(*(entry(f"d{number // 9}/{number:04d}.bin") for number in range(50)), declared=declared)

    assert len(PageReader("b").objects(body).entries) == 50


PIECES = ["<", ">", "&", "&quot;", "&amp;", "]]>", "<!--", "-->", "<Contents>", "</Contents>", "<Key>", "</Key>", "\n",
          "\r", "\x01", "\ufffd", "%FF", "%zz", "+", " ", "-1", "99", "<?x ?>", "<Owner/>", '"', "</ListBucketResult>",
          "<CommonPrefixes><Prefix>a</Prefix></CommonPrefixes>", "2024-13-01", "61", "W/"]  # fmt: skip


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_no_change_to_a_page_parts_the_two_ways(data: st.DataObject) -> None:
    """Equal pages, or the same refusal; also the types of the entries."""
    names = data.draw(st.lists(st.text("ab+ %é/<&", min_size=1, max_size=4), max_size=4))
    body = objects_page(map(listed, names), bucket="b", encode=data.draw(st.booleans()))
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(body)))
        until = data.draw(st.integers(place, min(len(body), place + 12)))
        body = body[:place] + data.draw(st.sampled_from(PIECES)).encode() + body[until:]
    quick, long = outcome(body, quick=True), outcome(body, quick=False)

    assert quick == long
    if isinstance(quick, Page) and isinstance(long, Page):
        assert list(map(type, quick.entries)) == list(map(type, long.entries))


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_ordinary_pages_are_read_alike(data: st.DataObject) -> None:
    key = st.text("ab+%2F0é/~ ", min_size=1, max_size=6)
    more: Callable[[], str] = lambda: data.draw(st.sampled_from(["", OWNER, SUMS, SUMS + OWNER]))  # noqa: E731
    tail = more()
    entries = [
        entry(
            name,
            size=str(data.draw(st.integers(0, 10**12))),
            etag=data.draw(st.sampled_from(["0f", "a-3"])),
            more=tail,
        )
        for name in data.draw(st.lists(key, min_size=1, max_size=6))
    ]
    body = page(*entries, declared=data.draw(st.booleans()))

    assert outcome(body, quick=True) == outcome(body, quick=False)
