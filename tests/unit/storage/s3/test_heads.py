"""When a head is asked for by GET, and when by HEAD again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from schema.errors import AccessRefused, FeatureUnsupported, ObjectArchived, StoreError, WhichSide
from storage.s3.heads import Heads
from storage.wire.exchange import Answer
from storage.wire.wire import Operation, Wire


class Bucket:
    """Answers HEAD and GET of the objects "plain" and "archived"; the first *refused* HEADs are refused."""

    def __init__(self, refused: float, refusal: StoreError) -> None:
        self.asked: list[str] = []
        self._refused = refused
        self._refusal = refusal

    def read(self, operation: Operation) -> Answer:
        self.asked.append(operation.method)
        headers = {"etag": '"e"', "content-length": "7"}
        if operation.method == "HEAD":
            if self.asked.count("HEAD") <= self._refused:
                raise self._refusal
            return Answer(200, headers, b"", 0, 0.0, 0.0)
        if operation.key == "archived":
            raise ObjectArchived("InvalidObjectState", operation=operation.name, status=403)
        return Answer(206, {**headers, "content-length": "1", "content-range": "bytes 0-0/7"}, b"", 1, 0.0, 0.0)

    def heads(self) -> Heads:
        wire = SimpleNamespace(side=WhichSide.DESTINATION, unpacks=False)
        return Heads(cast(Wire, wire), self.read)


REFUSALS = [AccessRefused("403", operation="HeadObject", status=403), FeatureUnsupported("501", operation="HeadObject")]


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize(("refused", "later"), [(0, ["HEAD"]), (1, ["HEAD"]), (2, ["GET"])])
def test_heads_are_asked_by_get_for_good_only_after_a_second_refusal(
    refusal: StoreError, refused: int, later: list[str]
) -> None:
    bucket = Bucket(refused, refusal)
    heads = bucket.heads()
    assert heads.ask("plain", [], []).size == 7
    assert bucket.asked == ["HEAD", "GET", "HEAD"][: 3 if refused else 1]
    bucket.asked[:] = []
    bucket._refused = 0
    assert heads.ask("plain", [], []).size == 7
    assert bucket.asked == later


@pytest.mark.parametrize("refused", [0, 1, 2])
def test_an_archived_object_has_a_head_whatever_was_refused_before(refused: int) -> None:
    bucket = Bucket(refused, REFUSALS[0])
    heads = bucket.heads()
    assert heads.ask("plain", [], []).size == 7
    assert heads.ask("archived", [], []).size == 7


def test_an_archived_object_whose_head_is_refused_once_has_one() -> None:
    assert Bucket(1, REFUSALS[0]).heads().ask("archived", [], []).size == 7


def test_an_archived_object_is_called_so_where_no_head_is_answered() -> None:
    heads = Bucket(float("inf"), REFUSALS[0]).heads()
    assert heads.ask("plain", [], []).size == 7
    with pytest.raises(ObjectArchived):
        heads.ask("archived", [], [])
