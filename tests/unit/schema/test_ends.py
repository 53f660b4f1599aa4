"""One server has one name, however a declaration spells it; and one limit, whatever pairs speak to it."""

from __future__ import annotations

from itertools import combinations

import pytest
from support.planning import declare

from executor.flow.governor import Governor
from s3migrate.planning.probing import choose_method
from s3migrate.wiring import Governors
from schema.declaration import Pair, Side
from schema.ends import endpoint_of, overlap, server_of
from schema.plan import Method
from storage.port import RequestSample

SPELLINGS = [
    ("https://h", "https://h:443", "https://H/", "HTTPS://h.", "https://H.:443/"),
    ("http://h", "http://h:80", "http://H./"),
    ("http://h:9000", "http://H:9000/", "http://h.:9000"),
    ("https://h/s3", "https://H:443/s3/"),
    ("https://[::1]", "https://[::1]:443"),
]


def side(url: str | None, region: str = "us-east-1") -> Side:
    return Side(bucket="b", endpoint_url=url, region=region)


@pytest.mark.parametrize("urls", SPELLINGS, ids=lambda urls: urls[0])
def test_spellings_of_one_server_are_one_server(urls: tuple[str, ...]) -> None:
    assert len({server_of(url) for url in urls}) == 1
    assert len({endpoint_of(side(url)) for url in urls}) == 1
    assert all(overlap(side(one), side(other)) for one, other in combinations(urls, 2))


def test_different_servers_are_different() -> None:
    urls = [urls[0] for urls in SPELLINGS]

    assert len({endpoint_of(side(url)) for url in urls}) == len(urls)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (side(None, "eu-west-1"), side("https://s3.eu-west-1.amazonaws.com", "eu-west-1"), True),
        (side(None, "eu-west-1"), side("https://s3.eu-west-1.amazonaws.com"), True),
        (side(None, "eu-west-1"), side("https://s3.dualstack.eu-west-1.amazonaws.com:443/"), True),
        (side(None), side("https://s3.amazonaws.com"), True),
        (side(None), side("https://s3-us-gov-west-1.amazonaws.com"), False),
        (side("https://s3.eu-west-1.amazonaws.com"), side("https://s3.eu-west-2.amazonaws.com"), False),
        (side(None), side(None, "eu-west-1"), False),
        (side(None), side("https://notamazonaws.com"), False),
    ],
)
def test_at_aws_each_region_is_an_endpoint(one: Side, other: Side, same: bool) -> None:
    assert (endpoint_of(one) == endpoint_of(other)) == same


@pytest.mark.parametrize("urls", SPELLINGS, ids=lambda urls: urls[0])
def test_pairs_that_name_one_server_in_two_spellings_share_one_limit(urls: tuple[str, ...]) -> None:
    now = [0.0]

    def wait(seconds: float) -> bool:
        now[0] += seconds
        return False

    governors = Governors(clock=lambda: now[0], wait=wait)
    observers = [governors.of(side(urls[0])), governors.of(side(urls[1]))]
    Governor(governors.by_name, 8).set_limits({"requests_per_second": 10})
    for number in range(200):
        observers[number % 2].before("GetObject", 0)
        observers[number % 2].after(RequestSample("GetObject", 0.0, 0.0, 0, None))

    assert len(governors.by_name) == 1
    assert now[0] == pytest.approx(20, rel=0.05), "200 requests at 10 a second, not at 20"


def test_one_server_in_two_spellings_copies_by_itself_two_servers_do_not() -> None:
    def method(source: str, destination: str) -> Method:
        pair = Pair("p", side(source), side(destination))
        return choose_method(declare(pairs=(pair,)), pair, lambda: "").method

    assert method("https://h", "https://H:443/") is Method.SERVER_COPY
    assert method("https://h", "https://h:444") is Method.STREAM
