"""The strict server holds to what the other tests here rely on, its corrections above all."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from strict.conftest import KEYS
from support.strict_server import StrictServer

pytestmark = pytest.mark.soak
ONE, TWO = KEYS.values()
KMS_KEY = "arn:aws:kms:us-east-1:000000000001:key/11111111-1111-1111-1111-111111111111"
NO_ETAG = f'"{"0" * 32}"'


def key(value: bytes) -> dict[str, Any]:
    return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": value}


def source_key(value: bytes) -> dict[str, Any]:
    return {"CopySourceSSECustomerAlgorithm": "AES256", "CopySourceSSECustomerKey": value}


@pytest.fixture
def bucket(strict_server: StrictServer, bucket_name: str) -> str:
    """With an object `sealed` under key ONE and one `plain`."""
    strict_server.create_bucket(bucket_name)
    strict_server.client().put_object(Bucket=bucket_name, Key="sealed", Body=b"secret", **key(ONE))
    strict_server.client().put_object(Bucket=bucket_name, Key="plain", Body=b"open")
    return bucket_name


def copied(client: Any, bucket: str, source: str, **words: Any) -> None:
    client.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/{source}", **words)


def part_copied(client: Any, bucket: str, source: str, **words: Any) -> None:
    upload = client.create_multipart_upload(Bucket=bucket, Key="copy")["UploadId"]
    client.upload_part_copy(
        Bucket=bucket, Key="copy", UploadId=upload, PartNumber=1, CopySource=f"{bucket}/{source}", **words
    )


def read(client: Any, bucket: str, source: str, **words: Any) -> None:
    client.get_object(Bucket=bucket, Key=source, **words)


def looked(client: Any, bucket: str, source: str, **words: Any) -> None:
    client.head_object(Bucket=bucket, Key=source, **words)


@pytest.mark.parametrize(
    ("call", "words"), [(read, key), (looked, key), (copied, source_key), (part_copied, source_key)]
)
def test_an_object_is_shown_to_its_key_alone(
    strict_server: StrictServer, bucket: str, call: Callable[..., None], words: Callable[[bytes], dict[str, Any]]
) -> None:
    client = strict_server.client()
    call(client, bucket, "sealed", **words(ONE))
    call(client, bucket, "plain")
    for source, given, status in (("sealed", {}, 400), ("sealed", words(TWO), 403), ("plain", words(ONE), 400)):
        with pytest.raises(ClientError) as refused:
            call(client, bucket, source, **given)
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


@pytest.mark.parametrize(
    "condition",
    [{"IfNoneMatch": "*"}, {"IfMatch": NO_ETAG}, {"CopySourceIfMatch": NO_ETAG}],
)
def test_conditions_of_copies(strict_server: StrictServer, bucket: str, condition: dict[str, str]) -> None:
    client = strict_server.client()
    client.put_object(Bucket=bucket, Key="copy", Body=b"there")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        copied(client, bucket, "plain", **condition)
    assert client.get_object(Bucket=bucket, Key="copy")["Body"].read() == b"there"


@pytest.mark.parametrize(("algorithm", "length"), [("CRC32", 4), ("CRC32C", 4), ("CRC64NVME", 8), ("SHA256", 32)])
def test_a_wrong_checksum_is_refused(strict_server: StrictServer, bucket: str, algorithm: str, length: int) -> None:
    wrong = {f"Checksum{algorithm}": base64.b64encode(bytes(length)).decode()}
    with pytest.raises(ClientError, match="BadDigest"):
        strict_server.client().put_object(Bucket=bucket, Key="k", Body=b"x", **wrong)


@pytest.mark.parametrize("encrypted", [key(ONE), {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KMS_KEY}])
def test_an_encrypted_etag_is_no_md5(strict_server: StrictServer, bucket: str, encrypted: dict[str, Any]) -> None:
    told = strict_server.client().put_object(Bucket=bucket, Key="k", Body=b"x", **encrypted)["ETag"].strip('"')
    assert len(told) == 32
    assert told != hashlib.md5(b"x").hexdigest()
