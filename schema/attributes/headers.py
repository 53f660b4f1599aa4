"""Attributes that are headers of the write and come back as the same headers of a HEAD."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Final

from schema.attributes.attribute import Attribute, Difference, Feature, Kept, Outgoing, Sides
from schema.attributes.evidence import Evidence, FoundLoss, SampledObject
from schema.declaration import Preserve
from schema.errors import ObjectRefused
from schema.facts import Capabilities, Fact, Setting
from schema.formats.header_values import same_value
from schema.formats.metadata_text import decode_text, encode_for, same_text
from schema.objects import ObjectHead

SYSTEM_HEADERS: Final = (
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
)
"""The six headers S3 stores with an object. Expires is passed as raw text: S3 keeps values that are not dates, too."""

_CONTENT_TYPE: Final = "content-type"
_META: Final = "x-amz-meta-"
_MISSING: Final = "x-amz-missing-meta"
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_UTF8: Final = Fact.USER_METADATA_UTF8
_KEPT: Final = Fact.USER_METADATA


def stored_encoding(value: str) -> str:
    """Content-Encoding without the token aws-chunked, which belongs to an upload and some servers store."""
    if "aws-chunked" not in value.lower():
        return value
    return ",".join(t.strip() for t in value.split(",") if t.strip().lower() not in ("", "aws-chunked"))


class SystemHeaders(Attribute):
    """Content-Type and its five companions."""

    loss: Final = "system-headers"
    losses = (loss,)
    features = (
        Feature(
            Fact.SYSTEM_HEADERS,
            (
                ("content-type", "text/x-s3migrate"),
                ("cache-control", "max-age=7"),
                ("content-disposition", 'attachment; filename="probe"'),
                ("content-encoding", "gzip"),
                ("content-language", "de, en"),
                ("expires", "Thu, 01 Jan 2037 00:00:00 GMT"),
            ),
        ),
    )

    def asked(self, preserve: Preserve) -> bool:
        return preserve.system_headers

    def carry(self, write: Outgoing, kept: Kept) -> None:
        source = write.head.headers
        own = kept.source_own.of(source)
        for name in SYSTEM_HEADERS:
            if name not in source or name in own:
                continue
            if name in kept.refused_headers:
                write.dropped.append((self.loss, name))
                continue
            value = source[name]
            if name == "content-encoding":
                value = stored_encoding(value)
                if not value:
                    continue
            if not (value.isascii() and value.isprintable()):
                write.refuse_control(name, value)
            write.headers.append((name, value))

    def compare(self, sides: Sides, preserve: Preserve) -> None:
        want, have = sides.source.headers, sides.destination.headers
        for name in SYSTEM_HEADERS:
            expected, actual = want.get(name, ""), have.get(name, "")
            if expected == actual:
                continue  # nearly always, and a call costs more
            if name in sides.changed and self.loss in sides.accepted:
                continue
            if name in sides.source_own:
                expected = ""
            if not expected and (name == _CONTENT_TYPE or name in sides.destination_own):
                continue  # the source has none, none was sent, and the destination fills it in
            if name == "content-encoding":
                expected, actual = stored_encoding(expected), stored_encoding(actual)
            if not same_value(name, expected, actual):
                sides.compare(name, expected, actual, loss=self.loss)

    def find_losses(self, evidence: Evidence) -> Iterator[FoundLoss]:
        facts = evidence.destination_facts
        if not facts.lacks(Fact.SYSTEM_HEADERS):
            return
        lost = sorted(lost_headers(facts), key=SYSTEM_HEADERS.index)
        examples = evidence.keys(lambda found: any(found.head.headers.get(name) for name in lost))
        if examples:
            yield FoundLoss(self.loss, f"the destination does not keep {', '.join(lost)}", examples)


class UserMetadata(Attribute):
    """x-amz-meta-*, and its text, which S3 shows in three encodings (see metadata_text)."""

    loss: Final = "user-metadata"
    text_loss: Final = "user-metadata-text"
    names_loss: Final = "metadata-names"
    size_loss: Final = "metadata-size"
    losses = (loss, text_loss, names_loss, size_loss)
    features = (
        Feature(Fact.USER_METADATA, ((f"{_META}s3migrateprobe", "Plain Text"),)),
        Feature(_UTF8, ((f"{_META}s3migrateutf8", "h\u00e9 \u6587".encode().decode("latin-1")),)),
        Feature(Fact.METADATA_UNDERSCORE, ((f"{_META}s3migrate_low", "underscore"),)),
        Feature(Fact.METADATA_DOT, ((f"{_META}s3migrate.dot", "dot"),)),
        Feature(Fact.METADATA_HYPHEN, ((f"{_META}s3migrate-hyphen", "hyphen"),)),
        Feature(Fact.USER_METADATA_RFC2047, ((f"{_META}s3migratewords", "=?UTF-8?B?aMOpIOaWhw==?="),)),
    )

    def asked(self, preserve: Preserve) -> bool:
        return preserve.user_metadata

    def carry(self, write: Outgoing, kept: Kept) -> None:
        source = write.head.headers
        limit, dropped = kept.metadata_limit, kept.dropped_characters
        if limit is not None and _size(write.head) > limit:
            text = f"{_size(write.head)} bytes of user metadata, where it takes {limit} at most"
            write.dropped.append((self.size_loss, text))
            return
        for name in source:
            if _META not in name or not name.startswith(_META):  # `in` alone costs a third of the call
                continue
            if dropped and not dropped.isdisjoint(name[len(_META) :]):
                write.dropped.append((self.names_loss, f"metadata {name[11:]}"))
                continue
            value = source[name]
            if not (value.isascii() and value.isprintable()):
                write.refuse_control(name, value)
                value = encode_for(value, kept.facts.enforces(_UTF8))
            if not _TOKEN.fullmatch(name):
                raise ObjectRefused(
                    f"{write.key!r}: metadata name {name[11:]!r} cannot be sent as a header", key=write.key
                )
            write.headers.append((name, value))
        missing = source.get(_MISSING, "").strip()
        if missing not in ("", "0"):
            write.dropped.append((self.text_loss, f"{missing} metadata entries that the source cannot show"))

    def compare(self, sides: Sides, preserve: Preserve) -> None:
        expected, actual = sides.source.user_metadata(), sides.destination.user_metadata()
        if preserve.last_modified and sides.source.last_modified:
            expected.setdefault(preserve.last_modified.lower(), sides.source.last_modified)
        if expected == actual:
            return
        text_given_up, all_given_up = self.text_loss in sides.accepted, self.loss in sides.accepted
        names_given_up, size_given_up = self.names_loss in sides.accepted, self.size_loss in sides.accepted
        for name in sorted(expected.keys() | actual.keys()):
            want, have = expected.get(name), actual.get(name)
            if want is not None and have is not None and same_text(want, have):
                continue
            if want is None and _META + name in sides.destination_own:
                continue
            if text_given_up and want is not None and not decode_text(want).isascii():
                continue
            if have is None and (all_given_up or (names_given_up and not sides.dropped_characters.isdisjoint(name))):
                continue
            if have is None and size_given_up and not actual:
                continue
            # Absent and empty are not the same, so a name that is missing is shown by the other side's value.
            sides.found.append(Difference(_META + name, want or "", have or ""))

    def find_losses(self, evidence: Evidence) -> Iterator[FoundLoss]:
        facts = evidence.destination_facts
        if facts.lacks(Fact.USER_METADATA):
            examples = evidence.keys(lambda found: found.head.user_metadata())
            if examples:
                yield FoundLoss(self.loss, "the destination does not keep user metadata", examples)
        dropped, limit = dropped_characters(facts), metadata_limit(facts)
        examples = evidence.keys(lambda found: any(not dropped.isdisjoint(n) for n in found.head.user_metadata()))
        if examples:
            named = " or ".join(f"'{character}'" for character in sorted(dropped))
            text = f"the destination drops or changes metadata names with {named}; those entries are left out"
            yield FoundLoss(self.names_loss, text, examples)
        large = evidence.keys(lambda found: limit is not None and _size(found.head) > limit)
        if large:
            text = f"the destination takes no user metadata of more than {limit} bytes; such objects arrive without any"
            yield FoundLoss(self.size_loss, text, large)
        if facts.lacks(_UTF8) and facts.lacks(Fact.USER_METADATA_RFC2047):
            examples = evidence.keys(lambda found: _has_text(found.head))
            if examples:
                text = "the destination keeps non-ASCII metadata neither as UTF-8 nor as RFC 2047 words"
                yield FoundLoss(self.text_loss, text, examples)
        missing = evidence.keys(lambda found: found.head.headers.get(_MISSING, "0") != "0")
        if missing:
            text = "the source holds metadata entries that no header can show"
            yield FoundLoss(self.text_loss, text, missing)


_DROPPED: Final = ((Fact.METADATA_UNDERSCORE, "_"), (Fact.METADATA_DOT, "."), (Fact.METADATA_HYPHEN, "-"))
_SIZES: Final = ((Fact.METADATA_2KB, 1024), (Fact.METADATA_4KB, 2048))
"""The fact, and the size that is certainly accepted where it does not hold: half of what was tried."""


def lost_headers(facts: Capabilities) -> frozenset[str]:
    """System headers that did not come back as the probe sent them."""
    return frozenset(facts.setting(Setting.SYSTEM_HEADERS_LOST).split(", ")).intersection(SYSTEM_HEADERS)


def refused_headers(facts: Capabilities) -> frozenset[str]:
    """System headers that make the destination refuse a write."""
    return frozenset(facts.setting(Setting.SYSTEM_HEADERS_REFUSED).split(", ")).intersection(SYSTEM_HEADERS)


def dropped_characters(facts: Capabilities) -> frozenset[str]:
    """Of metadata names. Where no metadata is kept at all, that is a loss of another name."""
    if facts.denies(_KEPT):
        return frozenset()
    return frozenset(character for fact, character in _DROPPED if facts.denies(fact))


def metadata_limit(facts: Capabilities) -> int | None:
    """Bytes of user metadata, names and values, that the destination accepts; None: no limit was found."""
    return next((size for fact, size in _SIZES if facts.denies(fact)), None) if not facts.denies(_KEPT) else None


def _size(head: ObjectHead) -> int:
    return sum(len(name) + len(value) for name, value in head.user_metadata().items())


def _has_text(head: ObjectHead) -> bool:
    return any(not decode_text(value).isascii() for value in head.user_metadata().values())


class LastModified(Attribute):
    """The source's Last-Modified, which no write can set, as user metadata under a declared name."""

    def asked(self, preserve: Preserve) -> bool:
        return bool(preserve.last_modified)

    def carry(self, write: Outgoing, kept: Kept) -> None:
        """An entry of that name that the source already has is older, and stays."""
        name = _META + (kept.preserve.last_modified or "").lower()
        at = write.head.last_modified
        if at is not None and name not in write.head.headers:
            write.headers.append((name, at))

    def compare(self, sides: Sides, preserve: Preserve) -> None:
        """Where user metadata is kept it is compared there."""
        if not preserve.user_metadata and sides.source.last_modified:
            name = _META + (preserve.last_modified or "").lower()
            sides.compare(name, sides.source.last_modified, sides.destination.headers.get(name, ""))


class HeaderAttribute(Attribute):
    """One header that is sent and shown as it is. Subclasses say which, and by which switch."""

    loss: ClassVar[str]
    header: ClassVar[str]
    fact: ClassVar[Fact]
    words: ClassVar[str]
    """For people, e.g. 'website redirect'."""

    def shown_by(self, found: SampledObject) -> Iterator[str]:
        if self.header in found.head.headers:
            yield self.loss

    def carry(self, write: Outgoing, kept: Kept) -> None:
        value = write.head.headers.get(self.header)
        if value is None:
            return
        if kept.facts.rejects(self.fact):
            write.dropped.append((self.loss, self.words))
            return
        write.refuse_control(self.header, value)
        write.headers.append((self.header, value))

    def compare(self, sides: Sides, preserve: Preserve) -> None:
        expected, actual = (side.headers.get(self.header, "") for side in (sides.source, sides.destination))
        sides.compare(self.loss, expected, actual, loss=self.loss)

    def find_losses(self, evidence: Evidence) -> Iterator[FoundLoss]:
        if evidence.destination_facts.lacks(self.fact):
            examples = evidence.keys(lambda found: self.header in found.head.headers)
            if examples:
                yield FoundLoss(self.loss, f"the destination keeps no {self.words}", examples)


class WebsiteRedirect(HeaderAttribute):
    """Where a visitor of this key is redirected by a website endpoint."""

    loss = "website-redirect"
    losses = (loss,)
    header = "x-amz-website-redirect-location"
    fact = Fact.WEBSITE_REDIRECT
    words = "website redirect"
    features = (Feature(fact, ((header, "/s3migrate-probe"),)),)

    def asked(self, preserve: Preserve) -> bool:
        return preserve.website_redirect


HEADERS: Final[tuple[Attribute, ...]] = (SystemHeaders(), UserMetadata(), LastModified(), WebsiteRedirect())
"""In the order in which they are shown; part of every.ATTRIBUTES."""
