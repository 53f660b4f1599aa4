"""Deterministic corpora: the same seed gives the same objects, byte for byte, on every machine.

An object is described, not stored: `content()` makes its bytes anew each time.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from schema.tiers import KIB, MIB

ODD_KEYS = (
    # what S3 servers refuse or rename, and what YAML, CSV, SQL and terminals trip over
    *("a b", "a+b", "a%20b", "a%2Fb", "a%2fb", "%", "%%", "%zz", "a?b=c", "a#b", "a&b", "a;b", "a=b", "a,b", "a:b"),
    *(
        "it's",
        'say "hi"',
        "<tag>&amp;",
        "back\\slash",
        "star*",
        "brace{x}",
        "[x]",
        "pipe|",
        "tilde~",
        "^",
        "`cmd`",
        "$HOME",
    ),
    *(
        "café-nfc-\u00e9",
        "cafe\u0301-nfd",
        "\U0001f600",
        "日本語/ファイル",
        "\u202ertl",
        "\ufeffbom",
        "\ufffe",
        "\u0085nel",
    ),
    *(
        "yes",
        "no",
        "null",
        "~",
        "2024-01-01",
        "12:30:45",
        "0x1F",
        "1e3",
        ".inf",
        "- item",
        "? key",
        "! tag",
        "@at",
        "# not",
    ),
    *("tab\there", "line\nfeed", "carriage\rreturn", "\x01control", "del\x7f", "esc\x1b[31m", " leading", "trailing "),
    *("=1+1", "+1", "-1", "@SUM(A1)", "::warning::x", "UPPER", "upper", "soap", "x" * 1024, "é" * 512),
)
SLASHED_KEYS = (
    *(
        "a//b",
        "//",
        "/",
        "/a",
        "a/",
        "a/b/",
        "./x",
        "x/.",
        "a/../b",
        ".",
        "..",
        "../x",
        "a/./b",
        "///",
        "clash",
        "clash/below",
    ),
)
"""Legal on S3; moto holds them, `rclone serve s3` (a file system below) refuses them by name."""


@dataclass(frozen=True)
class CorpusObject:
    """One object to be: everything boto3 needs to write it."""

    key: str
    size: int
    seed: int
    headers: Mapping[str, str] = field(default_factory=dict)
    """boto3 parameters: ContentType, CacheControl, ContentDisposition, ContentEncoding, ContentLanguage, Expires."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    part_size: int | None = None
    """Written as a multipart upload in parts of that size, so that its ETag is no MD5."""

    def content(self) -> bytes:
        """Its bytes."""
        return random.Random(self.seed).randbytes(self.size)

    def blocks(self, block: int = 8 * MIB) -> Iterator[bytes]:
        """Its bytes in blocks, for objects too big for memory; not the same bytes as `content` when more than one."""
        for number, start in enumerate(range(0, self.size, block)):
            yield random.Random(f"{self.seed}:{number}").randbytes(min(block, self.size - start))


EVERY_HEADER = {
    "ContentType": "text/x-odd",
    "CacheControl": "max-age=9",
    "ContentDisposition": "inline",
    "ContentLanguage": "de",
    "StorageClass": "STANDARD_IA",
    "WebsiteRedirectLocation": "/elsewhere",
}
"""What a copy made by the endpoint drops unless it is sent again."""


def mixed(
    seed: int, count: int, *, largest: int = 256 * KIB, prefix: str = "", tags: bool = True, multipart: bool = False
) -> list[CorpusObject]:
    """*count* objects, 0 B to *largest* bytes, log-uniform, folders and metadata mixed; every tier's edge is in it.

    *multipart*: objects over 5 MiB are written in parts of 5 MiB.
    """
    rng = random.Random(f"mixed:{seed}")
    edges = [0, 1, 2, KIB - 1, KIB, KIB + 1, 64 * KIB, 100_000, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 8 * MIB, largest]
    sizes = [size for size in edges if size <= largest][:count]
    while len(sizes) < count:
        sizes.append(int(largest ** rng.random()))
    rng.shuffle(sizes)
    made = []
    for number, size in enumerate(sizes):
        folder, ending = rng.choice(("", "photos/", "photos/2024/", "logs/")), rng.choice(("jpg", "txt", "bin"))
        key = f"{prefix}{folder}{number:06d}.{ending}"
        part_size = 5 * MIB if multipart and size > 5 * MIB else None
        made.append(_dressed(key, size, rng, tags, part_size))
    return made


def odd(
    seed: int, keys: Iterable[str] = ODD_KEYS, *, size: int = 100, prefix: str = "", tags: bool = True
) -> list[CorpusObject]:
    """One small object per odd key. A key that *prefix* would push beyond 1,024 bytes is left out."""
    rng = random.Random(f"odd:{seed}")
    return [
        _dressed(prefix + key, rng.randrange(size + 1), rng, tags, None)
        for key in keys
        if len((prefix + key).encode()) <= 1024
    ]


def holdable_by_moto(key: str) -> bool:
    """Whether moto's server can be asked for the key: its routes do not match a line feed."""
    return "\n" not in key


def holdable_by_rclone(key: str) -> bool:
    """Whether `rclone serve s3` over a Linux folder can hold the key: canonical path, short segments.

    It also cannot hold both `clash` and `clash/below`; that is not a question of one key.
    """
    segments = key.split("/")
    return all(s not in ("", ".", "..") and len(s.encode()) <= 255 for s in segments)


def _dressed(key: str, size: int, rng: random.Random, tags: bool, part_size: int | None) -> CorpusObject:
    """With headers, metadata and tags on some, so that their absence is tested too."""
    headers: dict[str, str] = {}
    if rng.random() < 0.8:
        headers["ContentType"] = rng.choice(("image/jpeg", "text/plain; charset=utf-8", "application/x-odd"))
    if rng.random() < 0.3:
        headers["CacheControl"] = f"max-age={rng.randrange(9999)}"
    if rng.random() < 0.3:
        headers["ContentDisposition"] = f'attachment; filename="{rng.randrange(999)}.bin"'
    if rng.random() < 0.2:
        headers["ContentEncoding"] = "identity"
    if rng.random() < 0.2:
        headers["ContentLanguage"] = "de-DE, en"
    if rng.random() < 0.2:
        headers["Expires"] = "Thu, 01 Dec 2044 16:00:00 GMT"
    metadata = {
        f"word-{n}": rng.choice(("plain", "two  words", "a=b;c", "=?UTF-8?B?w6k=?=")) for n in range(rng.randrange(4))
    }
    labels = {f"tag {n}": rng.choice(("x", "a+b", "é/ü", "")) for n in range(rng.randrange(4))} if tags else {}
    return CorpusObject(key, size, rng.getrandbits(48), headers, metadata, labels, part_size)
