"""Cousins of the listed quirks, thought up to see whether a kind was mended and not a case; each with its control.

The rows are those of support.quirk_catalogue. The oracle reads behind the proxy.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from support.operator import Operator
from support.oracle import compare
from support.probes import probe
from support.quirk_catalogue import BY_NAME, Redirects, Renames
from support.quirk_proxy import (
    EVERY,
    Answered,
    Asked,
    Drops,
    Hides,
    Quirk,
    QuirkProxy,
    Refuses,
    Rewrites,
    ShowsLate,
    Tells,
    Which,
)
from support.servers import ACCESS_KEY, SECRET_KEY, MotoServer

from schema.checksums import crc64nvme, crc_text
from schema.declaration import Side
from schema.errors import AccessRefused
from storage.open_store import open_store
from storage.port import ObjectStore

Opening = Callable[..., ObjectStore]


@pytest.fixture
def opening(moto_server: MotoServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opening]:
    """A store behind a proxy with these quirks; its bucket holds "k" of 700 bytes and "empty"."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    opened: list[Any] = []

    def store(*quirks: Quirk) -> ObjectStore:
        bucket, client = moto_server.create_bucket(f"cousin-{uuid.uuid4().hex[:12]}"), moto_server.client()
        client.put_object(Bucket=bucket, Key="k", Body=bytes(700), Metadata={"a": "1"}, ContentType="x/y")
        client.put_object(Bucket=bucket, Key="empty", Body=b"")
        proxy = QuirkProxy(moto_server.endpoint_url, *quirks).__enter__()
        opened.extend((proxy, open_store(Side(bucket, endpoint_url=proxy.endpoint_url))))
        return opened[-1]

    yield store
    for each in reversed(opened):
        each.close() if hasattr(each, "close") else each.__exit__(None, None, None)


HEADLESS = [
    (),
    (BY_NAME["head-403"].make(),),
    (Refuses(405, "MethodNotAllowed", Which(("head",))),),
    (Refuses(501, "NotImplemented", Which(("head",))),),
    (BY_NAME["head-length-zero"].make(),),
]


@pytest.mark.parametrize("quirks", HEADLESS)
def test_a_head_that_is_refused_or_lies_is_asked_by_get(opening: Opening, quirks: tuple[Quirk, ...]) -> None:
    """() is the control."""
    store = opening(*quirks)
    for _ in range(2):
        found, empty = store.head("k"), store.head("empty")
        assert (found.size, found.user_metadata(), found.headers["content-type"]) == (700, {"a": "1"}, "x/y")
        assert (empty.size, empty.user_metadata()) == (0, {})
        assert found.etag != empty.etag == "d41d8cd98f00b204e9800998ecf8427e"


def test_what_may_not_be_read_either_is_refused_in_the_words_of_the_get(opening: Opening) -> None:
    store = opening(Refuses(403, "AccessDenied", Which(("head", "get")), message="not for you"))
    with pytest.raises(AccessRefused, match=r"AccessDenied.*not for you"):
        store.head("k")


class Writes(Quirk):
    """Stores under another key than it was asked to: the target is changed as *change* says."""

    def __init__(self, old: str, new: str) -> None:
        self._old, self._new = old, new

    def asked(self, call: Asked) -> None:
        call.target = call.target.replace(self._old, self._new)


@pytest.mark.parametrize(
    ("quirks", "ignored"),
    [
        ((), set()),
        ((Writes("%5C", "/"),), {"key_backslash"}),
        ((Writes("e%CC%81", "%C3%A9"),), {"key_normal_form"}),
        ((Writes("%20t%20", "t"),), {"key_blanks"}),
    ],
)
def test_keys_that_come_back_spelt_otherwise(opening: Opening, quirks: tuple[Quirk, ...], ignored: set[str]) -> None:
    """One canary asks for all spellings; where it comes back as another, each is asked for by itself."""
    facts = dict(probe(opening(*quirks), "p/").facts)
    spellings = ("key_characters", "key_control", "key_backslash", "key_blanks", "key_normal_form", "key_wide")
    assert {name for name in spellings if facts[name] != "enforced"} == ignored


def test_a_right_digest_that_is_refused_as_a_wrong_one_is(opening: Opening) -> None:
    """A digest counts as enforced when the wrong one is refused and the right one is not."""
    assert dict(probe(opening(BY_NAME["md5-refused"].make()), "p/").facts)["content_md5"] == "rejected"


def test_a_destination_that_shows_late_is_probed_as_any(opening: Opening) -> None:
    names = ("user_metadata", "system_headers", "tagging", "multipart", "key_characters")
    plain, late = (dict(probe(opening(*quirks), "p/").facts) for quirks in ((), (ShowsLate(2),)))
    assert {name: late[name] for name in names} == {name: plain[name] for name in names}


@pytest.mark.parametrize("faulty", [False, True])
def test_a_header_that_the_destination_changes_is_a_loss_that_holds(on_moto: Operator, faulty: bool) -> None:
    """Accepted, it is no difference to verify, whatever the destination tells of it; other headers are compared."""
    put = on_moto.source.client().put_object
    put(Bucket=on_moto.source_bucket, Key="k", Body=b"1", ContentDisposition="attachment", CacheControl="max-age=9")
    told = Tells("Content-Disposition", lambda: "inline", Which(("get", "head")))
    with QuirkProxy(on_moto.destination.endpoint_url, *([told] if faulty else [])) as proxy:
        on_moto.destination_url = proxy.endpoint_url
        on_moto.plan().ok()
        assert ("does not keep content-disposition" in on_moto.plan_path.read_text()) is faulty
        if faulty:
            on_moto.declare(accept_loss=["system-headers"])
            on_moto.plan().ok()
        on_moto.apply().ok()
        on_moto.verify("--level", "content").ok()
        proxy.quirks = (*proxy.quirks, Drops("cache-control"), Tells("Cache-Control", lambda: "no-store"))
        assert on_moto.verify("--level", "content").code != 0
    assert compare(on_moto.source_side, on_moto.destination_side) == []


@pytest.mark.parametrize("count", [None, "0"])
def test_a_count_of_tags_that_is_told_wrong(on_moto: Operator, count: str | None) -> None:
    """A head that says 0 of a tagged object, the first of which is untagged. None: the control."""
    put = on_moto.source.client().put_object
    for number, tagging in enumerate(("", "a=1", "b=2")):
        put(Bucket=on_moto.source_bucket, Key=f"k{number}", Body=b"1", Tagging=tagging)
    quirks = [] if count is None else [Tells("x-amz-tagging-count", lambda: "0", Which(("get", "head")))]
    with QuirkProxy(on_moto.source.endpoint_url, *quirks) as proxy:
        on_moto.source_url = proxy.endpoint_url
        on_moto.plan().ok()
        on_moto.apply().ok()
        on_moto.verify("--level", "content").ok()
    assert compare(on_moto.source_side, on_moto.destination_side) == []


def test_a_source_that_tells_of_tags_and_shows_none(on_moto: Operator) -> None:
    """A loss by name; accepted, everything else arrives."""
    put = on_moto.source.client().put_object
    put(Bucket=on_moto.source_bucket, Key="k", Body=b"1", Tagging="a=1")
    with QuirkProxy(on_moto.source.endpoint_url, Refuses(501, "NotImplemented", Which(("tag",)))) as proxy:
        on_moto.source_url = proxy.endpoint_url
        on_moto.plan().ok()
        assert on_moto.apply().code == 7
        on_moto.declare(accept_loss=["tags"])
        on_moto.plan().ok()
        on_moto.apply().ok()
        on_moto.verify("--level", "content").ok()
    assert {each.field for each in compare(on_moto.source_side, on_moto.destination_side)} == {"tags"}


@pytest.mark.parametrize("refused", ["content-language", None], ids=["refused", "control"])
def test_a_header_that_no_write_may_carry_is_a_loss_and_the_object_arrives_without_it(
    on_moto: Operator, refused: str | None
) -> None:
    """The headers that are taken travel all the same."""
    put = on_moto.source.client().put_object
    put(Bucket=on_moto.source_bucket, Key="k", Body=b"1", ContentLanguage="de", CacheControl="max-age=9")
    put(Bucket=on_moto.source_bucket, Key="plain", Body=b"1", CacheControl="max-age=9")
    quirks = [Refuses(400, "InvalidArgument", Which(header=refused))] if refused else []
    with QuirkProxy(on_moto.destination.endpoint_url, *quirks) as proxy:
        on_moto.destination_url = proxy.endpoint_url
        on_moto.plan().ok()
        if refused:
            assert "the destination does not keep content-language" in on_moto.plan_path.read_text()
            on_moto.declare(accept_loss=["system-headers"])
            on_moto.plan().ok()
        on_moto.apply().ok()
        on_moto.verify("--level", "content").ok()
    differing = {(each.key, each.field) for each in compare(on_moto.source_side, on_moto.destination_side)}
    assert differing == ({("k", "ContentLanguage")} if refused else set())


@pytest.mark.parametrize("faulty", [True, False], ids=["redirected", "control"])
def test_redirects_to_the_same_service_are_followed_bodies_and_all(on_moto: Operator, faulty: bool) -> None:
    """Each request is answered 307 at first, as those for a bucket of AWS that was made just now."""
    put = on_moto.source.client().put_object
    put(Bucket=on_moto.source_bucket, Key="a b+\u00e9", Body=b"1", Metadata={"m": "1"}, Tagging="t=1")
    quirks = [Redirects(307, EVERY)] if faulty else []
    with QuirkProxy(on_moto.destination.endpoint_url, *quirks) as proxy:
        on_moto.source_url = on_moto.destination_url = proxy.endpoint_url
        on_moto.plan().ok()
        on_moto.apply().ok()
        on_moto.verify("--level", "content").ok()
        assert any(request.status == 307 for request in proxy.history) is faulty
    assert compare(on_moto.source_side, on_moto.destination_side) == []


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        (str.lower, set()),
        (str.upper, set()),
        ("metadata_hyphen", {"metadata_hyphen"}),
        ("metadata_underscore", {"metadata_underscore"}),
    ],
)
def test_names_of_metadata_that_come_back_otherwise(opening: Opening, change: Any, lost: set[str]) -> None:
    """Case tells nothing in a header; of '-' and '_' the one that is changed is left out, and no other metadata."""
    old, new = "-_" if change == "metadata_hyphen" else "_-"

    def renamed(name: str) -> str:
        if callable(change):
            return change(name)
        head, meta, rest = name.lower().partition("x-amz-meta-")
        return head + meta + rest.replace(old, new)

    facts = probe(opening(Renames(renamed)), "p/").facts
    names = ("user_metadata", "user_metadata_utf8", "metadata_dot", "metadata_hyphen", "metadata_underscore")
    assert {name for name in names if facts[name] != "enforced"} == lost


def test_metadata_whose_names_stay_arrives_beside_metadata_whose_names_change(on_moto: Operator) -> None:
    put = on_moto.source.client().put_object
    put(Bucket=on_moto.source_bucket, Key="k", Body=b"1", Metadata={"plain": "1", "low_line": "2", "hy-phen": "3"})
    renamed = Renames(lambda name: name[:11] + name[11:].replace("-", "_") if "meta-" in name.lower() else name)
    with QuirkProxy(on_moto.destination.endpoint_url, renamed) as proxy:
        on_moto.destination_url = proxy.endpoint_url
        on_moto.declare(accept_loss=["metadata-names"])
        on_moto.plan().ok()
        on_moto.apply().ok()
        on_moto.verify("--level", "content").ok()
        proxy.quirks = (renamed, Hides("x-amz-meta-low_line"))
        assert "x-amz-meta-low_line" in on_moto.verify("--level", "content").err, "the loss is of names with '-'"
    there = on_moto.destination.client().head_object(Bucket=on_moto.destination_bucket, Key="k")
    assert there["Metadata"] == {"plain": "1", "low_line": "2"}


@pytest.mark.parametrize("faulty", [True, False], ids=["added", "control"])
def test_metadata_that_the_destination_adds_is_its_own(on_moto: Operator, faulty: bool) -> None:
    put = on_moto.source.client().put_object
    put(Bucket=on_moto.source_bucket, Key="k", Body=b"1", Metadata={"a": "1"})
    told = [Tells("x-amz-meta-server", lambda: "7", Which(("get", "head")))] if faulty else []
    with QuirkProxy(on_moto.destination.endpoint_url, *told) as proxy:
        on_moto.destination_url = proxy.endpoint_url
        on_moto.plan().ok()
        on_moto.apply().ok()
        on_moto.verify("--level", "content").ok()
        proxy.quirks = (Tells("x-amz-meta-stranger", lambda: "7", Which(("get", "head"))),)
        assert "x-amz-meta-stranger" in on_moto.verify("--level", "content").err


class FlipsOnce(Quirk):
    """One bit of the first ranged answer for the key "large"."""

    def __init__(self) -> None:
        self.left = 0

    def answered(self, call: Asked, answer: Answered) -> Answered:
        if call.request.key != "large" or answer.status != 206 or len(answer.body) < 2 or not self.left:
            return answer
        self.left -= 1
        return replace(answer, body=bytes([answer.body[0] ^ 1]) + answer.body[1:])


@pytest.mark.parametrize("flips", [1, 0], ids=["flipped", "control"])
def test_a_part_that_changed_on_the_way_begins_its_object_again(on_moto: Operator, flips: int) -> None:
    """The source states a checksum of the whole alone, so nothing tells which part it was."""
    body = bytes(9 << 20)
    on_moto.source.client().put_object(Bucket=on_moto.source_bucket, Key="large", Body=body)
    stated, flipping = crc_text(crc64nvme(body)), FlipsOnce()
    told = Tells("x-amz-checksum-crc64nvme", lambda: stated, Which(("get", "head")))
    kind = Tells("x-amz-checksum-type", lambda: "FULL_OBJECT", Which(("get", "head")))
    with QuirkProxy(on_moto.source.endpoint_url, told, kind, flipping) as proxy:
        on_moto.source_url = proxy.endpoint_url
        on_moto.declare(limits={"memory": "12MiB"})
        on_moto.plan().ok()
        flipping.left = flips
        on_moto.apply().ok()
        assert flipping.left == 0
    assert compare(on_moto.source_side, on_moto.destination_side) == []


@pytest.mark.parametrize("faulty", [True, False], ids=["another", "control"])
def test_a_write_that_states_another_etag_than_heads(on_moto: Operator, faulty: bool) -> None:
    for key in ("a", "b"):
        on_moto.source.client().put_object(Bucket=on_moto.source_bucket, Key=key, Body=key.encode())
    with QuirkProxy(
        on_moto.destination.endpoint_url, *([BY_NAME["write-etag-other"].make()] if faulty else [])
    ) as proxy:
        on_moto.destination_url = proxy.endpoint_url
        on_moto.plan().ok()
        assert ("written_etag: ignored" in on_moto.plan_path.read_text()) is faulty
        on_moto.apply().ok()
        on_moto.verify("--level", "content").ok()
        assert on_moto.run("plan", "migration.yaml", "--detailed-exitcode").code == 0
    assert compare(on_moto.source_side, on_moto.destination_side) == []


@pytest.mark.parametrize("charset", ["UTF-8", "latin-1"])
def test_a_content_type_that_is_spelt_otherwise_is_the_same(on_moto: Operator, charset: str) -> None:
    """Control: another charset is another type."""
    on_moto.source.client().put_object(
        Bucket=on_moto.source_bucket, Key="k", Body=b"1", ContentType="text/plain; charset=utf-8"
    )
    with QuirkProxy(on_moto.destination.endpoint_url, BY_NAME["charset-respelt"].make()) as proxy:
        on_moto.destination_url = proxy.endpoint_url
        on_moto.plan().ok()
        on_moto.apply().ok()
        proxy.quirks = (Tells("Content-Type", lambda: f"text/plain;charset={charset}", Which(("get", "head"))),)
        assert on_moto.verify("--level", "content").code == (0 if charset == "UTF-8" else 8)


LISTED_STANDARD = Rewrites(
    lambda body: re.sub(rb"<StorageClass>[^<]*<", b"<StorageClass>STANDARD<", body), Which(("list", "list-versions"))
)


@pytest.mark.parametrize("side", ["source", "destination"])
@pytest.mark.parametrize(
    ("quirk", "untold"),
    [(Hides("x-amz-storage-class", Which(("get", "head"))), True), (LISTED_STANDARD, False), (None, False)],
    ids=["not by HEAD", "not by listings", "control"],
)
def test_a_storage_class_that_is_shown_in_one_place_only(
    on_moto: Operator, *, quirk: Quirk | None, side: str, untold: bool
) -> None:
    put = on_moto.source.client().put_object
    put(Bucket=on_moto.source_bucket, Key="a", Body=b"1", StorageClass="STANDARD_IA")
    put(Bucket=on_moto.source_bucket, Key="b", Body=b"1")
    with QuirkProxy(on_moto.source.endpoint_url, *([quirk] if quirk else [])) as proxy:
        setattr(on_moto, f"{side}_url", proxy.endpoint_url)
        on_moto.plan().ok()
        assert ("head_storage_class: ignored" in on_moto.plan_path.read_text()) is untold
        on_moto.apply().ok()
        on_moto.verify("--level", "content").ok()
    assert compare(on_moto.source_side, on_moto.destination_side) == []
    client, place = on_moto.destination.client(), {"Bucket": on_moto.destination_bucket}
    assert [client.head_object(Key=key, **place).get("StorageClass") for key in "ab"] == ["STANDARD_IA", None]


@pytest.mark.parametrize(("change", "name"), [(lambda name: name.upper().replace("_", "-"), "a-b"), (str, "a_b")])
def test_names_that_the_source_changes_arrive_as_it_shows_them(on_moto: Operator, change: Any, name: str) -> None:
    """Case means nothing in a header's name. `str` is the control."""
    put = on_moto.source.client().put_object
    put(Bucket=on_moto.source_bucket, Key="k", Body=b"1", Metadata={"a_b": "1"})
    with QuirkProxy(on_moto.source.endpoint_url, Renames(change)) as proxy:
        on_moto.source_url = proxy.endpoint_url
        on_moto.plan().ok()
        on_moto.apply().ok()
        on_moto.verify("--level", "content").ok()
    head = on_moto.destination.client().head_object(Bucket=on_moto.destination_bucket, Key="k")
    assert head["Metadata"] == {name: "1"}
