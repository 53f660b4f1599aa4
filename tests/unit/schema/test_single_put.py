"""Which objects that are too big to be held cross in one PUT: the same answer for the plan and for its execution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from schema.declaration import Pair, Side
from schema.facts import Capabilities
from schema.plan import is_single_put, takes_single_puts
from schema.tiers import GIB, MIB, SINGLE_PUT_MAX, WHOLE_MAX, single_put_window

MD5 = "0123456789abcdef" * 2
CHECKS_MD5 = {"content_md5": "enforced"}


HERE, THERE = Side("a", endpoint_url="http://here"), Side("b", endpoint_url="http://there")


def taken(
    source: Mapping[str, str] = {},
    destination: Mapping[str, str] = CHECKS_MD5,
    *,
    ends: tuple[Side, Side] = (HERE, THERE),
) -> bool:
    return takes_single_puts(Pair("main", *ends), Capabilities(source), Capabilities(destination))


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, False), (WHOLE_MAX, False), (WHOLE_MAX + 1, True), (SINGLE_PUT_MAX, True), (SINGLE_PUT_MAX + 1, False)],
)
def test_sizes(size: int, expected: bool) -> None:
    assert is_single_put(size, MD5) is expected


@pytest.mark.parametrize("etag", ["", f"{MD5}-2", MD5.upper(), MD5[:-1], "0x8D4BCC2E4835CD0"])
def test_an_etag_that_is_no_md5_proves_nothing(etag: str) -> None:
    assert not is_single_put(200 * MIB, etag)


def test_what_the_probes_found_decides() -> None:
    assert taken(source={"etag_is_md5": "enforced"})
    assert taken(source={"etag_is_md5": "unknown"})
    assert not taken(source={"etag_is_md5": "ignored"})
    assert not taken(destination={})
    assert not taken(destination={"content_md5": "ignored"})
    assert not taken(destination=CHECKS_MD5 | {"multipart_crc64nvme": "enforced"})
    assert not taken(ends=(HERE, replace(THERE, signed_payload=True))), "what is signed is held as a whole"
    assert taken(destination=CHECKS_MD5 | {"multipart_crc64nvme": "ignored"})


def test_within_one_endpoint_it_would_be_two_requests_at_once() -> None:
    assert not taken(ends=(HERE, Side("b", endpoint_url="http://here:80/")))


@pytest.mark.parametrize(("budget", "window"), [(GIB, 16 * MIB), (32 * MIB, 16 * MIB), (31 * MIB, 8 * MIB)])
def test_the_window_fits_into_the_budget(budget: int, window: int) -> None:
    assert single_put_window(budget) == window
