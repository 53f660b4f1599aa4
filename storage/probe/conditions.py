"""Checks of one PUT: its preconditions and the digests it is sent with. Canary -> facts."""

from __future__ import annotations

from functools import partial

from schema import checksums
from schema.errors import DestinationChanged, DigestMismatch, ObjectMissing, StoreError
from schema.facts import Fact, Facts, Finding
from schema.objects import ObjectHead
from storage.port import Guard, Pin
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
    honoured,
    precondition,
    refusal,
)


def check_conditions(canary: Canary) -> Facts:
    """If-None-Match: * on a key that exists; If-Match with another ETag, and with the right one."""
    written = canary.put("base", BODY, guard=CREATE_ONLY)
    facts: Facts = {Fact.IF_NONE_MATCH: UNKNOWN, Fact.IF_MATCH: UNKNOWN, Fact.ETAG_IS_MD5: UNKNOWN}
    if isinstance(written, StoreError):
        # The key is new, so a refusal means that the header is not understood; but a 412 may follow a lost answer,
        # or a canary that an earlier probe left. Where nothing is there, 412 is answered to any condition.
        facts[Fact.IF_NONE_MATCH] = refusal(written)
        if isinstance(written, DestinationChanged):
            there = canary.ask(lambda: canary.store.head(canary.key("base")))
            facts[Fact.IF_NONE_MATCH] = REJECTED if isinstance(there, ObjectMissing) else ENFORCED
        written = canary.put("base", BODY)
    else:
        facts[Fact.IF_NONE_MATCH] = precondition(canary.put("base", BODY, guard=CREATE_ONLY))
    if isinstance(written, StoreError):
        return facts
    facts[Fact.ETAG_IS_MD5] = ENFORCED if written.etag == checksums.md5(BODY).hex() else IGNORED
    facts[Fact.IF_MATCH] = precondition(canary.put("base", BODY, guard=Guard(if_match=NO_ETAG)))
    if facts[Fact.IF_MATCH] == ENFORCED:
        facts[Fact.IF_MATCH] = honoured(canary.put("base", BODY, guard=Guard(if_match=written.etag)))
    return facts


def check_conditions_of_parts(canary: Canary, found: Facts) -> Facts:
    """What was *found* enforced of PUT, asked again of an object written in parts, the canary "base": its ETag is of
    another make, and some servers compare with what it is not. And the conditions of GET and DELETE.

    "base" is an object written in one PUT afterwards.
    """
    head = canary.ask(lambda: canary.store.head(canary.key("base")))
    if isinstance(head, StoreError):
        return {Fact.GET_IF_MATCH: UNKNOWN, Fact.DELETE_IF_MATCH: UNKNOWN}
    of_base = partial(_conditions_of_base, canary, head, again=found.get(Fact.IF_MATCH) == ENFORCED)
    facts, deleted = canary.each([of_base, partial(_delete_condition, canary)])
    return facts | deleted


def _conditions_of_base(canary: Canary, head: ObjectHead, *, again: bool) -> Facts:
    """GET_IF_MATCH and, once *again*, IF_MATCH."""
    facts: Facts = {Fact.GET_IF_MATCH: read_condition(canary, canary.key("base"), head)}
    if again:
        facts[Fact.IF_MATCH] = honoured(canary.put("base", BODY, guard=Guard(if_match=head.etag)))
    return facts


def read_condition(canary: Canary, key: str, head: ObjectHead, *, version: str | None = None) -> Finding:
    """If-Match of a GET of one byte of *key*, which is as *head* says: the right one must pass, and a wrong one not."""
    store = canary.store
    into = memoryview(bytearray(min(1, head.size)))

    def get(etag: str | None) -> object:
        return canary.ask(lambda: store.get(key, into, pin=Pin(etag, version), start=0 if into else None))

    wrong = get(NO_ETAG)
    # The store compares the answer's ETag itself; only a 412 comes from the server.
    if not isinstance(wrong, StoreError) or wrong.status < 400:
        return IGNORED
    return honoured(get(head.etag)) if wrong.status == 412 else refusal(wrong)


def _delete_condition(canary: Canary) -> Facts:
    """DELETE_IF_MATCH, of canary "digest"."""
    key = canary.key("digest")
    written = canary.put("digest", BODY)
    if isinstance(written, StoreError):
        return {Fact.DELETE_IF_MATCH: UNKNOWN}
    finding = precondition(canary.ask(lambda: canary.store.delete(key, if_match=NO_ETAG)))
    if finding == ENFORCED:
        answer = canary.ask(lambda: canary.store.delete(key, if_match=written.etag))
        finding = honoured(answer)
        if not isinstance(answer, StoreError):
            canary.remember(key, answer)
    return {Fact.DELETE_IF_MATCH: finding}


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
            # Some refuse the right one with the same words.
            own = canary.put("digest", BODY, [right[name]])
            facts[name] = REJECTED if isinstance(own, DigestMismatch) else honoured(own)
        elif not isinstance(answer, StoreError):
            facts[name] = IGNORED
        elif isinstance(answer, TRANSIENT):
            facts[name] = UNKNOWN
        else:
            # Refused, but with words of its own: is it the digest or the header that it minds?
            facts[name] = REJECTED if isinstance(canary.put("digest", BODY, [right[name]]), StoreError) else ENFORCED
    return facts
