"""Checks of one PUT: its preconditions and the digests it is sent with. Canary -> facts."""

from __future__ import annotations

from schema import checksums
from schema.errors import DestinationChanged, DigestMismatch, StoreError
from schema.facts import Fact, Facts
from storage.port import Guard
from storage.probe.canary import TRANSIENT, Canary
from storage.probe.findings import (
    BODY,
    CREATE_ONLY,
    ENFORCED,
    IGNORED,
    NO_ETAG,
    REJECTED,
    UNKNOWN,
    WRONG,
    precondition,
    refusal,
)


def check_conditions(canary: Canary) -> Facts:
    """If-None-Match: * on a key that exists; If-Match with another ETag, and with the right one."""
    written = canary.put("base", BODY, guard=CREATE_ONLY)
    facts: Facts = {Fact.IF_NONE_MATCH: UNKNOWN, Fact.IF_MATCH: UNKNOWN, Fact.ETAG_IS_MD5: UNKNOWN}
    if isinstance(written, StoreError):
        # The key is new, so whatever refuses this does not understand the header; but a 412 tells of a lost answer,
        # or of a canary that an earlier probe left.
        facts[Fact.IF_NONE_MATCH] = ENFORCED if isinstance(written, DestinationChanged) else refusal(written)
        written = canary.put("base", BODY)
    else:
        facts[Fact.IF_NONE_MATCH] = precondition(canary.put("base", BODY, guard=CREATE_ONLY))
    if isinstance(written, StoreError):
        return facts
    facts[Fact.ETAG_IS_MD5] = ENFORCED if written.etag == checksums.md5(BODY).hex() else IGNORED
    facts[Fact.IF_MATCH] = precondition(canary.put("base", BODY, guard=Guard(if_match=NO_ETAG)))
    if facts[Fact.IF_MATCH] == ENFORCED:
        honoured = canary.put("base", BODY, guard=Guard(if_match=written.etag))
        if isinstance(honoured, DestinationChanged):
            facts[Fact.IF_MATCH] = REJECTED
    return facts


def digest_headers(body: bytes) -> dict[Fact, tuple[str, str]]:
    """The header that carries *body*'s digest, by the fact it asks about."""
    found = {Fact.CONTENT_MD5: checksums.content_md5(checksums.md5(body))}
    return found | {each.fact: (each.header, each.encoded(body)) for each in checksums.PROBED}


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
