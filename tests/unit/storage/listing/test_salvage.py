"""What XML cannot hold, and what parsers refuse, comes back as the characters it stands for."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from storage.listing.salvage import mended, restored


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a&#55357;&#56832;b", "a\U0001f600b"),
        ("&#xD83D;&#xde00;", "\U0001f600"),
        ("&#xE9;&#55357;&#56832;&#xE9;", "\xe9\U0001f600\xe9"),
        ("&#56319;&#57343;", "\U0010ffff"),
        ("&#55357;&#55357;&#56832;", "\ud83d\U0001f600"),
        ("&#55357;-&#56832;", "\ud83d-\ude00"),
        ("&#56832;&#55357;", "\ude00\ud83d"),
        ("&#1;&#x10FFFF;", "\x01\U0010ffff"),
        ("a&b &amp; &#38;", "a&b & &"),
    ],
)
def test_references_mean_characters(written: str, meant: str) -> None:
    page = mended(f"<Key>{written}</Key>".encode())
    assert page is not None
    assert restored(ET.fromstring(page).text or "") == meant


def test_a_page_without_any_of_it_is_left_alone() -> None:
    assert mended("<Key>&#233;&#x1F600;&amp;\U0001f600</Key>".encode()) is None
