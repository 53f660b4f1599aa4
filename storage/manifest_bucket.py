"""Manifests kept in a bucket: `s3://bucket/prefix/<hex>.jsonl.gz`, content-addressed like those in a folder."""

from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path
from typing import BinaryIO

from schema.errors import DestinationChanged, ManifestMissing, ObjectMissing
from schema.files.manifest import digest_hex
from storage.port import Guard, ObjectStore


class ManifestBucket:
    """A ManifestStore in a bucket. A manifest is held in memory while it is read: some MiB for 50,000 objects."""

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        self._store = store
        self._prefix = f"{prefix}/" if prefix else ""

    def publish(self, digest: str, staged: Path) -> None:
        """Upload *staged* unless it is there; the name is the content, so a second writer writes the same."""
        if self.has(digest):
            return
        body = staged.read_bytes()
        md5 = hashlib.md5(body, usedforsecurity=False).digest()

        headers = [("content-type", "application/gzip"), ("Content-MD5", base64.b64encode(md5).decode())]
        try:
            self._store.put(self._key(digest), body, headers, guard=Guard(if_none_match=True))
        except DestinationChanged:
            return  # somebody else published the same digest meanwhile

    def open(self, digest: str) -> BinaryIO:
        """The gzip stream. Raises ManifestMissing."""
        key = self._key(digest)
        try:
            head = self._store.head(key)
            body = bytearray(head.size)
            self._store.get(key, memoryview(body))
        except ObjectMissing:
            raise ManifestMissing(
                f"manifest {digest} is not in s3://{self._store.bucket}/{key}; "
                "publish the plan's manifests there again, or plan anew"
            ) from None
        return io.BytesIO(body)

    def has(self, digest: str) -> bool:
        """True when the manifest is there."""
        try:
            self._store.head(self._key(digest))
        except ObjectMissing:
            return False
        return True

    def _key(self, digest: str) -> str:
        return f"{self._prefix}{digest_hex(digest)}.jsonl.gz"
