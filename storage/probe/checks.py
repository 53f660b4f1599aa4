"""The checks of a destination probe, one function each: canary -> facts.

A feature is 'enforced' only when a request that violates it was refused and one that honours it was accepted;
'ignored' when the violation passed; 'rejected' when the server does not take the feature at all; 'unknown' when
the server's answers told nothing. Every check answers all its facts, whatever fails.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from awscrt import checksums

from schema.errors import (
    AccessRefused,
    DestinationChanged,
    DigestMismatch,
    ObjectChanged,
    ResponseUnreadable,
    StoreError,
    Throttled,
    UploadMissing,
)
from schema.metadata_text import same_text
from schema.objects import ListedObject, ObjectHead
from schema.storage_classes import class_fact
from schema.tiers import MAX_PARTS
from storage.port import UNGUARDED, Guard, HeaderList
from storage.probe.canary import TRANSIENT, Canary

Facts = dict[str, str]

ENFORCED, IGNORED, REJECTED, UNKNOWN = "enforced", "ignored", "rejected", "unknown"
BODY: Final = b"s3migrate probe"
WRONG: Final = b"s3migrate other"
NO_ETAG: Final = "0" * 32
CREATE_ONLY: Final = Guard(if_none_match=True)


def refusal(error: StoreError) -> str:
    """The fact behind an error that is not the one a violation should meet."""
    return UNKNOWN if isinstance(error, (*TRANSIENT, AccessRefused)) else REJECTED


def precondition(answer: object) -> str:
    """The fact behind the answer to a write whose precondition does not hold."""
    if isinstance(answer, (DestinationChanged, ObjectChanged)):
        return ENFORCED
    return refusal(answer) if isinstance(answer, StoreError) else IGNORED


def check_conditions(canary: Canary) -> Facts:
    """If-None-Match: * on a key that exists; If-Match with another ETag, and with the right one."""
    written = canary.put("base", BODY, (), CREATE_ONLY)
    facts: Facts = {"if_none_match": UNKNOWN, "if_match": UNKNOWN, "etag_is_md5": UNKNOWN}
    if isinstance(written, StoreError):
        # The key is new, so whatever refuses this does not understand the header; but a 412 tells of a lost answer,
        # or of a canary that an earlier probe left.
        facts["if_none_match"] = ENFORCED if isinstance(written, DestinationChanged) else refusal(written)
        written = canary.put("base", BODY)
    else:
        facts["if_none_match"] = precondition(canary.put("base", BODY, (), CREATE_ONLY))
    if isinstance(written, StoreError):
        return facts
    facts["etag_is_md5"] = ENFORCED if written.etag == hashlib.md5(BODY, usedforsecurity=False).hexdigest() else IGNORED
    facts["if_match"] = precondition(canary.put("base", BODY, (), Guard(if_match=NO_ETAG)))
    if facts["if_match"] == ENFORCED:
        honoured = canary.put("base", BODY, (), Guard(if_match=written.etag))
        if isinstance(honoured, DestinationChanged):
            facts["if_match"] = REJECTED
    return facts


def digest_headers(body: bytes) -> dict[str, tuple[str, str]]:
    """Fact -> header that carries *body*'s digest."""

    def text(raw: bytes) -> str:
        return base64.b64encode(raw).decode("ascii")

    return {
        "content_md5": ("Content-MD5", text(hashlib.md5(body, usedforsecurity=False).digest())),
        "crc64nvme": ("x-amz-checksum-crc64nvme", text(int(checksums.crc64nvme(body)).to_bytes(8, "big"))),
        "crc32c": ("x-amz-checksum-crc32c", text(int(checksums.crc32c(body)).to_bytes(4, "big"))),
        "crc32": ("x-amz-checksum-crc32", text(int(checksums.crc32(body)).to_bytes(4, "big"))),
    }


def check_digests(canary: Canary) -> Facts:
    """Each digest header with the digest of other bytes: must be refused; with its own: must be taken."""
    facts: Facts = {}
    right = digest_headers(BODY)
    for name, header in digest_headers(WRONG).items():
        answer = canary.put("digest", BODY, [header])
        if isinstance(answer, DigestMismatch):
            facts[name] = ENFORCED
        elif not isinstance(answer, StoreError):
            facts[name] = IGNORED
        elif isinstance(answer, TRANSIENT):
            facts[name] = UNKNOWN
        else:
            # Refused, but with words of its own: is it the digest or the header that it minds?
            facts[name] = REJECTED if isinstance(canary.put("digest", BODY, [right[name]]), StoreError) else ENFORCED
    return facts


class Feature(NamedTuple):
    """Headers that a PUT carries, and the test of the HEAD that follows."""

    fact: str
    headers: tuple[tuple[str, str], ...]
    kept: Callable[[ObjectHead], bool]


def _holds(*expected: tuple[str, str]) -> Callable[[ObjectHead], bool]:
    return lambda head: all(same_text(head.headers.get(name, ""), value) for name, value in expected)


SYSTEM: Final = (
    ("content-type", "text/x-s3migrate"),
    ("cache-control", "max-age=7"),
    ("content-disposition", 'attachment; filename="probe"'),
    ("content-encoding", "gzip"),
    ("content-language", "de, en"),
    ("expires", "Thu, 01 Jan 2037 00:00:00 GMT"),
)
_META: Final = (("x-amz-meta-s3migrate-probe", "Plain Text"),)
_UTF8: Final = (("x-amz-meta-s3migrate-utf8", "h\u00e9 \u6587".encode().decode("latin-1")),)
_WORDS: Final = (("x-amz-meta-s3migrate-words", "=?UTF-8?B?aMOpIOaWhw==?="),)
_REDIRECT: Final = (("x-amz-website-redirect-location", "/s3migrate-probe"),)
FEATURES: Final = (
    Feature("system_headers", SYSTEM, _holds(*SYSTEM)),
    Feature("user_metadata", _META, _holds(*_META)),
    Feature("user_metadata_utf8", _UTF8, _holds(*_UTF8)),
    Feature("user_metadata_rfc2047", _WORDS, _holds(*_WORDS)),
    Feature("website_redirect", _REDIRECT, _holds(*_REDIRECT)),
)
TAGS: Final = (("probe", "a b+c"), ("s3migrate", ""))
_TAGGING: Final = ("x-amz-tagging", "probe=a%20b%2Bc&s3migrate=")


def check_headers(canary: Canary) -> Facts:
    """System headers, metadata in three dresses, redirect and tags: one PUT where the server takes them all."""
    facts: Facts = dict.fromkeys((f.fact for f in FEATURES), UNKNOWN)
    facts |= dict.fromkeys(("checksums_returned", "tagging_header", "tagging"), UNKNOWN)
    checksum = digest_headers(BODY)["crc64nvme"]
    ascii_only = [feature for feature in FEATURES if feature.fact != "user_metadata_utf8"]
    taken: Sequence[Feature] = ()
    tagged = False
    # What servers are known to choke on goes first: raw UTF-8, tags, checksums.
    for features, extra in (
        (FEATURES, [_TAGGING, checksum]),
        (ascii_only, [_TAGGING, checksum]),
        (FEATURES, [checksum]),
        (FEATURES, []),
    ):
        headers = [header for feature in features for header in feature.headers] + extra
        if not isinstance(canary.put("headers", BODY, headers), StoreError):
            facts |= _judge_head(canary, features)
            taken, tagged = features, _TAGGING in extra
            break
    if tagged:
        facts |= _check_tags(canary, True)
    for feature in FEATURES:
        if feature not in taken:
            answer = canary.put("headers", BODY, feature.headers)
            if isinstance(answer, StoreError):
                facts[feature.fact] = refusal(answer)
            else:
                facts |= _judge_head(canary, [feature])
    return facts if tagged else facts | _check_tags(canary, False)


def _judge_head(canary: Canary, features: Sequence[Feature]) -> Facts:
    key = canary.key("headers")
    head = canary.ask(lambda: canary.store.head(key, extra=[("x-amz-checksum-mode", "ENABLED")]))
    if isinstance(head, StoreError):
        return {}
    facts = {feature.fact: ENFORCED if feature.kept(head) else IGNORED for feature in features}
    lost = [name for name, value in SYSTEM if not same_text(head.headers.get(name, ""), value)]
    if facts.get("system_headers") == IGNORED:
        facts["system_headers_lost"] = ", ".join(lost)
    returned = any(n.startswith("x-amz-checksum-") and n != "x-amz-checksum-type" for n in head.headers)
    facts["checksums_returned"] = ENFORCED if returned else IGNORED
    return facts


def _check_tags(canary: Canary, sent: bool) -> Facts:
    """Tags by header (*sent* with canary "headers" already) and by PutObjectTagging, read back each time.

    Servers that do not know `?tagging` answer a GET with the object and take a PUT for a new object, so a PUT is
    made only where a GET was understood.
    """
    facts: Facts = {"tagging": UNKNOWN}
    if not sent:
        answer = canary.put("headers", BODY, [_TAGGING])
        if isinstance(answer, StoreError):
            facts["tagging_header"] = UNKNOWN if isinstance(answer, TRANSIENT) else REJECTED
            if isinstance(canary.put("headers", BODY), StoreError):
                return facts
    read = _tags_read_back(canary, TAGS)
    facts.setdefault("tagging_header", read)
    if read in (REJECTED, UNKNOWN):
        return facts | {"tagging": read}
    key = canary.key("headers")
    other = (("s3migrate", "é/2"),)
    put = canary.ask(lambda: canary.store.put_tags(key, other))
    if isinstance(put, StoreError):
        facts["tagging"] = UNKNOWN if isinstance(put, TRANSIENT) else REJECTED
        return facts
    facts["tagging"] = _tags_read_back(canary, other)
    return facts


def _tags_read_back(canary: Canary, expected: Sequence[tuple[str, str]]) -> str:
    found = canary.ask(lambda: canary.store.get_tags(canary.key("headers")))
    if isinstance(found, ResponseUnreadable):
        return REJECTED
    if isinstance(found, StoreError):
        return refusal(found)
    return ENFORCED if sorted(found) == sorted(expected) else IGNORED


def check_multipart(canary: Canary) -> Facts:
    """An upload of one part over the key "base": CRC64NVME of parts, preconditions of Complete, the ETag's formula."""
    facts: Facts = dict.fromkeys(
        ("multipart", "multipart_crc64nvme", "multipart_etag", "complete_if_none_match", "complete_if_match"), UNKNOWN
    )
    asked: HeaderList = [("x-amz-checksum-algorithm", "CRC64NVME"), ("x-amz-checksum-type", "FULL_OBJECT")]
    upload = canary.create_upload("base", asked)
    if isinstance(upload, StoreError):
        facts["multipart_crc64nvme"] = refusal(upload)
        asked = []
        upload = canary.create_upload("base")
    else:
        facts["multipart_crc64nvme"] = _part_digest(canary, upload)
        if facts["multipart_crc64nvme"] != ENFORCED:
            asked = []
    if isinstance(upload, StoreError):
        return facts | {"multipart": refusal(upload)}
    completed = _complete(canary, upload, asked)
    if asked and completed.get("multipart") == REJECTED:
        # Parts are taken with a checksum, but no whole: do without.
        again = canary.create_upload("base")
        if isinstance(again, str):
            completed = _complete(canary, again, []) | {"multipart_crc64nvme": REJECTED}
    return facts | completed


def check_part_numbers(canary: Canary) -> Facts:
    """Whether part number 10,000 is taken, in an upload that is aborted: some servers complete no upload without it."""
    upload = canary.create_upload("parts")
    if isinstance(upload, StoreError):
        return {"part_numbers": UNKNOWN}
    last = canary.ask(partial(canary.store.upload_part, canary.key("parts"), upload, MAX_PARTS, BODY))
    return {"part_numbers": refusal(last) if isinstance(last, StoreError) else ENFORCED}


def _part_digest(canary: Canary, upload: str) -> str:
    key = canary.key("base")
    header = digest_headers(WRONG)["crc64nvme"]
    answer = canary.ask(lambda: canary.store.upload_part(key, upload, 1, BODY, [header]))
    if isinstance(answer, DigestMismatch):
        return ENFORCED
    return refusal(answer) if isinstance(answer, StoreError) else IGNORED


def _complete(canary: Canary, upload: str, asked: HeaderList) -> Facts:
    """Violated preconditions first; where one is not enforced the upload is gone and the next check makes a new one."""
    key = canary.key("base")
    right = digest_headers(BODY)["crc64nvme"]
    proof = [right, ("x-amz-checksum-type", "FULL_OBJECT")] if asked else []
    facts: Facts = {}
    digest = [right] if asked else []
    part = canary.ask(partial(canary.store.upload_part, key, upload, 1, BODY, digest))
    tries = [
        ("complete_if_none_match", CREATE_ONLY),
        ("complete_if_match", Guard(if_match=NO_ETAG)),
        ("multipart", UNGUARDED),
    ]
    for fact, guard in tries:
        if isinstance(part, StoreError):
            facts[fact] = refusal(part)
            break
        complete = partial(canary.store.complete_upload, key, upload, [(1, part.etag)], proof, guard=guard)
        answer = canary.ask(complete)
        if not isinstance(answer, StoreError):
            canary.completed("base", upload, answer)
            facts["multipart_etag"] = _etag_formula(answer.etag)
        if fact == "multipart":
            facts[fact] = refusal(answer) if isinstance(answer, StoreError) else ENFORCED
            break
        facts[fact] = precondition(answer)
        if isinstance(answer, UploadMissing) or not isinstance(answer, StoreError):
            renewed = canary.create_upload("base", asked)
            if isinstance(renewed, StoreError):
                break
            upload = renewed
            part = canary.ask(partial(canary.store.upload_part, key, upload, 1, BODY, digest))
    return facts


def _etag_formula(etag: str) -> str:
    digest = hashlib.md5(BODY, usedforsecurity=False).digest()
    return ENFORCED if etag == hashlib.md5(digest, usedforsecurity=False).hexdigest() + "-1" else IGNORED


ODD_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "key_case": ("BASE",),
    "key_folder_marker": ("marker/",),
    "key_file_and_folder": ("base/e",),
    "key_double_slash": ("f/e", "f//e"),
    "key_dot_segments": ("./y/../z",),
    "key_characters": ("p q+r%2Fs e\u0301",),
    "key_control": ("c\x01",),
}
"""Fact -> canary names that must be listed exactly as written, each an object of its own; "base" is there already."""


def write_odd_keys(canary: Canary) -> tuple[Facts, dict[str, int]]:
    """Writes them; facts of those refused, and name -> length of those taken. Lengths tell the bodies apart."""
    facts: Facts = {}
    taken: dict[str, int] = {}
    for fact, names in ODD_KEYS.items():
        for name in names:
            length = 0 if name.endswith("/") else len(taken) + 1
            answer = canary.put(name, b"x" * length, tolerant=True)
            if isinstance(answer, StoreError):
                facts[fact] = UNKNOWN if isinstance(answer, Throttled) else REJECTED
            else:
                taken[name] = length
    if not canary.prefix:
        leading = canary.put_key("/" + canary.key("leading"), b"x" * 99, tolerant=True)
        facts["key_leading_slash"] = REJECTED if isinstance(leading, StoreError) else ENFORCED
    return facts, taken


def judge_odd_keys(written: Facts, taken: Mapping[str, int], listed: Mapping[str, ListedObject] | None) -> Facts:
    """What became of the odd keys, by one listing."""
    facts = dict(written)
    if listed is None:
        return dict.fromkeys((*ODD_KEYS, "odd_keys"), UNKNOWN) | facts
    for fact, names in ODD_KEYS.items():
        if fact not in facts:
            intact = all(name in listed and listed[name].size == taken.get(name) for name in names)
            if fact in ("key_file_and_folder", "key_case"):
                intact = intact and "base" in listed
            facts[fact] = ENFORCED if intact else IGNORED
    double = listed.get("f/e")
    if double is not None and "f//e" in taken:
        facts["folds_double_slash"] = ENFORCED if double.size == taken["f//e"] else IGNORED
    if "BASE" in taken:
        facts["case_insensitive"] = ENFORCED if ("base" in listed) != ("BASE" in listed) else IGNORED
    if "key_leading_slash" in facts and facts["key_leading_slash"] == ENFORCED:
        folded = "leading" in listed
        facts["folds_leading_slash"] = ENFORCED if folded else IGNORED
        facts["key_leading_slash"] = IGNORED if folded else ENFORCED
    segments = [facts.get(f, ENFORCED) for f in ("key_double_slash", "key_dot_segments", "key_leading_slash")]
    facts["odd_keys"] = ENFORCED if all(found == ENFORCED for found in segments) else REJECTED
    return facts


def write_storage_classes(canary: Canary, classes: Sequence[str]) -> Facts:
    """One canary a class; the classes refused."""
    facts: Facts = {}
    for name in classes:
        answer = canary.put(f"class-{name}", BODY, [("x-amz-storage-class", name)])
        if isinstance(answer, StoreError):
            facts[class_fact(name)] = refusal(answer)
    return facts


def judge_storage_classes(
    canary: Canary, written: Facts, classes: Sequence[str], listed: Mapping[str, ListedObject] | None
) -> Facts:
    """Whether the listing, or else HEAD, shows the class that was asked for."""
    facts = dict(written)
    for name in classes:
        if class_fact(name) in facts:
            continue
        found = listed.get(f"class-{name}") if listed is not None else None
        if found is not None and found.storage_class == name:
            facts[class_fact(name)] = ENFORCED
            continue
        head = canary.ask(partial(canary.store.head, canary.key(f"class-{name}")))
        facts[class_fact(name)] = (
            UNKNOWN if isinstance(head, StoreError) else ENFORCED if head.storage_class == name else IGNORED
        )
    return facts
