"""One page of a listing, from its XML bytes. Strict: a page that does not prove itself is refused.

botocore takes a 200 with an empty or an HTML body for an empty bucket; a plan made of that would delete everything.
So the root element, the bucket's name, IsTruncated and the way to the next page must be there, in so many words.

Keys travel with encoding-type=url and are decoded here: form decoding ('+' is a space), then strict UTF-8. A server
that ignores the parameter sends no EncodingType element, and its keys are taken as they are.
Python compares strings by code point, which is UTF-8 byte order, which is the order S3 lists in.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import NamedTuple, NoReturn
from urllib.parse import unquote_to_bytes
from xml.parsers import expat

from schema.ends import listed_by_another_name
from schema.errors import ListingRefused, ResponseUnreadable, ServerFault
from schema.objects import ListedObject

Query = tuple[tuple[str, str], ...]

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_FRACTION = re.compile(r"\.(\d+)")
_MINUTES_KEPT = 8192
_EXCERPT = 80
_KIND = "<kind>"
"""Under which name the fields of an entry hold the name of its element. No element can be called so."""

_new_object: Callable[[tuple[object, ...]], ListedObject] = partial(tuple.__new__, ListedObject)
"""ListedObject(*fields) without its Python-level constructor, which takes three times as long."""


class Page(NamedTuple):
    """One answer to a LIST."""

    entries: list[ListedObject]
    """In the server's order. Empty pages in mid-listing are legal."""
    ascending: bool
    """Keys ascend in UTF-8 bytes: strictly in a listing of objects, with repeats in one of versions."""
    following: Query
    """The query parameters that ask for the next page; () on the last one."""
    common_prefixes: tuple[str, ...]


class _Collected:
    """What the parser has gathered: fields of the page itself and one dictionary per entry."""

    __slots__ = ("common_prefixes", "entries", "fields", "root")

    def __init__(self) -> None:
        self.root = ""
        self.fields: dict[str, str] = {}
        self.entries: list[dict[str, str]] = []
        self.common_prefixes: list[str] = []


def parse_page(body: bytes, bucket: str, *, prefix: str = "") -> Page:
    """A ListObjectsV2 answer.

    Raises ResponseUnreadable when *body* is not whole XML of the right kind (asking again may help), ServerFault
    when it is an <Error>, ListingRefused when it is well-formed but cannot be trusted.
    """
    found = _collect(body, bucket, root="ListBucketResult", kinds=frozenset({"Contents"}))
    truncated = _checked_truncation(found, bucket)
    following: Query = ()
    if truncated:
        token = found.fields.get("NextContinuationToken", "")
        if not token:
            _refuse(bucket, "says that more follows but gives no continuation token")
        following = (("continuation-token", token),)
    return _page(found, bucket, prefix, following, before=operator.lt)


def parse_versions_page(body: bytes, bucket: str, *, prefix: str = "") -> Page:
    """A ListObjectVersions answer; versions and delete markers keep their order. Raises as parse_page."""
    found = _collect(body, bucket, root="ListVersionsResult", kinds=frozenset({"Version", "DeleteMarker"}))
    truncated = _checked_truncation(found, bucket)
    following: Query = ()
    if truncated:
        marker = found.fields.get("NextKeyMarker", "")
        if not marker:
            _refuse(bucket, "says that more follows but gives no next key marker")
        following = (("key-marker", _key_decoder(found, bucket)(marker)),)
        version = found.fields.get("NextVersionIdMarker", "")
        if version:
            following = (*following, ("version-id-marker", version))
    return _page(found, bucket, prefix, following, before=operator.le)


def _page(
    found: _Collected,
    bucket: str,
    prefix: str,
    following: Query,
    *,
    before: Callable[[str, str], bool],
) -> Page:
    """The entries as values, with their order and prefix checked."""
    decode = _key_decoder(found, bucket)
    entries = list(map(_EntryReader(bucket, decode).read, found.entries))
    keys = [listed.key for listed in entries]
    ascending = all(map(before, keys, islice(keys, 1, None)))
    if prefix:
        # Keys that start with a prefix are one unbroken stretch of the order, so its ends speak for all.
        for key in (keys[:1] + keys[-1:]) if ascending else keys:
            if not key.startswith(prefix):
                _refuse(bucket, f"contains {key!r}, which is not under the prefix {prefix!r} that was asked for")
    return Page(entries, ascending, following, tuple(map(decode, found.common_prefixes)))


def _collect(body: bytes, bucket: str, *, root: str, kinds: frozenset[str]) -> _Collected:
    """Run the parser over *body* and check the root element."""
    found = _Collected()
    encoded = b"<EncodingType>url</EncodingType>" in body
    parser = _parser(found, bucket, kinds, encoded=encoded)
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # also an encoding that nobody knows
        raise _unreadable(bucket, f"is not whole XML ({error})", body) from None
    except UnicodeDecodeError as error:
        raise _unreadable(bucket, f"is not valid UTF-8 ({error})", body) from None
    if found.root == "Error":
        code, message = found.fields.get("Code", ""), found.fields.get("Message", "")
        raise ServerFault(
            f"the listing of bucket {bucket!r} answered 200 with an error inside: {code} {message}".rstrip(),
            operation="LIST",
            status=200,
            code=code,
            request_id=found.fields.get("RequestId", ""),
        )
    if found.root != root:
        raise _unreadable(bucket, f"is a <{found.root}> where <{root}> was expected", body)
    if encoded != (found.fields.get("EncodingType") == "url"):
        _refuse(bucket, "does not say clearly whether its keys are url-encoded")
    return found


def _parser(found: _Collected, bucket: str, kinds: frozenset[str], *, encoded: bool) -> expat.XMLParserType:
    """An expat parser that fills *found*. Document types, hence entities of one's own, are refused.

    Handlers are called by the dozen for each key, so there is none for the start of elements where that can be:
    text then arrives with the white space before its element in front. It is stripped, which only a key that is not
    *encoded* could suffer from; with such keys every start clears what came before.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.buffer_size = 1 << 16
    texts: list[str] = []
    fields: dict[str, str] = {}

    def start_element(name: str, _attributes: object) -> None:
        if not found.root:
            found.root = name
            if encoded:
                parser.StartElementHandler = None
        texts.clear()

    def end_element(name: str) -> None:
        nonlocal fields
        if name in kinds:
            if not found.entries:
                # The page's own fields, which stand before the entries or behind, have other names than theirs.
                found.fields.update(fields)
            fields[_KIND] = name
            found.entries.append(fields)
            fields = {}
        elif name == "CommonPrefixes":
            found.common_prefixes.append(fields.pop("Prefix", ""))
        elif name == found.root:
            found.fields.update(fields)
        elif texts:
            text = texts[0] if len(texts) == 1 else "".join(texts)
            fields[name] = text.lstrip() if encoded else text
        else:
            fields[name] = ""
        texts.clear()

    def refuse_doctype(*_declaration: object) -> None:
        _refuse(bucket, "carries a document type declaration, which no S3 server sends")

    parser.StartElementHandler = start_element
    parser.EndElementHandler = end_element
    parser.CharacterDataHandler = texts.append
    parser.StartDoctypeDeclHandler = refuse_doctype
    return parser


def _checked_truncation(found: _Collected, bucket: str) -> bool:
    """Whether more pages follow, after the checks that any page must pass."""
    name = found.fields.get("Name")
    if name != bucket and not (name and listed_by_another_name(bucket)):
        said = "does not name its bucket" if name is None else f"is of bucket {name!r}"
        _refuse(bucket, said)
    truncated = found.fields.get("IsTruncated")
    if truncated not in {"true", "false"}:
        said = "does not say whether it is complete (no IsTruncated)"
        _refuse(bucket, said if truncated is None else f"says IsTruncated={truncated!r}")
    return truncated == "true"


def _key_decoder(found: _Collected, bucket: str) -> Callable[[str], str]:
    """The function that turns a key as sent into the key."""
    encoding = found.fields.get("EncodingType", "")
    if encoding == "":
        return str
    if encoding != "url":
        _refuse(bucket, f"uses the unknown key encoding {encoding!r}")

    def decode(sent: str) -> str:
        if "%" not in sent and " " not in sent:
            return sent.replace("+", " ") if "+" in sent else sent
        if " " in sent or _BAD_ESCAPE.search(sent):
            _refuse(bucket, f"declares url-encoded keys but sends {sent!r}, which is not")
        try:
            return unquote_to_bytes(sent.replace("+", " ")).decode()
        except UnicodeDecodeError:
            _refuse(bucket, f"contains the key {sent!r} (url-encoded), which is not valid UTF-8: rename or exclude it")

    return decode


class _EntryReader:
    """Makes ListedObjects of fields. Holds the times already converted: neighbours share their minute."""

    __slots__ = ("_bucket", "_decode", "_minutes")

    def __init__(self, bucket: str, decode: Callable[[str], str]) -> None:
        self._bucket = bucket
        self._decode = decode
        self._minutes: dict[str, int] = {}

    def read(self, fields: dict[str, str]) -> ListedObject:
        """One Contents, Version or DeleteMarker element."""
        get = fields.get
        sent = get("Key", "")
        modified = get("LastModified", "")
        digits = get("Size", "")
        etag = get("ETag", "")
        marker = fields[_KIND] == "DeleteMarker"
        if marker:
            digits = digits or "0"
        if not (sent and digits.isdigit() and digits.isascii()):
            _refuse(self._bucket, f"contains an entry with the key {sent!r} and the size {digits!r}")
        # The common shape, 2024-01-31T23:59:59.000Z, of a minute met before.
        minute = self._minutes.get(modified[:16])
        digits_of_time = modified[17:19] + modified[20:23]
        if minute is not None and len(modified) == 24 and modified[19::4] == ".Z" and digits_of_time.isdigit():
            time = minute + int(digits_of_time)
        else:
            time = self._milliseconds(sent, modified)
        checksum = get("ChecksumAlgorithm", "")
        return _new_object(
            (
                self._decode(sent),
                int(digits),
                etag.removeprefix("W/").strip('"'),
                time,
                get("StorageClass") or "STANDARD",
                f"{checksum}/{get('ChecksumType', '')}".rstrip("/") if checksum else "",
                get("VersionId"),
                get("IsLatest", "true") == "true",
                marker,
                get("IsRestoreInProgress") == "false" and bool(get("RestoreExpiryDate")),
            )
        )

    def _milliseconds(self, key: str, text: str) -> int:
        """ISO 8601 to milliseconds since the epoch."""
        try:
            # Some servers write nanoseconds; beyond the millisecond nothing is kept.
            fraction = _FRACTION.search(text)
            moment = datetime.fromisoformat(_FRACTION.sub("", text, count=1))
        except ValueError:
            _refuse(self._bucket, f"gives the time {text!r} for key {key!r}")
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        whole = int(moment.timestamp())
        if text.endswith("Z"):
            if len(self._minutes) >= _MINUTES_KEPT:
                self._minutes.clear()
            self._minutes[text[:16]] = (whole - moment.second) * 1000
        return whole * 1000 + (int(fraction[1][:3].ljust(3, "0")) if fraction else 0)


def _unreadable(bucket: str, said: str, body: bytes) -> ResponseUnreadable:
    start = f"it begins {body[:_EXCERPT]!r}" if body else "it is empty"
    return ResponseUnreadable(
        f"the listing of bucket {bucket!r} {said}; {start}. "
        "Is the endpoint an S3 server, and nothing in between that answers for it?",
        operation="LIST",
        status=200,
    )


def _refuse(bucket: str, said: str) -> NoReturn:
    raise ListingRefused(
        f"the listing of bucket {bucket!r} {said}. Nothing is planned from a listing that cannot be trusted",
        operation="LIST",
        status=200,
    )
