"""Probes of real servers, and of real servers made stricter, laxer or more hostile on the way."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from awscrt import checksums
from support.fault_proxy import FaultProxy
from support.fault_rules import Rule, error
from support.servers import S3Server

from schema.declaration import Side
from schema.errors import (
    AccessRefused,
    ConnectionFailed,
    DestinationChanged,
    DigestMismatch,
    FeatureUnsupported,
    ObjectChanged,
    ObjectRefused,
    ResponseUnreadable,
    StorageFull,
    StoreError,
)
from schema.objects import ListedObject
from schema.plan import Capabilities
from storage.open_store import open_store
from storage.port import UNGUARDED, Guard, ObjectStore, RequestSample
from storage.probe import FOLDER, choose, probe_destination, survey_source
from storage.probe_canary import Canary
from storage.retrying import Retry, RetryPolicy

AT_ONCE = Retry(RetryPolicy(attempts=3), wait=lambda _seconds: None, random=lambda: 0.0)


class Counter:
    """Observer of requests."""

    def __init__(self) -> None:
        self.operations: list[str] = []

    def before(self, operation: str, size: int) -> None:
        """Nothing."""

    def after(self, sample: RequestSample) -> None:
        """Remember the operation."""
        self.operations.append(sample.operation)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("PROBE_AWS_ACCESS_KEY_ID", "accesskey1")
    monkeypatch.setenv("PROBE_AWS_SECRET_ACCESS_KEY", "secretkey1")
    return {"env": "PROBE"}


@pytest.fixture
def moto(moto_server: S3Server, bucket_name: str, keys: dict[str, str]) -> Iterator[ObjectStore]:
    moto_server.create_bucket(bucket_name)
    store = open_store(Side(bucket_name, endpoint_url=moto_server.endpoint_url, credentials=keys))
    yield store
    assert [found.key for found in store.list_objects("") if FOLDER in found.key] == []
    assert list(store.list_uploads("")) == []
    store.close()


@pytest.fixture
def rclone(rclone_server: S3Server, bucket_name: str, keys: dict[str, str]) -> Iterator[ObjectStore]:
    rclone_server.create_bucket(bucket_name)
    store = open_store(Side(bucket_name, endpoint_url=rclone_server.endpoint_url, credentials=keys))
    yield store
    assert list(store.list_objects("")) == []
    store.close()


def probe(store: Any, prefix: str = "", name: str = "t", **options: Any) -> Capabilities:
    return probe_destination(store, prefix, token=name, retry=AT_ONCE, **options)


class Through:
    """Everything goes to the real store; subclasses change what they like."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


MOTO = {
    "acl": "enforced", "bucket_default_retention": "none", "bucket_encryption": "none", "bucket_lifecycle": "none",
    "bucket_ownership": "none", "bucket_versioning": "none", "case_insensitive": "ignored",
    "checksums_returned": "ignored", "complete_if_match": "ignored", "complete_if_none_match": "enforced",
    "content_md5": "ignored", "copy_if_none_match": "ignored", "copy_metadata": "enforced",
    "copy_source_if_match": "ignored", "crc32": "ignored",
    "crc32c": "ignored", "crc64nvme": "ignored", "etag_is_md5": "enforced", "folds_double_slash": "ignored",
    "folds_leading_slash": "ignored", "if_match": "enforced", "if_none_match": "enforced", "key_case": "enforced",
    "key_characters": "enforced", "key_control": "enforced", "key_dot_segments": "enforced",
    "key_double_slash": "enforced", "key_file_and_folder": "enforced", "key_folder_marker": "enforced",
    "key_leading_slash": "enforced", "multipart": "enforced", "multipart_crc64nvme": "ignored",
    "multipart_etag": "enforced", "object_lock": "rejected", "odd_keys": "enforced", "part_numbers": "enforced",
    "part_copy": "enforced", "part_copy_source_if_match": "ignored",
    "storage_class_glacier": "enforced", "system_headers": "enforced", "tagging": "enforced",
    "tagging_header": "enforced",
    "user_metadata": "enforced", "user_metadata_rfc2047": "enforced", "user_metadata_utf8": "enforced",
    "versioning": "ignored", "website_redirect": "enforced",
}  # fmt: skip
RCLONE = MOTO | {
    "acl": "rejected", "checksums_returned": "enforced", "complete_if_none_match": "ignored", "content_md5": "enforced",
    "copy_metadata": "ignored",
    "if_match": "ignored", "if_none_match": "ignored", "key_dot_segments": "rejected", "key_double_slash": "rejected",
    "key_file_and_folder": "rejected", "key_folder_marker": "ignored", "key_leading_slash": "rejected",
    "odd_keys": "rejected", "part_copy": "ignored", "part_copy_source_if_match": "unknown",
    "system_headers": "ignored", "system_headers_lost": "expires", "tagging": "rejected",
    "tagging_header": "rejected",
}  # fmt: skip
del RCLONE["folds_double_slash"], RCLONE["folds_leading_slash"]


def test_moto(moto: ObjectStore) -> None:
    assert dict(probe(moto, acl=True, server_copy=True, storage_classes=["GLACIER"]).facts) == MOTO


def test_rclone(rclone: ObjectStore) -> None:
    assert dict(probe(rclone, acl=True, server_copy=True, storage_classes=["GLACIER"]).facts) == RCLONE


def test_it_costs_few_requests(moto_server: S3Server, bucket_name: str, keys: dict[str, str]) -> None:
    moto_server.create_bucket(bucket_name)
    counter = Counter()
    side = Side(bucket_name, endpoint_url=moto_server.endpoint_url, credentials=keys)
    store = open_store(side, observer=counter)
    probe(store, "p/")
    assert len(counter.operations) <= 42
    counter.operations.clear()
    probe(store, "p/", server_copy=True)
    store.close()
    assert len(counter.operations) <= 48


def test_two_probes_find_the_same(moto: ObjectStore) -> None:
    assert probe(moto, "p/", "one") == probe(moto, "p/", "two")


def test_nothing_but_the_canaries_is_touched(moto: ObjectStore) -> None:
    moto.put("p/mine", b"1", [])
    moto.put(f"p/{FOLDER}/other/mine", b"2", [])
    probe(moto, "p/")
    assert [found.key for found in moto.list_objects("")] == [f"p/{FOLDER}/other/mine", "p/mine"]
    moto.delete(f"p/{FOLDER}/other/mine")


@pytest.mark.parametrize("versioned", [False, True])
def test_what_a_killed_probe_left_goes_with_the_next(
    moto: ObjectStore, moto_server: S3Server, monkeypatch: pytest.MonkeyPatch, versioned: bool
) -> None:
    """Once it is old enough to be nobody's: objects, versions, uploads. Nothing else goes with it."""
    killed, running = "0123456789abcdef", "fedcba9876543210"
    if versioned:
        moto_server.client().put_bucket_versioning(Bucket=moto.bucket, VersioningConfiguration={"Status": "Enabled"})
    mine = (f"{FOLDER}/mine", f"{FOLDER}/{killed}", "other")
    for key in mine:
        moto.put(key, b"1", [])
    monkeypatch.setattr(Canary, "remove", lambda _self: ())
    probe(moto, "", killed)
    monkeypatch.undo()
    control = f"{FOLDER}/{killed}/c\x01"  # with it, moto's list of versions is no XML
    moto.delete(control, version_id=moto.head(control).version_id)
    moto.create_upload(f"{FOLDER}/{killed}/base", [])
    mine_upload = moto.create_upload("other", [])
    left = [found.key for found in moto.list_versions("") if found.key not in mine]
    assert {f"{FOLDER}/{killed}/base", f"/{FOLDER}/{killed}/leading"} < set(left)
    probe(moto, "", running)
    assert [found.key for found in moto.list_versions("") if found.key not in mine] == left, "it may be at work still"
    probe(moto, "", running, abandoned_ms=-60_000)
    assert [found.key for found in moto.list_versions("")] == sorted(mine)
    assert [upload.upload_id for upload in moto.list_uploads("")] == [mine_upload]
    moto.abort_upload("other", mine_upload)
    for found in list(moto.list_versions("")):
        moto.delete(found.key, version_id=found.version_id)


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

    def upload_part(self, key: str, upload_id: str, number: int, body: bytes, headers: Any = ()) -> Any:
        self._check(body, headers)
        return self._store.upload_part(key, upload_id, number, body, headers)

    def complete_upload(self, *arguments: Any, guard: Guard = UNGUARDED) -> Any:
        if guard.if_match:
            raise DestinationChanged("no", status=412)
        return self._store.complete_upload(*arguments, guard=guard)

    def copy_part(self, *arguments: Any, **options: Any) -> Any:
        if options:
            raise ObjectChanged("no", status=412)
        return self._store.copy_part(*arguments)

    def copy(self, *_: Any, **options: Any) -> Any:
        raise (DestinationChanged if "guard" in options else ObjectChanged)("no", status=412)


def test_a_strict_server(moto: ObjectStore) -> None:
    facts = probe(Strict(moto), server_copy=True).facts
    for name in ("content_md5", "crc64nvme", "crc32c", "crc32", "multipart_crc64nvme", "complete_if_match",
                 "complete_if_none_match", "copy_if_none_match", "copy_source_if_match", "multipart",
                 "part_copy", "part_copy_source_if_match"):  # fmt: skip
        assert facts[name] == "enforced", name


class Lax(Through):
    """Takes preconditions and does not look at them."""

    def put(self, key: str, body: bytes, headers: Any, **_: Any) -> Any:
        return self._store.put(key, body, headers)

    def complete_upload(self, *arguments: Any, **_: Any) -> Any:
        return self._store.complete_upload(*arguments)


def test_a_server_that_ignores_preconditions_is_found_out(moto: ObjectStore) -> None:
    facts = probe(Lax(moto)).facts
    for name in ("if_none_match", "if_match", "complete_if_none_match", "complete_if_match"):
        assert facts[name] == "ignored", name


class CopiesParts(Through):
    """As `how` says: AWS refuses ranges of small sources and heeds the pin; others do worse."""

    def __init__(self, store: ObjectStore, how: str) -> None:
        super().__init__(store)
        self._how = how

    def copy_part(self, bucket: str, source: str, key: str, upload: str, number: int, start: int,
                  length: int | None, **options: Any) -> Any:  # fmt: skip
        if self._how == "as AWS" and options:
            raise ObjectChanged("no", status=412)
        if self._how == "as AWS" and length is not None:
            raise ObjectRefused("the source is too small for a range", status=400, code="InvalidRequest")
        if self._how == "whole":
            length = None
        if self._how == "as UploadPart":
            self._store.upload_part(key, upload, number, b"", ())
            raise ResponseUnreadable("no CopyPartResult", status=200)
        answer = self._store.copy_part(bucket, source, key, upload, number, start, length, **options)
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
                   "x-amz-storage-class", "x-amz-meta-s3migrate-utf8")  # fmt: skip
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


CALLS = ("put", "head", "get_tags", "put_tags", "create_upload", "upload_part", "complete_upload", "list_objects",
         "subresource")  # fmt: skip


class FailsAt(Through):
    """Call number *at* of the probe fails for the whole run; *after*: having done its work."""

    def __init__(self, store: ObjectStore, at: int, after: bool) -> None:
        super().__init__(store)
        self._left, self._after, self.failed = at, after, False

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)
        if name not in CALLS:
            return call

        def failing(*arguments: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left != 0:
                return call(*arguments, **options)
            self.failed = True
            if self._after:
                with contextlib.suppress(StoreError):
                    call(*arguments, **options)
            raise StorageFull("full", status=507)

        return failing


@pytest.mark.parametrize("after", [False, True])
def test_whatever_call_fails_the_canaries_are_removed(moto: ObjectStore, after: bool) -> None:
    for at in itertools.count(2, 6):
        failing = FailsAt(moto, at, after)
        try:
            probe(failing)
        except StorageFull:
            assert failing.failed
        assert list(moto.list_objects("")) == []
        assert list(moto.list_uploads("")) == []
        if not failing.failed:
            break
    assert at > 30


def test_a_server_that_chokes_on_raw_utf8_only(moto: ObjectStore) -> None:
    facts = probe(Without(moto, "x-amz-meta-s3migrate-utf8")).facts
    assert facts["user_metadata_utf8"] == "rejected"
    for name in ("user_metadata", "user_metadata_rfc2047", "system_headers", "tagging_header", "website_redirect"):
        assert facts[name] == "enforced", name


def test_lost_answers_are_no_refusals(moto: ObjectStore) -> None:
    class Losing(Through):
        def __init__(self, store: ObjectStore) -> None:
            super().__init__(store)
            self._lost: set[str] = set()

        def put(self, key: str, body: bytes, headers: Any, *, guard: Guard = UNGUARDED) -> Any:
            answer = self._store.put(key, body, headers, guard=guard)
            if key not in self._lost:
                self._lost.add(key)
                raise ConnectionFailed("reset")
            return answer

    facts = probe(Losing(moto)).facts
    assert facts["if_none_match"] == facts["if_match"] == facts["odd_keys"] == "enforced"


class Denying(Through):
    """403 for one kind of call."""

    def __init__(self, store: ObjectStore, name: str) -> None:
        super().__init__(store)
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name != self._name:
            return getattr(self._store, name)

        def denied(*_: Any, **__: Any) -> Any:
            raise AccessRefused(f"{name} denied", status=403)

        return denied


def test_a_missing_permission_is_named(moto: ObjectStore) -> None:
    with pytest.raises(AccessRefused, match="s3:PutObject"):
        probe(Denying(moto, "put"))


def test_what_cannot_be_removed_is_named_and_is_one_object_only(moto: ObjectStore) -> None:
    class NoDelete(Denying):
        def subresource(self, method: str, *arguments: Any) -> Any:
            if method == "POST":
                raise AccessRefused("denied", status=403)
            return self._store.subresource(method, *arguments)

    with pytest.raises(AccessRefused, match=r"s3:DeleteObject.*left behind: 'p/\.s3migrate-probe/t/first'"):
        probe(NoDelete(moto, "delete"), "p/")
    assert [found.key for found in moto.list_objects("")] == ["p/.s3migrate-probe/t/first"]
    moto.delete("p/.s3migrate-probe/t/first")


@pytest.mark.parametrize("name", ["put_tags", "head", "create_upload", "subresource", "get_tags"])
def test_a_denied_check_is_unknown_and_the_rest_goes_on(moto: ObjectStore, name: str) -> None:
    facts = probe(Denying(moto, name)).facts
    assert facts["if_none_match"] == facts["odd_keys"] == "enforced"
    if name == "subresource":
        assert facts["versioning"] == facts["bucket_lifecycle"] == facts["object_lock"] == "unknown"


def test_a_missing_bucket_ends_the_probe(moto_server: S3Server, keys: dict[str, str]) -> None:
    store = open_store(Side("no-such-bucket-here", endpoint_url=moto_server.endpoint_url, credentials=keys))
    with pytest.raises(StoreError, match="no-such-bucket-here"):
        probe(store)
    store.close()


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


def test_nothing_is_written_where_nothing_could_be_removed(moto_server: S3Server, keys: dict[str, str]) -> None:
    bucket = "locked-by-default"
    client = moto_server.client()
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    client.put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}},
        },
    )
    counter = Counter()
    store = open_store(Side(bucket, endpoint_url=moto_server.endpoint_url, credentials=keys), observer=counter)
    facts = probe(store).facts
    assert (facts["object_lock"], facts["bucket_default_retention"]) == ("enforced", "GOVERNANCE 1 days")
    assert "nothing written" in facts["probe"]
    assert {name.split()[0] for name in counter.operations} == {"GET"}
    store.close()


def test_a_source_is_only_read(moto: ObjectStore, moto_server: S3Server) -> None:
    client = moto_server.client()
    client.put_object(Bucket=moto.bucket, Key="a", Body=b"hello", Tagging="k=v", WebsiteRedirectLocation="/x")
    client.put_object(Bucket=moto.bucket, Key="b", Body=b"")
    before = list(moto.list_objects(""))
    capabilities, sampled = survey_source(moto, before, acl=True, retry=AT_ONCE)
    assert dict(capabilities.facts) == {
        "acl_readable": "enforced", "bucket_payer": "none", "bucket_versioning": "none",
        "checksums_returned": "enforced", "etag_is_md5": "enforced", "get_if_match": "enforced",
        "sample_carries": "tags, website-redirect", "tags_readable": "enforced",
    }  # fmt: skip
    assert [(s.key, s.tags, s.grants) for s in sampled] == [("a", (("k", "v"),), ()), ("b", (), ())]
    assert list(moto.list_objects("")) == before


def test_the_sample_has_one_of_each_kind_and_the_ends() -> None:
    listed = [ListedObject(f"k{n:04}", 1 << 30, "0" * 32, 0) for n in range(1_000)]
    listed[500] = listed[500]._replace(storage_class="GLACIER")
    listed[501] = listed[501]._replace(etag="0-2")
    listed[502] = listed[502]._replace(size=5)
    listed[0] = listed[0]._replace(delete_marker=True)
    chosen = choose(listed)
    assert 12 <= len(chosen) <= 16
    assert chosen == sorted(chosen)
    assert {listed[1], listed[500], listed[501], listed[502]} <= set(chosen)
    assert chosen[-1].key == "k0999"
    assert choose(listed[:10]) == listed[1:10]


def test_a_source_whose_etag_is_no_md5(moto: ObjectStore) -> None:
    class Opaque(Through):
        def get(self, key: str, into: memoryview, **options: Any) -> Any:
            head = self._store.get(key, into, **options)
            into[:] = b"other"
            return head

    moto.put("a", b"hello", [])
    listed = list(moto.list_objects(""))
    assert survey_source(Opaque(moto), listed, retry=AT_ONCE)[0].facts["etag_is_md5"] == "ignored"


def test_hidden_tags_and_missing_permissions_of_a_source(moto: ObjectStore) -> None:
    moto.put("a", b"hello", [])
    listed = list(moto.list_objects(""))
    facts = survey_source(Denying(moto, "get_tags"), listed, retry=AT_ONCE)[0].facts
    assert facts["tags_readable"] == "rejected"
    with pytest.raises(AccessRefused, match="s3:GetObject"):
        survey_source(Denying(moto, "head"), listed, retry=AT_ONCE)


def test_a_source_that_knows_no_tags(rclone: ObjectStore) -> None:
    rclone.put("a", b"hello", [])
    facts = survey_source(rclone, list(rclone.list_objects("")), acl=True, retry=AT_ONCE)[0].facts
    assert (facts["tags_readable"], facts["acl_readable"], facts["tagging"]) == ("ignored", "ignored", "rejected")
    assert (facts["get_if_match"], facts["etag_is_md5"]) == ("ignored", "enforced")
    rclone.delete("a")


def test_an_empty_source(moto: ObjectStore) -> None:
    capabilities, sampled = survey_source(moto, [], retry=AT_ONCE)
    assert sampled == ()
    assert capabilities.facts["etag_is_md5"] == "unknown"
