"""What a server does not tell, or tells of every object: rows A of the reference and cousins, each with a control.

A test is named after the id of its row. `quirks` of a QuirkProxy make a moto differ; without them is the control.
The oracle reads behind the proxy: it sees what is really there.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest
import yaml
from support.corpus import CorpusObject
from support.operator import Operator, moved
from support.oracle import compare, fill
from support.quirk_proxy import (
    Answered,
    Asked,
    Drops,
    Hides,
    Quirk,
    QuirkProxy,
    Refuses,
    Rewrites,
    Tells,
    Which,
    refusal,
)

from schema.tiers import MIB
from storage.wire import addressing

READS = ("get", "head")
COPY = {"policy": {"transfer": "server-copy"}}
PARTED = {"limits": {"memory": "12MiB"}}


@contextlib.contextmanager
def behind(operator: Operator, *quirks: Quirk, sides: str = "destination") -> Iterator[QuirkProxy]:
    """The operator's ends, those of *sides* or both, behind a proxy with these quirks; none: the control."""
    with QuirkProxy(operator.source.endpoint_url, *quirks) as proxy:
        if sides in ("source", "both"):
            operator.source_url = proxy.endpoint_url
        if sides in ("destination", "both"):
            operator.destination_url = proxy.endpoint_url
        yield proxy


def put(operator: Operator, count: int = 4, *, size: int = 700, **more: Any) -> None:
    """So many objects at the source; *more*: keywords of put_object for each."""
    client = operator.source.client()
    for number in range(count):
        body = bytes([number]) * (size + number)
        client.put_object(Bucket=operator.source_bucket, Key=f"k{number:02}", Body=body, **more)


def equal(operator: Operator) -> None:
    """The oracle sees no difference."""
    assert compare(operator.source_side, operator.destination_side) == []


def facts(operator: Operator, side: str = "destination") -> dict[str, str]:
    """What the plan says of that end."""
    found: dict[str, str] = yaml.safe_load(operator.plan_path.read_text())["sections"][0][f"{side}_capabilities"]
    return found


UNTOLD_TAGS = [(), (Hides("x-amz-tagging-count"),)]


# --- tags-no-count -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quirks", UNTOLD_TAGS)
def test_tags_no_count(on_moto: Operator, quirks: tuple[Quirk, ...]) -> None:
    """Each object's tags are asked for; verify sees one that is lost afterwards."""
    put(on_moto, 21, Tagging="a=1&b=2")
    with behind(on_moto, *quirks, sides="both") as proxy:
        moved(on_moto, again=False)
        equal(on_moto)
        assert facts(on_moto, "source")["tag_count"] == ("ignored" if quirks else "enforced")
        assert proxy.count("tag") >= 21
        on_moto.destination.client().delete_object_tagging(Bucket=on_moto.destination_bucket, Key="k07")
        verified = on_moto.verify("--level", "head")
        assert verified.code != 0 and "k07" in verified.out + verified.err


@pytest.mark.parametrize("quirks", UNTOLD_TAGS)
def test_tags_no_count_outside_the_sample(on_moto: Operator, quirks: tuple[Quirk, ...]) -> None:
    """Nobody saw a tagged object: what copying could not know, verify at content level asks."""
    put(on_moto, 40)
    on_moto.source.client().put_object_tagging(
        Bucket=on_moto.source_bucket, Key="k01", Tagging={"TagSet": [{"Key": "a", "Value": "1"}]}
    )
    with behind(on_moto, *quirks, sides="both"):
        assert on_moto.plan().code == 0
        assert on_moto.apply().code == 0
        if quirks and facts(on_moto, "source")["tag_count"] == "unknown":
            verified = on_moto.verify("--level", "content")
            assert verified.code != 0 and "k01" in verified.err
        else:
            equal(on_moto)


# --- F2 of the acceptance test, copy-tags --------------------------------------------------------------------


class TagsOnlyRead(Quirk):
    """Knows GetObjectTagging and no PutObjectTagging."""

    def asked(self, call: Asked) -> Answered | None:
        writes = call.request.operation == "tag" and call.request.method == "PUT"
        return refusal(501, "NotImplemented") if writes else None


DROPPED = Drops("x-amz-tagging", Which(("copy", "create")))


@pytest.mark.parametrize("method", ["stream", "server-copy"])
@pytest.mark.parametrize("quirks", [(), (DROPPED,)])
def test_f2_tags_dropped(on_moto: Operator, seed: int, method: str, quirks: tuple[Quirk, ...]) -> None:
    """Tags that come with CopyObject or CreateMultipartUpload are dropped: they are sent again afterwards."""
    put(on_moto, 3, Tagging="a=1")
    if method == "stream":
        fill(on_moto.source.client(), on_moto.source_bucket, [CorpusObject("big", 11 * MIB, seed, tags={"b": "2"})])
    on_moto.more = {**PARTED, "policy": {"transfer": method}}
    with behind(on_moto, *quirks, sides="both"):
        moved(on_moto, again=False, levels=("head",))
        equal(on_moto)
        name = "tagging_upload" if method == "stream" else "tagging_copy"
        assert facts(on_moto)[name] == ("ignored" if quirks else "enforced")


def test_f2_no_tags_afterwards_is_a_loss(on_moto: Operator) -> None:
    """Dropped, and PutObjectTagging is refused as well: a loss before anything moves."""
    put(on_moto, 3, Tagging="a=1")
    on_moto.more = COPY
    with behind(on_moto, DROPPED, TagsOnlyRead(), sides="both"):
        planned = on_moto.plan()
        assert planned.code == 0
        text = on_moto.plan_path.read_text()
        assert "id: tags" in text and "CopyObject" in text
        assert on_moto.apply().code != 0


def test_f2_empty_answer_reads_as_no_tags(on_moto: Operator) -> None:
    """An empty 200 to GetObjectTagging: verify says that tags differ, not that something is unreadable."""
    put(on_moto, 2, Tagging="a=1")
    with behind(on_moto) as proxy:
        moved(on_moto, again=False, levels=("head",))
        proxy.quirks = (Rewrites(lambda _: b"", Which(("tag",))),)
        verified = on_moto.verify("--level", "head")
        assert verified.code != 0
        assert "tag:a" in verified.err and "XML" not in verified.out + verified.err


# --- injected-headers ----------------------------------------------------------------------------------------

IN_AN_HOUR = Tells("Expires", lambda: formatdate(time.time() + 3600, usegmt=True), Which(READS))
FIXED = Tells("Cache-Control", lambda: "max-age=60", Which(READS))


@pytest.mark.parametrize("quirks", [(), (IN_AN_HOUR,)])
def test_injected_headers_of_the_source(on_moto: Operator, quirks: tuple[Quirk, ...]) -> None:
    """An Expires that moves with the Date is not the object's."""
    put(on_moto, 3)
    with behind(on_moto, *quirks, sides="source"):
        moved(on_moto)
        equal(on_moto)
        assert facts(on_moto, "source")["server_headers"] == ("expires=@3600" if quirks else "none")


@pytest.mark.parametrize("quirks", [(), (IN_AN_HOUR, FIXED)])
def test_injected_headers_of_the_destination(on_moto: Operator, quirks: tuple[Quirk, ...]) -> None:
    """What comes back for a canary written without it is no difference; another value is one."""
    put(on_moto, 3)
    with behind(on_moto, *quirks) as proxy:
        moved(on_moto, again=False)
        equal(on_moto)
        proxy.quirks = (*quirks, Tells("Cache-Control", lambda: "no-store", Which(READS, key="k01")))[::-1]
        verified = on_moto.verify("--level", "head")
        assert verified.code != 0 and "cache-control" in verified.err


def test_an_expires_that_all_objects_have_is_theirs(on_moto: Operator) -> None:
    """The same date in each: it does not move, so it is carried."""
    put(on_moto, 3, Expires=formatdate(int(time.time()) + 3600, usegmt=True))
    moved(on_moto)
    equal(on_moto)
    assert facts(on_moto, "source")["server_headers"] == "none"


# --- ctype-absent --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quirks", [(), (Hides("content-type", Which(READS)),)])
def test_ctype_absent(on_moto: Operator, quirks: tuple[Quirk, ...]) -> None:
    """The source tells no Content-Type: what the destination invents is no difference."""
    put(on_moto, 3, ContentType="binary/octet-stream")
    with behind(on_moto, *quirks, sides="source"):
        moved(on_moto)


# --- r2-gzip-head --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accepted", ["gzip", ""])
@pytest.mark.parametrize("hidden", [False, True])
def test_r2_gzip_head(on_moto: Operator, monkeypatch: pytest.MonkeyPatch, accepted: str, hidden: bool) -> None:
    """No Content-Length on HEAD where gzip is accepted, or on any HEAD: the size is asked another way."""
    monkeypatch.setattr(addressing, "_UNPACKING_HOSTS", ("127.0.0.1", "localhost"))
    put(on_moto, 3)
    on_moto.source.client().put_object(Bucket=on_moto.source_bucket, Key="empty", Body=b"")
    on_moto.more = COPY  # which looks at the head
    quirk = Hides("content-length", Which(("head",), header="accept-encoding", value=accepted))
    with behind(on_moto, *([quirk] if hidden else []), sides="both"):
        moved(on_moto)
        equal(on_moto)


# --- copy-without-version ------------------------------------------------------------------------------------


def versions(operator: Operator, bucket: str) -> list[tuple[str, bytes | None]]:
    """Every version of a bucket by key, oldest first; None: a marker."""
    client = operator.destination.client()
    found: list[tuple[str, Any, bytes | None]] = []
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for row in page.get("Versions", ()):
            body = client.get_object(Bucket=bucket, Key=row["Key"], VersionId=row["VersionId"])["Body"].read()
            found.append((row["Key"], row["LastModified"], body))
        found += [(row["Key"], row["LastModified"], None) for row in page.get("DeleteMarkers", ())]
    return [(key, body) for key, _, body in sorted(found, key=lambda row: (row[0], row[2] is None, row[2]))]


UNTOLD_VERSIONS = Hides("x-amz-version-id|x-amz-delete-marker", Which(("copy", "complete", "put", "delete")))


@pytest.mark.parametrize("method", ["stream", "server-copy"])
@pytest.mark.parametrize("quirks", [(), (UNTOLD_VERSIONS,)])
def test_copy_without_version(on_moto: Operator, method: str, quirks: tuple[Quirk, ...]) -> None:
    """Writes and deletes in a versioned bucket do not tell what they made; nothing of the probe stays behind."""
    client = on_moto.source.client()
    for bucket in (on_moto.source_bucket, on_moto.destination_bucket):
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for body in (b"one", b"two", b"three"):
        client.put_object(Bucket=on_moto.source_bucket, Key="k", Body=body)
    client.put_object(Bucket=on_moto.source_bucket, Key="m", Body=b"m")
    on_moto.more = {"policy": {"transfer": method, "versions": "all"}}
    with behind(on_moto, *quirks):
        if method == "server-copy":
            on_moto.source_url = on_moto.destination_url
        assert on_moto.plan().code == 0
        assert versions(on_moto, on_moto.destination_bucket) == []
        assert facts(on_moto)["versions_told"] == ("ignored" if quirks else "enforced")
        moved(on_moto)
        assert versions(on_moto, on_moto.destination_bucket) == versions(on_moto, on_moto.source_bucket)


def test_a_delete_marker_without_version(on_moto: Operator) -> None:
    """The probe's own deletes in a versioned bucket leave no markers."""
    client = on_moto.destination.client()
    versioning = {"Status": "Enabled"}
    client.put_bucket_versioning(Bucket=on_moto.destination_bucket, VersioningConfiguration=versioning)
    put(on_moto, 2)
    with behind(on_moto, UNTOLD_VERSIONS):
        moved(on_moto)
    assert {key for key, _ in versions(on_moto, on_moto.destination_bucket)} == {"k00", "k01"}


# --- server-side copies that are refused ---------------------------------------------------------------------


def told(operator: Operator, text: str) -> list[dict[str, Any]]:
    """What `apply --json` tells of objects, as far as it speaks of *text*."""
    applied = operator.apply("--json")
    assert applied.code == 0, applied.err + applied.out
    return [line for line in applied.lines() if text in str(line)]


@pytest.mark.parametrize(
    ("quirks", "code"),
    [
        ((), ""),
        ((Refuses(503, "SlowDown", Which(("copy",), key="k01")),), "SlowDown"),
        ((Refuses(500, "InternalError", Which(("copy",), key="k01")),), "InternalError"),
        ((Refuses(501, "NotImplemented", Which(("copy",), key="k01")),), "NotImplemented"),
    ],
)
def test_a_refused_copy_is_streamed(on_moto: Operator, quirks: tuple[Quirk, ...], code: str) -> None:
    """The object arrives all the same; screen and ledger say how and why."""
    put(on_moto, 3, Tagging="a=1")
    on_moto.more = COPY
    with behind(on_moto, sides="both") as proxy:
        assert on_moto.plan().code == 0
        proxy.quirks = quirks
        lines = told(on_moto, "CopyRefused")
        assert len(lines) == (1 if quirks else 0)
        assert all("k01" in str(line) and code in str(line) for line in lines)
        assert on_moto.verify("--level", "content").code == 0
        equal(on_moto)
        explained = on_moto.run("explain", "k01")
        assert explained.code == 0 and (("streaming instead" in explained.out) is bool(quirks)), explained.out


@pytest.mark.parametrize("quirks", [(), (Refuses(503, "SlowDown", Which(("part-copy",))),)])
def test_a_refused_part_copy_is_streamed(on_moto: Operator, seed: int, quirks: tuple[Quirk, ...]) -> None:
    """Part by part, into the same upload."""
    corpus = [CorpusObject("big", 11 * MIB, seed, part_size=6 * MIB, tags={"a": "1"})]
    fill(on_moto.source.client(), on_moto.source_bucket, corpus)
    on_moto.more = {**COPY, "preserve": {"part_layout": True}}
    with behind(on_moto, sides="both") as proxy:
        assert on_moto.plan().code == 0
        proxy.quirks = quirks
        assert len(told(on_moto, "CopyRefused")) == (2 if quirks else 0)
        assert on_moto.verify("--level", "content").code == 0
        equal(on_moto)


def test_a_refused_copy_that_cannot_be_streamed_says_both(on_moto: Operator) -> None:
    """Neither way: the object fails by name, with both reasons, and the rest arrives."""
    put(on_moto, 3)
    on_moto.more = COPY
    with behind(on_moto, sides="both") as proxy:
        assert on_moto.plan().code == 0
        proxy.quirks = (
            Refuses(500, "InternalError", Which(("copy",), key="k01")),
            Refuses(400, "InvalidRequest", Which(("get",), key="k01")),
        )
        assert on_moto.apply().code == 3
        (failure,) = on_moto.run("status", "--json").lines("failure")
        assert "InvalidRequest" in str(failure) and "InternalError" in str(failure)
        assert [d.key for d in compare(on_moto.source_side, on_moto.destination_side)] == ["k01"]


# --- cousins -------------------------------------------------------------------------------------------------


class WithoutEtag(Quirk):
    """Answers to writes tell no ETag, neither as a header nor in their document."""

    def answered(self, call: Asked, answer: Answered) -> Answered:
        if call.request.operation not in ("put", "part", "copy", "complete") or answer.status >= 300:
            return answer
        told = answer.without(lambda name: name == "etag")
        before, found, after = told.body.partition(b"<ETag>")
        return replace(told, body=before + after.partition(b"</ETag>")[2]) if found else told


@pytest.mark.parametrize("method", ["stream", "server-copy"])
@pytest.mark.parametrize("quirks", [(), (WithoutEtag(),)])
def test_writes_without_etag(on_moto: Operator, seed: int, method: str, quirks: tuple[Quirk, ...]) -> None:
    """The ETag is asked by HEAD, that of a part by ListParts."""
    put(on_moto, 3)
    if method == "stream":
        fill(on_moto.source.client(), on_moto.source_bucket, [CorpusObject("big", 11 * MIB, seed)])
    on_moto.more = {**PARTED, "policy": {"transfer": method}}
    with behind(on_moto, *quirks, sides="both"):
        moved(on_moto)
        equal(on_moto)


@pytest.mark.parametrize("name", ["last-modified", "etag", "date", "x-amz-version-id", "content-length|etag"])
def test_heads_without(on_moto: Operator, name: str) -> None:
    """Not told by any HEAD, at neither end: what is needed is asked by GET."""
    put(on_moto, 3, Metadata={"a": "1"})
    on_moto.more = COPY
    with behind(on_moto, Hides(name, Which(("head",))), sides="both"):
        moved(on_moto)
        equal(on_moto)
