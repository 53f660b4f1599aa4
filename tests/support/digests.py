"""Digests as S3 shows them, computed without the product's own code."""

from __future__ import annotations

import base64
import hashlib


def md5(body: bytes | bytearray | memoryview | str) -> str:
    """The ETag of a body, or of a text's UTF-8 bytes: hexadecimal."""
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    return hashlib.md5(raw, usedforsecurity=False).hexdigest()


def content_md5(body: bytes | bytearray | memoryview) -> str:
    """The value of Content-MD5 for a body."""
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
