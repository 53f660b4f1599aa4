"""Checks of what an object carries besides its bytes: headers, metadata, tags, ACL. Canary -> facts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from schema.attributes.attribute import Feature
from schema.attributes.every import FEATURES
from schema.checksums import FINGERPRINT
from schema.errors import ResponseUnreadable, StoreError
from schema.facts import Fact, Facts, Finding, Setting
from storage.probe.canary import TRANSIENT, Canary
from storage.probe.findings import BODY, ENFORCED, IGNORED, REJECTED, UNKNOWN, refusal
from storage.wire.documents import AccessControlPolicy, access_control

TAGS: Final = (("probe", "a b+c"), ("s3migrate", ""))
_TAGGING: Final = ("x-amz-tagging", "probe=a%20b%2Bc&s3migrate=")


def check_headers(canary: Canary) -> Facts:
    """System headers, metadata in three dresses, redirect and tags: one PUT where the server takes them all."""
    facts: Facts = dict.fromkeys((f.fact for f in FEATURES), UNKNOWN)
    facts |= dict.fromkeys((Fact.CHECKSUMS_RETURNED, Fact.TAGGING_HEADER, Fact.TAGGING), UNKNOWN)
    checksum = (FINGERPRINT.header, FINGERPRINT.encoded(BODY))
    ascii_only = [feature for feature in FEATURES if feature.fact != Fact.USER_METADATA_UTF8]
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
    lost = {feature.fact: feature.lost(head) for feature in features}
    facts: Facts = {fact: IGNORED if names else ENFORCED for fact, names in lost.items()}
    if lost.get(Fact.SYSTEM_HEADERS):
        facts[Setting.SYSTEM_HEADERS_LOST] = ", ".join(lost[Fact.SYSTEM_HEADERS])
    returned = any(n.startswith("x-amz-checksum-") and n != "x-amz-checksum-type" for n in head.headers)
    facts[Fact.CHECKSUMS_RETURNED] = ENFORCED if returned else IGNORED
    return facts


def _check_tags(canary: Canary, sent: bool) -> Facts:
    """Tags by header (*sent* with canary "headers" already) and by PutObjectTagging, read back each time.

    Servers that do not know `?tagging` answer a GET with the object and take a PUT for a new object, so a PUT is
    made only where a GET was understood.
    """
    facts: Facts = {Fact.TAGGING: UNKNOWN}
    if not sent:
        answer = canary.put("headers", BODY, [_TAGGING])
        if isinstance(answer, StoreError):
            facts[Fact.TAGGING_HEADER] = UNKNOWN if isinstance(answer, TRANSIENT) else REJECTED
            if isinstance(canary.put("headers", BODY), StoreError):
                return facts
    read = _tags_read_back(canary, TAGS)
    facts.setdefault(Fact.TAGGING_HEADER, read)
    if read in (REJECTED, UNKNOWN):
        return facts | {Fact.TAGGING: read}
    key = canary.key("headers")
    other = (("s3migrate", "é/2"),)
    put = canary.ask(lambda: canary.store.put_tags(key, other))
    if isinstance(put, StoreError):
        facts[Fact.TAGGING] = UNKNOWN if isinstance(put, TRANSIENT) else REJECTED
        return facts
    facts[Fact.TAGGING] = _tags_read_back(canary, other)
    return facts


def _tags_read_back(canary: Canary, expected: Sequence[tuple[str, str]]) -> Finding:
    found = canary.ask(lambda: canary.store.get_tags(canary.key("headers")))
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
