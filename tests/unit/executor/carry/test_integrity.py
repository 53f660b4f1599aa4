"""Which proof goes with which bytes, and that a flipped bit never passes."""

from __future__ import annotations

import base64
import hashlib
import itertools
import zlib
from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.carry import integrity
from executor.carry.integrity import ProofKind
from executor.copy.reconcile import proven_equal
from executor.route import Route
from schema import checksums
from schema.checksums import Algorithm
from schema.errors import DigestMismatch
from schema.facts import Capabilities
from schema.objects import ObjectHead, PartResult, WriteResult

BODY = b"The bytes of an object."
MD5 = hashlib.md5(BODY).hexdigest()
MD5_TEXT = base64.b64encode(hashlib.md5(BODY).digest()).decode()
AWS = Capabilities(
    dict.fromkeys(("content_md5", "crc64nvme", "crc32c", "crc32", "etag_is_md5", "multipart_crc64nvme"), "enforced")
)
NOTHING = Capabilities(
    dict.fromkeys(("content_md5", "crc64nvme", "crc32c", "crc32", "etag_is_md5", "multipart_crc64nvme"), "ignored")
)
UNKNOWN = Capabilities()


def facts(**found: str) -> Capabilities:
    return Capabilities({**NOTHING.facts, **found})


def head(etag: str = MD5, headers: Mapping[str, str] | None = None) -> ObjectHead:
    return ObjectHead(headers or {}, len(BODY), etag)


def flipped(body: bytes) -> bytes:
    return bytes([body[0] ^ 1]) + body[1:]


def test_known_answers() -> None:
    assert checksums.crc64nvme(b"123456789") == 0xAE8B14860A799888
    assert checksums.crc_text(checksums.crc64nvme(b"123456789")) == "rosUhgp5mIg="
    assert checksums.crc_bytes(1) == b"\0\0\0\0\0\0\0\1"
    assert Algorithm.CRC32.encoded(BODY) == base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()
    assert Algorithm.CRC32C.encoded(b"123456789") == base64.b64encode(0xE3069283.to_bytes(4, "big")).decode()


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6))
def test_parts_combine_to_the_whole(body: bytes, cuts: list[int]) -> None:
    bounds = [0, *sorted(min(c, len(body)) for c in cuts), len(body)]
    parts = [body[a:b] for a, b in itertools.pairwise(bounds)]
    combined = checksums.combine_crc64nvme((checksums.crc64nvme(p), len(p)) for p in parts)
    assert combined == checksums.crc64nvme(body)
    running = 0
    for part in parts:
        running = checksums.crc64nvme(part, running)
    assert running == combined


def test_no_parts_have_the_checksum_of_no_bytes() -> None:
    assert checksums.combine_crc64nvme([]) == checksums.crc64nvme(b"")


@pytest.mark.parametrize("etag", ["", "abc", MD5[:-1] + "g", f"{MD5}-2", MD5.upper(), MD5 + "0"])
def test_what_is_no_md5(etag: str) -> None:
    assert integrity.md5_of_etag(etag) is None


def test_multipart_etag() -> None:
    digests = [hashlib.md5(b"a" * 5).digest(), hashlib.md5(b"b").digest()]
    assert integrity.etag_of_parts(digests) == hashlib.md5(digests[0] + digests[1]).hexdigest() + "-2"


def test_source_md5_goes_on_without_hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> object:
        raise AssertionError("MD5 was computed")

    monkeypatch.setattr(integrity.hashlib, "md5", never)
    proof = integrity.prove_whole(BODY, integrity.stated(head(), UNKNOWN), AWS)
    assert proof.kind is ProofKind.SOURCE_MD5
    assert proof.headers == (("Content-MD5", MD5_TEXT),)
    assert proof.crc64nvme == checksums.crc64nvme(BODY)
    assert proof.read_proven


@pytest.mark.parametrize("found", [NOTHING, UNKNOWN, facts(crc64nvme="enforced"), facts(content_md5="rejected")])
def test_without_md5_enforcement_the_read_is_proven_here(found: Capabilities) -> None:
    assert integrity.prove_whole(BODY, integrity.stated(head(), UNKNOWN), found).read_proven
    with pytest.raises(DigestMismatch, match=r"nothing was written") as caught:
        integrity.prove_whole(flipped(BODY), integrity.stated(head(), UNKNOWN), found, key="a\nb")
    assert caught.value.key == "a\nb"
    assert "\n" not in str(caught.value)


def test_with_md5_enforcement_the_destination_would_refuse_a_flipped_bit() -> None:
    proof = integrity.prove_whole(flipped(BODY), integrity.stated(head(), UNKNOWN), AWS)
    sent = dict(proof.headers)["Content-MD5"]
    assert base64.b64decode(sent) != hashlib.md5(flipped(BODY)).digest()


@pytest.mark.parametrize("algorithm", list(Algorithm))
@pytest.mark.parametrize("destination", [AWS, NOTHING, UNKNOWN])
def test_a_flipped_bit_fails_against_any_full_object_checksum(algorithm: Algorithm, destination: Capabilities) -> None:
    source = head("opaque", {algorithm.header: algorithm.encoded(BODY), "x-amz-checksum-type": "FULL_OBJECT"})
    proof = integrity.prove_whole(BODY, integrity.stated(source, UNKNOWN), destination)
    assert proof.read_proven
    with pytest.raises(DigestMismatch):
        integrity.prove_whole(flipped(BODY), integrity.stated(source, UNKNOWN), destination)


def test_the_checksum_of_the_source_is_kept_where_it_is_enforced() -> None:
    value = Algorithm.CRC32.encoded(BODY)
    source = head(MD5, {"x-amz-checksum-crc32": value})
    kept = integrity.prove_whole(BODY, integrity.stated(source, UNKNOWN), AWS)
    assert (kept.kind, kept.headers) == (ProofKind.SOURCE_CHECKSUM, (("x-amz-checksum-crc32", value),))
    free = integrity.prove_whole(BODY, integrity.stated(source, UNKNOWN), AWS, keep_checksum=False)
    assert free.kind is ProofKind.SOURCE_MD5


def test_composite_checksums_are_not_compared_with_the_whole() -> None:
    source = head("opaque-2", {"x-amz-checksum-crc32": "AAAAAA==-2", "x-amz-checksum-type": "COMPOSITE"})
    proof = integrity.prove_whole(BODY, integrity.stated(source, UNKNOWN), AWS)
    assert proof.kind is ProofKind.CHECKSUM
    assert not proof.read_proven


@pytest.mark.parametrize(
    ("headers", "source_facts"),
    [
        ({"x-amz-server-side-encryption": "aws:kms"}, UNKNOWN),
        ({"x-amz-server-side-encryption": "aws:kms:dsse"}, UNKNOWN),
        ({"x-amz-server-side-encryption-customer-algorithm": "AES256"}, UNKNOWN),
        ({}, Capabilities({"etag_is_md5": "ignored"})),
    ],
)
def test_an_etag_that_only_looks_like_an_md5(headers: dict[str, str], source_facts: Capabilities) -> None:
    proof = integrity.prove_whole(BODY, integrity.stated(head("0" * 32, headers), source_facts), AWS)
    assert proof.kind is ProofKind.CHECKSUM


@pytest.mark.parametrize(
    ("headers", "proven"),
    [
        ({}, False),
        ({"x-amz-server-side-encryption": "AES256"}, False),
        ({"x-amz-server-side-encryption": "aws:kms"}, None),
        ({"x-amz-server-side-encryption-customer-algorithm": "AES256"}, None),
        ({"x-amz-server-side-encryption": "aws:kms", "x-amz-checksum-crc64nvme": "AAAAAAAAAAc="}, True),
        ({"x-amz-server-side-encryption": "aws:kms", "x-amz-checksum-crc64nvme": "AAAAAAAAAAg="}, False),
    ],
)
def test_an_encrypted_destinations_etag_proves_no_difference(headers: dict[str, str], proven: bool | None) -> None:
    """Else a copy whose answer was lost is taken for a stranger's object, and verify for a difference."""
    section = SimpleNamespace(source_facts=AWS, destination_facts=AWS)
    assert proven_equal(cast(Route, section), head(), head("0" * 32, headers), crc=7) is proven


@pytest.mark.parametrize(
    ("found", "kind", "names"),
    [
        (facts(crc64nvme="enforced", crc32="enforced"), ProofKind.CHECKSUM, ["x-amz-checksum-crc64nvme"]),
        (facts(crc32c="enforced", crc32="enforced"), ProofKind.CHECKSUM, ["x-amz-checksum-crc32c"]),
        (facts(crc32="enforced"), ProofKind.CHECKSUM, ["x-amz-checksum-crc32"]),
        (facts(content_md5="enforced"), ProofKind.OWN_MD5, ["Content-MD5"]),
        (UNKNOWN, ProofKind.OWN_MD5, ["Content-MD5"]),
        (NOTHING, ProofKind.RESPONSE_ONLY, []),
        (facts(content_md5="rejected"), ProofKind.RESPONSE_ONLY, []),
    ],
)
def test_ladder_for_an_opaque_source(found: Capabilities, kind: ProofKind, names: list[str]) -> None:
    proof = integrity.prove_whole(BODY, integrity.stated(head("opaque"), UNKNOWN), found)
    assert proof.kind is kind
    assert [name for name, _ in proof.headers] == names
    for name, value in proof.headers:
        expected = MD5_TEXT if name == "Content-MD5" else Algorithm(name.rpartition("-")[2]).encoded(BODY)
        assert value == expected


@pytest.mark.parametrize("found", [AWS, facts(etag_is_md5="enforced"), facts(crc32="enforced", etag_is_md5="enforced")])
def test_the_answer_must_name_what_was_sent(found: Capabilities) -> None:
    proof = integrity.prove_whole(BODY, integrity.stated(head(), UNKNOWN), found)
    integrity.check_written(WriteResult(MD5, None, {}), proof, found)
    integrity.check_written(WriteResult("0" * 32, None, {"x-amz-server-side-encryption": "aws:kms"}), proof, found)
    with pytest.raises(DigestMismatch):
        integrity.check_written(WriteResult("0" * 32, None, {}), proof, found)
    with pytest.raises(DigestMismatch):
        wrong = {"x-amz-checksum-crc64nvme": checksums.crc_text(1)}
        integrity.check_written(WriteResult(MD5, None, wrong), proof, found)


def test_an_unknown_etag_is_not_judged() -> None:
    proof = integrity.prove_whole(BODY, integrity.stated(head(), UNKNOWN), NOTHING)
    integrity.check_written(WriteResult("whatever", None, {}), proof, NOTHING)


@pytest.mark.parametrize("found", [AWS, NOTHING, UNKNOWN, facts(etag_is_md5="enforced")])
def test_parts(found: Capabilities) -> None:
    proof = integrity.prove_part(memoryview(BODY), found)
    assert proof.crc64nvme == checksums.crc64nvme(BODY)
    integrity.check_part(PartResult(1, MD5, {}), proof, found)
    if proof.md5 and found.enforces("etag_is_md5"):
        with pytest.raises(DigestMismatch):
            integrity.check_part(PartResult(1, "0" * 32, {}), proof, found)


def test_complete_carries_the_whole_checksum_only_where_enforced() -> None:
    crc = checksums.crc64nvme(BODY)
    assert dict(integrity.completion_headers(crc, AWS))["x-amz-checksum-crc64nvme"] == checksums.crc_text(crc)
    assert dict(integrity.upload_headers(AWS))["x-amz-checksum-type"] == "FULL_OBJECT"
    assert integrity.completion_headers(crc, UNKNOWN) == integrity.upload_headers(UNKNOWN) == ()


def test_combined_checksum_against_the_source() -> None:
    crc = checksums.crc64nvme(BODY)
    assert integrity.check_combined(crc, head("x-2", {"x-amz-checksum-crc64nvme": checksums.crc_text(crc)}))
    assert not integrity.check_combined(crc, head("x-2"))
    with pytest.raises(DigestMismatch):
        integrity.check_combined(crc ^ 1, head("x-2", {"x-amz-checksum-crc64nvme": checksums.crc_text(crc)}))
    with pytest.raises(DigestMismatch):
        integrity.check_completed(WriteResult("x-2", None, {"x-amz-checksum-crc64nvme": "rosUhgp5mIg="}), crc)


def test_a_body_whose_put_was_refused_for_another_reason_is_proven_by_itself() -> None:
    taken = facts(content_md5="enforced")
    good = integrity.prove_whole(BODY, integrity.stated(head(), UNKNOWN), taken)
    assert good.kind is ProofKind.SOURCE_MD5
    assert integrity.proven_crc(BODY, good) == checksums.crc64nvme(BODY)

    damaged = flipped(BODY)
    unseen = integrity.prove_whole(damaged, integrity.stated(head(), UNKNOWN), taken)
    assert unseen.kind is ProofKind.SOURCE_MD5, "only the destination would have noticed"
    assert integrity.proven_crc(damaged, unseen) is None
