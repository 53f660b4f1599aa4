"""What a server tells of every object is told apart from what an object has."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from schema.server_headers import ServerHeaders, age_of

NAMES = frozenset({"expires", "cache-control"})


def answer(at: int, age: int | None = 3600, **more: str) -> dict[str, str]:
    """An answer's headers at that second; *age*: of its Expires."""
    dated = {} if age is None else {"expires": formatdate(at + age, usegmt=True)}
    return {"date": formatdate(at, usegmt=True), **dated, **more}


def test_an_expires_follows_the_date() -> None:
    own = ServerHeaders.seen(answer(1_000_000), NAMES)
    assert own.text() == "expires=@3600"
    assert own.of(answer(2_000_000)) == {"expires"}
    assert own.of(answer(2_000_000, 3_601)) == {"expires"}
    assert own.of(answer(2_000_000, 7_200)) == own.of(answer(2_000_000, None)) == frozenset()


def test_a_value_is_the_servers_only_as_it_was_seen() -> None:
    own = ServerHeaders.seen({"cache-control": "private, max-age=0, a=b"}, NAMES)
    assert ServerHeaders.read(own.text()) == own
    assert own.of({"cache-control": "private, max-age=0, a=b"}) == {"cache-control"}
    assert own.of({"cache-control": "no-store"}) == frozenset()


@pytest.mark.parametrize("text", ["", "none", "unknown"])
def test_no_headers(text: str) -> None:
    own = ServerHeaders.read(text)
    assert own.text() == "" and own.of(answer(0)) == frozenset()


@pytest.mark.parametrize("expires", ["0", "-1", "", "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_what_is_no_age(expires: str) -> None:
    headers = {"date": formatdate(1_000_000, usegmt=True), "expires": expires}
    assert age_of(headers, "expires") is None
    assert age_of({"expires": formatdate(1_000_000, usegmt=True)}, "expires") is None
