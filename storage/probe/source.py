"""What a source states and what its objects carry, by reading a sample. Nothing is written."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from schema.attributes.every import ATTRIBUTES
from schema.attributes.evidence import SampledObject
from schema.declaration import Preserve
from schema.errors import AccessRefused, ObjectArchived, ResponseUnreadable, StoreError
from schema.facts import ABSENT, Capabilities, Fact, Facts, Finding, Setting
from schema.objects import ListedObject, ObjectHead, etag_is_opaque
from schema.server_headers import ServerHeaders, age_of
from schema.storage_classes import ARCHIVED, CLASS_HEADER, STANDARD
from schema.tiers import MAX_PART, WHOLE_MAX
from storage.port import ObjectStore, Pin
from storage.probe.bucket import read_requester_pays, read_versioning, reader
from storage.probe.canary import PROBING, TRANSIENT, Canary, Conduct
from storage.probe.conditions import read_condition
from storage.probe.findings import ENFORCED, IGNORED, REJECTED, UNKNOWN, refusal
from storage.probe.listings import agrees
from storage.wire.documents import access_control, annotation_count

AS_USUAL: Final = Preserve()
_SMALL: Final = 64 * 1024
"""Largest object whose body a source probe reads."""
_SAMPLED: Final = 24
"""Objects of a sample that are examined."""
_READ: Final = 4
"""Small objects whose ETag is compared with their bytes."""
_EXPIRES: Final = "expires"
MOVES_SECONDS: Final = 1.1
"""Seconds after which a Date, which has whole seconds, is certain to differ."""
_MD5: Final = re.compile(r"[0-9a-f]{32}")


def choose(sample: Sequence[ListedObject]) -> list[ListedObject]:
    """The objects a survey examines, in listed order: one of each storage class and shape, the largest, the oldest and
    the newest, the rest spread evenly.

    Shapes differ in size tier, in being written in parts, and in being current or an older version.
    """
    live = [entry for entry in sample if not entry.delete_marker]
    if len(live) <= _SAMPLED:
        return live
    first_of_kind: dict[tuple[str, bool, int, bool], int] = {}
    for index, entry in enumerate(live):
        shape = (entry.storage_class, "-" in entry.etag, _tier(entry.size), entry.is_latest)
        first_of_kind.setdefault(shape, index)
    indexes = range(len(live))
    picked = set(list(first_of_kind.values())[: _SAMPLED - len(_EXTREMES)])
    picked.update(most(indexes, key=lambda index: value(live[index])) for most, value in _EXTREMES)
    rest = _SAMPLED - len(picked)
    picked.update(round(step * (len(live) - 1) / max(rest - 1, 1)) for step in range(rest))
    return [live[index] for index in sorted(picked)]


def _tier(size: int) -> int:
    return bisect_left(_TIERS, size)


_TIERS: Final = (0, _SMALL, WHOLE_MAX, MAX_PART)
_Most = Callable[..., int]
_EXTREMES: Final[tuple[tuple[_Most, Callable[[ListedObject], int]], ...]] = (
    (max, lambda entry: entry.size),
    (min, lambda entry: entry.modified_ms),
    (max, lambda entry: entry.modified_ms),
)


def survey_source(
    store: ObjectStore,
    sample: Sequence[ListedObject],
    preserve: Preserve = AS_USUAL,
    *,
    conduct: Conduct = PROBING,
) -> tuple[Capabilities, tuple[SampledObject, ...]]:
    """The source's facts, and what 24 objects of the sample (see `choose`) carry. Reads only, some 55 requests.

    Facts besides settings of the bucket: GET_IF_MATCH, ETAG_IS_MD5 (of small objects' bytes), LISTED_ETAG,
    CHECKSUMS_RETURNED, READS_PART_NUMBERS, TAGS_READABLE, ACL_READABLE and the setting SAMPLE_CARRIES (see
    Attribute.shown_by); tags, ACLs and part layouts are asked for where *preserve* keeps them. Raises AccessRefused
    when no sampled object may be read, and what concerns the whole run.
    """
    survey = _Survey(Canary(store, "", "", conduct=conduct), preserve)
    ask = reader(survey.canary)
    for read in (read_versioning, read_requester_pays):
        survey.facts |= read(ask)
    survey.facts.pop(Fact.VERSIONING)
    survey.look_at(choose(sample))
    return Capabilities.of(survey.facts), tuple(survey.sampled)


Tags = tuple[tuple[str, str], ...]


class _Ahead(NamedTuple):
    """Answers for one object, asked for beside those for others. None: not asked for."""

    head: ObjectHead | StoreError | None = None
    tags: Tags | StoreError | None = None
    acl: tuple[Mapping[str, str], bytes] | StoreError | None = None


@dataclass(slots=True)
class _Survey:
    """One survey under way."""

    canary: Canary
    """Writes nothing; used for its requests."""
    preserve: Preserve
    facts: Facts = field(default_factory=dict)
    sampled: list[SampledObject] = field(default_factory=list)

    def look_at(self, chosen: Sequence[ListedObject]) -> None:
        refused: StoreError | None = None
        for entry, ahead in zip(chosen, self._ahead_of(chosen), strict=False):
            found = self._sample(entry, ahead)
            if isinstance(found, SampledObject):
                self.sampled.append(found)
            else:
                refused = found
        if refused is not None and not self.sampled:
            self._explain(refused)
        self._read_some(chosen)
        self._find_server_headers()
        if self.preserve.tags:
            self.facts.setdefault(Fact.TAG_COUNT, UNKNOWN)
        words = {word for found in self.sampled for each in ATTRIBUTES for word in each.shown_by(found)}
        self.facts[Setting.SAMPLE_CARRIES] = ", ".join(sorted(words)) or ABSENT

    def _ahead_of(self, chosen: Sequence[ListedObject]) -> Iterator[_Ahead]:
        """What `_sample` will ask of each of *chosen*, as far as the first one shows what that is."""
        yield _Ahead()
        others = chosen[1:]
        tags = self.preserve.tags and self.facts.get(Fact.TAGS_READABLE) == ENFORCED
        if self.facts.get(Fact.CHECKSUMS_RETURNED) == REJECTED or not self.canary.far:
            yield from [_Ahead()] * len(others)
            return

        def ask(entry: ListedObject) -> _Ahead:
            key, version = entry.key, entry.version_id
            return _Ahead(
                self._checked_head(entry),
                self._ask_tags(key, version) if tags else None,
                self._ask_acl(key, version) if self.preserve.acl else None,
            )

        yield from self.canary.each([partial(ask, entry) for entry in others])

    def _explain(self, refused: StoreError) -> None:
        """Raises AccessRefused where that is why nothing could be examined."""
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
            f"no object of s3://{self.canary.store.bucket} can be read: {refused}; {need}",
            operation=refused.operation,
            key=refused.key,
            status=refused.status,
            code=refused.code,
        )

    def _sample(self, entry: ListedObject, ahead: _Ahead) -> SampledObject | StoreError:
        key, version = entry.key, entry.version_id
        head = self._head(entry, ahead.head)
        if isinstance(head, StoreError):
            return head
        self._hold_against_listing(entry, head)
        if CLASS_HEADER not in head.headers and entry.storage_class not in ("", STANDARD):
            self.facts[Fact.HEAD_STORAGE_CLASS] = IGNORED
        tags: Tags | None = None
        # A count of 0 may mean that the tags may not be read, so one object is always asked for its tags.
        # So is any whose head states no count, or a count of none: that alone need not mean that there are none.
        untold = not head.tag_count and self.facts.get(Fact.TAGS_READABLE, ENFORCED) == ENFORCED
        if self.preserve.tags and (head.tag_count or Fact.TAGS_READABLE not in self.facts or untold):
            tags = self._read_tags(ahead.tags if ahead.tags is not None else self._ask_tags(key, version))
            self._judge_count(head, tags)
        elif self.preserve.tags:
            tags = ()
        grants = None
        if self.preserve.acl:
            grants = self._read_grants(ahead.acl if ahead.acl is not None else self._ask_acl(key, version))
        return SampledObject(key, head, tags, grants, version_id=version)

    def _checked_head(self, entry: ListedObject) -> ObjectHead | StoreError:
        checked = [("x-amz-checksum-mode", "ENABLED")]
        return self.canary.ask(partial(self.canary.store.head, entry.key, version_id=entry.version_id, extra=checked))

    def _head(self, entry: ListedObject, asked: ObjectHead | StoreError | None) -> ObjectHead | StoreError:
        """With its checksums, unless the server is known to refuse such requests. *asked*: what it answered already."""
        head = partial(self.canary.store.head, entry.key, version_id=entry.version_id)
        if self.facts.get(Fact.CHECKSUMS_RETURNED) == REJECTED:
            return self.canary.ask(head)
        if asked is None:
            asked = self._checked_head(entry)
        if not isinstance(asked, StoreError):
            returned = any(n.startswith("x-amz-checksum-") and n != "x-amz-checksum-type" for n in asked.headers)
            if returned or Fact.CHECKSUMS_RETURNED not in self.facts:
                self.facts[Fact.CHECKSUMS_RETURNED] = ENFORCED if returned else IGNORED
            return asked
        if asked.status not in (400, 501):
            return asked
        plain = self.canary.ask(head)
        if isinstance(plain, StoreError):
            return asked
        self.facts[Fact.CHECKSUMS_RETURNED] = REJECTED
        return plain

    def _judge_count(self, head: ObjectHead, tags: Tags | None) -> None:
        """Only tagged objects show whether heads count tags; a single one that does not decides for all."""
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

    def _hold_against_listing(self, entry: ListedObject, head: ObjectHead) -> None:
        """LISTED_ETAG. Nothing is concluded from an object that has changed since it was listed."""
        if self.facts.get(Fact.LISTED_ETAG) == IGNORED:
            return
        found = agrees(self.canary, entry, head)
        if found is not None:
            self.facts[Fact.LISTED_ETAG] = ENFORCED if found else IGNORED

    def _ask_tags(self, key: str, version: str | None) -> Tags | StoreError:
        return self.canary.ask(lambda: self.canary.store.get_tags(key, version_id=version))

    def _read_tags(self, answer: Tags | StoreError) -> Tags | None:
        if not isinstance(answer, StoreError):
            self.facts.setdefault(Fact.TAGS_READABLE, ENFORCED)
            return answer
        if isinstance(answer, ObjectArchived):  # some endpoints keep the tags from reading, too: until it is restored
            return None
        self.facts[Fact.TAGS_READABLE] = _unread(answer)
        if _unread(answer) == IGNORED:
            self.facts[Fact.TAGGING] = REJECTED
        return None

    def _ask_acl(self, key: str, version: str | None) -> tuple[Mapping[str, str], bytes] | StoreError:
        query = [("acl", ""), *([("versionId", version)] if version else [])]
        return self.canary.ask(lambda: self.canary.store.subresource("GET", key, query))

    def _read_grants(self, answer: tuple[Mapping[str, str], bytes] | StoreError) -> Tags | None:
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

    def _read_some(self, chosen: Sequence[ListedObject]) -> None:
        """Read a few small objects: are their ETags MD5s? And one of each kind: is If-Match honoured?"""
        self.facts |= {Fact.GET_IF_MATCH: UNKNOWN, Fact.ETAG_IS_MD5: UNKNOWN}
        heads = {(found.key, found.version_id): found.head for found in self.sampled}
        readable = [
            entry
            for entry in chosen
            if (entry.key, entry.version_id) in heads and (entry.storage_class not in ARCHIVED or entry.restored)
        ]
        small = sorted((entry for entry in readable if entry.size <= _SMALL), key=_reading_order)[:_READ]
        self._judge_etags(self.canary.each([partial(self._compare_bytes, entry) for entry in small]))
        in_parts = [entry for entry in readable if heads[entry.key, entry.version_id].in_parts]
        for entry in (*(small or readable)[:1], *in_parts[:1]):
            head = heads[entry.key, entry.version_id]
            if self.facts[Fact.GET_IF_MATCH] in (UNKNOWN, ENFORCED):
                seen = read_condition(self.canary, entry.key, head, version=entry.version_id)
                self.facts[Fact.GET_IF_MATCH] = seen
        if self.preserve.part_layout and in_parts:
            self.facts[Fact.READS_PART_NUMBERS] = self._reads_part_numbers(in_parts[0])
        if small:
            self._count_annotations(small[0])

    def _judge_etags(self, seen: Sequence[Finding]) -> None:
        """ETAG_IS_MD5. Where most ETags are MD5s, one that is not is a fact of its object alone, which the run finds by
        itself; else all ETags of the source prove nothing.
        """
        fakes, true = seen.count(IGNORED), seen.count(ENFORCED)
        if fakes or true:
            self.facts[Fact.ETAG_IS_MD5] = ENFORCED if fakes < true else IGNORED

    def _compare_bytes(self, entry: ListedObject) -> Finding:
        """Whether one object's ETag is the MD5 of its bytes; UNKNOWN: it is not meant to be.

        It is read twice, because bytes may be damaged in transit.
        """
        into, store = memoryview(bytearray(entry.size)), self.canary.store
        digests = []
        for _ in range(2):
            head = self.canary.ask(lambda: store.get(entry.key, into, pin=Pin(version_id=entry.version_id)))
            if isinstance(head, StoreError) or head.etag is None or head.in_parts or etag_is_opaque(head.headers):
                return UNKNOWN
            if not _MD5.fullmatch(head.etag):
                return IGNORED
            digests.append(hashlib.md5(into, usedforsecurity=False).hexdigest())
            if digests[-1] == head.etag:
                return ENFORCED
        return IGNORED if digests[0] == digests[1] else UNKNOWN

    def _reads_part_numbers(self, entry: ListedObject) -> Finding:
        query = [("partNumber", "1"), *([("versionId", entry.version_id)] if entry.version_id else [])]
        answer = self.canary.ask(lambda: self.canary.store.subresource("HEAD", entry.key, query))
        if isinstance(answer, StoreError):
            return refusal(answer)
        said = answer[0].get("content-length", "")
        told = said.isascii() and said.isdigit() and int(said) > 0
        return ENFORCED if told and (int(said) < entry.size or entry.etag.endswith("-1")) else IGNORED

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
    """Of tags or an ACL: a 403 may hide some; a server that does not know the request has none.

    An unreadable answer is the object itself: such servers ignore the query.
    """
    if isinstance(error, AccessRefused):
        return REJECTED
    if isinstance(error, ResponseUnreadable) or not isinstance(error, TRANSIENT):
        return IGNORED
    return UNKNOWN


def _reading_order(entry: ListedObject) -> tuple[bool, bool, bool, int, str]:
    """Ascending: what should be read first. An ETag with a part count says nothing about MD5, so an object without one
    is preferred, and current ones always.
    """
    return not entry.is_latest, _MD5.fullmatch(entry.etag) is None, entry.size == 0, entry.size, entry.key
