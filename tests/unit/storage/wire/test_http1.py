"""Is an answer's head read as HTTP/1.1 says, wherever the network cuts it?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.wire.http1 import HeadMalformed, Pieces, find_head


def test_a_head() -> None:
    text = b'HTTP/1.1 200 OK\r\nETag: "x"\r\nX-A:  1 \r\nx-a: 2\r\nContent-Length: 5\r\n\r\nhello'
    head = find_head(bytearray(text), len(text))
    assert head is not None
    assert head.status == 200
    assert head.fields == {"etag": '"x"', "x-a": "1, 2", "content-length": "5"}
    assert text[head.end :] == b"hello"
    assert (head.length, head.chunked, head.keeps_alive) == (5, False, True)


def test_a_field_that_says_the_same_twice_says_it_once() -> None:
    """A proxy and its server may both name the type; other repetitions are lists."""
    text = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\ncontent-type: a/b\r\nX: 1\r\nX: 2\r\nX: 2\r\n\r\n"
    head = find_head(bytearray(text), len(text))
    assert head is not None
    assert head.fields == {"content-type": "a/b", "x": "1, 2, 2"}


def test_a_head_that_is_not_whole_yet() -> None:
    text = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
    for have in range(len(text)):
        assert find_head(bytearray(text), have) is None
    head = find_head(bytearray(text), len(text))
    assert head is not None
    assert not head.keeps_alive


@pytest.mark.parametrize(
    "text",
    [
        b"<html>sorry</html>",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nETag : x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: b\nc: d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: b\r\n folded: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused(text: bytes) -> None:
    with pytest.raises(HeadMalformed):
        find_head(bytearray(text), len(text))


def pieces_of(wire: bytes, cuts: list[int], held: int) -> Pieces:
    """*held* bytes of *wire* lie in the buffer already; the rest comes in portions of the sizes in *cuts*."""
    buffer = bytearray(64)
    held = min(held, len(wire), 64)
    buffer[:held] = wire[:held]
    left = [wire[held:]]
    sizes = iter(cuts)

    def receive(view: memoryview) -> int:
        portion = left[0][: min(len(view), next(sizes, 64))]
        left[0] = left[0][len(portion) :]
        view[: len(portion)] = portion
        return len(portion)

    return Pieces(receive, memoryview(buffer), start=0, have=held)


bodies = st.lists(st.binary(min_size=1, max_size=90), max_size=6)
cuts = st.lists(st.integers(1, 64), max_size=40)


@given(bodies, cuts, st.integers(0, 64))
def test_chunks_are_put_together_wherever_they_are_cut(chunks: list[bytes], sizes: list[int], held: int) -> None:
    wire = b"".join(b"%x;a=b\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nX-Trailer: 1\r\n\r\n"
    assert b"".join(bytes(piece) for piece in pieces_of(wire, sizes, held).chunks()) == b"".join(chunks)


@given(bodies, cuts, st.integers(0, 64))
def test_a_body_to_the_end(chunks: list[bytes], sizes: list[int], held: int) -> None:
    body = b"".join(chunks)
    assert b"".join(bytes(piece) for piece in pieces_of(body, sizes, held).to_the_end()) == body


@pytest.mark.parametrize("wire", [b"zz\r\n", b"-5\r\n", b"5\r\nhello", b"5\r\nhelloX\r\n0\r\n\r\n", b"1" * 300, b""])
def test_broken_chunks_are_refused(wire: bytes) -> None:
    with pytest.raises(HeadMalformed):
        b"".join(bytes(piece) for piece in pieces_of(wire, [], 0).chunks())
