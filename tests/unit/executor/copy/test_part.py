"""A part read through a window: what its answer is compared with."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import pytest

from executor.carry.integrity import crc64nvme, crc_text
from executor.copy.part import check_windowed
from schema.errors import DigestMismatch
from schema.objects import PartResult

CRC_HEADER = "x-amz-checksum-crc64nvme"
BODY = b"what was sent"


def delivered(md5: bytes | None = None) -> Any:
    return SimpleNamespace(crc=crc64nvme(BODY), md5=md5)


def test_a_crc_in_the_answer_must_be_that_of_what_was_sent() -> None:
    window = delivered()
    check_windowed(window, PartResult(1, "e", {CRC_HEADER: crc_text(window.crc)}), key="k")
    with pytest.raises(DigestMismatch, match="CRC64NVME"):
        check_windowed(window, PartResult(1, "e", {CRC_HEADER: crc_text(window.crc ^ 1)}), key="k")


def test_what_was_hashed_must_have_the_answers_etag() -> None:
    digest = hashlib.md5(BODY)
    check_windowed(delivered(digest.digest()), PartResult(1, digest.hexdigest(), {}), key="k")
    with pytest.raises(DigestMismatch, match="MD5"):
        check_windowed(delivered(digest.digest()), PartResult(1, "0" * 32, {}), key="k")


def test_an_opaque_etag_is_compared_with_nothing() -> None:
    headers = {"x-amz-server-side-encryption": "aws:kms"}
    check_windowed(delivered(bytes(16)), PartResult(1, "e" * 32, headers), key="k")
