"""Where a bucket lives: scheme, host and the path in front of a key. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from schema.declaration import Addressing, Side
from schema.ends import access_point
from schema.errors import DeclarationError
from storage.wire.signer import encode_path

_DNS_LABEL_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]\Z")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn")
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
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise DeclarationError("endpoint_url must look like https://host[:port], with a port below 65536") from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.query or parts.fragment:
        raise DeclarationError(f"endpoint_url {url!r} must look like https://host[:port]")
    if parts.username is not None or parts.password is not None:
        raise DeclarationError("endpoint_url must not carry a user name or password; use credentials:")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    virtual = point is not None or _is_virtual(side, parts.scheme, parts.hostname)
    if virtual:
        name = f"{side.bucket if point is None else f'{point.name}-{point.account}'}.{name}"
    host = name if port in (None, _DEFAULT_PORTS[parts.scheme]) else f"{name}:{port}"
    base = parts.path.rstrip("/")
    return BucketAddress(
        origin=f"{parts.scheme}://{host}",
        host=host,
        root=base if virtual else f"{base}/{side.bucket}",
        unpacks=parts.hostname.endswith(_UNPACKING_HOSTS),
        region=region,
    )


def redirected(address: BucketAddress, key: str, headers: Mapping[str, str]) -> BucketAddress | None:
    """Where an answer with these *headers* redirects a request for *key* ('': the bucket); None: nowhere, or to a place
    that is not known to belong to the same service, to which neither objects nor signatures are sent.

    The same host belongs to it, hosts below it, and between hosts of AWS any other; never http where it was https.
    """
    path = request_path(address, key)
    try:
        place = urlsplit(urljoin(f"{address.origin}{path}", headers.get("location", "")))
        asked, _ = urlsplit(address.origin), place.port
    except ValueError:
        return None
    named = encode_path(f"/{key}") if key else ""
    if "location" not in headers or not _same_service(asked, place) or not place.path.endswith(named):
        return None
    root = place.path.removesuffix(named) if named else place.path
    host = place.netloc.lower().removesuffix(f":{_DEFAULT_PORTS[place.scheme]}")
    region = headers.get("x-amz-bucket-region", address.region)
    return BucketAddress(f"{place.scheme}://{host}", host, unquote(root).rstrip("/"), address.unpacks, region)


def _same_service(asked: SplitResult, place: SplitResult) -> bool:
    if place.scheme not in _DEFAULT_PORTS or not place.hostname or not asked.hostname or "@" in place.netloc:
        return False
    if asked.scheme != place.scheme and asked.scheme == "https":
        return False
    ports = [parts.port or _DEFAULT_PORTS[parts.scheme] for parts in (asked, place)]
    if asked.scheme == place.scheme and ports[0] != ports[1]:
        return False
    below = place.hostname == asked.hostname or place.hostname.endswith(f".{asked.hostname}")
    return below or all(str(parts.hostname).endswith(_AWS_HOSTS) for parts in (asked, place))


def request_path(address: BucketAddress, key: str) -> str:
    """The path of a request for *key*, or for the bucket, as it is sent and signed."""
    return encode_path(f"{address.root}/{key}" if key else address.root or "/")


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
    on_aws = hostname.endswith(_AWS_HOSTS)
    # A bucket name with dots does not match AWS's wildcard certificate, hence path style for it.
    return on_aws and scheme == "https" and _DNS_LABEL_BUCKET.match(side.bucket) is not None
