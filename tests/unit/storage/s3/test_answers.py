"""What an answer does not tell is None, and never 0, '' or another's."""

from __future__ import annotations

import pytest

from storage.port import Pin
from storage.s3.answers import pinned_range, told_etag, told_size, told_version, with_first_byte
from storage.wire.exchange import Answer


@pytest.mark.parametrize(
    ("headers", "size"),
    [
        ({}, None),
        ({"content-length": ""}, None),
        ({"content-length": "0"}, 0),
        ({"content-length": "7"}, 7),
        ({"content-length": "-7"}, None),
        ({"content-length": "1", "content-range": "bytes 0-0/700"}, 700),
        ({"content-length": "1", "content-range": "bytes 0-0/*"}, None),
    ],
)
def test_size(headers: dict[str, str], size: int | None) -> None:
    assert told_size(headers) == size


@pytest.mark.parametrize("headers", [{}, {"etag": ""}, {"etag": '""'}])
def test_no_etag(headers: dict[str, str]) -> None:
    assert told_etag(headers) is None


def test_no_version() -> None:
    assert told_version({}) is None
    assert told_version({"x-amz-version-id": ""}) is None


def first_byte(status: int, headers: dict[str, str], received: int, *, overflowed: bool = False) -> Answer:
    """The answer to a GET of bytes=0-0."""
    return Answer(status, headers, b"", received, 0.0, 0.0, overflowed)


@pytest.mark.parametrize(("headers", "wrong"), [({}, True), ({"etag": '"e"'}, False), ({"last-modified": "x"}, False)])
def test_an_empty_answer_is_no_empty_object(headers: dict[str, str], wrong: bool) -> None:
    answer = Answer(200, {"content-length": "0", **headers}, b"", 0, 0.0, 0.0)
    assert (pinned_range(answer, Pin(), start=None, length=0) is not None) is wrong


def test_a_first_byte_tells_the_size_and_the_etag() -> None:
    byte = first_byte(206, {"content-length": "1", "content-range": "bytes 0-0/9", "etag": '"e"', "a": "2"}, 1)
    told = with_first_byte({"a": "1"}, byte)
    assert (told_size(told), told_etag(told), told["a"]) == (9, "e", "1")


def test_a_server_that_ignores_ranges() -> None:
    assert told_size(with_first_byte({}, first_byte(200, {"content-length": "9"}, 1, overflowed=True))) == 9
    assert told_size(with_first_byte({}, first_byte(200, {}, 1))) == 1
    assert told_size(with_first_byte({}, first_byte(200, {}, 1, overflowed=True))) is None
