"""What a source tells and what its objects carry, by reading a sample. Nothing is written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from schema.attributes.every import ATTRIBUTES
from schema.attributes.evidence import SampledObject
from schema.errors import AccessRefused, ResponseUnreadable, StoreError
from schema.facts import ABSENT, Capabilities, Fact, Facts, Finding, Setting
from schema.objects import ListedObject, ObjectHead, etag_is_opaque
from schema.server_headers import ServerHeaders, age_of
from schema.storage_classes import ARCHIVED
from storage.port import ObjectStore, Pin
from storage.probe.bucket import read_requester_pays, read_versioning, reader
from storage.probe.canary import TRANSIENT, Canary
from storage.probe.destination import PROBE_RETRY
from storage.probe.findings import ENFORCED, IGNORED, NO_ETAG, REJECTED, UNKNOWN, refusal
from storage.retrying import Retry
from storage.wire.documents import access_control, annotation_count

_SMALL: Final = 64 * 1024
"""Largest object whose body a source probe reads."""
_SAMPLED: Final = 16
"""Objects of a sample that are looked at."""
_EXPIRES: Final = "expires"
MOVES_SECONDS: Final = 1.1
"""After so long a Date, of whole seconds, is another."""
_MD5: Final = re.compile(r"[0-9a-f]{32}")


def choose(sample: Sequence[ListedObject]) -> list[ListedObject]:
    """The objects a survey looks at, in listed order: one of each storage class and shape, the rest spread evenly.

    An older version is another shape than a current object.
    """
    live = [entry for entry in sample if not entry.delete_marker]
    if len(live) <= _SAMPLED:
        return live
    first_of_kind: dict[tuple[str, bool, bool, bool], int] = {}
    for index, entry in enumerate(live):
        shape = (entry.storage_class, "-" in entry.etag, 0 < entry.size <= _SMALL, entry.is_latest)
        first_of_kind.setdefault(shape, index)
    picked = set(list(first_of_kind.values())[:_SAMPLED])
    rest = _SAMPLED - len(picked)
    picked.update(round(step * (len(live) - 1) / max(rest - 1, 1)) for step in range(rest))
    return [live[index] for index in sorted(picked)]


def survey_source(
    store: ObjectStore,
    sample: Sequence[ListedObject],
    *,
    tags: bool = True,
    acl: bool = False,
    retry: Retry = PROBE_RETRY,
) -> tuple[Capabilities, tuple[SampledObject, ...]]:
    """The source's facts, and what sixteen objects of the sample (see `choose`) carry. Reads only, some 25 requests.

    Facts besides settings of the bucket: GET_IF_MATCH, ETAG_IS_MD5 (of a small object's body), CHECKSUMS_RETURNED,
    TAGS_READABLE, ACL_READABLE and the setting SAMPLE_CARRIES (see Attribute.shown_by). *tags*, *acl*: ask for these,
    too. Raises AccessRefused when no sampled object may be read, and what concerns the whole run.
    """
    survey = _Survey(Canary(store, "", "", retry=retry), tags, acl)
    ask = reader(survey.canary)
    for read in (read_versioning, read_requester_pays):
        survey.facts |= read(ask)
    survey.facts.pop(Fact.VERSIONING)
    survey.look_at(choose(sample))
    return Capabilities.of(survey.facts), tuple(survey.sampled)


@dataclass(slots=True)
class _Survey:
    """One survey under way."""

    canary: Canary
    """Writes nothing; it knows how to ask."""
    tags: bool
    acl: bool
    facts: Facts = field(default_factory=dict)
    sampled: list[SampledObject] = field(default_factory=list)

    def look_at(self, chosen: Sequence[ListedObject]) -> None:
        refused: StoreError | None = None
        for entry in chosen:
            found = self._sample(entry)
            if isinstance(found, SampledObject):
                self.sampled.append(found)
            else:
                refused = found
        if refused is not None and not self.sampled:
            self._explain(refused)
        self._read_small(chosen)
        self._find_server_headers()
        if self.tags:
            self.facts.setdefault(Fact.TAG_COUNT, UNKNOWN)
        words = {word for found in self.sampled for each in ATTRIBUTES for word in each.shown_by(found)}
        self.facts[Setting.SAMPLE_CARRIES] = ", ".join(sorted(words)) or ABSENT

    def _explain(self, refused: StoreError) -> None:
        """Raises AccessRefused where that is why nothing could be looked at."""
        if refused.status == 400:
            need = (
                "objects encrypted with a customer's key (SSE-C) are refused so when no key is given; name the "
                "variable that holds it in sse_customer_key_env"
            )
        elif isinstance(refused, AccessRefused):
            need = (
                "these credentials need s3:GetObject (and kms:Decrypt for what KMS encrypts), and an SSE-C key "
                "(sse_customer_key_env) must be the one the objects were written with"
            )
        else:
            return
        raise AccessRefused(
            f"no object of s3://{self.canary.store.bucket} may be read: {refused}; {need}",
            operation=refused.operation,
            key=refused.key,
            status=refused.status,
            code=refused.code,
        )

    def _sample(self, entry: ListedObject) -> SampledObject | StoreError:
        store, key, version = self.canary.store, entry.key, entry.version_id
        head = self.canary.ask(lambda: store.head(key, version_id=version, extra=[("x-amz-checksum-mode", "ENABLED")]))
        if isinstance(head, StoreError):
            return head
        returned = any(n.startswith("x-amz-checksum-") and n != "x-amz-checksum-type" for n in head.headers)
        if returned or Fact.CHECKSUMS_RETURNED not in self.facts:
            self.facts[Fact.CHECKSUMS_RETURNED] = ENFORCED if returned else IGNORED
        tags: tuple[tuple[str, str], ...] | None = None
        # A count of 0 may mean that the tags may not be read, so one object is asked in any case.
        # So is any whose head tells no count, which by itself need not mean that there are none.
        untold = head.tag_count is None and self.facts.get(Fact.TAGS_READABLE, ENFORCED) == ENFORCED
        if self.tags and (head.tag_count or Fact.TAGS_READABLE not in self.facts or untold):
            tags = self._read_tags(key, version)
            self._judge_count(head, tags)
        elif self.tags:
            tags = ()
        return SampledObject(key, head, tags, self._read_grants(key, version) if self.acl else None)

    def _judge_count(self, head: ObjectHead, tags: tuple[tuple[str, str], ...] | None) -> None:
        """Only tagged objects show whether heads tell of tags, and one that does not speaks for all."""
        if tags and self.facts.get(Fact.TAG_COUNT) != IGNORED:
            self.facts[Fact.TAG_COUNT] = ENFORCED if head.tag_count == len(tags) else IGNORED

    def _find_server_headers(self) -> None:
        """An Expires that is later than the answer's Date by the same time in each head, and moves with it."""
        self.facts[Setting.SERVER_HEADERS] = ABSENT
        dated = [found for found in self.sampled if _EXPIRES in found.head.headers]
        ages = {age_of(found.head.headers, _EXPIRES) for found in dated}
        if len(ages) != 1 or None in ages:
            return
        before = dated[0]
        self.canary.pause(MOVES_SECONDS)
        now = self.canary.ask(lambda: self.canary.store.head(before.key, version_id=before.head.version_id))
        if isinstance(now, StoreError) or now.headers.get(_EXPIRES) == before.head.headers[_EXPIRES]:
            return
        own = ServerHeaders.seen(now.headers, frozenset({_EXPIRES}))
        if own.of(before.head.headers):
            self.facts[Setting.SERVER_HEADERS] = own.text()

    def _read_tags(self, key: str, version: str | None) -> tuple[tuple[str, str], ...] | None:
        answer = self.canary.ask(lambda: self.canary.store.get_tags(key, version_id=version))
        if not isinstance(answer, StoreError):
            self.facts.setdefault(Fact.TAGS_READABLE, ENFORCED)
            return answer
        self.facts[Fact.TAGS_READABLE] = _unread(answer)
        if _unread(answer) == IGNORED:
            self.facts[Fact.TAGGING] = REJECTED
        return None

    def _read_grants(self, key: str, version: str | None) -> tuple[tuple[str, str], ...] | None:
        query = [("acl", ""), *([("versionId", version)] if version else [])]
        answer = self.canary.ask(lambda: self.canary.store.subresource("GET", key, query))
        if isinstance(answer, StoreError):
            self.facts[Fact.ACL_READABLE] = _unread(answer)
            return None
        try:
            policy = access_control(answer[1])
        except ValueError:
            self.facts[Fact.ACL_READABLE] = IGNORED
            return None
        self.facts.setdefault(Fact.ACL_READABLE, ENFORCED)
        return tuple((grant.grantee, grant.permission) for grant in policy.grants if grant.grantee != policy.owner)

    def _read_small(self, chosen: Sequence[ListedObject]) -> None:
        """Read the smallest sampled object: is its ETag its MD5, is If-Match honoured, has it annotations."""
        self.facts |= {Fact.GET_IF_MATCH: UNKNOWN, Fact.ETAG_IS_MD5: UNKNOWN}
        looked_at = {found.key for found in self.sampled}
        small = [
            entry
            for entry in chosen
            if entry.key in looked_at
            and entry.size <= _SMALL
            and (entry.storage_class not in ARCHIVED or entry.restored)
        ]
        if not small:
            return
        entry = min(small, key=_reading_order)
        into = memoryview(bytearray(entry.size))
        store = self.canary.store
        head = self.canary.ask(lambda: store.get(entry.key, into, pin=Pin(version_id=entry.version_id)))
        if isinstance(head, StoreError):
            return
        if not etag_is_opaque(head.headers):
            if head.etag is not None and _MD5.fullmatch(head.etag):
                same = hashlib.md5(into, usedforsecurity=False).hexdigest() == head.etag
                self.facts[Fact.ETAG_IS_MD5] = ENFORCED if same else IGNORED
            elif head.etag is not None and not head.in_parts:
                self.facts[Fact.ETAG_IS_MD5] = IGNORED
        wrong = self.canary.ask(lambda: store.get(entry.key, into, pin=Pin(NO_ETAG, entry.version_id)))
        if isinstance(wrong, StoreError):
            # The store checks the answer's ETag itself; only a 412 comes from the server.
            met = ENFORCED if wrong.status == 412 else refusal(wrong) if wrong.status >= 400 else IGNORED
            self.facts[Fact.GET_IF_MATCH] = met
        self._count_annotations(entry)

    def _count_annotations(self, entry: ListedObject) -> None:
        """ListObjectAnnotations on one small object: servers that do not know it answer with the object itself."""
        answer = self.canary.ask(lambda: self.canary.store.subresource("GET", entry.key, [("annotation", "")]))
        if isinstance(answer, StoreError):
            return
        try:
            count = annotation_count(answer[1])
        except ValueError:
            return
        self.sampled = [
            found._replace(annotations=count) if found.key == entry.key else found for found in self.sampled
        ]


def _unread(error: StoreError) -> Finding:
    """Of tags or an ACL: a 403 hides some that may be there; a server that does not know the question has none.

    An unreadable answer is the object itself: such servers ignore the query.
    """
    if isinstance(error, AccessRefused):
        return REJECTED
    if isinstance(error, ResponseUnreadable) or not isinstance(error, TRANSIENT):
        return IGNORED
    return UNKNOWN


def _reading_order(entry: ListedObject) -> tuple[bool, bool, bool, int, str]:
    """Ascending: what should be read first. An ETag with a part count says nothing of MD5, so an object without one
    is preferred; and a current one always."""
    return not entry.is_latest, _MD5.fullmatch(entry.etag) is None, entry.size == 0, entry.size, entry.key
