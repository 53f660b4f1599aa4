"""What storage/port.py promises, against real servers. Skips carry the server's own reason."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import ClassVar

import pytest
from support.digests import content_md5, md5
from support.memory_store import MemoryStore
from support.servers import MotoServer, RcloneServer

from schema import errors
from schema.declaration import Side
from schema.objects import ListedPart
from schema.tiers import MIB
from storage.credentials import FixedKeys, Keys, Secrets
from storage.open_store import open_store
from storage.port import UNGUARDED, ByteRange, CopySource, Guard, ObjectStore, Pin, UploadPart
from storage.s3.store import S3Store

ODD_KEYS = [
    "plain/key.txt",
    "a//b",
    "//",
    "/a",
    "a/",
    "./x",
    "a/../b",
    "..",
    "a+b",
    "a b",
    " lead and trail ",
    "a%2Fb",
    "a%20b",
    "\x01",
    "\n",
    "caf\u00e9",
    "cafe\u0301",
    "🦆/\U0010ffff",
    "yes",
    "null",
    "\u0085",
    "a?b#c&d=e;f",
    "'\"<>\\*",
    "k" * 1024,
]
CREATE = Guard(if_none_match=True)


class ObjectStoreContract:
    """Subclasses give `store` (an empty bucket) and name what their server cannot do."""

    cannot_hold: ClassVar[dict[str, str]] = {}
    """Key -> why the server cannot hold it."""
    ignores: ClassVar[dict[str, str]] = {}
    """What the server does not do -> how it says so."""

    @pytest.fixture
    def store(self) -> Iterator[ObjectStore]:
        raise NotImplementedError

    def unless_ignored(self, what: str) -> None:
        if what in self.ignores:
            pytest.skip(self.ignores[what])

    @pytest.mark.parametrize("key", ODD_KEYS, ids=ascii)
    def test_keys_are_byte_exact(self, store: ObjectStore, key: str) -> None:
        if key in self.cannot_hold:
            pytest.skip(self.cannot_hold[key])
        body = key.encode()
        buffer = bytearray(len(body))
        written = store.put(key, body, [])
        assert store.get(key, memoryview(buffer), pin=Pin(written.etag)).size == len(body)
        assert bytes(buffer) == body
        assert store.head(key).etag == written.etag == md5(body)
        assert [listed.key for listed in store.list_objects("")] == [key]
        store.delete(key)
        with pytest.raises(errors.ObjectMissing) as missing:
            store.head(key)
        assert missing.value.key == key

    def test_headers_and_metadata_arrive(self, store: ObjectStore) -> None:
        headers = [
            ("content-type", "text/x-odd; charset=utf-8"),
            ("content-disposition", 'attachment; filename="a b.txt"'),
            ("cache-control", "max-age=7"),
            ("content-language", "de, en"),
            ("x-amz-meta-plain", "value"),
            ("x-amz-meta-word", "=?UTF-8?B?w6k=?="),
        ]
        store.put("k", b"x", headers)
        head = store.head("k")
        for name, value in headers:
            if name not in self.ignores:
                assert head.headers[name] == value
        assert head.user_metadata()["word"] == "=?UTF-8?B?w6k=?="

    @pytest.mark.parametrize("size", [0, 1, 100_000, 3 * MIB + 1])
    def test_whole_objects_of_all_sizes_from_every_kind_of_buffer(self, store: ObjectStore, size: int) -> None:
        body = bytes(range(256)) * (size // 256) + bytes(size % 256)
        for kind in (bytes, bytearray, lambda b: memoryview(bytearray(b))):
            result = store.put("k", kind(body), [("content-md5", content_md5(body))])
            assert result.etag == md5(body)
            buffer = bytearray(b"?" * size)
            head = store.get("k", memoryview(buffer), pin=Pin(result.etag))
            assert buffer == body
            assert (head.size, head.etag) == (size, result.etag)

    def test_ranges(self, store: ObjectStore) -> None:
        body = bytes(range(256)) * 100
        etag = store.put("k", body, []).etag
        for start, length in [(0, 1), (0, len(body)), (100, 1000), (len(body) - 1, 1)]:
            buffer = bytearray(length)
            head = store.get("k", memoryview(buffer), pin=Pin(etag), start=start)
            assert buffer == body[start : start + length]
            assert head.size == len(body)

    def test_pin_and_length_are_checked(self, store: ObjectStore) -> None:
        store.put("k", b"hello", [])
        with pytest.raises(errors.ObjectChanged):
            store.get("k", memoryview(bytearray(5)), pin=Pin("0" * 32))
        with pytest.raises(errors.ObjectChanged):
            store.get("k", memoryview(bytearray(4)))
        with pytest.raises(errors.ObjectChanged):
            store.get("k", memoryview(bytearray(6)))
        with pytest.raises(errors.ObjectMissing):
            store.get("none", memoryview(bytearray(1)))

    def test_guards(self, store: ObjectStore) -> None:
        self.unless_ignored("conditions")
        etag = store.put("k", b"one", [], guard=CREATE).etag
        with pytest.raises(errors.DestinationChanged):
            store.put("k", b"two", [], guard=CREATE)
        with pytest.raises(errors.DestinationChanged):
            store.put("k", b"two", [], guard=Guard(if_match="0" * 32))
        with pytest.raises(errors.DestinationChanged):
            store.put("none", b"two", [], guard=Guard(if_match=etag))
        assert store.head("k").etag == etag
        assert store.put("k", b"two", [], guard=Guard(if_match=etag)).etag == md5(b"two")

    def test_digest_is_enforced(self, store: ObjectStore) -> None:
        self.unless_ignored("content-md5 enforced")
        with pytest.raises(errors.DigestMismatch):
            store.put("k", b"hello", [("content-md5", content_md5(b"other"))])

    def test_a_body_from_a_reader(self, store: ObjectStore) -> None:
        body = bytes(range(256)) * 8_000
        pieces = iter([*(memoryview(body)[start : start + 1000] for start in range(0, len(body), 1000)), b""])
        headers = [("content-md5", content_md5(body)), ("x-amz-meta-plain", "value")]
        result = store.put_from("k", lambda _most: next(pieces), headers, length=len(body))
        found = bytearray(len(body))
        head = store.get("k", memoryview(found), pin=Pin(result.etag))
        assert found == body
        assert (result.etag, head.user_metadata()["plain"]) == (md5(body), "value")

    def test_a_body_from_a_reader_is_guarded_and_its_digest_enforced(self, store: ObjectStore) -> None:
        def put(*headers: tuple[str, str], guard: Guard = UNGUARDED) -> None:
            store.put_from("k", lambda most: memoryview(b"hello")[:most], headers, length=5, guard=guard)

        if "content-md5 enforced" not in self.ignores:
            with pytest.raises(errors.DigestMismatch):
                put(("content-md5", content_md5(b"other")))
        put(("content-md5", content_md5(b"hello")))
        if "conditions" not in self.ignores:
            with pytest.raises(errors.DestinationChanged):
                put(guard=CREATE)

    def test_multipart(self, store: ObjectStore) -> None:
        first, second = b"a" * (5 * MIB), b"b" * 1000
        upload = store.create_upload("dir/k ü", [("content-type", "x/y"), ("x-amz-meta-a", "b")])
        assert "dir/k ü" in [u.key for u in store.list_uploads("dir/")]
        assert [u.upload_id for u in store.list_uploads("") if u.key == "dir/k ü"] == [upload]
        assert list(store.list_uploads("other/")) == []
        one = store.upload_part(
            UploadPart("dir/k ü", upload, 1), memoryview(first), [("content-md5", content_md5(first))]
        )
        pieces = iter([second[:600], second[600:]])
        two = store.upload_part_from(UploadPart("dir/k ü", upload, 2), lambda size: next(pieces)[:size], length=1000)
        assert list(store.list_parts("dir/k ü", upload)) == [
            ListedPart(1, len(first), md5(first), ""),
            ListedPart(2, 1000, md5(second), ""),
        ]
        result = store.complete_upload("dir/k ü", upload, [(1, one.etag), (2, two.etag)])
        head = store.head("dir/k ü")
        assert head.size == len(first) + 1000
        assert "multipart etag" in self.ignores or head.etag == result.etag
        assert head.user_metadata()["a"] == "b"
        assert result.etag.endswith("-2")

    def test_aborted_upload_is_gone(self, store: ObjectStore) -> None:
        upload = store.create_upload("k", [])
        store.upload_part(UploadPart("k", upload, 1), b"x")
        store.abort_upload("k", upload)
        assert list(store.list_uploads("")) == []
        if "unknown upload" not in self.ignores:
            store.abort_upload("k", upload)
            with pytest.raises(errors.UploadMissing):
                list(store.list_parts("k", upload))
            with pytest.raises(errors.UploadMissing):
                store.upload_part(UploadPart("k", upload, 1), b"x")

    def test_part_the_server_does_not_hold(self, store: ObjectStore) -> None:
        self.unless_ignored("unknown part")
        upload = store.create_upload("k", [])
        store.upload_part(UploadPart("k", upload, 1), b"x")
        with pytest.raises(errors.PartRefused):
            store.complete_upload("k", upload, [(1, "0" * 32)])
        store.abort_upload("k", upload)

    @pytest.mark.parametrize("key", ["s/a b", "s/ç+%2F"])
    def test_server_side_copy(self, store: ObjectStore, key: str) -> None:
        etag = store.put(key, b"hello", []).etag
        assert store.copy(CopySource(store.bucket, key, Pin(etag)), "copied", []).etag == etag
        assert store.head("copied").size == 5
        with pytest.raises(errors.ObjectMissing):
            store.copy(CopySource(store.bucket, "none"), "copied2", [])

    def test_part_copy(self, store: ObjectStore) -> None:
        self.unless_ignored("part copy")
        body = bytes(range(256)) * (6 * MIB // 256)
        store.put("source", body, [])
        upload = store.create_upload("k", [])
        source = CopySource(store.bucket, "source")
        one = store.copy_part(source, UploadPart("k", upload, 1), span=ByteRange(0, 5 * MIB))
        two = store.copy_part(source, UploadPart("k", upload, 2), span=ByteRange(5 * MIB, MIB))
        store.complete_upload("k", upload, [(1, one.etag), (2, two.etag)])
        buffer = bytearray(len(body))
        store.get("k", memoryview(buffer))
        assert buffer == body

    def test_tags(self, store: ObjectStore) -> None:
        self.unless_ignored("tags")
        tags = (("a b", "1"), ("x+y=z", "u:@/"))
        store.put("k", b"x", [("x-amz-tagging", "first=1")])
        assert store.head("k").tag_count == 1
        store.put_tags("k", tags)
        assert sorted(store.get_tags("k")) == sorted(tags)
        assert store.head("k").tag_count == 2

    def test_listing_ascends_and_starts_after(self, store: ObjectStore) -> None:
        keys = sorted(["a", "a-", "b/1", "b/2", "c", "é", "🦆"])
        for key in keys:
            store.put(key, b"x", [])
        listed = list(store.list_objects(""))
        assert [entry.key for entry in listed] == keys
        assert {(entry.size, entry.etag) for entry in listed} == {(1, md5(b"x"))}
        assert [entry.key for entry in store.list_objects("b/")] == ["b/1", "b/2"]
        assert [entry.key for entry in store.list_objects("", start_after="b/1")] == keys[keys.index("b/2") :]

    def test_a_listing_of_versions_starts_after_a_key(self, store: ObjectStore) -> None:
        self.unless_ignored("versions")
        for key in ("a", "a b", "b/1", "é"):
            store.put(key, b"x", [])
            store.put(key, b"y", [])  # one object or two versions
        listed = list(store.list_versions("", start_after="a"))
        assert sorted({entry.key for entry in listed}) == ["a b", "b/1", "é"]
        assert {entry.key for entry in store.list_versions("", start_after="a b")} == {"b/1", "é"}

    def test_missing_bucket(self) -> None:
        elsewhere = S3Store(self.side(bucket="no-such-bucket-here"), Secrets(FixedKeys(self.keys())))
        with pytest.raises(errors.BucketMissing):
            elsewhere.put("k", b"x", [])
        with pytest.raises(errors.BucketMissing):
            list(elsewhere.list_objects(""))
        with pytest.raises(errors.BucketMissing):
            elsewhere.ask_listing("")
        elsewhere.close()

    def test_wrong_secret(self) -> None:
        self.unless_ignored("signatures")
        stranger = S3Store(self.side(), Secrets(FixedKeys(Keys(self.keys().access_key, "wrong"))))
        with pytest.raises(errors.CredentialsRefused):
            stranger.put("k", b"x", [])
        stranger.close()

    def test_bucket_subresource(self, store: ObjectStore) -> None:
        headers, body = store.subresource("GET", None, [("versioning", "")])
        assert b"Versioning" in body
        assert headers["content-type"]

    def test_many_threads_share_a_store(self, store: ObjectStore) -> None:
        problems: list[object] = []

        def work(number: int) -> None:
            try:
                for turn in range(5):
                    body = f"{number}/{turn}".encode() * 3000
                    buffer = bytearray(len(body))
                    etag = store.put(f"t/{number}/{turn}", body, []).etag
                    store.get(f"t/{number}/{turn}", memoryview(buffer), pin=Pin(etag))
                    assert buffer == body
            except BaseException as error:
                problems.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert problems == []

    def test_store_is_usable_after_close(self, store: ObjectStore) -> None:
        store.put("k", b"x", [])
        store.close()
        assert store.head("k").size == 1

    def side(self, **changes: str) -> Side:
        raise NotImplementedError

    def keys(self) -> Keys:
        raise NotImplementedError


class OverAServer(ObjectStoreContract):
    @pytest.fixture(autouse=True)
    def fresh_bucket(self, server: MotoServer | RcloneServer, bucket_name: str) -> None:
        self.server = server
        self.bucket_name = server.create_bucket(bucket_name)

    @pytest.fixture
    def store(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
        monkeypatch.setenv("IT_AWS_ACCESS_KEY_ID", self.server.access_key)
        monkeypatch.setenv("IT_AWS_SECRET_ACCESS_KEY", self.server.secret_key)
        store = open_store(self.side())
        yield store
        store.close()

    def side(self, **changes: str) -> Side:
        return Side(
            bucket=changes.get("bucket", self.bucket_name),
            endpoint_url=self.server.endpoint_url,
            credentials={"env": "IT"},
        )

    def keys(self) -> Keys:
        return Keys(self.server.access_key, self.server.secret_key)


class TestOverMoto(OverAServer):
    cannot_hold: ClassVar = {"\n": "moto's URL routes do not match a key of just a line feed: 404 without a body"}
    ignores: ClassVar = {
        "content-md5 enforced": "moto checks no Content-MD5",
        "unknown upload": "moto answers 500 for an upload id that it does not know",
        "signatures": "moto checks no signature",
    }

    @pytest.fixture
    def server(self, moto_server: MotoServer) -> MotoServer:
        return moto_server


class TestOverRclone(OverAServer):
    cannot_hold: ClassVar = {
        **dict.fromkeys(
            ["a//b", "/a", "./x", "a/../b", ".."],
            "rclone: 400 InvalidArgument (Object name contains unsupported characters)",
        ),
        "//": "rclone cuts slashes and takes the request for CreateBucket: 409 BucketAlreadyExists",
        "a/": "rclone cuts the slash and holds 'a'",
        "k" * 1024: "rclone: a part of the key longer than 255 bytes is no file name: 500",
    }
    ignores: ClassVar = {
        "conditions": "rclone ignores If-Match and If-None-Match",
        "multipart etag": "rclone answers Complete with ...-2 and HEAD with the MD5 of the whole",
        "part copy": "rclone answers UploadPartCopy with an empty 200",
        "tags": "rclone keeps no tags",
        "versions": "rclone answers 501 to ListObjectVersions",
    }

    @pytest.fixture
    def server(self, rclone_server: RcloneServer) -> RcloneServer:
        return rclone_server


class TestInMemory(ObjectStoreContract):
    """What tests of decisions use in a server's stead keeps the same contract."""

    ignores: ClassVar = {"signatures": "a store in memory has no wire"}

    @pytest.fixture
    def store(self) -> Iterator[ObjectStore]:
        yield MemoryStore()

    @pytest.mark.skip(reason="a store in memory has no endpoint to ask for another bucket")
    def test_missing_bucket(self) -> None:
        """Only over a server."""
