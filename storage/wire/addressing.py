"""Where a bucket lives: scheme, host and the path in front of a key. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from schema.declaration import Addressing, Side
from schema.ends import access_point
from schema.errors import DeclarationError

_DNS_LABEL_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]\Z")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_UNPACKING_HOSTS = ("storage.googleapis.com", "r2.cloudflarestorage.com")


class BucketAddress(NamedTuple):
    """How requests to one bucket are addressed."""

    origin: str
    """scheme://host[:port]"""
    host: str
    """As the Host header says it: without the scheme's own port."""
    root: str
    """The path in front of a key: '/bucket' or '' (the key's slash is not included)."""
    unpacks: bool
    """Objects stored with Content-Encoding: gzip are unpacked for readers that do not accept it."""
    region: str
    """What requests are signed for."""


def locate(side: Side) -> BucketAddress:
    """The address of *side*'s bucket, or of the access point whose ARN stands for it.

    Raises DeclarationError when the endpoint is not an http(s) URL, or the ARN is of no S3 access point.
    """
    try:
        point = access_point(side.bucket)
    except ValueError as error:
        raise DeclarationError(f"bucket: {error}") from None
    region = side.region if point is None else point.region
    url = side.endpoint_url or aws_endpoint(region, service="s3" if point is None else "s3-accesspoint")
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.query or parts.fragment:
        raise DeclarationError(f"endpoint_url {url!r} must look like https://host[:port]")
    if parts.username is not None or parts.password is not None:
        raise DeclarationError("endpoint_url must not carry a user name or password; use credentials:")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    virtual = point is not None or _is_virtual(side, parts.scheme, parts.hostname)
    if virtual:
        name = f"{side.bucket if point is None else f'{point.name}-{point.account}'}.{name}"
    port = parts.port
    host = name if port in (None, _DEFAULT_PORTS[parts.scheme]) else f"{name}:{port}"
    base = parts.path.rstrip("/")
    return BucketAddress(
        origin=f"{parts.scheme}://{host}",
        host=host,
        root=base if virtual else f"{base}/{side.bucket}",
        unpacks=parts.hostname.endswith(_UNPACKING_HOSTS),
        region=region,
    )


def copy_source(bucket: str, key: str) -> str:
    """What a server-side copy calls its source, not yet encoded."""
    return f"{bucket}/object/{key}" if bucket.startswith("arn:") else f"{bucket}/{key}"


def aws_endpoint(region: str, *, service: str = "s3") -> str:
    """AWS's regional S3 endpoint; *service* s3-accesspoint: that of its access points."""
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://{service}.{region}.{suffix}"


def _is_virtual(side: Side, scheme: str, hostname: str) -> bool:
    if side.addressing is not Addressing.AUTO:
        return side.addressing is Addressing.VIRTUAL
    on_aws = hostname.endswith((".amazonaws.com", ".amazonaws.com.cn"))
    # A bucket name with dots does not match AWS's wildcard certificate, hence path style for it.
    return on_aws and scheme == "https" and _DNS_LABEL_BUCKET.match(side.bucket) is not None
