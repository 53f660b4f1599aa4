"""Which proof is sent with the bytes, and what the answer must say. Pure; bytes are hashed in place.

Two legs can spoil an object: reading it and writing it. The read is proven by what the source states of the object (an
MD5 ETag, a full-object checksum); the write by a header that the destination was seen to enforce. An MD5 ETag sent on
as Content-MD5 proves both legs at once and costs us nothing; hashing with MD5 ourselves (0.7 GB/s) is the last resort.
CRC64NVME (tens of GB/s) is always computed: it is the ledger's fingerprint of what was written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Final, NamedTuple

from schema import checksums
from schema.checksums import Algorithm, Body, content_md5, crc64nvme, crc_text, md5
from schema.errors import DigestMismatch
from schema.facts import Capabilities, Fact
from schema.objects import ObjectHead, PartResult, WriteResult, etag_is_opaque, etag_may_be_md5

# Looked up once per object, where a member of an enum class is too slow to reach.
_CRC64NVME: Final = checksums.FINGERPRINT
_CONTENT_MD5: Final = Fact.CONTENT_MD5
_ETAG_IS_MD5: Final = Fact.ETAG_IS_MD5


class ProofKind(Enum):
    """What convinces the destination (and us) that the stored bytes are the source's."""

    SOURCE_MD5 = "source-md5"
    """The source's own MD5, checked by the destination: both legs."""
    SOURCE_CHECKSUM = "source-checksum"
    """The source's full-object checksum, checked by us on the read and by the destination on the write."""
    CHECKSUM = "checksum"
    """Our checksum, checked by the destination on the write; see `read_proven` for the read."""
    OWN_MD5 = "own-md5"
    """Content-MD5 of what we hold, where no checksum header is enforced."""
    RESPONSE_ONLY = "response-only"
    """The destination checks no digest; its answer is compared where it states one."""


class WriteProof(NamedTuple):
    """What goes with one whole-object PUT."""

    kind: ProofKind
    headers: tuple[tuple[str, str], ...]
    crc64nvme: int
    """Of the body; for the ledger see `crc_bytes`."""
    md5: bytes | None
    """16 bytes, when known without or after hashing."""
    read_proven: bool
    """The bytes in memory are the source's: compared before the PUT, or the destination compares them."""


class PartProof(NamedTuple):
    """What goes with one UploadPart."""

    headers: tuple[tuple[str, str], ...]
    crc64nvme: int
    md5: bytes | None


def md5_of_etag(etag: str) -> bytes | None:
    """The 16 bytes an *etag* (without quotes) spells, or None when it cannot be an MD5 (multipart, opaque)."""
    return bytes.fromhex(etag) if etag_may_be_md5(etag) else None


def etag_of_parts(md5s: Sequence[bytes]) -> str:
    """The ETag that AWS gives a multipart object (no KMS, no SSE-C) made of parts with these MD5s."""
    return f"{hashlib.md5(b''.join(md5s), usedforsecurity=False).hexdigest()}-{len(md5s)}"


def source_md5(head: ObjectHead, source_facts: Capabilities) -> bytes | None:
    """The MD5 of the whole object as its source states it; None when its ETag is something else.

    SSE-KMS and SSE-C ETags look like MD5s but are not; the same holds for a source the probe found to do so.
    """
    found = None if head.etag is None else md5_of_etag(head.etag)
    if found is None or source_facts.denies(_ETAG_IS_MD5):
        return None
    return None if etag_is_opaque(head.headers) else found


def full_object_checksum(headers: Mapping[str, str]) -> tuple[Algorithm, str] | None:
    """The strongest checksum over all bytes among an answer's *headers*; composite ones ('-N') do not count."""
    for algorithm, name in checksums.HEADERS:
        value = headers.get(name)
        if value and checksums.is_full_object(headers, value):
            return algorithm, value
    return None


class Stated(NamedTuple):
    """A full-object checksum as the source states it."""

    md5: bytes | None
    checksum: tuple[Algorithm, str] | None
    """The algorithm, and the value as a header has it."""


def stated(head: ObjectHead, source_facts: Capabilities) -> Stated:
    """What the source's *head* states, as far as the probe found the source trustworthy."""
    return Stated(source_md5(head, source_facts), full_object_checksum(head.headers))


def prove_whole(
    body: Body,
    source: Stated,
    destination_facts: Capabilities,
    *,
    key: str = "",
    keep_checksum: bool = True,
) -> WriteProof:
    """The proof for a PUT of *body*, the whole object that *source* speaks of.

    Raises DigestMismatch when the bytes are not what the source says; then nothing may be written.
    *keep_checksum*: prefer the source's checksum algorithm where the destination enforces it (preserve.checksums).
    """
    crc = crc64nvme(body)
    stated_md5, stated_checksum = source
    # SHA over the whole body is slow; it is worth it only when nothing quicker proves the read.
    if stated_checksum and (stated_checksum[0].quick or stated_md5 is None):
        algorithm, value = stated_checksum
        mine = crc_text(crc) if algorithm is _CRC64NVME else algorithm.encoded(body)
        _compare_read(mine, value, algorithm.words, key=key)
        if destination_facts.enforces(algorithm.fact) and (keep_checksum or algorithm is _CRC64NVME):
            return WriteProof(ProofKind.SOURCE_CHECKSUM, ((algorithm.header, value),), crc, stated_md5, True)
        read_proven = True
    else:
        read_proven = False
    if stated_md5 is not None:
        if destination_facts.enforces(_CONTENT_MD5):
            return WriteProof(ProofKind.SOURCE_MD5, (content_md5(stated_md5),), crc, stated_md5, True)
        if not read_proven:
            _compare_read(md5(body).hex(), stated_md5.hex(), "MD5", key=key)
            read_proven = True
    return _prove_write(body, destination_facts, crc, known_md5=stated_md5, read_proven=read_proven)


def _prove_write(
    body: Body, facts: Capabilities, crc: int, *, known_md5: bytes | None, read_proven: bool
) -> WriteProof:
    for algorithm in checksums.QUICK:
        if facts.enforces(algorithm.fact):
            value = crc_text(crc) if algorithm is _CRC64NVME else algorithm.encoded(body)
            return WriteProof(ProofKind.CHECKSUM, ((algorithm.header, value),), crc, known_md5, read_proven)
    if facts.denies(_CONTENT_MD5):
        # A digest the server does not check proves nothing; its ETag may still be compared.
        if known_md5 is None and facts.enforces(_ETAG_IS_MD5):
            known_md5 = md5(body)
        return WriteProof(ProofKind.RESPONSE_ONLY, (), crc, known_md5, read_proven)
    own = md5(body) if known_md5 is None else known_md5
    return WriteProof(ProofKind.OWN_MD5, (content_md5(own),), crc, own, read_proven)


def source_proof(stated: bytes) -> WriteProof:
    """The proof for a PUT of what is read while it is sent: the MD5 that the source *stated*, for the destination to
    check. The fingerprint is known only afterwards."""
    return WriteProof(ProofKind.SOURCE_MD5, (content_md5(stated),), 0, stated, True)


def proven_crc(body: Body, proof: WriteProof) -> int | None:
    """The body's CRC64NVME where the destination refused the PUT for another reason, perhaps before it looked at the
    digest; None: the bytes are not what the source says."""
    if proof.kind is ProofKind.SOURCE_MD5 and md5(body) != proof.md5:
        return None
    return proof.crc64nvme


def lock_headers(
    body: Body, proof: WriteProof, written: Iterable[tuple[str, str]], *, facts: Capabilities
) -> tuple[tuple[str, str], ...]:
    """The Content-MD5 that S3 demands of a PUT under object lock (its own or the bucket's default), or none.

    *written*: the other headers of the PUT. Endpoints require the header even where they do not check its value.
    """
    locked = bool(facts.default_retention) or any(name.lower().startswith("x-amz-object-lock-") for name, _ in written)
    if not locked or any(name.lower() == "content-md5" for name, _ in proof.headers):
        return ()
    return (content_md5(md5(body) if proof.md5 is None else proof.md5),)


def check_written(answer: WriteResult, proof: WriteProof, destination_facts: Capabilities, *, key: str = "") -> None:
    """Raises DigestMismatch when the answer to a PUT says that other bytes were stored than were sent.

    By then it is published: the object at the destination must be considered damaged until it is written again.
    """
    _check_etag(answer, proof.md5, destination_facts, key=key)
    _check_returned(answer.headers, dict(proof.headers), proof.crc64nvme, key=key)


def prove_part(body: Body, destination_facts: Capabilities) -> PartProof:
    """The proof for an UploadPart: CRC64NVME where the destination enforces it on parts, else our own Content-MD5."""
    crc = crc64nvme(body)
    if destination_facts.enforces(checksums.PARTS_FACT):
        return PartProof(((checksums.FINGERPRINT_HEADER, crc_text(crc)),), crc, None)
    if destination_facts.denies(_CONTENT_MD5):
        return PartProof((), crc, md5(body) if destination_facts.enforces(_ETAG_IS_MD5) else None)
    own = md5(body)
    return PartProof((content_md5(own),), crc, own)


def check_part(answer: PartResult, proof: PartProof, destination_facts: Capabilities, *, key: str = "") -> None:
    """Raises DigestMismatch when the answer to an UploadPart says that other bytes were stored than were sent."""
    _check_etag(answer, proof.md5, destination_facts, key=key)
    _check_returned(answer.headers, dict(proof.headers), proof.crc64nvme, key=key)


def upload_headers(destination_facts: Capabilities) -> tuple[tuple[str, str], ...]:
    """The headers CreateMultipartUpload needs for those of `prove_part` and `completion_headers` to be accepted."""
    if not destination_facts.enforces(checksums.PARTS_FACT):
        return ()
    return (("x-amz-checksum-algorithm", checksums.FINGERPRINT_WORDS), ("x-amz-checksum-type", "FULL_OBJECT"))


def completion_headers(crc: int, destination_facts: Capabilities) -> tuple[tuple[str, str], ...]:
    """What CompleteMultipartUpload must carry: the CRC64NVME of the whole, where the destination enforces it."""
    if not destination_facts.enforces(checksums.PARTS_FACT):
        return ()
    return ((checksums.FINGERPRINT_HEADER, crc_text(crc)), ("x-amz-checksum-type", "FULL_OBJECT"))


def check_combined(crc: int, source: ObjectHead, *, key: str = "") -> bool:
    """Compare the combined CRC64NVME of all parts with the source's, before Complete.

    True: equal. False: the source states no CRC64NVME of the whole object. Raises DigestMismatch when it differs.
    """
    value = source.headers.get(checksums.FINGERPRINT_HEADER)
    if value is None or not checksums.is_full_object(source.headers, value):
        return False
    _compare_read(crc_text(crc), value, checksums.FINGERPRINT_WORDS, key=key)
    return True


def check_read(found: bytes, stated: bytes, *, key: str = "") -> None:
    """Raises DigestMismatch when the bytes read have another MD5 than their source *stated*."""
    _compare_read(found.hex(), stated.hex(), "MD5", key=key)


def check_completed(answer: WriteResult, crc: int, *, key: str = "") -> None:
    """Raises DigestMismatch when Complete answers with another CRC64NVME than that of the parts we sent."""
    _check_returned(answer.headers, {}, crc, key=key)


def _compare_read(mine: str, theirs: str, what: str, *, key: str) -> None:
    if mine != theirs:
        raise DigestMismatch(
            f"{key!r}: the bytes read have {what} {mine}, the source says {theirs}; nothing was written. "
            "Read the object again; if it happens again, the source's stored bytes or its network path are damaged, or "
            "its ETags look like MD5s but are not: in that case declare etags: opaque at the source and plan again.",
            operation="GetObject",
            key=key,
        )


def _check_etag(answer: WriteResult | PartResult, expected: bytes | None, facts: Capabilities, *, key: str) -> None:
    if expected is None or not facts.enforces(_ETAG_IS_MD5):
        return
    if etag_is_opaque(answer.headers):
        return
    if answer.etag != expected.hex():
        raise DigestMismatch(
            f"{key!r}: the destination answered ETag {answer.etag}, the bytes sent have MD5 {expected.hex()}; "
            "what it stored is not what was sent. Write the object again.",
            operation="PutObject",
            key=key,
        )


def _check_returned(headers: Mapping[str, str], sent: Mapping[str, str], crc: int, *, key: str) -> None:
    for algorithm, name in checksums.HEADERS:
        returned = headers.get(name)
        if not returned or "-" in returned:
            continue
        expected = crc_text(crc) if algorithm is _CRC64NVME else sent.get(name)
        if expected is not None and returned != expected:
            raise DigestMismatch(
                f"{key!r}: the destination answered {algorithm.words} {returned}, the bytes sent have "
                f"{expected}; what it stored is not what was sent. Write the object again.",
                operation="PutObject",
                key=key,
            )
