"""The index of batches of a very large plan: canonical JSON lines, kept and named like a manifest.

One line a batch, in plan order, fields sorted; the SHA-256 of the uncompressed lines stands in the plan.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from schema.errors import ManifestCorrupt, PlanCorrupt
from schema.files.manifest import ManifestStore, publish_bytes, read_lines
from schema.formats.canonical import canonical_json, sha256_of
from schema.formats.plain import build, plain
from schema.plan import Batch

MAX_BATCHES = 1_000_000


def digest_of(batches: Sequence[Batch]) -> str:
    """'sha256:...' of the index of *batches*."""
    return sha256_of(_bytes(batches))


def _bytes(batches: Sequence[Batch]) -> bytes:
    return b"".join(canonical_json(plain(batch)) + b"\n" for batch in batches)


def publish(batches: Sequence[Batch], store: ManifestStore, staging_folder: Path) -> None:
    """Put the index of *batches* into *store*, unless it is already there. Raises LocalDiskError."""
    data = _bytes(batches)
    digest = sha256_of(data)
    if store.has(digest):
        return
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    publish_bytes(store, digest, packer.compress(data) + packer.flush(), staging_folder=staging_folder)


def read(store: ManifestStore, index: Mapping[str, Any]) -> tuple[Batch, ...]:
    """The batches of the index that a plan's `batch_index` names: digest and count are checked.

    Raises PlanCorrupt for a malformed *index*, ManifestMissing, ManifestCorrupt.
    """
    digest, count = index.get("sha256"), index.get("count")
    if not isinstance(digest, str) or type(count) is not int or not 0 <= count <= MAX_BATCHES:
        raise PlanCorrupt("batch_index: needs sha256 and a count; plan again")
    batches: list[Batch] = []
    hasher = hashlib.sha256()
    for line in read_lines(store, digest):
        hasher.update(line)
        if len(batches) == count:
            raise ManifestCorrupt(f"batch index {digest} has more than {count:,} lines; plan again")
        try:
            batches.append(build(Batch, json.loads(line)))
        except (ValueError, RecursionError) as error:
            raise ManifestCorrupt(f"batch index {digest}, line {len(batches) + 1}: {error}; plan again") from None
    if "sha256:" + hasher.hexdigest() != digest or len(batches) != count:
        raise ManifestCorrupt(f"batch index {digest} holds other bytes than the plan says; plan again")
    return tuple(batches)
