"""One page of a listing, from its XML bytes. Strict: a page that does not prove itself is refused.

botocore takes a 200 with an empty or an HTML body for an empty bucket; a plan made of that would delete everything. So
the root element, the bucket's name, IsTruncated and the continuation must be stated explicitly. A single malformed
entry is different: it becomes a PartialEntry, and the page is accepted.

How keys are written is settled in coding.py; a byte that XML cannot hold is dealt with in salvage.py. A page of the
ordinary shape is read in ordinary.py, with the same outcome in a fraction of the time.
Python compares strings by code point, which is UTF-8 byte order, which is the order S3 lists in.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, NoReturn
from xml.parsers import expat

from schema.ends import listed_by_another_name
from schema.errors import ListingRefused, ResponseUnreadable, ServerFault
from storage.listing import dialect, ordinary, salvage
from storage.listing.coding import AskKey, Coding, KeyCodings, KeyExists, ListedText, decoded, is_certain, spellings
from storage.listing.entry import KIND, EntryReader, PartialEntry, ShownEntry, Times, bare_etag, told_size

Query = tuple[tuple[str, str], ...]

_EXCERPT = 80
_NOT_PARSED = (expat.ExpatError, ValueError, LookupError)
"""What expat raises: the last two for bytes outside the declared encoding, and for one it does not know."""
_CONTENTS = frozenset({"Contents"})
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_GROUP = "CommonPrefixes"
_REPLACEMENT = "\ufffd"
NOT_UTF8 = "its key is not valid UTF-8; rename the object, or exclude it"
NOT_XML = (
    "its key holds a character that XML cannot, so that the listing shows it broken; rename the object, or exclude it"
)
GROUPED = (
    "the server lists this prefix in place of the keys beneath it, though no delimiter was asked for; "
    "exclude it, or migrate it as a pair of its own"
)
WHICH_KEY = (
    "the listing writes spaces and '+' alike, and which of the keys that exist is meant cannot be told; "
    "rename one of them, or exclude them"
)


class Page(NamedTuple):
    """One answer to a LIST."""

    entries: list[ShownEntry]
    """In the server's order. Empty pages in mid-listing are legal."""
    ascending: bool
    """Keys ascend in UTF-8 bytes: strictly in a listing of objects, with repeats in one of versions."""
    following: Query
    """The query parameters that ask for the next page; () on the last one."""
    shown: int
    """Entries in the page as the server sent it, counted before any was read."""


class _Collected:
    """What the parser has gathered: fields of the page itself and one dictionary per entry."""

    __slots__ = ("common_prefixes", "entries", "fields", "root")

    def __init__(self) -> None:
        self.root = ""
        self.fields: dict[str, str] = {}
        self.entries: list[dict[str, str]] = []
        self.common_prefixes: list[str] = []

    @property
    def declared(self) -> bool:
        """Whether the page says that its keys are url-encoded."""
        return self.fields.get("EncodingType") == "url"


def _no_answer(_key: str, _listed: ListedText) -> KeyExists:
    """The AskKey of callers that have no store."""
    return KeyExists.UNKNOWN


@dataclass(frozen=True, slots=True)
class PageReader:
    """Reads the pages of one bucket. Usable from many threads.

    `objects` reads answers to ListObjectsV2 and ListObjects, `versions` those to ListObjectVersions; versions and
    delete markers keep their order. Both raise ResponseUnreadable when the body is not whole XML of the right kind (a
    retry may help), ServerFault when it is an <Error>, ListingRefused when it is well-formed but cannot be trusted.
    """

    bucket: str
    prefix: str = ""
    codings: KeyCodings = field(default_factory=KeyCodings)
    ask: AskKey = _no_answer
    times: Times = field(default_factory=Times)

    def objects(self, body: bytes) -> Page:
        """One page of objects."""
        body = dialect.plain(body, "ListBucketResult")
        quick = ordinary.cut(body)
        if quick is not None:
            page = self._ordinary(quick, shown=body.count(b"</Contents"))
            if page is not None:
                return page
        found = self._collect(body, root="ListBucketResult", kinds=_CONTENTS)
        truncated = self._checked_truncation(found)
        entries = self._entries(found)
        following = self._after_objects(found, entries) if truncated else ()
        return self._page(found, entries, following, shown=body.count(b"</Contents"), before=operator.lt)

    def _ordinary(self, quick: ordinary.Cut, *, shown: int) -> Page | None:
        """A page of the ordinary shape. None: its keys need the parser."""
        found = self._collect(quick.around, root="ListBucketResult", kinds=_CONTENTS)
        truncated = self._checked_truncation(found)
        keys = self._plain_keys(quick.columns.keys, declared=found.declared)
        if keys is None:
            return None
        whole = ordinary.entries(quick.columns, keys, self.times)
        if whole is None:
            return None
        entries: list[ShownEntry] = [*whole]
        following = self._after_objects(found, entries) if truncated else ()
        return self._page(found, entries, following, shown=shown, before=operator.lt)

    def _plain_keys(self, texts: Sequence[str], *, declared: bool) -> list[str] | None:
        """What *texts*, which have no line break, mean; None: that needs the whole page."""
        joined = "\n".join(texts)
        if is_certain(joined):
            return list(texts)
        question = self.codings.question(declared)
        if question is not None and question.search(joined):
            return None
        if self.codings.merges and "+" in joined:
            return None
        coding = self.codings.current(declared)
        if coding is Coding.PLAIN or ("%" not in joined and "+" not in joined):
            return list(texts)
        keys = [decoded(text, coding) if "%" in text or "+" in text else text for text in texts]
        return None if LONE_SURROGATE.search("\n".join(keys)) else keys

    def versions(self, body: bytes) -> Page:
        """One page of versions."""
        body = dialect.plain(body, "ListVersionsResult")
        kinds = frozenset({"Version", "DeleteMarker"})
        found = self._collect(body, root="ListVersionsResult", kinds=kinds)
        truncated = self._checked_truncation(found)
        entries = self._entries(found)
        following = self._after_versions(found) if truncated else ()
        shown = body.count(b"</Version>") + body.count(b"</DeleteMarker>")
        return self._page(found, entries, following, shown=shown, before=operator.le)

    # --- the way to the next page

    def _after_objects(self, found: _Collected, entries: Sequence[ShownEntry]) -> Query:
        token = salvage.restored(found.fields.get("NextContinuationToken", ""))
        if token:
            return (("continuation-token", token),)
        # Without a delimiter the last key is where V1 goes on, whatever NextMarker says and however it is written.
        last = entries[-1].key if entries else self._marker(found, "NextMarker")
        if not last:
            self._refuse("says that more follows but gives no continuation token and no key to go on from")
        return (("start-after" if "KeyCount" in found.fields else "marker", last),)

    def _after_versions(self, found: _Collected) -> Query:
        marker = self._marker(found, "NextKeyMarker")
        if not marker:
            self._refuse("says that more follows but gives no next key marker")
        following: Query = (("key-marker", marker),)
        version = found.fields.get("NextVersionIdMarker", "")
        return (*following, ("version-id-marker", version)) if version else following

    def _marker(self, found: _Collected, name: str) -> str:
        return decoded(salvage.restored(found.fields.get(name, "")), self._coding(found))

    # --- the entries

    def _page(
        self,
        found: _Collected,
        entries: list[ShownEntry],
        following: Query,
        *,
        shown: int,
        before: Callable[[str, str], bool],
    ) -> Page:
        """The entries with their number, order and prefix checked."""
        if shown != len(entries):
            self._refuse(f"shows {shown} entries, of which {len(entries)} could be read")
        grouped = _grouped(found, entries, self._coding(found))
        keys = [entry.key for entry in entries]
        ascending = all(map(before, keys, islice(keys, 1, None)))
        if grouped:
            entries = sorted([*entries, *grouped], key=operator.itemgetter(0)) if ascending else [*entries, *grouped]
            keys = [entry.key for entry in entries]
        if self.prefix:
            # Keys that start with a prefix are one unbroken stretch of the order, so its ends speak for all.
            for key in (keys[:1] + keys[-1:]) if ascending else keys:
                if not key.startswith(self.prefix):
                    self._refuse(f"contains {key!r}, which is not under the prefix {self.prefix!r} that was asked for")
        return Page(entries, ascending, following, shown + len(grouped))

    def _coding(self, found: _Collected) -> Coding:
        return self.codings.current(found.declared)

    def _entries(self, found: _Collected) -> list[ShownEntry]:
        texts = [fields.get("Key", "") for fields in found.entries]
        if "" in texts:
            self._refuse("contains an entry without a key")
        keys = self._keys(found, texts)
        read = EntryReader(self.times).read
        doubtful = not found.declared
        entries = [
            read(fields, key, _flaw(key, text)) for fields, key, text in zip(found.entries, keys, texts, strict=True)
        ]
        # Some servers write it for what XML cannot hold; then there is no such key, as a HEAD will tell.
        return [_doubted(entry) if _REPLACEMENT in entry.key else entry for entry in entries] if doubtful else entries

    def _keys(self, found: _Collected, texts: list[str]) -> list[str]:
        """What *texts* mean, after settling how this server writes keys."""
        declared = found.declared
        question = self.codings.question(declared)
        plain = [salvage.restored(text) for text in texts]
        joined = "\n".join(plain)
        if question is not None and question.search(joined):
            listed = [
                ListedText(text, told_size(fields.get("Size", "")), bare_etag(fields.get("ETag", "")))
                for text, fields in zip(plain, found.entries, strict=True)
                if fields[KIND] == "Contents"
            ]
            self.codings.consider(declared, listed, self.ask)
        coding = self.codings.current(declared)
        if coding is Coding.PLAIN or ("%" not in joined and "+" not in joined):
            return plain
        keys = [decoded(text, coding) for text in plain]
        return self._told_apart(found, plain, keys) if "+" in joined else keys

    def _told_apart(self, found: _Collected, texts: list[str], keys: list[str]) -> list[str]:
        """Of a server that writes spaces and pluses alike: the keys that exist, each in its place in the order."""
        if any(fields[KIND] != "Contents" for fields in found.entries):
            return keys
        places: dict[str, list[int]] = {}
        for place, text in enumerate(texts):
            if "+" in text:
                places.setdefault(text, []).append(place)
        for text, those in places.items():
            if len(those) > 1:
                self.codings.saw_twice(text)
        if not self.codings.merges:
            return keys
        for text, those in places.items():
            fields = found.entries[those[0]]
            listed = ListedText(text, told_size(fields.get("Size", "")), bare_etag(fields.get("ETag", "")))
            there = [key for key in spellings(text) if self.ask(key, listed) in (KeyExists.SAME, KeyExists.OTHER)]
            for place, key in zip(those, there, strict=False):
                keys[place] = key
            if len(there) != len(those):
                for place in those:
                    found.entries[place]["Size"] = ""  # a HEAD will tell; settle.py deals with what it cannot
        return keys

    # --- the document

    def _collect(self, body: bytes, *, root: str, kinds: frozenset[str]) -> _Collected:
        """Run the parser over *body* and check the root element."""
        declared = b"<EncodingType>url</EncodingType>" in body
        # XML makes a raw CR an LF, which only matters where it stands in a key as it is.
        text = body if declared or b"\r" not in body else body.replace(b"\r", b"&#13;")
        try:
            found = self._parsed(text, kinds)
        except _NOT_PARSED as error:
            mended = salvage.mended(text) if body else None
            try:
                if mended is None:
                    raise error
                found = self._parsed(mended, kinds)
            except _NOT_PARSED:
                raise self._unreadable(f"is incomplete XML ({error})", body) from None
        if found.root == "Error":
            code, message = found.fields.get("Code", ""), found.fields.get("Message", "")
            raise ServerFault(
                f"the listing of bucket {self.bucket!r} answered 200 with an error inside: {code} {message}".rstrip(),
                operation="LIST",
                status=200,
                code=code,
                request_id=found.fields.get("RequestId", ""),
            )
        if found.root != root:
            raise self._unreadable(f"is a <{found.root}> where <{root}> was expected", body)
        encoding = found.fields.get("EncodingType", "")
        if encoding not in ("", "url"):
            self._refuse(f"uses the unknown key encoding {encoding!r}")
        return found

    def _parsed(self, body: bytes, kinds: frozenset[str]) -> _Collected:
        found = _Collected()
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.buffer_size = 1 << 16
        texts: list[str] = []
        open_elements = [found.fields]
        grouping = kinds | {_GROUP}

        def start_element(name: str, _attributes: object) -> None:
            if not found.root:
                found.root = name
            if name in grouping:
                open_elements.append({})
            texts.clear()

        def end_element(name: str) -> None:
            if name in grouping:
                fields = open_elements.pop()
                if name == _GROUP:
                    found.common_prefixes.append(fields.get("Prefix", ""))
                else:
                    fields[KIND] = name
                    found.entries.append(fields)
            else:
                open_elements[-1][name] = texts[0] if len(texts) == 1 else "".join(texts)
            texts.clear()

        def refuse_doctype(name: str, *_declaration: object) -> None:
            if name.lower() == "html":  # of a proxy that is about to pass requests on again, perhaps
                raise self._unreadable("is an HTML page, by its document type", body)
            self._refuse("carries a document type declaration, which no S3 server sends")

        parser.StartElementHandler = start_element
        parser.EndElementHandler = end_element
        parser.CharacterDataHandler = texts.append
        parser.StartDoctypeDeclHandler = refuse_doctype
        parser.Parse(body, True)
        return found

    def _checked_truncation(self, found: _Collected) -> bool:
        """Whether more pages follow, after the checks that any page must pass."""
        name = found.fields.get("Name")
        if name is None:
            self._refuse("does not name its bucket")
        if not _names(name, self.bucket):
            self._refuse(f"is of bucket {name!r}")
        truncated = found.fields.get("IsTruncated")
        if truncated not in {"true", "false"}:
            said = "does not say whether it is complete (no IsTruncated)"
            self._refuse(said if truncated is None else f"says IsTruncated={truncated!r}")
        return truncated == "true"

    def _unreadable(self, said: str, body: bytes) -> ResponseUnreadable:
        start = f"it begins {body[:_EXCERPT]!r}" if body else "it is empty"
        return ResponseUnreadable(
            f"the listing of bucket {self.bucket!r} {said}; {start}. "
            "Is the endpoint an S3 server, and nothing in between that answers for it?",
            operation="LIST",
            status=200,
        )

    def _refuse(self, said: str) -> NoReturn:
        raise ListingRefused(
            f"the listing of bucket {self.bucket!r} {said}. Nothing is planned from a listing that cannot be trusted",
            operation="LIST",
            status=200,
        )


def _names(said: str, bucket: str) -> bool:
    """Whether a page that says it is of *said* is of *bucket*: an access point's pages name what is behind it."""
    through = listed_by_another_name(bucket) and said != ""
    return said == bucket or through or said.casefold() == bucket.casefold()


def _flaw(key: str, text: str) -> str:
    """What is wrong with a key that the page shows as *text*; '' for nothing."""
    if not key.isascii() and LONE_SURROGATE.search(key):
        return NOT_UTF8
    return NOT_XML if salvage.is_mended(text) else ""


def _doubted(entry: ShownEntry) -> ShownEntry:
    return entry if isinstance(entry, PartialEntry) else PartialEntry(*entry)


def _grouped(found: _Collected, entries: Sequence[ShownEntry], coding: Coding) -> list[ShownEntry]:
    """Prefixes listed in place of the keys beneath them. One whose keys are listed as well says nothing."""
    prefixes = sorted({decoded(salvage.restored(text), coding) for text in found.common_prefixes} - {""})
    return [
        PartialEntry(prefix, None, None, None, "STANDARD", "", None, True, False, False, GROUPED)
        for prefix in prefixes
        if not any(entry.key.startswith(prefix) for entry in entries)
    ]
