"""Path and virtual addressing, and what an endpoint may look like."""

from __future__ import annotations

import pytest

from schema.declaration import Addressing, Side
from schema.errors import DeclarationError
from storage.wire.addressing import BucketAddress, locate, redirected


@pytest.mark.parametrize(
    ("side", "origin", "host", "root"),
    [
        (Side("buck"), "https://buck.s3.us-east-1.amazonaws.com", "buck.s3.us-east-1.amazonaws.com", ""),
        (Side("a.b"), "https://s3.us-east-1.amazonaws.com", "s3.us-east-1.amazonaws.com", "/a.b"),
        (Side("Buck"), "https://s3.us-east-1.amazonaws.com", "s3.us-east-1.amazonaws.com", "/Buck"),
        (Side("buck", region="cn-north-1"), "https://buck.s3.cn-north-1.amazonaws.com.cn", None, ""),
        (Side("buck", endpoint_url="http://127.0.0.1:9000"), "http://127.0.0.1:9000", "127.0.0.1:9000", "/buck"),
        (Side("buck", endpoint_url="http://minio:80/"), "http://minio", "minio", "/buck"),
        (Side("buck", endpoint_url="https://MinIO:443/s3"), "https://minio", "minio", "/s3/buck"),
        (Side("buck", endpoint_url="http://[::1]:9000"), "http://[::1]:9000", "[::1]:9000", "/buck"),
        (Side("buck", endpoint_url="https://ceph", addressing=Addressing.VIRTUAL), "https://buck.ceph", None, ""),
        (Side("buck", addressing=Addressing.PATH), "https://s3.us-east-1.amazonaws.com", None, "/buck"),
        (Side("buck", endpoint_url="https://evilamazonaws.com"), "https://evilamazonaws.com", None, "/buck"),
    ],
)
def test_locate(side: Side, origin: str, host: str | None, root: str) -> None:
    address = locate(side)
    assert (address.origin, address.root) == (origin, root)
    assert address.host == (host or origin.partition("://")[2])


@pytest.mark.parametrize("url", ["minio:9000", "ftp://x", "https://", "https://h?x=1", "https://h#f"])
def test_not_an_endpoint(url: str) -> None:
    with pytest.raises(DeclarationError, match="endpoint_url"):
        locate(Side("b", endpoint_url=url))


def test_password_in_the_endpoint_is_refused_and_not_repeated() -> None:
    with pytest.raises(DeclarationError) as caught:
        locate(Side("b", endpoint_url="https://user:canary@host"))
    assert "canary" not in str(caught.value)


def test_gzip_is_accepted_only_where_identity_would_decompress() -> None:
    assert locate(Side("b", endpoint_url="https://x.r2.cloudflarestorage.com")).unpacks
    assert locate(Side("b", endpoint_url="https://storage.googleapis.com")).unpacks
    assert not locate(Side("b")).unpacks


@pytest.mark.parametrize(
    ("asked", "location", "root"),
    [
        ("https://s3.example.org/b", "https://s3.example.org/b/a%20b", "/b"),
        ("https://s3.example.org/b", "/node7/b/a%20b", "/node7/b"),
        ("https://s3.example.org/b", "https://b.s3.example.org/a%20b", ""),
        ("https://b.s3.amazonaws.com", "https://b.s3.eu-west-1.amazonaws.com/a%20b?x=1", ""),
        ("http://s3.example.org/b", "https://s3.example.org/b/a%20b", "/b"),
        ("https://s3.example.org/b", "https://s3.example.org:443/b/a%20b", "/b"),
        ("https://s3.example.org/b", "http://s3.example.org/b/a%20b", None),
        ("https://s3.example.org/b", "https://s3.example.org:8443/b/a%20b", None),
        ("https://s3.example.org/b", "https://s3.example.net/b/a%20b", None),
        ("https://s3.example.org/b", "https://evils3.example.org/b/a%20b", None),
        ("https://b.s3.amazonaws.com", "https://b.s3.amazonaws.com.example.org/a%20b", None),
        ("https://s3.example.org/b", "https://me:pw@s3.example.org/b/a%20b", None),
        ("https://s3.example.org/b", "https://s3.example.org/login", None),
        ("https://s3.example.org/b", "https://s3.example.org:port/b/a%20b", None),
        ("https://s3.example.org/b", "ftp://s3.example.org/b/a%20b", None),
        ("https://s3.example.org/b", None, None),
    ],
)
def test_redirects_are_followed_within_one_service(asked: str, location: str | None, root: str | None) -> None:
    """None: not followed. The root is what stands before the key at the new place."""
    scheme, _, rest = asked.partition("://")
    host, slash, bucket = rest.partition("/")
    address = BucketAddress(f"{scheme}://{host}", host, slash + bucket, False, "us-east-1")
    headers = {} if location is None else {"location": location, "x-amz-bucket-region": "eu-west-1"}
    place = redirected(address, "a b", headers)
    assert (place.root if place else None) == root
    assert place is None or (place.region, f":{443}" in place.host) == ("eu-west-1", False)
