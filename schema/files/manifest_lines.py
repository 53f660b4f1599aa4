"""One manifest line: how an object of the plan is written, and read back.

Canonical JSON in a fixed field order: key, size, etag, act, mtime, then what is not at its default of dst, dst_etag,
version, class, reason. The same entry is always the same bytes; those bytes are what a manifest's digest is over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from json.encoder import encode_basestring as _quote
from typing import Any

from schema.errors import ManifestCorrupt
from schema.plan import Action, Entry, new_entry

_MUST_ESCAPE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_ACTIONS = {action.value: action for action in Action}
_OPTIONAL = ("dst", "dst_etag", "version", "class", "reason")
_scan = json.JSONDecoder().raw_decode


def encode(entry: Entry) -> bytes:
    """The canonical line of *entry*, with its LF.

    Control characters, U+0085, U+2028/9 and lone surrogates are JSON-escaped, so that no reader sees a line
    break inside a line. ValueError for a negative size or a surrogate pair that JSON could not give back.
    """
    key, size, etag, action, modified_ms, target, target_etag, version, storage_class, reason = entry
    if size < 0:
        raise ValueError(f"{key!r} has the negative size {size}")
    line = f'{{"key":{_quote(key)},"size":{size:d},"etag":{_quote(etag)},"act":"{action}","mtime":{modified_ms:d}'
    if target is not None:
        line = f'{line},"dst":{_quote(target)}'
    if target_etag is not None:
        line = f'{line},"dst_etag":{_quote(target_etag)}'
    if version is not None:
        line = f'{line},"version":{_quote(version)}'
    if storage_class != "STANDARD":
        line = f'{line},"class":{_quote(storage_class)}'
    if reason:
        line = f'{line},"reason":{_quote(reason)}'
    if line.isascii() and "\x7f" not in line:
        return f"{line}}}\n".encode("ascii")
    if _SURROGATE_PAIR.search(line):
        raise ValueError(f"{key!r} holds a surrogate pair; no decoder gives that")
    return f"{_MUST_ESCAPE.sub(_escape, line)}}}\n".encode()


def encode_run(entries: Sequence[Entry]) -> bytes:
    """The lines of *entries*, equal to those of `encode`, for runs in which most fields are the same."""
    keys, sizes, etags, actions, times, targets, target_etags, versions, classes, reasons = zip(*entries, strict=True)
    shared = (set(actions), set(targets), set(versions), set(classes), set(reasons))
    plain = etags == target_etags and shared[1:4] == ({None}, {None}, {"STANDARD"})
    if not plain or len(shared[0]) > 1 or len(shared[4]) > 1 or min(sizes) < 0 or not reasons[0]:
        return b"".join(map(encode, entries))
    act, end = f',"act":"{actions[0]}","mtime":', f',"reason":{_quote(reasons[0])}}}\n'
    text = "".join(
        [
            f'{{"key":{key},"size":{size},"etag":{etag}{act}{time},"dst_etag":{etag}{end}'
            for key, size, etag, time in zip(map(_quote, keys), sizes, map(_quote, etags), times, strict=True)
        ]
    )
    # What needs more than the quoting is rare, and done line by line.
    return text.encode() if text.isascii() and "\x7f" not in text else b"".join(map(encode, entries))


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def decode(line: bytes, number: int = 1) -> Entry:
    """The entry a *line* holds (with or without its LF); *number* is for messages only, counted from 1.

    Raises ManifestCorrupt for anything a writer of ours would not have written: unknown, missing or mistyped
    fields, and bad JSON.
    """
    try:
        text = line.decode("utf-8")
        doc, end = _scan(text)
    except (ValueError, RecursionError) as error:
        raise ManifestCorrupt(f"manifest line {number} is not JSON: {error}; plan again") from None
    if text[end:] not in ("", "\n") or type(doc) is not dict:
        raise ManifestCorrupt(f"manifest line {number} is not one JSON object; plan again")
    try:
        key, size, etag, act, modified_ms = doc["key"], doc["size"], doc["etag"], doc["act"], doc["mtime"]
        action = _ACTIONS[act]
    except (KeyError, TypeError):
        raise ManifestCorrupt(_complaint(doc, number)) from None
    if not (
        type(key) is str and key and type(size) is int and size >= 0 and type(etag) is str and type(modified_ms) is int
    ):
        raise ManifestCorrupt(_complaint(doc, number))
    if len(doc) == 5:
        return new_entry((key, size, etag, action, modified_ms, None, None, None, "STANDARD", ""))
    optional = [doc.get(name) for name in _OPTIONAL]
    strings = [value for value in optional if type(value) is str]
    if len(strings) + 5 != len(doc):
        raise ManifestCorrupt(_complaint(doc, number))
    target, target_etag, version, storage_class, reason = optional
    return new_entry(
        (
            key,
            size,
            etag,
            action,
            modified_ms,
            target,
            target_etag,
            version,
            "STANDARD" if storage_class is None else storage_class,
            reason or "",
        )
    )


def _complaint(doc: dict[str, Any], number: int) -> str:
    """What is wrong with the fields of *doc*; only called when something is."""
    wanted: dict[str, type] = {"key": str, "size": int, "etag": str, "act": str, "mtime": int}
    wanted |= dict.fromkeys(_OPTIONAL, str)
    unknown = sorted(set(doc) - set(wanted))
    missing = [name for name in ("key", "size", "etag", "act", "mtime") if name not in doc]
    mistyped = [name for name, kind in wanted.items() if name in doc and type(doc[name]) is not kind]
    if unknown:
        what = f"has an unknown field {unknown[0][:40]!r}"
    elif missing:
        what = f"lacks the field {missing[0]!r}"
    elif mistyped:
        what = f"has a field {mistyped[0]!r} of the wrong type"
    elif doc["act"] not in _ACTIONS:
        what = f"names the unknown action {doc['act'][:40]!r}"
    else:
        what = "has an empty key or a negative size"
    return f"manifest line {number} {what}; it was not written by this version of s3migrate: plan again"


def follows(before: Entry, after: Entry) -> bool:
    """Whether *after* may stand on the line after *before*: a greater key, or another version of the same one.

    The versions of one key stand oldest first as the listing gave them; their times are not compared, because a
    multipart upload bears the time it was begun, not the time it became visible.
    """
    if after.key != before.key:
        return after.key > before.key
    return after.version_id is not None and before.version_id is not None and after.version_id != before.version_id
