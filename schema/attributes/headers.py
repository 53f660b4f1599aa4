"""Attributes that are headers of the write and come back as the same headers of a HEAD."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Final

from schema.attributes.attribute import Attribute, Difference, Feature, Kept, Outgoing, Sides
from schema.attributes.evidence import Evidence, FoundLoss, SampledObject
from schema.declaration import Preserve
from schema.errors import ObjectRefused
from schema.facts import Fact, Setting
from schema.metadata_text import decode_text, encode_for, same_text
from schema.objects import ObjectHead

SYSTEM_HEADERS: Final = (
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
)
"""The six headers S3 stores with an object. Expires is passed as raw text: S3 keeps what is no date, too."""

_CONTENT_TYPE: Final = "content-type"
_META: Final = "x-amz-meta-"
_MISSING: Final = "x-amz-missing-meta"
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_UTF8: Final = Fact.USER_METADATA_UTF8


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
            if name in sides.source_own:
                expected = ""
            if not expected and (name == _CONTENT_TYPE or name in sides.destination_own):
                continue  # nothing was told, nothing sent, and the destination fills it in
            if name == "content-encoding":
                expected, actual = stored_encoding(expected), stored_encoding(actual)
            sides.compare(name, expected, actual, loss=self.loss)

    def find_losses(self, evidence: Evidence) -> Iterator[FoundLoss]:
        facts = evidence.destination_facts
        if not facts.lacks(Fact.SYSTEM_HEADERS):
            return
        lost = [name for name in facts.setting(Setting.SYSTEM_HEADERS_LOST).split(", ") if name]
        examples = evidence.keys(lambda found: any(found.head.headers.get(name) for name in lost))
        if examples:
            yield FoundLoss(self.loss, f"the destination does not keep {', '.join(lost)}", examples)


class UserMetadata(Attribute):
    """x-amz-meta-*, and its text, which S3 shows in three encodings (see metadata_text)."""

    loss: Final = "user-metadata"
    text_loss: Final = "user-metadata-text"
    losses = (loss, text_loss)
    features = (
        Feature(Fact.USER_METADATA, ((f"{_META}s3migrate-probe", "Plain Text"),)),
        Feature(_UTF8, ((f"{_META}s3migrate-utf8", "h\u00e9 \u6587".encode().decode("latin-1")),)),
        Feature(Fact.USER_METADATA_RFC2047, ((f"{_META}s3migrate-words", "=?UTF-8?B?aMOpIOaWhw==?="),)),
    )

    def asked(self, preserve: Preserve) -> bool:
        return preserve.user_metadata

    def carry(self, write: Outgoing, kept: Kept) -> None:
        source = write.head.headers
        for name in source:
            if _META not in name or not name.startswith(_META):  # `in` alone costs a third of the call
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
        for name in sorted(expected.keys() | actual.keys()):
            want, have = expected.get(name), actual.get(name)
            if want is not None and have is not None and same_text(want, have):
                continue
            if text_given_up and want is not None and not decode_text(want).isascii():
                continue
            if all_given_up and have is None:
                continue
            # Absent and empty are not the same, so a name that is missing is shown by the other side's value.
            sides.found.append(Difference(_META + name, want or "", have or ""))

    def find_losses(self, evidence: Evidence) -> Iterator[FoundLoss]:
        facts = evidence.destination_facts
        if facts.lacks(Fact.USER_METADATA):
            examples = evidence.keys(lambda found: found.head.user_metadata())
            if examples:
                yield FoundLoss(self.loss, "the destination does not keep user metadata", examples)
        if facts.lacks(_UTF8) and facts.lacks(Fact.USER_METADATA_RFC2047):
            examples = evidence.keys(lambda found: _has_text(found.head))
            if examples:
                text = "the destination keeps non-ASCII metadata neither as UTF-8 nor as RFC 2047 words"
                yield FoundLoss(self.text_loss, text, examples)
        missing = evidence.keys(lambda found: found.head.headers.get(_MISSING, "0") != "0")
        if missing:
            text = "the source holds metadata entries that no header can show"
            yield FoundLoss(self.text_loss, text, missing)


def _has_text(head: ObjectHead) -> bool:
    return any(not decode_text(value).isascii() for value in head.user_metadata().values())


class LastModified(Attribute):
    """The source's Last-Modified, which S3 keeps for nobody, as user metadata under a declared name."""

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
    """Where a website's visitor of this key is sent instead."""

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
