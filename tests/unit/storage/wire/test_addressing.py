"""Path and virtual addressing, and what an endpoint may look like."""

from __future__ import annotations

import pytest

from schema.declaration import Addressing, Side
from schema.errors import DeclarationError
from storage.wire.addressing import locate


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
