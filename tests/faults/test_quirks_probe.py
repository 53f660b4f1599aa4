"""The probe sends what the run sends, and asks right as well as wrong: rows B and some of C and H of the reference.

A test is named after the id of its row; without quirks, the same is its control.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from support.corpus import CorpusObject
from support.operator import Operator
from support.oracle import compare, fill
from support.probes import AT_ONCE, Counter, probe
from support.quirk_proxy import Answered, Asked, Drops, Quirk, QuirkProxy, Refuses, Rewrites, Which, refusal
from support.servers import ACCESS_KEY, SECRET_KEY, MotoServer

from schema.declaration import Preserve, Side
from schema.objects import ListedObject
from schema.tiers import MIB
from storage.open_store import open_store
from storage.probe import sample
from storage.probe.source import choose, survey_source

PARTED = {"limits": {"memory": "12MiB"}}
Probing = Callable[..., dict[str, str]]


@contextlib.contextmanager
def through(operator: Operator, side: str, *quirks: Quirk) -> Iterator[QuirkProxy]:
    """One side of the operator's behind a proxy with these quirks."""
    with QuirkProxy(getattr(operator, side).endpoint_url, *quirks) as proxy:
        setattr(operator, f"{side}_url", proxy.endpoint_url)
        yield proxy


@pytest.fixture
def probing(moto_server: MotoServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Probing]:
    """The facts of a fresh bucket behind a proxy with the quirks given; nothing is left in the bucket."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)

    def ask(*quirks: Quirk, versioned: bool = False, acl: str | None = None, **options: Any) -> dict[str, str]:
        bucket, client = moto_server.create_bucket(f"probe-{uuid.uuid4().hex[:12]}"), moto_server.client()
        if versioned:
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        with QuirkProxy(moto_server.endpoint_url, *quirks) as proxy:
            store = open_store(Side(bucket, endpoint_url=proxy.endpoint_url, acl=acl))
            try:
                facts = dict(probe(store, "p/", **options).facts)
            finally:
                store.close()
        left = client.list_object_versions(Bucket=bucket)
        assert not left.get("Versions"), "nothing of the probe stays behind"
        assert not left.get("DeleteMarkers"), "nothing of the probe stays behind"
        assert not client.list_multipart_uploads(Bucket=bucket).get("Uploads")
        return facts

    yield ask


def moved(operator: Operator) -> None:
    """Planned, applied, proven, and the same by the oracle."""
    planned = operator.plan()
    assert planned.code == 0, planned.err
    applied = operator.apply()
    assert applied.code == 0, applied.err + operator.run("status").out
    verified = operator.verify("--level", "content")
    assert verified.code == 0, verified.err + verified.out
    assert compare(operator.source_side, operator.destination_side) == []


# --- copy-tags ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("faulty", [False, True])
def test_copy_tags(on_moto: Operator, seed: int, faulty: bool) -> None:
    """CopyObject drops the tags it is given: they are sent again. Not faulty: the control."""
    client = on_moto.source.client()
    fill(client, on_moto.source_bucket, [CorpusObject("a", 10, seed)])
    client.put_object_tagging(Bucket=on_moto.source_bucket, Key="a", Tagging={"TagSet": [{"Key": "k", "Value": "v w"}]})
    on_moto.more = {"policy": {"transfer": "auto"}}
    quirks = [Drops("x-amz-tagging|x-amz-tagging-directive", Which(("copy",)))] if faulty else []
    with QuirkProxy(on_moto.source.endpoint_url, *quirks) as proxy:
        on_moto.source_url = on_moto.destination_url = proxy.endpoint_url
        moved(on_moto)
        assert "server-copy" in on_moto.plan_path.read_text()
        assert ("tagging_copy: ignored" in on_moto.plan_path.read_text()) is faulty


@pytest.mark.parametrize(("operation", "fact"), [("copy", "tagging_copy"), ("create", "tagging_upload")])
def test_tags_dropped_by_one_operation_alone(probing: Probing, operation: str, fact: str) -> None:
    facts = probing(Drops("x-amz-tagging", Which((operation,))), server_copy=True)
    others = {"tagging_copy", "tagging_upload", "tagging_header"} - {fact}
    assert (facts[fact], {facts[other] for other in others}) == ("ignored", {"enforced"})


# --- meta-underscore ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accepted", [False, True])
@pytest.mark.parametrize("character", ["_", "."])
def test_meta_underscore(on_moto: Operator, character: str, accepted: bool) -> None:
    """Names with it vanish. One such object, that the sample shows, is a loss: nothing moves until it is accepted."""
    name = f"a{character}b"
    put = on_moto.source.client().put_object
    put(Bucket=on_moto.source_bucket, Key="odd", Body=b"1", Metadata={name: "x", "plain": "y"})
    put(Bucket=on_moto.source_bucket, Key="even", Body=b"2", Metadata={"plain": "y"})
    on_moto.more = {"accept_loss": ["metadata-names"]} if accepted else {}
    with through(on_moto, "destination", Drops(rf"x-amz-meta-.*{re.escape(character)}.*")):
        assert on_moto.plan().code == 0
        applied = on_moto.apply()
        assert (applied.code, "metadata-names" in applied.err) == ((0, False) if accepted else (7, True)), applied.err
        if accepted:
            assert on_moto.verify("--level", "content").code == 0
            head = on_moto.destination.client().head_object(Bucket=on_moto.destination_bucket, Key="odd")
            assert head["Metadata"] == {"plain": "y"}


def test_meta_underscore_outside_the_sample(on_moto: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The object fails by name, all others arrive; accepted by name and planned anew, it arrives without the entry."""
    put = on_moto.source.client().put_object
    for key in ("even", "odd"):
        put(Bucket=on_moto.source_bucket, Key=key, Body=b"1", Metadata={"a_b": "x"} if key == "odd" else {})
    monkeypatch.setattr(sample, "FIRST", 1)
    monkeypatch.setattr(sample, "RANGES", 1)
    with through(on_moto, "destination", Drops(r"x-amz-meta-.*_.*")):
        assert on_moto.plan().code == 0
        assert on_moto.apply().code == 3
        assert "metadata a_b" in on_moto.run("status", "--json").out
        on_moto.declare(accept_loss=["metadata-names"])
        assert on_moto.plan().code == 0
        assert on_moto.apply().code == 0


def test_control_meta_underscore(on_moto: Operator) -> None:
    on_moto.source.client().put_object(Bucket=on_moto.source_bucket, Key="k", Body=b"1", Metadata={"a_b.c": "x"})
    with through(on_moto, "destination"):
        moved(on_moto)


# --- sse-policy --------------------------------------------------------------------------------------------------


class Demands(Quirk):
    """Refuses, as a bucket's policy does, every write that lacks one of these headers."""

    def __init__(self, *wanted: tuple[str, str]) -> None:
        self._wanted = wanted

    def asked(self, call: Asked) -> Answered | None:
        if call.request.operation not in ("put", "create", "copy"):
            return None
        met = all(call.header(name) == value for name, value in self._wanted)
        return None if met else refusal(403, "AccessDenied")


@pytest.mark.parametrize("declared", [True, False])
def test_sse_policy(on_moto: Operator, seed: int, declared: bool) -> None:
    """Canaries and writes carry what is declared. Not declared: the control, which the policy refuses."""
    corpus = [CorpusObject("small", 10, seed), CorpusObject("large", 11 * MIB, seed, part_size=5 * MIB)]
    fill(on_moto.source.client(), on_moto.source_bucket, corpus)
    on_moto.more = PARTED
    wanted = (("x-amz-server-side-encryption", "AES256"), ("x-amz-acl", "bucket-owner-full-control"))
    with through(on_moto, "destination", Demands(*wanted)) as proxy:
        if declared:
            on_moto.more = {**PARTED, "preserve": {"encryption": {"mode": "sse-s3"}}}
            on_moto.declare()
            on_moto.declare(
                destination={
                    "bucket": on_moto.destination_bucket,
                    "endpoint_url": proxy.endpoint_url,
                    "region": "us-east-1",
                    "credentials": {"env": "NEW"},
                    "acl": "bucket-owner-full-control",
                }
            )
        planned = on_moto.plan()
        assert planned.code == (0 if declared else 77), planned.err
        if declared:
            assert on_moto.apply().code == 0
            assert on_moto.verify("--level", "content").code == 0


def test_a_canned_acl_goes_with_every_write_of_the_probe(probing: Probing) -> None:
    acl = "bucket-owner-full-control"
    facts = probing(Demands(("x-amz-acl", acl)), acl=acl, server_copy=True)
    assert facts["copy_metadata"] == facts["multipart"] == "enforced"


# --- list-etag-differs -------------------------------------------------------------------------------------------


LISTS_OTHERWISE = Rewrites(
    lambda body: re.sub(rb"<ETag>(&quot;|&#34;|\")?[0-9a-f]{4}", rb"<ETag>\1beef", body), Which(("list",))
)


@pytest.mark.parametrize("faulty", [False, True])
@pytest.mark.parametrize("side", ["source", "destination"])
def test_list_etag_differs(on_moto: Operator, seed: int, side: str, faulty: bool) -> None:
    """A HEAD of each object is believed instead. Not faulty: the control."""
    corpus = [CorpusObject("small", 10, seed), CorpusObject("large", 11 * MIB, seed, part_size=5 * MIB)]
    fill(on_moto.source.client(), on_moto.source_bucket, corpus)
    on_moto.more = PARTED
    with through(on_moto, side, *([LISTS_OTHERWISE] if faulty else [])):
        moved(on_moto)
        assert ("listed_etag: ignored" in on_moto.plan_path.read_text()) is faulty


# --- checksum-mode-refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 501, None])
def test_checksum_mode_refused(on_moto: Operator, seed: int, status: int | None) -> None:
    """Asked again without it, and then never sent. None: the control."""
    fill(on_moto.source.client(), on_moto.source_bucket, [CorpusObject("a", 10, seed), CorpusObject("b", 9, seed)])
    quirks = [Refuses(status, "NotImplemented", Which(header="x-amz-checksum-mode"))] if status else []
    with through(on_moto, "source", *quirks), through(on_moto, "destination", *quirks):
        moved(on_moto)
        assert ("checksums_returned: rejected" in on_moto.plan_path.read_text()) is bool(status)


@pytest.mark.parametrize("header", ["x-amz-checksum-mode", "if-match", None])
@pytest.mark.parametrize("status", [400, 501])
def test_header_refused_of_one_object(on_moto: Operator, seed: int, header: str | None, status: int) -> None:
    """Taken of others, and of this one after the plan was made: the read is sent without it. None: the control."""
    fill(on_moto.source.client(), on_moto.source_bucket, [CorpusObject(k, 10, seed) for k in ("a", "b", "odd")])
    with through(on_moto, "source") as proxy:
        assert on_moto.plan().code == 0
        proxy.quirks = (Refuses(status, "NotImplemented", Which(("get", "head"), key="odd", header=header or "-")),)
        assert on_moto.apply().code == 0
        proxy.quirks = ()
        assert on_moto.verify("--level", "content").code == 0
    assert compare(on_moto.source_side, on_moto.destination_side) == []


# --- conditions-refused, conditions-always-412 -------------------------------------------------------------------


def conditions(operations: Sequence[str], answer: Callable[[Which], Quirk]) -> list[Quirk]:
    """*answer* to requests with a condition, of these operations."""
    names = "if-match|if-none-match|x-amz-copy-source-if-match"
    return [answer(Which(tuple(operations), header=names))]


def refused(which: Which) -> Quirk:
    return Refuses(501, "NotImplemented", which)


def never_met(which: Which) -> Quirk:
    return Refuses(412, "PreconditionFailed", which)


@pytest.mark.parametrize("answer", [refused, never_met, None])
@pytest.mark.parametrize("transfer", ["stream", "auto"])
def test_conditions_refused(on_moto: Operator, seed: int, transfer: str, answer: Any) -> None:
    """Of every operation on both sides: everything is created and overwritten all the same. None: the control."""
    corpus = [CorpusObject("small", 10, seed), CorpusObject("large", 11 * MIB, seed, part_size=5 * MIB)]
    fill(on_moto.source.client(), on_moto.source_bucket, corpus)
    fill(on_moto.destination.client(), on_moto.destination_bucket, [CorpusObject("small", 11, seed + 1)])
    on_moto.more = {**PARTED, "policy": {"transfer": transfer, "on_destination_newer": "overwrite"}}
    every = ("put", "copy", "complete", "get", "delete", "upload_part_copy", "copy_part")
    quirks = conditions(every, answer) if answer else []
    with QuirkProxy(on_moto.source.endpoint_url, *quirks) as proxy:
        on_moto.source_url = on_moto.destination_url = proxy.endpoint_url
        moved(on_moto)


@pytest.mark.parametrize("answer", [refused, never_met])
@pytest.mark.parametrize(
    ("operation", "facts"),
    [
        ("put", {"if_match", "if_none_match"}),
        ("complete", {"complete_if_match", "complete_if_none_match"}),
        ("delete", {"delete_if_match"}),
        ("get", {"get_if_match"}),
        ("copy", {"copy_if_match", "copy_if_none_match", "copy_source_if_match"}),
    ],
)
def test_conditions_are_facts_of_one_operation(
    probing: Probing, operation: str, facts: set[str], answer: Callable[[Which], Quirk]
) -> None:
    plain = probing(server_copy=True)
    found = probing(*conditions([operation], answer), server_copy=True)
    for name in plain:
        assert found[name] == ("rejected" if name in facts else plain[name]), name


def test_conditions_always_412_on_multipart_objects_only(probing: Probing) -> None:
    """A server that compares with another ETag than it shows for what was written in parts."""
    names = "if-match|x-amz-copy-source-if-match"
    in_parts = Which(("put", "complete", "copy"), header=names, value="-[0-9]+")
    found = probing(Refuses(412, "PreconditionFailed", in_parts), server_copy=True)
    assert found["if_match"] == "rejected"
    assert probing(server_copy=True)["if_match"] == "enforced"


# --- fake-md5-etag -----------------------------------------------------------------------------------------------


class FakesEtags(Quirk):
    """ETags of keys that match look like MD5s and are none, wherever they are shown."""

    def __init__(self, key: str) -> None:
        self._key = key

    def asked(self, call: Asked) -> Answered | None:
        if re.search(self._key, call.request.key) and (call.header("if-match") or "").startswith('"ab'):
            call.drop(lambda name: name == "if-match")
        return None

    def answered(self, call: Asked, answer: Answered) -> Answered:
        etag = answer.header("etag")
        if re.search(self._key, call.request.key) and etag is not None and call.request.operation in ("get", "head"):
            return answer.having("ETag", '"' + "ab" + etag.strip('"')[2:] + '"')
        if call.request.operation == "list":
            body = re.sub(
                rb"(<Key>[^<]*" + self._key.encode() + rb"[^<]*</Key>.*?<ETag>(?:&quot;|&#34;|\")?)..",
                rb"\1ab",
                answer.body,
                flags=re.DOTALL,
            )
            return replace(answer, body=body)
        return answer


class FakesOneSide(FakesEtags):
    """The same in one bucket: what the endpoint writes itself has true ETags."""

    def __init__(self, key: str, bucket: str) -> None:
        super().__init__(key)
        self._bucket = bucket

    def asked(self, call: Asked) -> Answered | None:
        call.drop(lambda name: name == "x-amz-copy-source-if-match")
        return super().asked(call) if call.request.bucket == self._bucket else None

    def answered(self, call: Asked, answer: Answered) -> Answered:
        return super().answered(call, answer) if call.request.bucket == self._bucket else answer


@pytest.mark.parametrize("declared", [False, True])
def test_fake_md5_etag(on_moto: Operator, seed: int, declared: bool) -> None:
    fill(on_moto.source.client(), on_moto.source_bucket, [CorpusObject(k, 10, seed) for k in ("fake-a", "b", "c")])
    with through(on_moto, "source", FakesEtags("fake")) as proxy:
        if declared:
            on_moto.declare()
            on_moto.declare(source={
                "bucket": on_moto.source_bucket, "endpoint_url": proxy.endpoint_url, "region": "us-east-1",
                "credentials": {"env": "OLD"}, "etags": "opaque",
            })  # fmt: skip
        moved(on_moto)
        assert ("etag_is_md5: ignored" in on_moto.plan_path.read_text()) is declared


def test_fake_md5_etags_of_most_are_a_fact_of_the_source(on_moto: Operator, seed: int) -> None:
    fill(on_moto.source.client(), on_moto.source_bucket, [CorpusObject(k, 10, seed) for k in ("fake-a", "fake-b", "c")])
    with through(on_moto, "source", FakesEtags("fake")):
        moved(on_moto)
        assert "etag_is_md5: ignored" in on_moto.plan_path.read_text()


@pytest.mark.parametrize("key", ["fake", "none such"], ids=["faulty", "control"])
def test_a_fake_md5_etag_does_not_keep_the_endpoint_from_copying(on_moto: Operator, seed: int, key: str) -> None:
    fill(on_moto.source.client(), on_moto.source_bucket, [CorpusObject(k, 10, seed) for k in ("fake-a", "b", "c")])
    with through(on_moto, "source", FakesOneSide(key, on_moto.source_bucket)) as proxy:
        on_moto.destination_url = proxy.endpoint_url
        on_moto.declare(policy={"transfer": "auto"})
        moved(on_moto)
    assert compare(on_moto.source_side, on_moto.destination_side) == []


@pytest.mark.parametrize("faulty", [False, True])
def test_fake_md5_etag_outside_the_sample(
    on_moto: Operator, seed: int, faulty: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a fact of that object alone: the ETags of all others go on proving bytes. Not faulty: the control."""
    fill(on_moto.source.client(), on_moto.source_bucket, [CorpusObject(k, 10, seed) for k in ("a", "b", "fake")])
    monkeypatch.setattr(sample, "FIRST", 2)
    monkeypatch.setattr(sample, "RANGES", 1)
    with through(on_moto, "source", *([FakesEtags("fake")] if faulty else [])):
        moved(on_moto)
        assert on_moto.verify("--level", "head").code == 0
        assert "etag_is_md5: ignored" not in on_moto.plan_path.read_text()


@pytest.mark.parametrize("name", ["fake", "true"])
def test_bytes_spoiled_twice_otherwise_are_never_written(on_moto: Operator, seed: int, name: str) -> None:
    """Other bytes at each reading are no ETag's fault: the object fails, and arrives once it is read well."""
    client = on_moto.source.client()
    fill(client, on_moto.source_bucket, [CorpusObject("a", 10, seed), CorpusObject(name, 1000, seed)])
    with through(on_moto, "source") as proxy:
        assert on_moto.plan().code == 0
        spoiled = (bytes([n]) * 8 for n in itertools.count())
        proxy.quirks = (Rewrites(lambda body: next(spoiled) + body[8:], Which(("get",), key=name)),)
        assert on_moto.apply().code == 3
        keys = {entry["Key"] for entry in on_moto.destination.client().list_objects_v2(
            Bucket=on_moto.destination_bucket).get("Contents", ())}  # fmt: skip
        assert name not in keys
        proxy.quirks = ()
        on_moto.run("retry").ok()
        on_moto.apply().ok()
        assert compare(on_moto.source_side, on_moto.destination_side) == []


# --- meta-too-large ----------------------------------------------------------------------------------------------


class TakesLittle(Quirk):
    """Refuses user metadata of more bytes than *most*."""

    def __init__(self, most: int) -> None:
        self._most = most

    def asked(self, call: Asked) -> Answered | None:
        sizes = [len(n) - 11 + len(v) for n, v in call.fields if n.lower().startswith("x-amz-meta-")]
        return refusal(400, "MetadataTooLarge") if sum(sizes) > self._most else None


@pytest.mark.parametrize("accepted", [False, True])
def test_meta_too_large(on_moto: Operator, accepted: bool) -> None:
    put = on_moto.source.client().put_object
    put(Bucket=on_moto.source_bucket, Key="large", Body=b"1", Metadata={"m": "v" * 1900})
    put(Bucket=on_moto.source_bucket, Key="small", Body=b"1", Metadata={"m": "v" * 900})
    on_moto.more = {"accept_loss": ["metadata-size"]} if accepted else {}
    with through(on_moto, "destination", TakesLittle(1500)):
        assert on_moto.plan().code == 0
        applied = on_moto.apply()
        assert (applied.code, "metadata-size" in applied.err) == ((0, False) if accepted else (7, True)), applied.err


def test_control_meta_too_large(on_moto: Operator) -> None:
    on_moto.source.client().put_object(Bucket=on_moto.source_bucket, Key="large", Body=b"1", Metadata={"m": "v" * 1900})
    with through(on_moto, "destination"):
        moved(on_moto)


# --- what stays behind -------------------------------------------------------------------------------------------


class TellsNoVersion(Quirk):
    """Answers to writes name no version."""

    def answered(self, call: Asked, answer: Answered) -> Answered:
        return answer if call.request.method in ("GET", "HEAD") else answer.without(lambda n: n == "x-amz-version-id")


@pytest.mark.parametrize("quirks", [(), (TellsNoVersion(),)])
def test_nothing_of_the_probe_stays_behind(probing: Probing, quirks: tuple[Quirk, ...]) -> None:
    assert probing(*quirks, versioned=True, server_copy=True)["versioning"] == "enforced"


# --- the sample --------------------------------------------------------------------------------------------------


class Listing:
    """A store of many keys that counts its listings."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = sorted(keys)
        self.asked: list[str] = []

    def list_objects(self, prefix: str, *, start_after: str = "") -> Iterator[ListedObject]:
        self.asked.append(start_after)
        return (ListedObject(k, 1, "0" * 32, 0) for k in self._keys if k.startswith(prefix) and k > start_after)


@pytest.mark.parametrize(
    ("keys", "prefix", "shown"),
    [
        ([f"{f}/{n:05}" for f in "abcde" for n in range(3000)], "", {"a", "b", "c", "d"}),
        ([f"p/{n:06}" for n in range(20_000)], "p/", {"p"}),
        ([f"{n:05}" for n in range(20_000)], "", {"00000"}),
        (["a"], "", {"a"}),
        ([], "", set()),
    ],
)
def test_the_sample_is_of_several_ranges(keys: list[str], prefix: str, shown: set[str]) -> None:
    store = Listing(keys)
    found = sample.sample_of(store, prefix, False, clock=lambda: 0.0)  # type: ignore[arg-type]
    names = [entry.key for entry in found]
    assert names == sorted(set(names))
    assert shown <= {name.partition("/")[0] for name in names}
    assert len(store.asked) <= sample.RANGES
    if len(keys) > 5000:
        assert names[-1] > keys[len(keys) // 4], "not only the beginning"


def test_a_slow_listing_is_asked_for_once() -> None:
    store = Listing([f"{f}/{n:05}" for f in "abcde" for n in range(3000)])
    times = iter([0.0, 11.0])
    sample.sample_of(store, "", False, clock=lambda: next(times))  # type: ignore[arg-type]
    assert len(store.asked) == 1


def test_the_largest_and_the_oldest_are_looked_at() -> None:
    listed = [ListedObject(f"k{n:04}", 1 << 30, "0" * 32, 1000) for n in range(1000)]
    listed[333] = listed[333]._replace(size=(1 << 30) + 1)
    listed[444] = listed[444]._replace(modified_ms=1)
    listed[555] = listed[555]._replace(modified_ms=2000)
    assert {listed[333], listed[444], listed[555]} <= set(choose(listed))


# --- part-number-405, part-limit ---------------------------------------------------------------------------------


@pytest.mark.parametrize("faulty", [False, True])
def test_part_number_405(on_moto: Operator, seed: int, faulty: bool) -> None:
    """Named in the plan, where the layout is to be kept; accepted, the object is cut anew. Not faulty: the control."""
    fill(on_moto.source.client(), on_moto.source_bucket, [CorpusObject("a", 11 * MIB, seed, part_size=5 * MIB)])
    on_moto.more = {**PARTED, "preserve": {"part_layout": True}}
    quirks = [Refuses(405, "MethodNotAllowed", Which(("get", "head"), query="partNumber"))] if faulty else []
    with through(on_moto, "source", *quirks):
        assert on_moto.plan().code == 0
        applied = on_moto.apply()
        assert (applied.code, "part-layout" in applied.err) == ((7, True) if faulty else (0, False)), applied.err
        if faulty:
            on_moto.declare(accept_loss=["part-layout"])
            assert on_moto.plan().code == 0
            assert on_moto.apply().code == 0


def test_a_survey_of_few_requests(moto_server: MotoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    counted = Counter()
    bucket = moto_server.create_bucket(f"survey-{uuid.uuid4().hex[:12]}")
    moto = open_store(Side(bucket, endpoint_url=moto_server.endpoint_url), observer=counted)
    for n in range(40):
        moto.put(f"k{n:02}", b"x" * n, [])
    listed = list(moto.list_objects(""))
    counted.operations.clear()
    facts, sampled = survey_source(moto, listed, Preserve(part_layout=True), conduct=AT_ONCE)
    moto.close()
    assert len(counted.operations) <= 53
    assert 18 <= len(sampled) <= 24
    assert facts.facts["listed_etag"] == facts.facts["get_if_match"] == "enforced"
