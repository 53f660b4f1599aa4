"""Each operation has the class that it is priced by."""

from __future__ import annotations

import pytest

from schema.flow.request_classes import RequestClass, class_of


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("GetObject", RequestClass.GET),
        ("HeadObject", RequestClass.GET),
        ("GetObjectTagging", RequestClass.GET),
        ("GET ?acl", RequestClass.GET),
        ("HEAD ?partNumber", RequestClass.GET),
        ("PutObject", RequestClass.PUT),
        ("PutObjectTagging", RequestClass.PUT),
        ("CopyObject", RequestClass.PUT),
        ("CreateMultipartUpload", RequestClass.PUT),
        ("UploadPart", RequestClass.PUT),
        ("UploadPartCopy", RequestClass.PUT),
        ("CompleteMultipartUpload", RequestClass.PUT),
        ("PUT ?retention", RequestClass.PUT),
        ("DeleteObject", RequestClass.DELETE),
        ("AbortMultipartUpload", RequestClass.DELETE),
        ("POST ?delete", RequestClass.DELETE),
        ("ListObjectsV2", RequestClass.LIST),
        ("ListObjectVersions", RequestClass.LIST),
        ("ListParts", RequestClass.LIST),
        ("ListMultipartUploads", RequestClass.LIST),
        ("POST ?restore", RequestClass.RESTORE),
    ],
)
def test_an_operation_has_its_class(operation: str, expected: RequestClass) -> None:
    assert class_of(operation) is expected
