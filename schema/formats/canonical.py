"""One spelling of a document, so that equal documents have equal digests.

Keys sorted by code point, no spaces, UTF-8, nothing escaped that JSON does not require. Only null, booleans,
integers, strings, lists and string-keyed maps have a canonical form: floats are refused because two writers
may spell one number differently (RFC 8785 without its number rules).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

DIGEST_PREFIX = "sha256:"


def canonical_json(document: Any) -> bytes:
    """The canonical bytes of *document*. TypeError for a float or a foreign type, ValueError for a lone surrogate."""
    text = json.dumps(_checked(document, "$"), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8")


def sha256_of(data: bytes) -> str:
    """'sha256:' and 64 hex digits of *data*."""
    return DIGEST_PREFIX + hashlib.sha256(data).hexdigest()


def _checked(value: Any, path: str) -> Any:
    """*value* rebuilt from plain types only; TypeError names the path of a value without a canonical form."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{path}: a map key must be a string, not {type(key).__name__}")
        return {str(key): _checked(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_checked(item, f"{path}[{index}]") for index, item in enumerate(value)]
    raise TypeError(f"{path}: {type(value).__name__} has no canonical form")
