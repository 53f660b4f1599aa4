"""What an endpoint really does, found out by asking: canary writes at the destination, reads at the source.

A probe tests enforcement, not acceptance: a server that takes `If-None-Match: *` and overwrites all the same is the
dangerous one. What was found is part of the plan; it holds no id, no time, nothing that differs between two probes
of the same endpoint.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from schema.errors import AccessRefused, ResponseUnreadable, StoreError
from schema.objects import ListedObject, ObjectHead, etag_is_opaque
from schema.plan import Capabilities
from schema.storage_classes import ARCHIVED
from storage.port import ObjectStore, Pin
from storage.probe.bucket import (
    NONE,
    check_acl,
    read_encryption,
    read_lifecycle,
    read_object_lock,
    read_ownership,
    read_requester_pays,
    read_versioning,
    reader,
)
from storage.probe.canary import ABANDONED_MS, FOLDER, TRANSIENT, Canary
from storage.probe.checks import (
    BODY,
    ENFORCED,
    IGNORED,
    NO_ETAG,
    REJECTED,
    UNKNOWN,
    Facts,
    check_conditions,
    check_digests,
    check_headers,
    check_multipart,
    check_part_numbers,
    judge_odd_keys,
    judge_storage_classes,
    refusal,
    write_odd_keys,
    write_storage_classes,
)
from storage.probe.copies import check_copies, check_part_copies
from storage.retrying import Retry, RetryPolicy
from storage.wire.documents import parse_document

PROBE_RETRY: Final = Retry(RetryPolicy(attempts=3), throttle_seconds=60.0)
_SMALL: Final = 64 * 1024
"""Largest object whose body a source probe reads."""
_SAMPLED: Final = 16
"""Objects of a sample that are looked at."""
_MD5: Final = re.compile(r"[0-9a-f]{32}")

__all__ = ["FOLDER", "SampledObject", "probe_destination", "probe_source", "survey_source"]


def probe_destination(
    store: ObjectStore,
    prefix: str,
    *,
    token: str,
    storage_classes: Sequence[str] = (),
    acl: bool = False,
    server_copy: bool = False,
    retry: Retry = PROBE_RETRY,
    abandoned_ms: int = ABANDONED_MS,
) -> Capabilities:
    """What the destination enforces, by about forty small requests on canaries under `PREFIX.s3migrate-probe/TOKEN/`.

    The canaries are gone afterwards; if not all can be removed, an error names those left. Those of a probe that was
    killed go, too, once they are *abandoned_ms* old. *storage_classes*: the
    classes the plan would write. *acl*, *server_copy*: probe these too (four and six requests). Where the bucket
    locks every new object by default nothing is written, because nothing could be removed: facts stay unknown and
    `probe` says why. Raises AccessRefused naming the permission that is missing, and every error that concerns the
    whole run (credentials, bucket, region, TLS).
    """
    canary = Canary(store, prefix, token, retry)
    ask = reader(canary)
    facts: Facts = {}
    for read in (read_object_lock, read_versioning, read_encryption, read_lifecycle):
        facts |= read(ask)
    if acl:
        facts |= read_ownership(ask)
    if facts["bucket_default_retention"] not in (NONE, UNKNOWN):
        return Capabilities(_sorted(facts | {"probe": "nothing written: the bucket locks every new object by default"}))
    try:
        _begin(canary)
        facts |= _write_checks(canary, storage_classes, acl and facts["acl"] != REJECTED, server_copy)
    except BaseException as error:
        left = canary.remove()
        if left and isinstance(error, StoreError):
            raise _with_leftovers(error, left) from error
        raise
    left = canary.remove()
    canary.sweep(versioned=facts["versioning"] == ENFORCED, abandoned_ms=abandoned_ms)
    if left:
        raise AccessRefused(
            f"the probe of s3://{store.bucket} left {len(left)} canaries behind: {_names(left)}; remove them, and "
            "allow s3:DeleteObject (s3:DeleteObjectVersion, s3:AbortMultipartUpload) below this prefix",
            operation="DeleteObject",
            key=left[0],
        )
    return Capabilities(_sorted(facts))


def _begin(canary: Canary) -> None:
    """Write one canary and remove it: without either permission there is no probe."""
    written = canary.put("first", BODY)
    if isinstance(written, StoreError):
        raise _explained(written, canary, "s3:PutObject")
    removed = canary.ask(lambda: canary.store.delete(canary.key("first"), version_id=written.version_id))
    if isinstance(removed, StoreError):
        raise _explained(removed, canary, "s3:DeleteObject (s3:DeleteObjectVersion where the bucket has versions)")


def _explained(error: StoreError, canary: Canary, permission: str) -> StoreError:
    if not isinstance(error, AccessRefused):
        return error
    return AccessRefused(
        f"the probe may not work in s3://{canary.store.bucket}/{canary.folder}: {error}; these credentials need "
        f"{permission} there",
        operation=error.operation,
        key=error.key,
        status=error.status,
        code=error.code,
        request_id=error.request_id,
    )


def _write_checks(canary: Canary, storage_classes: Sequence[str], acl: bool, server_copy: bool) -> Facts:
    facts: Facts = {}
    for check in (check_conditions, check_digests, check_headers):
        facts |= check(canary)
    if acl:
        facts |= check_acl(canary)
    facts |= check_multipart(canary)
    facts |= check_part_numbers(canary)
    if server_copy:
        facts |= check_copies(canary)
        facts |= check_part_copies(canary)
    keys, taken = write_odd_keys(canary)
    classes = write_storage_classes(canary, storage_classes)
    listing = canary.listing()
    listed = None if isinstance(listing, StoreError) else listing
    return facts | judge_odd_keys(keys, taken, listed) | judge_storage_classes(canary, classes, storage_classes, listed)


def _with_leftovers(error: StoreError, left: Sequence[str]) -> StoreError:
    return type(error)(
        f"{error}; the probe's canaries could not all be removed, left behind: {_names(left)}",
        operation=error.operation,
        key=error.key,
        status=error.status,
        code=error.code,
        request_id=error.request_id,
        retry_after=error.retry_after,
    )


def _names(keys: Sequence[str]) -> str:
    return ", ".join(ascii(key) for key in keys)


def _sorted(facts: Facts) -> Facts:
    return dict(sorted(facts.items()))


class SampledObject(NamedTuple):
    """One source object that the probe looked at."""

    key: str
    """Unescaped."""
    head: ObjectHead
    tags: tuple[tuple[str, str], ...] | None
    """None: not asked for or not readable."""
    grants: tuple[tuple[str, str], ...] | None
    """(grantee, permission) beside the owner's own; None: not asked for or not readable."""
    annotations: int | None = None
    """How many annotations it has (at least); None: not asked, or the server knows none."""


def carried(found: SampledObject) -> Iterator[str]:
    """What a sampled object has that a migration may lose, as words for the fact sample_carries."""
    headers = found.head.headers
    if found.tags or found.head.tag_count:
        yield "tags"
    if found.grants:
        yield "grants"
    if found.annotations:
        yield "annotations"
    if headers.get("x-amz-server-side-encryption", "").startswith("aws:"):
        yield "kms"
    if "x-amz-server-side-encryption-customer-algorithm" in headers:
        yield "customer-key"
    if "x-amz-object-lock-mode" in headers:
        yield "object-lock"
    if headers.get("x-amz-object-lock-legal-hold") == "ON":
        yield "legal-hold"
    if "x-amz-website-redirect-location" in headers:
        yield "website-redirect"
    if "-" in found.head.etag:
        yield "parts"


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


def probe_source(store: ObjectStore, sample: Sequence[ListedObject]) -> Capabilities:
    """What the source tells, by reading at most sixteen objects of *sample*. See `survey_source`."""
    return survey_source(store, sample)[0]


def survey_source(
    store: ObjectStore,
    sample: Sequence[ListedObject],
    *,
    tags: bool = True,
    acl: bool = False,
    retry: Retry = PROBE_RETRY,
) -> tuple[Capabilities, tuple[SampledObject, ...]]:
    """The source's facts, and what sixteen objects of the sample (see `choose`) carry. Reads only, some 25 requests.

    Facts beside bucket_*: get_if_match, etag_is_md5 (of a small object's body), checksums_returned, tags_readable,
    acl_readable (rejected: there may be some that we may not see; ignored: the server has none) and sample_carries
    (see `carried`). Raises AccessRefused when no sampled object may be read, and what concerns the whole run.
    """
    canary = Canary(store, "", "", retry)
    facts: Facts = {}
    ask = reader(canary)
    for read in (read_versioning, read_requester_pays):
        facts |= read(ask)
    facts.pop("versioning")
    live = choose(sample)
    sampled: list[SampledObject] = []
    refused: StoreError | None = None
    for entry in live:
        found = _sample(canary, entry, facts, tags, acl)
        if isinstance(found, SampledObject):
            sampled.append(found)
        else:
            refused = found
    if refused is not None and not sampled and (isinstance(refused, AccessRefused) or refused.status == 400):
        need = (
            "objects encrypted with a customer's key (SSE-C) are refused so when no key is given; name the variable "
            "that holds it in sse_customer_key_env"
            if refused.status == 400
            else "these credentials need s3:GetObject (and kms:Decrypt for what KMS encrypts), and an SSE-C key "
            "(sse_customer_key_env) must be the one the objects were written with"
        )
        raise AccessRefused(
            f"no object of s3://{store.bucket} may be read: {refused}; {need}",
            operation=refused.operation,
            key=refused.key,
            status=refused.status,
            code=refused.code,
        )
    facts |= _read_small(canary, live, sampled)
    facts["sample_carries"] = ", ".join(sorted({kind for found in sampled for kind in carried(found)})) or NONE
    return Capabilities(_sorted(facts)), tuple(sampled)


def _sample(canary: Canary, entry: ListedObject, facts: Facts, tags: bool, acl: bool) -> SampledObject | StoreError:
    store, key, version = canary.store, entry.key, entry.version_id
    head = canary.ask(lambda: store.head(key, version_id=version, extra=[("x-amz-checksum-mode", "ENABLED")]))
    if isinstance(head, StoreError):
        return head
    returned = any(n.startswith("x-amz-checksum-") and n != "x-amz-checksum-type" for n in head.headers)
    if returned or "checksums_returned" not in facts:
        facts["checksums_returned"] = ENFORCED if returned else IGNORED
    found_tags: tuple[tuple[str, str], ...] | None = None
    # A count of 0 may mean that the tags may not be read, so one object is asked in any case.
    if tags and (head.tag_count or "tags_readable" not in facts):
        answer = canary.ask(lambda: store.get_tags(key, version_id=version))
        if isinstance(answer, StoreError):
            facts |= _unread_tags(answer)
        else:
            found_tags = answer
            facts.setdefault("tags_readable", ENFORCED)
    elif tags:
        found_tags = ()
    grants = _grants(canary, key, version, facts) if acl else None
    return SampledObject(key, head, found_tags, grants)


def _unread_tags(error: StoreError) -> Facts:
    """A 403 hides tags that may be there; a server that does not know the question has none.

    An unreadable answer is the object itself: such servers ignore the query.
    """
    if isinstance(error, AccessRefused):
        return {"tags_readable": REJECTED}
    if isinstance(error, ResponseUnreadable) or not isinstance(error, TRANSIENT):
        return {"tags_readable": IGNORED, "tagging": REJECTED}
    return {"tags_readable": UNKNOWN}


def _readable(error: StoreError) -> str:
    """The same for an ACL: rejected (403), ignored (there is no such thing), unknown."""
    return _unread_tags(error)["tags_readable"]


def _grants(canary: Canary, key: str, version: str | None, facts: Facts) -> tuple[tuple[str, str], ...] | None:
    query = [("acl", ""), *([("versionId", version)] if version else [])]
    answer = canary.ask(lambda: canary.store.subresource("GET", key, query))
    if isinstance(answer, StoreError):
        facts["acl_readable"] = _readable(answer)
        return None
    try:
        policy = parse_document(answer[1], "AccessControlPolicy")
    except ValueError:
        facts["acl_readable"] = IGNORED
        return None
    facts.setdefault("acl_readable", ENFORCED)
    owner = policy.findtext("Owner/ID") or ""
    found = []
    for grant in policy.findall("AccessControlList/Grant"):
        names = [grant.findtext(f"Grantee/{kind}") for kind in ("ID", "URI", "EmailAddress")]
        grantee = next((name for name in names if name), "")
        if grantee and grantee != owner:
            found.append((grantee, grant.findtext("Permission") or ""))
    return tuple(found)


def _read_small(canary: Canary, live: Sequence[ListedObject], sampled: list[SampledObject]) -> Facts:
    """Read the smallest sampled object: is its ETag its MD5, is If-Match honoured, has it annotations."""
    facts: Facts = {"get_if_match": UNKNOWN, "etag_is_md5": UNKNOWN}
    heads = {found.key: found.head for found in sampled}
    small = [
        entry
        for entry in live
        if entry.key in heads and entry.size <= _SMALL and (entry.storage_class not in ARCHIVED or entry.restored)
    ]
    # An ETag with a part count says nothing of MD5, so an object without one is preferred; and a current one always.
    small.sort(key=_reading_order)
    if not small:
        return facts
    entry = small[0]
    body = bytearray(entry.size)
    pin = Pin(version_id=entry.version_id)
    head = canary.ask(lambda: canary.store.get(entry.key, memoryview(body), pin=pin))
    if isinstance(head, StoreError):
        return facts
    opaque = etag_is_opaque(head.headers)
    if not opaque and _MD5.fullmatch(head.etag):
        same = hashlib.md5(body, usedforsecurity=False).hexdigest() == head.etag
        facts["etag_is_md5"] = ENFORCED if same else IGNORED
    elif not opaque and "-" not in head.etag:
        facts["etag_is_md5"] = IGNORED
    wrong = canary.ask(lambda: canary.store.get(entry.key, memoryview(body), pin=Pin(NO_ETAG, entry.version_id)))
    if isinstance(wrong, StoreError):
        # The store checks the answer's ETag itself; only a 412 comes from the server.
        facts["get_if_match"] = ENFORCED if wrong.status == 412 else refusal(wrong) if wrong.status >= 400 else IGNORED
    _count_annotations(canary, entry, sampled)
    return facts


def _reading_order(entry: ListedObject) -> tuple[bool, bool, bool, int, str]:
    """Ascending: what should be read first."""
    return not entry.is_latest, _MD5.fullmatch(entry.etag) is None, entry.size == 0, entry.size, entry.key


def _count_annotations(canary: Canary, entry: ListedObject, sampled: list[SampledObject]) -> None:
    """ListObjectAnnotations on one small object: servers that do not know it answer with the object itself."""
    answer = canary.ask(lambda: canary.store.subresource("GET", entry.key, [("annotation", "")]))
    if isinstance(answer, StoreError):
        return
    # AWS names no root in its model; nothing else that could come back has annotation names in it.
    if not re.match(rb"\s*(<\?xml[^>]*\?>)?\s*<ListObjectAnnotations(Result|Output)[\s>/]", answer[1]):
        return
    count = len(re.findall(rb"<AnnotationName>", answer[1]))
    for index, found in enumerate(sampled):
        if found.key == entry.key:
            sampled[index] = found._replace(annotations=count)
