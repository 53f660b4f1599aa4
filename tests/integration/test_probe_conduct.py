"""How a probe behaves: what it costs, what it touches, and what becomes of it when it is refused or cut short."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import pytest
from support.probes import Counter, Denying, Through, probe
from support.servers import S3Server

from schema.declaration import Side
from schema.errors import (
    AccessRefused,
    ConnectionFailed,
    StorageFull,
    StoreError,
)
from storage.open_store import open_store
from storage.port import UNGUARDED, Guard, ObjectStore
from storage.probe.canary import FOLDER, Canary
from storage.probe.keys import ALL_SPELLINGS


def test_it_costs_few_requests(moto_server: S3Server, bucket_name: str, keys: dict[str, str]) -> None:
    moto_server.create_bucket(bucket_name)
    counter = Counter()
    side = Side(bucket_name, endpoint_url=moto_server.endpoint_url, credentials=keys)
    store = open_store(side, observer=counter)
    probe(store, "p/")
    assert len(counter.operations) <= 60
    counter.operations.clear()
    probe(store, "p/", server_copy=True)
    store.close()
    assert len(counter.operations) <= 70


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
    control = f"{FOLDER}/{killed}/{ALL_SPELLINGS}"  # with it, moto's list of versions is no XML
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


CALLS = ("put", "head", "get_tags", "put_tags", "create_upload", "upload_part", "complete_upload", "list_objects",
         "subresource")  # fmt: skip


class FailsAt(Through):
    """Call number *at* of the probe fails for the whole run; *after*: having done its work."""

    def __init__(self, store: ObjectStore, at: int, after: bool) -> None:
        super().__init__(store)
        self._left, self._after, self.failed = itertools.count(at - 1, -1), after, False

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)
        if name not in CALLS:
            return call

        def failing(*arguments: Any, **options: Any) -> Any:
            if next(self._left) != 0:
                return call(*arguments, **options)
            self.failed = True
            if self._after:
                with contextlib.suppress(StoreError):
                    call(*arguments, **options)
            raise StorageFull("full", status=507)

        return failing


@pytest.mark.parametrize(("after", "far_seconds"), [(False, 10.0), (True, 10.0), (True, 0.0)])
def test_whatever_call_fails_the_canaries_are_removed(moto: ObjectStore, after: bool, far_seconds: float) -> None:
    for at in itertools.count(2, 6):
        failing = FailsAt(moto, at, after)
        try:
            probe(failing, far_seconds=far_seconds)
        except StorageFull:
            assert failing.failed
        assert list(moto.list_objects("")) == []
        assert list(moto.list_uploads("")) == []
        if not failing.failed:
            break
    assert at > 30


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


def test_a_missing_permission_is_named(moto: ObjectStore) -> None:
    with pytest.raises(AccessRefused, match="s3:PutObject"):
        probe(Denying(moto, "put"))


def test_what_cannot_be_removed_is_named_and_is_one_object_only(moto: ObjectStore) -> None:
    class NoDelete(Denying):
        def subresource(self, method: str, *arguments: Any, **named: Any) -> Any:
            if method == "POST":
                raise AccessRefused("denied", status=403)
            return self._store.subresource(method, *arguments, **named)

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
