"""What a HEAD says of an archived object, and what RestoreObject is asked."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from executor.copy.restore import restore_document
from schema.objects import ObjectHead
from schema.storage_classes import readable

NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, True),
        ({"x-amz-storage-class": "STANDARD_IA"}, True),
        ({"x-amz-storage-class": "GLACIER_IR"}, True),
        ({"x-amz-storage-class": "GLACIER"}, False),
        ({"x-amz-storage-class": "DEEP_ARCHIVE", "x-amz-restore": 'ongoing-request="true"'}, False),
        ({"x-amz-storage-class": "GLACIER", "x-amz-restore": 'ongoing-request="false", expiry-date="x"'}, True),
        ({"x-amz-storage-class": "INTELLIGENT_TIERING"}, True),
        ({"x-amz-storage-class": "INTELLIGENT_TIERING", "x-amz-archive-status": "DEEP_ARCHIVE_ACCESS"}, False),
    ],
)
def test_what_a_head_says_of_the_archive(headers: dict[str, str], expected: bool) -> None:
    assert readable(ObjectHead(headers, 1, "e")) is expected


def test_days_only_where_a_copy_is_restored() -> None:
    root = ET.fromstring(restore_document(3, "Bulk", tiered=False))
    assert [root.findtext(f"{NAMESPACE}Days"), root.findtext(f"{NAMESPACE}GlacierJobParameters/{NAMESPACE}Tier")] == [
        "3", "Bulk",
    ]  # fmt: skip
    assert ET.fromstring(restore_document(3, "Bulk", tiered=True)).find(f"{NAMESPACE}Days") is None
