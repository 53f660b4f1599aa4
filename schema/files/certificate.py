"""A certificate as it is written: one line for each object, and the checkpoint over all of them.

A leaf is one line of JSON in ASCII, fields in a fixed order; its bytes, without the LF, are what the tree hashes. The
checkpoint is a C2SP tlog-checkpoint (https://c2sp.org/tlog-checkpoint): origin, number of leaves, RFC 6962 root, then
what the certificate says of itself.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from schema.errors import CertificateCorrupt

CHECKPOINT = "checkpoint"
LEAVES = "leaves.jsonl.gz"
NOT_CERTIFIED = "not-certified.jsonl.gz"
PROOF_HEAD = "c2sp.org/tlog-proof@v1"


class EvidenceLevel(StrEnum):
    """The evidence for a leaf; each level includes those before it."""

    RECORDED = "recorded"
    """By the ledger: the destination acknowledged the write under this ETag, or the plan found the object equal."""
    LISTED = "listed"
    """The destination's listing shows the key with this size and this ETag."""
    HEAD = "head"
    """HEAD of both sides: checksums, headers, user metadata, tags and storage class agree."""
    CONTENT = "content"
    """Both sides were read, and hold the same bytes."""


class Arrival(StrEnum):
    """How an object came to be at the destination."""

    COPIED = "copied"
    ALREADY_THERE = "already-there"
    """Found equal by apply, which wrote nothing."""
    SKIPPED = "skipped"
    """Found equal by the plan."""
    DELETE_MARKER = "delete-marker"
    """versions: all; a delete marker, which has no content."""


class Leaf(NamedTuple):
    """One object of the destination."""

    key: str
    """At the destination."""
    version: str | None
    """The destination's; None: not stated, or the bucket has no versions."""
    size: int
    digest: str | None
    """'crc64nvme:' and base64, or 'md5:' and hex, of all bytes; None: not computed."""
    metadata: str | None
    """'sha256:' over what a HEAD shows (see executor/verify/certify.py); None: no HEAD was sent."""
    evidence: EvidenceLevel
    etag: str
    """The destination's, without quotes; '' where there is none."""
    arrival: Arrival
    source: str
    """The source's key."""
    source_etag: str
    source_version: str | None


class NotCertified(NamedTuple):
    """A key that the certificate does not cover, and why."""

    key: str
    """At the destination, if it has a place there."""
    source: str
    """The source's key; '' of one that only the destination has."""
    kind: str
    """conflict, unsupported, excluded, extraneous, left-alone, not-copied, drifted, missing, different..."""
    detail: str


def line_of(record: Leaf | NotCertified) -> bytes:
    """The canonical bytes of *record*, without LF."""
    return json.dumps(record._asdict(), separators=(",", ":")).encode("ascii")


def leaf_of(line: bytes) -> Leaf:
    """The leaf in a *line*. Raises CertificateCorrupt."""
    try:
        document = json.loads(line)
        leaf = Leaf(
            **{**document, "evidence": EvidenceLevel(document["evidence"]), "arrival": Arrival(document["arrival"])}
        )
    except (ValueError, TypeError, KeyError) as error:
        raise CertificateCorrupt(f"{line[:80]!r} is no leaf of a certificate: {error}; certify again") from None
    return leaf


class Checkpoint(NamedTuple):
    """The head of a tree."""

    origin: str
    """Which tree: no space, no '+'."""
    size: int
    root: bytes
    facts: Sequence[str] = ()
    """Lines of the certificate's own."""

    def text(self) -> str:
        """The note's text; a signature is over these very bytes."""
        head = (self.origin, str(self.size), base64.b64encode(self.root).decode())
        return "".join(f"{line}\n" for line in (*head, *self.facts))


def checkpoint_of(note: str) -> Checkpoint:
    """The checkpoint in a *note*, signed or not; signatures are not looked at. Raises CertificateCorrupt."""
    text, _, _ = note.partition("\n\n")
    lines = text.splitlines()
    try:
        origin, size, root = lines[:3]
        return Checkpoint(origin, int(size), base64.b64decode(root, validate=True), lines[3:])
    except ValueError as error:
        raise CertificateCorrupt(f"the checkpoint is not one ({error}); certify again") from None


class Inclusion(NamedTuple):
    """Where a leaf stands, and the hashes beside its way to the root."""

    leaf: bytes
    place: int
    """Its number in the tree, from 0."""
    path: Sequence[bytes]

    def text(self, note: str) -> str:
        """A C2SP tlog-proof (https://c2sp.org/tlog-proof) that holds leaf, path and the checkpoint's *note*."""
        lines = [PROOF_HEAD, f"extra {base64.b64encode(self.leaf).decode()}", f"index {self.place}"]
        return (
            "".join(f"{line}\n" for line in (*lines, *(base64.b64encode(h).decode() for h in self.path))) + "\n" + note
        )
