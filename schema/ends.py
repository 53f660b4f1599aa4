"""Where an end of a migration lies, and whether two ends overlap. The one place that decides it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from schema.declaration import Side

AWS = "aws"
"""All of AWS counts as one server: its bucket names are one name space, whatever the URL."""
_ACCESS_POINT = re.compile(
    r"arn:aws[a-z-]*:s3:([a-z0-9-]+):([0-9]{12}):accesspoint[:/]([a-z0-9][a-z0-9-]{1,48}[a-z0-9])"
)
_ALIASES = ("-s3alias", "--ol-s3", ".mrap")
"""No bucket may be called so."""
_AWS_HOST = re.compile(r"(?:^|\.)amazonaws\.com(?:\.cn)?\Z")

_AWS_REGION = re.compile(r"(?:^|[.-])([a-z]{2}(?:-[a-z]+)+-[0-9]+)\.(?:vpce\.)?amazonaws\.com")


@lru_cache(maxsize=4096)
def server_of(endpoint_url: str | None) -> str:
    """The server of a URL, normalised. That two names belong to one server cannot be known."""
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
    """The name of *side*'s endpoint for governors, views and methods: its server; at AWS, its region.

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
    """Whether *side* is at AWS, judging by its endpoint."""
    return server_of(side.endpoint_url) == AWS


class AccessPoint(NamedTuple):
    """An S3 access point, as its ARN names it."""

    region: str
    account: str
    name: str


def access_point(bucket: str) -> AccessPoint | None:
    """The access point that *bucket* is the ARN of; None: it is a bucket's name, or an access point's alias.

    Raises ValueError for ARNs that need another service or another signature than S3's: of several regions, of
    Outposts, of Object Lambda.
    """
    if not bucket.startswith("arn:"):
        return None
    found = _ACCESS_POINT.fullmatch(bucket)
    if found is None:
        raise ValueError(
            f"{bucket} is not the ARN of an S3 access point in one region "
            "(arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME); name the bucket itself, or the access point's alias"
        )
    return AccessPoint(*found.groups())


def listed_by_another_name(bucket: str) -> bool:
    """Whether a listing may name another bucket than was asked: an access point's listing does, for ARN and alias."""
    return bucket.startswith("arn:") or bucket.endswith(_ALIASES)


def overlap(one: Side, other: Side) -> bool:
    """Whether a key could lie in both."""
    if one.bucket != other.bucket or not servers_of(one) & servers_of(other):
        return False
    return one.prefix.startswith(other.prefix) or other.prefix.startswith(one.prefix)
