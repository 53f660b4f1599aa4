"""Pages that say the same in another XML are read as S3's own; what is another document stays one."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from support.listing_server import listed, objects_page, versions_page

from schema.errors import ResponseUnreadable
from storage.listing import dialect
from storage.listing.page import Page, PageReader

SOUND = objects_page([listed("a+b/Contents"), listed("é")])
Change = Callable[[bytes], bytes]


def parse_page(body: bytes, bucket: str) -> Page:
    return PageReader(bucket).objects(body)


def parse_versions_page(body: bytes, bucket: str) -> Page:
    return PageReader(bucket).versions(body)


def prefixed(body: bytes) -> bytes:
    """Every element with a prefix that nobody declares."""
    return re.sub(rb"(</?)(\w)", rb"\1s3:\2", body)


def lower(body: bytes) -> bytes:
    """Every element in lower case."""
    return re.sub(rb"</?\w+", lambda found: found[0].lower(), body)


def blank(body: bytes) -> bytes:
    """White space before the declaration, which XML forbids."""
    return b"\r\n  " + body


@pytest.mark.parametrize("change", [prefixed, lower, blank, lambda body: blank(lower(prefixed(body)))])
def test_another_dialect_is_the_same_page(change: Change) -> None:
    assert change(SOUND) != SOUND
    assert parse_page(change(SOUND), "bucket") == parse_page(SOUND, "bucket")
    versions = versions_page([])
    assert parse_versions_page(change(versions), "bucket") == parse_versions_page(versions, "bucket")


def test_control_s3s_own_page_is_not_touched() -> None:
    assert dialect.plain(SOUND, "ListBucketResult") is SOUND


@pytest.mark.parametrize("body", [b"<html><body/></html>", b"", b"   ", b"<listBucketResults/>", b"no XML <Key>"])
def test_what_is_no_listing_stays_none(body: bytes) -> None:
    with pytest.raises(ResponseUnreadable):
        parse_page(body, "bucket")


def test_an_html_page_may_be_followed_by_a_listing() -> None:
    """So it is worth asking again, where a listing with a document type is not."""
    with pytest.raises(ResponseUnreadable, match="HTML page") as raised:
        parse_page(b"<!DOCTYPE html><html><body>Please wait</body></html>", "bucket")
    assert raised.value.retryable
