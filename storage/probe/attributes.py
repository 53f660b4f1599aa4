"""Checks of what an object carries besides its bytes: headers, metadata, tags, ACL. Canary -> facts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from schema.attributes.attribute import Feature
from schema.attributes.every import FEATURES
from schema.attributes.headers import SYSTEM_HEADERS
from schema.checksums import FINGERPRINT
from schema.errors import ResponseUnreadable, ServerFault, StoreError
from schema.facts import ABSENT, Fact, Facts, Finding, Setting
from schema.server_headers import ServerHeaders
from storage.port import CopySource
from storage.probe.canary import TRANSIENT, Canary
from storage.probe.findings import BODY, ENFORCED, IGNORED, REJECTED, UNKNOWN, refusal
from storage.wire.documents import AccessControlPolicy, access_control

TAGS: Final = (("probe", "a b+c"), ("s3migrate", ""))
_ODD: Final = frozenset({Fact.USER_METADATA_UTF8, Fact.METADATA_UNDERSCORE, Fact.METADATA_DOT, Fact.METADATA_HYPHEN})
TAGGING: Final = ("x-amz-tagging", "probe=a%20b%2Bc&s3migrate=")


def check_headers(canary: Canary) -> Facts:
    """System headers, metadata in three encodings, redirect and tags: one PUT where the server accepts them all."""
    facts: Facts = dict.fromkeys((f.fact for f in FEATURES), UNKNOWN)
    facts |= dict.fromkeys((Fact.CHECKSUMS_RETURNED, Fact.TAGGING_HEADER, Fact.TAGGING), UNKNOWN)
    checksum = (FINGERPRINT.header, FINGERPRINT.encoded(BODY))
    plain = [feature for feature in FEATURES if feature.fact not in _ODD]
    taken: Sequence[Feature] = ()
    tagged = False
    # What servers are known to fail on is dropped first: raw UTF-8, odd names, tags, checksums.
    for features, extra in (
        (FEATURES, [TAGGING, checksum]),
        (plain, [TAGGING, checksum]),
        (FEATURES, [checksum]),
        (FEATURES, []),
        (plain, []),
    ):
        headers = [header for feature in features for header in feature.headers] + extra
        if not isinstance(canary.put("headers", BODY, headers), StoreError):
            facts |= _judge_head(canary, features)
            taken, tagged = features, TAGGING in extra
            break
    if tagged:
        facts |= _check_tags(canary, True)
    for feature in FEATURES:
        if feature not in taken:
            answer = canary.put("headers", BODY, feature.headers)
            if not isinstance(answer, StoreError):
                facts |= _judge_head(canary, [feature])
            elif feature.fact == Fact.SYSTEM_HEADERS and refusal(answer) == REJECTED:
                facts |= _check_one_by_one(canary, feature)
            else:
                facts[feature.fact] = refusal(answer)
    return facts if tagged else facts | _check_tags(canary, False)


def _check_one_by_one(canary: Canary, feature: Feature) -> Facts:
    """The system headers together were refused: which of them a write may not carry, and what comes of the others."""
    refused, taken = [], []
    for header in feature.headers:
        answer = canary.put("headers", BODY, [header])
        if isinstance(answer, StoreError) and refusal(answer) == REJECTED:
            refused.append(header[0])
        else:
            taken.append(header)
    others = Feature(feature.fact, tuple(taken))
    if not refused or isinstance(canary.put("headers", BODY, taken), StoreError):
        return {feature.fact: REJECTED}
    facts = _judge_head(canary, [others])
    lost = [*refused, *filter(None, str(facts.get(Setting.SYSTEM_HEADERS_LOST, "")).split(", "))]
    named = {Setting.SYSTEM_HEADERS_LOST: ", ".join(lost), Setting.SYSTEM_HEADERS_REFUSED: ", ".join(refused)}
    return facts | {feature.fact: IGNORED} | named


def _judge_head(canary: Canary, features: Sequence[Feature]) -> Facts:
    key = canary.key("headers")
    head = canary.ask(lambda: canary.store.head(key, extra=[("x-amz-checksum-mode", "ENABLED")]))
    refused = isinstance(head, StoreError) and refusal(head) == REJECTED
    if refused:
        head = canary.ask(lambda: canary.store.head(key))
    if isinstance(head, StoreError):
        return {}
    lost = {feature.fact: feature.lost(head) for feature in features}
    facts: Facts = {fact: IGNORED if names else ENFORCED for fact, names in lost.items()}
    if lost.get(Fact.SYSTEM_HEADERS):
        facts[Setting.SYSTEM_HEADERS_LOST] = ", ".join(lost[Fact.SYSTEM_HEADERS])
    returned = any(n.startswith("x-amz-checksum-") and n != "x-amz-checksum-type" for n in head.headers)
    facts[Fact.CHECKSUMS_RETURNED] = ENFORCED if returned else REJECTED if refused else IGNORED
    if head.etag is not None and canary.etags.get(key, head.etag) != head.etag:
        facts[Fact.WRITTEN_ETAG] = facts[Fact.ETAG_IS_MD5] = IGNORED
    return facts


def check_metadata_sizes(canary: Canary) -> Facts:
    """How much user metadata an object may have; what is refused or truncated is too much."""
    facts: Facts = {}
    for fact, size in ((Fact.METADATA_2KB, 2048), (Fact.METADATA_4KB, 4096)):
        feature = Feature(fact, _metadata_of(size))
        answer = canary.put("sized", BODY, feature.headers)
        if isinstance(answer, StoreError):
            # Some servers fail on it: a 500 that comes back every time is an answer.
            facts[fact] = REJECTED if isinstance(answer, ServerFault) else refusal(answer)
            continue
        head = canary.ask(lambda: canary.store.head(canary.key("sized")))
        facts[fact] = UNKNOWN if isinstance(head, StoreError) else IGNORED if feature.lost(head) else ENFORCED
    return facts


def _metadata_of(size: int) -> tuple[tuple[str, str], ...]:
    """*size* bytes of names and values, in entries of 256."""
    return tuple((f"x-amz-meta-{number:06d}", "v" * 250) for number in range(size // 256))


def _check_tags(canary: Canary, sent: bool) -> Facts:
    """Tags by header (*sent* with canary "headers" already) and by PutObjectTagging, read back each time.

    Servers that do not know `?tagging` answer a GET with the object and take a PUT for a new object, so it is PUT only
    where a GET was understood.
    """
    facts: Facts = {Fact.TAGGING: UNKNOWN}
    if not sent:
        answer = canary.put("headers", BODY, [TAGGING])
        if isinstance(answer, StoreError):
            facts[Fact.TAGGING_HEADER] = UNKNOWN if isinstance(answer, TRANSIENT) else REJECTED
            if isinstance(canary.put("headers", BODY), StoreError):
                return facts
    read = tags_read_back(canary, TAGS)
    facts.setdefault(Fact.TAGGING_HEADER, read)
    if read in (REJECTED, UNKNOWN):
        return facts | {Fact.TAGGING: read}
    key = canary.key("headers")
    other = (("s3migrate", "é/2"),)
    put = canary.ask(lambda: canary.store.put_tags(key, other))
    if isinstance(put, StoreError):
        facts[Fact.TAGGING] = UNKNOWN if isinstance(put, TRANSIENT) else REJECTED
        return facts
    facts[Fact.TAGGING] = tags_read_back(canary, other)
    if facts[Fact.TAGGING] == ENFORCED:
        head = canary.ask(lambda: canary.store.head(key))
        told = UNKNOWN if isinstance(head, StoreError) else ENFORCED if head.tag_count == len(other) else IGNORED
        facts[Fact.TAG_COUNT] = told
    return facts


def check_copy_tags(canary: Canary) -> Facts:
    """Tags sent with a CopyObject that replaces metadata and tags, as the run's copies do."""
    source, key = canary.key("base"), canary.key("copy")
    # Not the source's tags, which a server that ignores the directive would copy.
    tagging = ("x-amz-tagging", "probe=copied")
    headers = [("x-amz-metadata-directive", "REPLACE"), ("x-amz-tagging-directive", "REPLACE"), tagging]
    answer = canary.ask(lambda: canary.store.copy(CopySource(canary.store.bucket, source), key, headers))
    if isinstance(answer, StoreError):
        return {Fact.TAGGING_COPY: refusal(answer)}
    canary.remember(key, answer)
    return {Fact.TAGGING_COPY: tags_read_back(canary, (("probe", "copied"),), "copy")}


def check_server_headers(canary: Canary) -> Facts:
    """What the server shows for canary "base", which was written without headers. Its Content-Type does not matter:
    where none was sent, none is compared.
    """
    head = canary.ask(lambda: canary.store.head(canary.key("base")))
    if isinstance(head, StoreError):
        return {}
    metadata = {name for name in head.headers if name.startswith("x-amz-meta-")}
    own = ServerHeaders.seen(head.headers, frozenset(SYSTEM_HEADERS) - {"content-type"} | metadata)
    return {Setting.SERVER_HEADERS: own.text() or ABSENT}


def tags_read_back(canary: Canary, expected: Sequence[tuple[str, str]], name: str = "headers") -> Finding:
    """Whether canary *name* has exactly the tags *expected*."""
    found = canary.ask(lambda: canary.store.get_tags(canary.key(name)))
    if isinstance(found, ResponseUnreadable):
        return REJECTED
    if isinstance(found, StoreError):
        return refusal(found)
    return ENFORCED if sorted(found) == sorted(expected) else IGNORED


def check_acl(canary: Canary) -> Facts:
    """A harmless grant (READ_ACP to the object's own owner) sent with a PUT of canary "base" and read back."""
    key = canary.key("base")
    before = _acl(canary, key)
    if not isinstance(before, AccessControlPolicy):
        return {Fact.ACL: before}
    if not re.fullmatch(r"[\w@:.=-]+", before.owner):
        return {Fact.ACL: REJECTED}
    answer = canary.put("base", BODY, [("x-amz-grant-read-acp", f'id="{before.owner}"')])
    if isinstance(answer, StoreError):
        return {Fact.ACL: refusal(answer)}
    after = _acl(canary, key)
    if not isinstance(after, AccessControlPolicy):
        return {Fact.ACL: after}
    granted = any(grant.permission == "READ_ACP" for grant in after.grants)
    return {Fact.ACL: ENFORCED if granted else IGNORED}


def _acl(canary: Canary, key: str) -> AccessControlPolicy | Finding:
    answer = canary.ask(lambda: canary.store.subresource("GET", key, [("acl", "")]))
    if isinstance(answer, StoreError):
        return refusal(answer)
    try:
        return access_control(answer[1])
    except ValueError:
        return REJECTED
