"""Manifests kept in a bucket: `s3://bucket/prefix/<hex>.jsonl.gz`, content-addressed like those in a folder."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from schema.errors import DestinationChanged, ManifestMissing, ObjectMissing
from schema.files.manifest import digest_hex
from storage.port import Guard, ObjectStore


class ManifestBucket:
    """A ManifestStore in a bucket. A manifest is held in memory while it is read: some MiB for 50,000 objects.

    *open_store* is called when a manifest is first asked for: a plan can be shown where nobody has the bucket's
    credentials. What it raises, every method raises; the next call tries again.
    """

    def __init__(self, open_store: Callable[[], ObjectStore], prefix: str) -> None:
        self._open_store = open_store
        self._opened: ObjectStore | None = None
        self._opening = Lock()
        self._prefix = f"{prefix}/" if prefix else ""

    def publish(self, digest: str, staged: Path) -> None:
        """Upload *staged* unless it is there; the name is the content, so a second writer writes the same."""
        if self.has(digest):
            return
        body = staged.read_bytes()
        md5 = hashlib.md5(body, usedforsecurity=False).digest()

        headers = [("content-type", "application/gzip"), ("Content-MD5", base64.b64encode(md5).decode())]
        try:
            self._store().put(self._key(digest), body, headers, guard=Guard(if_none_match=True))
        except DestinationChanged:
            return  # somebody else published the same digest meanwhile

    def open(self, digest: str) -> BinaryIO:
        """The gzip stream. Raises ManifestMissing."""
        key = self._key(digest)
        store = self._store()
        try:
            head = store.head(key)
            body = bytearray(head.size)
            store.get(key, memoryview(body))
        except ObjectMissing:
            raise ManifestMissing(
                f"manifest {digest} is not in s3://{store.bucket}/{key}; "
                "publish the plan's manifests there again, or make a new plan"
            ) from None
        return io.BytesIO(body)

    def has(self, digest: str) -> bool:
        """True when the manifest is there."""
        try:
            self._store().head(self._key(digest))
        except ObjectMissing:
            return False
        return True

    def _store(self) -> ObjectStore:
        with self._opening:
            if self._opened is None:
                self._opened = self._open_store()
            return self._opened

    def _key(self, digest: str) -> str:
        return f"{self._prefix}{digest_hex(digest)}.jsonl.gz"
