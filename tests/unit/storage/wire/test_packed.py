"""Documents that come gzipped unasked."""

from __future__ import annotations

import gzip

import pytest

from storage.wire import packed
from storage.wire.packed import GZIP_MAGIC, unpacked

TEXT = b"<ListBucketResult>" + bytes(1000)


def test_a_gzipped_document_is_unpacked() -> None:
    assert gzip.compress(TEXT).startswith(GZIP_MAGIC)
    assert unpacked(gzip.compress(TEXT)) == TEXT


@pytest.mark.parametrize("body", [GZIP_MAGIC, GZIP_MAGIC + b"no gzip", gzip.compress(TEXT, mtime=0)[:-9]])
def test_what_is_none_stays_as_it_came(body: bytes) -> None:
    assert unpacked(body) == body


def test_no_more_is_unpacked_than_an_answer_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "ANSWER_BODY_LIMIT", 100)
    body = gzip.compress(TEXT)
    assert unpacked(body) == body
