"""Checksum algorithms: one row for each, which the write's proof, the probe, parts and the plan's risks read.

To add one, add a member here, and a `Fact` if a probe should find out whether the destination enforces it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple, Self

from awscrt import checksums

from schema.facts import Fact

Body = bytes | bytearray | memoryview


class _Row(NamedTuple):
    name: str
    """S3's, in lower case."""
    fact: Fact
    digest: Callable[[Body], bytes]
    quick: bool = False
    """Runs at the speed of memory, so it may be computed for every object."""
    probed: bool = False
    """A destination probe asks for the fact."""


def _crc(compute: Callable[[Body], int], length: int) -> Callable[[Body], bytes]:
    return lambda body: int(compute(body)).to_bytes(length, "big")


class Algorithm(Enum):
    """A checksum S3 knows a header for; in the order in which they are preferred."""

    CRC64NVME = _Row("crc64nvme", Fact.CRC64NVME, _crc(checksums.crc64nvme, 8), quick=True, probed=True)
    CRC32C = _Row("crc32c", Fact.CRC32C, _crc(checksums.crc32c, 4), quick=True, probed=True)
    CRC32 = _Row("crc32", Fact.CRC32, _crc(checksums.crc32, 4), quick=True, probed=True)
    SHA256 = _Row("sha256", Fact.SHA256, lambda body: hashlib.sha256(body).digest())
    SHA1 = _Row("sha1", Fact.SHA1, lambda body: hashlib.sha1(body, usedforsecurity=False).digest())

    words: str
    """As in the value of x-amz-checksum-algorithm, and in messages."""
    header: str
    """Name of the request and response header that carries the value."""
    fact: Fact
    digest: Callable[[Body], bytes]
    """The raw value for a body, big-endian."""
    quick: bool
    probed: bool

    def __new__(cls, *row: Any) -> Self:
        """The member's value is S3's name; the rest are plain attributes: properties are too slow for every object."""
        given = _Row(*row)
        member = object.__new__(cls)
        member._value_ = given.name
        member.words = given.name.upper()
        member.header = f"x-amz-checksum-{given.name}"
        member.fact, member.digest = given.fact, given.digest
        member.quick, member.probed = given.quick, given.probed
        return member

    def encoded(self, body: Body) -> str:
        """The header's value for *body*."""
        return text_of(self.digest(body))


ALGORITHMS: Final = tuple(Algorithm)
QUICK: Final = tuple(algorithm for algorithm in ALGORITHMS if algorithm.quick)
PROBED: Final = tuple(algorithm for algorithm in ALGORITHMS if algorithm.probed)
HEADERS: Final = tuple((algorithm, algorithm.header) for algorithm in ALGORITHMS)
"""Every algorithm and its header: walked once per object."""

FINGERPRINT: Final = Algorithm.CRC64NVME
"""What the ledger records of every object and part: it is quick, and the value of the whole follows from its parts.
The functions below compute it."""
FINGERPRINT_HEADER: Final = FINGERPRINT.header
FINGERPRINT_WORDS: Final = FINGERPRINT.words
PARTS_FACT: Final = Fact.MULTIPART_CRC64NVME
"""Whether a destination enforces the fingerprint on parts and on the whole they make."""


def crc64nvme(body: Body, previous: int = 0) -> int:
    """CRC-64/NVME of *body*, carried on from *previous*."""
    return int(checksums.crc64nvme(body, previous))


def crc_bytes(crc: int) -> bytes:
    """A CRC64NVME as the ledger keeps it and S3 sends it (before base64): 8 bytes, big-endian."""
    return crc.to_bytes(8, "big")


def crc_text(crc: int) -> str:
    """A CRC64NVME as a header value."""
    return text_of(crc.to_bytes(8, "big"))


def combine_crc64nvme(parts: Iterable[tuple[int, int]]) -> int:
    """The CRC64NVME of the whole from (CRC, length) of its parts in order; 0 for no parts."""
    whole = 0
    for crc, length in parts:
        whole = int(checksums.combine_crc64nvme(whole, crc, length))
    return whole


def text_of(digest: bytes) -> str:
    """A digest as a header value."""
    return base64.b64encode(digest).decode("ascii")


def md5(body: Body) -> bytes:
    """16 bytes; works where FIPS forbids MD5 for security."""
    return hashlib.md5(body, usedforsecurity=False).digest()


def content_md5(digest: bytes) -> tuple[str, str]:
    """The Content-MD5 header for an MD5."""
    return "Content-MD5", text_of(digest)


def is_full_object(headers: Mapping[str, str], value: str) -> bool:
    """Whether a checksum *value* of an answer's *headers* is over all bytes; a composite one ('-N') is over parts."""
    if not value or "-" in value:
        return False
    return headers.get("x-amz-checksum-type", "FULL_OBJECT") == "FULL_OBJECT"
