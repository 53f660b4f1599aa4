"""What a probe finds of real servers, and of real ones made stricter, laxer or more hostile on the way."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from awscrt import checksums
from support.fault_proxy import FaultProxy
from support.fault_rules import Rule, error
from support.probes import Through, probe
from support.servers import S3Server

from schema.declaration import Side
from schema.errors import (
    DestinationChanged,
    DigestMismatch,
    FeatureUnsupported,
    ObjectChanged,
    ObjectMissing,
    ObjectRefused,
    ResponseUnreadable,
)
from storage.open_store import open_store
from storage.port import UNGUARDED, UNPINNED, ByteRange, CopySource, Guard, ObjectStore, UploadPart

MOTO = {
    "acl": "enforced", "bucket_default_retention": "none", "bucket_encryption": "none", "bucket_lifecycle": "none",
    "bucket_ownership": "none", "bucket_versioning": "none", "case_insensitive": "ignored",
    "checksums_returned": "ignored", "complete_if_match": "ignored", "complete_if_none_match": "enforced",
    "content_md5": "ignored", "copy_if_none_match": "ignored", "copy_metadata": "enforced",
    "copy_source_if_match": "ignored", "copy_if_match": "ignored", "crc32": "ignored",
    "delete_if_match": "enforced", "get_if_match": "enforced", "metadata_2kb": "enforced",
    "metadata_4kb": "enforced", "metadata_dot": "enforced", "metadata_hyphen": "enforced",
    "metadata_underscore": "enforced",
    "crc32c": "ignored", "crc64nvme": "ignored", "etag_is_md5": "enforced", "folds_double_slash": "ignored",
    "folds_leading_slash": "ignored", "if_match": "enforced", "if_none_match": "enforced", "key_case": "enforced",
    "key_characters": "enforced", "key_control": "enforced", "key_dot_segments": "enforced",
    "key_double_slash": "enforced", "key_file_and_folder": "enforced", "key_folder_marker": "enforced",
    "key_leading_slash": "enforced", "listed_etag": "enforced", "multipart": "enforced",
    "key_backslash": "enforced", "key_blanks": "enforced", "key_folder_content": "enforced",
    "key_long_segment": "enforced", "key_normal_form": "enforced", "key_wide": "enforced",
    "multipart_crc64nvme": "ignored",
    "multipart_etag": "enforced", "object_lock": "rejected", "odd_keys": "enforced", "part_numbers": "enforced",
    "part_copy": "enforced", "part_copy_source_if_match": "ignored",
    "storage_class_glacier": "enforced", "system_headers": "enforced", "tagging": "enforced",
    "server_headers": "none", "tag_count": "enforced", "tagging_copy": "enforced", "tagging_header": "enforced",
    "tagging_upload": "enforced",
    "user_metadata": "enforced", "user_metadata_rfc2047": "enforced", "user_metadata_utf8": "enforced",
    "versioning": "ignored", "website_redirect": "enforced",
}  # fmt: skip
RCLONE = MOTO | {
    "acl": "rejected", "checksums_returned": "enforced", "complete_if_none_match": "ignored", "content_md5": "enforced",
    "copy_metadata": "ignored", "delete_if_match": "ignored", "get_if_match": "ignored", "metadata_2kb": "rejected",
    "metadata_4kb": "rejected",
    "if_match": "ignored", "if_none_match": "ignored", "key_dot_segments": "rejected", "key_double_slash": "rejected",
    "key_file_and_folder": "rejected", "key_folder_marker": "ignored", "key_leading_slash": "rejected",
    "listed_etag": "enforced", "key_folder_content": "ignored", "key_long_segment": "rejected",
    "odd_keys": "rejected", "part_copy": "ignored", "part_copy_source_if_match": "unknown",
    "system_headers": "ignored", "system_headers_lost": "expires", "tagging": "rejected",
    "tagging_header": "rejected",
}  # fmt: skip
for missing in ("folds_double_slash", "folds_leading_slash", "tag_count", "tagging_copy", "tagging_upload"):
    del RCLONE[missing]


@pytest.mark.parametrize("far_seconds", [10.0, 0.0], ids=["in turn", "side by side"])
def test_moto(moto: ObjectStore, far_seconds: float) -> None:
    found = probe(moto, acl=True, server_copy=True, storage_classes=["GLACIER"], far_seconds=far_seconds)

    assert dict(found.facts) == MOTO


@pytest.mark.parametrize("far_seconds", [10.0, 0.0], ids=["in turn", "side by side"])
def test_rclone(rclone: ObjectStore, far_seconds: float) -> None:
    found = probe(rclone, acl=True, server_copy=True, storage_classes=["GLACIER"], far_seconds=far_seconds)

    assert dict(found.facts) == RCLONE


def crc(body: bytes) -> str:
    return base64.b64encode(int(checksums.crc64nvme(body)).to_bytes(8, "big")).decode()


class Strict(Through):
    """Checks what moto does not: digests, all preconditions."""

    DIGESTS: dict[str, Callable[[bytes], str]] = {  # noqa: RUF012
        "content-md5": lambda b: base64.b64encode(hashlib.md5(b).digest()).decode(),
        "x-amz-checksum-crc64nvme": crc,
        "x-amz-checksum-crc32c": lambda b: base64.b64encode(int(checksums.crc32c(b)).to_bytes(4, "big")).decode(),
        "x-amz-checksum-crc32": lambda b: base64.b64encode(int(checksums.crc32(b)).to_bytes(4, "big")).decode(),
    }

    def _check(self, body: bytes, headers: Any) -> None:
        for name, value in headers:
            digest = self.DIGESTS.get(name.lower())
            if digest is not None and digest(bytes(body)) != value:
                raise DigestMismatch("no", status=400)

    def put(self, key: str, body: bytes, headers: Any, *, guard: Guard = UNGUARDED) -> Any:
        self._check(body, headers)
        return self._store.put(key, body, headers, guard=guard)

    def upload_part(self, part: UploadPart, body: bytes, headers: Any = ()) -> Any:
        self._check(body, headers)
        return self._store.upload_part(part, body, headers)

    def complete_upload(self, key: str, *arguments: Any, headers: Any = (), guard: Guard = UNGUARDED) -> Any:
        self._hold(key, guard)
        return self._store.complete_upload(key, *arguments, headers=headers)

    def copy_part(self, source: CopySource, part: UploadPart, *, span: ByteRange | None = None) -> Any:
        self._pinned(source)
        return self._store.copy_part(source._replace(pin=UNPINNED), part, span=span)

    def copy(self, source: CopySource, key: str, headers: Any, *, guard: Guard = UNGUARDED) -> Any:
        self._pinned(source)
        self._hold(key, guard)
        return self._store.copy(source._replace(pin=UNPINNED), key, headers)

    def delete(self, key: str, *, version_id: str | None = None, if_match: str | None = None) -> Any:
        self._hold(key, Guard(if_match=if_match))
        return self._store.delete(key, version_id=version_id)

    def _etag(self, key: str) -> str | None:
        try:
            return self._store.head(key).etag
        except ObjectMissing:
            return None

    def _hold(self, key: str, guard: Guard) -> None:
        if (guard.if_none_match and self._etag(key)) or (guard.if_match and guard.if_match != self._etag(key)):
            raise DestinationChanged("no", status=412)

    def _pinned(self, source: CopySource) -> None:
        if source.pin.etag is not None and source.pin.etag != self._etag(source.key):
            raise ObjectChanged("no", status=412)


def test_a_strict_server(moto: ObjectStore) -> None:
    facts = probe(Strict(moto), server_copy=True).facts
    for name in ("content_md5", "crc64nvme", "crc32c", "crc32", "multipart_crc64nvme", "complete_if_match",
                 "complete_if_none_match", "copy_if_none_match", "copy_if_match", "copy_source_if_match",
                 "delete_if_match", "multipart",
                 "part_copy", "part_copy_source_if_match"):  # fmt: skip
        assert facts[name] == "enforced", name


class Lax(Through):
    """Takes preconditions and does not look at them."""

    def put(self, key: str, body: bytes, headers: Any, **_: Any) -> Any:
        return self._store.put(key, body, headers)

    def complete_upload(self, *arguments: Any, headers: Any = (), **_: Any) -> Any:
        return self._store.complete_upload(*arguments, headers=headers)


def test_a_server_that_ignores_preconditions_is_found_out(moto: ObjectStore) -> None:
    facts = probe(Lax(moto)).facts
    for name in ("if_none_match", "if_match", "complete_if_none_match", "complete_if_match"):
        assert facts[name] == "ignored", name


class CopiesParts(Through):
    """As `how` says: AWS refuses ranges of small sources and heeds the pin; others do worse."""

    def __init__(self, store: ObjectStore, how: str) -> None:
        super().__init__(store)
        self._how = how

    def copy_part(self, source: CopySource, part: UploadPart, *, span: ByteRange | None = None) -> Any:
        if self._how == "as AWS" and source.pin.etag not in (None, self._store.head(source.key).etag):
            raise ObjectChanged("no", status=412)
        if self._how == "as AWS" and span is not None:
            raise ObjectRefused("the source is too small for a range", status=400, code="InvalidRequest")
        if self._how == "whole":
            span = None
        if self._how == "as UploadPart":
            self._store.upload_part(part, b"", ())
            raise ResponseUnreadable("no CopyPartResult", status=200)
        answer = self._store.copy_part(source, part, span=span)
        return answer._replace(etag="f" * 32) if self._how == "opaque" else answer


@pytest.mark.parametrize(
    ("how", "arrives", "pinned"),
    [
        ("as AWS", "enforced", "enforced"),
        ("opaque", "enforced", "ignored"),
        ("whole", "ignored", "ignored"),
        ("as UploadPart", "ignored", "unknown"),
    ],
)
def test_what_part_copies_bring_is_looked_at(moto: ObjectStore, how: str, arrives: str, pinned: str) -> None:
    facts = probe(CopiesParts(moto, how), server_copy=True).facts
    assert (facts["part_copy"], facts["part_copy_source_if_match"]) == (arrives, pinned)


@pytest.mark.parametrize(
    ("status", "code", "found"),
    [(501, "NotImplemented", "rejected"), (400, "InvalidRequest", "rejected"), (403, "AccessDenied", "unknown")],
)
def test_an_endpoint_that_refuses_part_copies(
    moto: ObjectStore, moto_server: S3Server, keys: dict[str, str], status: int, code: str, found: str
) -> None:
    """And not CopyObject. The upload is aborted all the same (the fixture looks)."""
    with FaultProxy(moto_server.endpoint_url) as proxy:
        proxy.rules = [Rule(error(status, code), operations=("part-copy",))]
        store = open_store(Side(moto.bucket, endpoint_url=proxy.endpoint_url, credentials=keys))
        facts = probe(store, server_copy=True).facts
        store.close()
        assert proxy.count("part-copy") <= 3
    assert (facts["part_copy"], facts["copy_metadata"]) == (found, "enforced")


class Without(Through):
    """Refuses every write that carries one of some headers or a precondition."""

    def __init__(self, store: ObjectStore, *names: str) -> None:
        super().__init__(store)
        self._names = names

    def _refuse(self, headers: Any) -> None:
        if any(name.lower().startswith(self._names) for name, _ in headers):
            raise FeatureUnsupported("no", status=501)

    def put(self, key: str, body: bytes, headers: Any, *, guard: Guard = UNGUARDED) -> Any:
        self._refuse([*headers, *([("if-", "")] if guard != UNGUARDED else [])])
        return self._store.put(key, body, headers)

    def create_upload(self, key: str, headers: Any) -> Any:
        self._refuse(headers)
        return self._store.create_upload(key, headers)

    def put_tags(self, *_: Any, **__: Any) -> None:
        raise FeatureUnsupported("no", status=501)


def test_a_server_that_refuses_what_it_does_not_know(moto: ObjectStore) -> None:
    poor = Without(moto, "x-amz-checksum", "content-md5", "if-", "x-amz-tagging", "x-amz-website",
                   "x-amz-storage-class", "x-amz-meta-s3migrateutf8")  # fmt: skip
    facts = probe(poor, storage_classes=["GLACIER"]).facts
    for name in ("content_md5", "crc64nvme", "crc32c", "crc32", "multipart_crc64nvme", "if_none_match", "if_match",
                 "tagging_header", "tagging", "website_redirect", "storage_class_glacier",
                 "user_metadata_utf8"):  # fmt: skip
        assert facts[name] == "rejected", name
    for name in ("multipart", "system_headers", "user_metadata", "user_metadata_rfc2047", "etag_is_md5"):
        assert facts[name] == "enforced", name


class Folding(Through):
    """MinIO's leading slash and SeaweedFS's double one."""

    def put(self, key: str, body: bytes, headers: Any, *, guard: Guard = UNGUARDED) -> Any:
        return self._store.put(key.lstrip("/").replace("//", "/"), body, headers, guard=guard)


def test_folded_keys_are_found_out(moto: ObjectStore) -> None:
    facts = probe(Folding(moto)).facts
    assert (facts["folds_double_slash"], facts["folds_leading_slash"]) == ("enforced", "enforced")
    assert (facts["key_double_slash"], facts["key_leading_slash"]) == ("ignored", "ignored")
    assert facts["odd_keys"] == "rejected"


class CaseBlind(Through):
    def put(self, key: str, body: bytes, headers: Any, *, guard: Guard = UNGUARDED) -> Any:
        return self._store.put(key.lower(), body, headers, guard=guard)


def test_a_case_insensitive_server_is_found_out(moto: ObjectStore) -> None:
    facts = probe(CaseBlind(moto)).facts
    assert (facts["case_insensitive"], facts["key_case"]) == ("enforced", "ignored")


def test_a_server_that_chokes_on_raw_utf8_only(moto: ObjectStore) -> None:
    facts = probe(Without(moto, "x-amz-meta-s3migrateutf8")).facts
    assert facts["user_metadata_utf8"] == "rejected"
    for name in ("user_metadata", "user_metadata_rfc2047", "system_headers", "tagging_header", "website_redirect"):
        assert facts[name] == "enforced", name


def test_settings_of_the_bucket_and_no_version_left(moto: ObjectStore, moto_server: S3Server) -> None:
    client, bucket = moto_server.client(), moto.bucket
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    client.put_bucket_encryption(
        Bucket=bucket,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]
        },
    )
    client.put_bucket_lifecycle_configuration(
        Bucket=bucket,
        LifecycleConfiguration={
            "Rules": [
                {"ID": "a", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 3}},
                {
                    "ID": "b", "Status": "Enabled", "Filter": {"Prefix": ""},
                    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
                },
            ]
        },
    )  # fmt: skip
    client.put_bucket_ownership_controls(
        Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    )
    facts = probe(moto, acl=True).facts
    assert facts["versioning"] == "enforced"
    assert facts["bucket_encryption"] == "aws:kms"
    assert facts["bucket_lifecycle"] == "aborts uploads after 7 days, expires objects"
    assert (facts["bucket_ownership"], facts["acl"]) == ("BucketOwnerEnforced", "rejected")
    assert list(moto.list_versions("")) == []
