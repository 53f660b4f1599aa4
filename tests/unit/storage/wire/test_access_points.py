"""access-point-arn: addressed, signed for and copied from as botocore does; ARNs of other things are refused."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.httpsession import URLLib3Session

from schema.declaration import Addressing, Side
from schema.ends import access_point, listed_by_another_name
from schema.errors import DeclarationError
from storage.port import CopySource
from storage.s3.store import copy_source_headers
from storage.wire.addressing import locate
from storage.wire.signer import encode_path

ARNS = [
    "arn:aws:s3:us-west-2:123456789012:accesspoint/photos",
    "arn:aws:s3:eu-central-1:123456789012:accesspoint:photos-1",
    "arn:aws-cn:s3:cn-north-1:123456789012:accesspoint/photos",
]
SIDES = [
    *({"bucket": arn} for arn in ARNS),
    {"bucket": "photos-abc123-s3alias"},
    {"bucket": "plain-bucket"},  # the control
    {"bucket": "with.dots"},
]


class Sent(Exception):
    """Carries the request that botocore was about to send."""


def botocores(monkeypatch: pytest.MonkeyPatch, operation: str, region: str, **words: Any) -> AWSRequest:
    """The signed request that botocore makes of a call."""

    def send(_self: URLLib3Session, request: AWSRequest) -> None:
        raise Sent(request)

    monkeypatch.setattr(URLLib3Session, "send", send)
    client: Any = botocore.session.Session().create_client(
        "s3",
        region_name=region,
        aws_access_key_id="AK",
        aws_secret_access_key="s",
        config=Config(
            retries={"max_attempts": 0}, signature_version="s3v4", s3={"us_east_1_regional_endpoint": "regional"}
        ),
    )
    try:
        with pytest.raises(Exception) as caught:
            getattr(client, operation)(**words)
    finally:
        client.close()
    sent = caught.value.kwargs["error"].args[0] if hasattr(caught.value, "kwargs") else caught.value.args[0]
    assert isinstance(sent, object)
    return sent  # type: ignore[no-any-return]


@pytest.mark.parametrize("words", SIDES, ids=lambda words: words["bucket"])
def test_access_point_arn(monkeypatch: pytest.MonkeyPatch, words: dict[str, str]) -> None:
    side = Side(region="us-east-1", **words)
    point = access_point(side.bucket)
    region = point.region if point else side.region
    theirs = botocores(monkeypatch, "head_object", region, Bucket=side.bucket, Key="a/b c")
    ours = locate(side)
    assert f"{ours.origin}{ours.root}/{encode_path('a/b c')}" == theirs.url
    signed = theirs.headers["Authorization"]
    assert f"/{ours.region}/s3/aws4_request" in (signed.decode() if isinstance(signed, bytes) else signed)


@pytest.mark.parametrize("arn", ARNS)
def test_the_source_of_a_copy(monkeypatch: pytest.MonkeyPatch, arn: str) -> None:
    region = arn.split(":")[3]
    source = {"Bucket": arn, "Key": "a/b c"}
    theirs = botocores(monkeypatch, "copy_object", region, Bucket="plain-bucket", Key="k", CopySource=source)
    said = theirs.headers["x-amz-copy-source"]
    ours = dict(copy_source_headers(CopySource(arn, "a/b c")))["x-amz-copy-source"]
    assert ours == (said.decode() if isinstance(said, bytes) else said)


def test_an_endpoint_of_ones_own_is_kept() -> None:
    side = Side(ARNS[0], endpoint_url="https://s3.example:8443/base", addressing=Addressing.PATH)
    ours = locate(side)
    assert (ours.origin, ours.root) == ("https://photos-123456789012.s3.example:8443", "/base")


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:s3::123456789012:accesspoint:mfzwi23gnjvgw.mrap",
        "arn:aws:s3-outposts:us-west-2:123456789012:outpost/op-1/accesspoint/photos",
        "arn:aws:s3-object-lambda:us-west-2:123456789012:accesspoint/photos",
        "arn:aws:s3:us-west-2:12:accesspoint/photos",
        "arn:aws:s3:::photos",
    ],
)
def test_other_arns_are_65(arn: str) -> None:
    with pytest.raises(DeclarationError, match="alias") as caught:
        locate(Side(arn))
    assert caught.value.exit_code == 65


def test_a_listing_through_an_access_point_names_what_it_likes() -> None:
    assert listed_by_another_name(ARNS[0]) and listed_by_another_name("photos-abc-s3alias")
    assert not listed_by_another_name("photos")
