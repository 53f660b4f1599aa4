"""Documents that come gzipped although it was not asked for: some proxies compress all XML that passes them."""

from __future__ import annotations

import zlib
from typing import Final

from storage.wire.exchange import ANSWER_BODY_LIMIT

GZIP_MAGIC: Final = b"\x1f\x8b"
"""How a gzipped body begins. No document of S3 does."""
_GZIP: Final = 16 + zlib.MAX_WBITS


def unpacked(body: bytes) -> bytes:
    """The document in *body*; *body* itself where it cannot be unpacked, or only to more than any answer of S3."""
    unpacker = zlib.decompressobj(_GZIP)
    try:
        text = unpacker.decompress(body, ANSWER_BODY_LIMIT)
    except zlib.error:
        return body
    return text if unpacker.eof else body
