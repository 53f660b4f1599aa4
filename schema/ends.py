"""Where an end of a migration lies, and whether two ends overlap. The one place that decides it."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import urlsplit

from schema.declaration import Side

AWS = "aws"
"""The server that all of AWS is: its bucket names are one name space, whatever the URL."""
_AWS_HOST = re.compile(r"(?:^|\.)amazonaws\.com(?:\.cn)?\Z")

_AWS_REGION = re.compile(r"(?:^|[.-])([a-z]{2}(?:-[a-z]+)+-[0-9]+)\.(?:vpce\.)?amazonaws\.com")


@lru_cache(maxsize=4096)
def server_of(endpoint_url: str | None) -> str:
    """The server a URL means, in one spelling. Two names of one server cannot be told to be the same."""
    if endpoint_url is None:
        return AWS
    parts = urlsplit(endpoint_url)
    host = (parts.hostname or "").rstrip(".")
    if _AWS_HOST.search(host):
        return AWS
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        port = 0
    return f"{host}:{port}{parts.path.rstrip('/')}"


def endpoint_of(side: Side) -> str:
    """What governors, views and methods call the endpoint of *side*: its server, at AWS the region of it.

    Equal for equal endpoints, however they are spelled. At AWS each region is an endpoint: copies between regions are
    slow and fail late, and one region's trouble is not another's.
    """
    server = server_of(side.endpoint_url)
    if server != AWS:
        return server
    told = _AWS_REGION.search((urlsplit(side.endpoint_url).hostname or "") if side.endpoint_url else "")
    return f"{AWS}:{told[1] if told else side.region}"


def servers_of(side: Side) -> frozenset[str]:
    """Every server that was declared for *side*: a run may move from one to another."""
    return frozenset(server_of(url) for url in side.endpoint_candidates or (side.endpoint_url,))


def is_aws(side: Side) -> bool:
    """Whether *side* is at AWS, as far as its endpoint tells."""
    return server_of(side.endpoint_url) == AWS


def overlap(one: Side, other: Side) -> bool:
    """Whether a key could lie in both."""
    if one.bucket != other.bucket or not servers_of(one) & servers_of(other):
        return False
    return one.prefix.startswith(other.prefix) or other.prefix.startswith(one.prefix)
