"""What a destination really does, found out by canary writes.

A probe tests enforcement, not acceptance: the dangerous server is the one that accepts `If-None-Match: *` and
overwrites anyway. The findings are part of the plan; they hold no id, no time, nothing that differs between two probes
of the same endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from schema.errors import AccessRefused, DeclarationError, ObjectMissing, StoreError
from schema.facts import ABSENT, Capabilities, Fact, Facts, Setting
from schema.objects import ListedObject
from storage.port import HeaderList, ObjectStore
from storage.probe.attributes import (
    check_acl,
    check_copy_tags,
    check_headers,
    check_metadata_sizes,
    check_server_headers,
)
from storage.probe.bucket import (
    read_encryption,
    read_lifecycle,
    read_object_lock,
    read_ownership,
    read_versioning,
    reader,
)
from storage.probe.canary import PROBING, Canary, Conduct
from storage.probe.conditions import check_conditions, check_conditions_of_parts, check_digests
from storage.probe.copies import check_copies, check_part_copies
from storage.probe.findings import BODY, ENFORCED, IGNORED, REJECTED, UNKNOWN
from storage.probe.keys import (
    judge_odd_keys,
    judge_storage_classes,
    write_doubted,
    write_odd_keys,
    write_storage_classes,
)
from storage.probe.listings import judge_listing
from storage.probe.multipart import check_multipart, check_part_numbers


@dataclass(frozen=True, slots=True)
class Questions:
    """What a plan needs to know besides what is always probed."""

    storage_classes: Sequence[str] = ()
    """The classes it would write: one request each."""
    acl: bool = False
    """Four requests."""
    server_copy: bool = False
    """Some twenty requests."""
    carried: HeaderList = ()
    """Headers of every write of the run, such as encryption, which the bucket's policy may require."""
    other_ways: Sequence[tuple[str, ObjectStore]] = ()
    """Further endpoints that are declared to lead to the bucket, by URL: each is asked for one canary."""


def probe_destination(
    store: ObjectStore,
    prefix: str,
    asked: Questions = Questions(),
    *,
    token: str,
    conduct: Conduct = PROBING,
) -> Capabilities:
    """What the destination enforces, by some sixty small requests on canaries under `PREFIX.s3migrate-probe/TOKEN/`.

    The canaries are gone afterwards; if not all can be removed, an error names those left. Those of a probe that was
    killed go, too. Where the bucket locks every new object by default nothing is written, because nothing could be
    removed: facts stay unknown and the setting `probe` says why. Raises AccessRefused naming the permission that is
    missing, and every error that concerns the whole run (credentials, bucket, region, TLS).
    """
    canary = Canary(store, prefix, token, conduct=conduct, carried=asked.carried)
    facts = _read_settings(canary, asked.acl)
    canary.versioned = facts[Setting.BUCKET_VERSIONING] != ABSENT
    if facts[Setting.BUCKET_DEFAULT_RETENTION] not in (ABSENT, UNKNOWN):
        facts[Setting.PROBE] = "nothing written: the bucket locks every new object by default"
        return Capabilities.of(facts)
    try:
        facts |= _begin(canary, asked.other_ways, facts)
        facts |= _write_checks(canary, asked, acl=asked.acl and facts[Fact.ACL] != REJECTED)
    except BaseException as error:
        left = canary.remove()
        if left and isinstance(error, StoreError):
            raise _with_leftovers(error, left) from error
        raise
    left = canary.remove()
    canary.sweep(versioned=facts[Fact.VERSIONING] == ENFORCED, abandoned_ms=conduct.abandoned_ms)
    if left:
        raise AccessRefused(
            f"the probe of s3://{store.bucket} left {len(left)} canaries behind: {_names(left)}; remove them, and "
            "allow s3:DeleteObject (s3:DeleteObjectVersion, s3:AbortMultipartUpload) below this prefix",
            operation="DeleteObject",
            key=left[0],
        )
    return Capabilities.of(facts)


def _read_settings(canary: Canary, acl: bool) -> Facts:
    ask = reader(canary)
    facts = read_object_lock(ask)
    reads = [read_versioning, read_encryption, read_lifecycle, *([read_ownership] if acl else [])]
    return facts | _all_of(canary, [partial(read, ask) for read in reads])


def _begin(canary: Canary, other_ways: Sequence[tuple[str, ObjectStore]], facts: Facts) -> Facts:
    """Write one canary and remove it: without either permission there is no probe. Every other way must show it.

    A write that names its version shows that the bucket keeps versions, where its setting could not be read.
    """
    written = canary.put("first", BODY)
    if isinstance(written, StoreError):
        raise _explained(written, canary, "s3:PutObject")
    for url, store in other_ways:
        seen = canary.ask(partial(store.head, canary.key("first")))
        if isinstance(seen, ObjectMissing):
            raise DeclarationError(
                f"endpoint_url: {url} does not lead to the same bucket as the endpoint in use: what is written through "
                f"one cannot be seen through the other ({seen}); name only endpoints of one bucket"
            )
    removed = canary.ask(lambda: canary.store.delete(canary.key("first"), version_id=written.version_id))
    if isinstance(removed, StoreError):
        raise _explained(removed, canary, "s3:DeleteObject (s3:DeleteObjectVersion where the bucket has versions)")
    told = facts[Fact.VERSIONING] == UNKNOWN and written.version_id not in (None, "null")
    return {Fact.VERSIONING: ENFORCED} if told else {}


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


def _all_of(canary: Canary, checks: Sequence[Callable[[], Facts]]) -> Facts:
    """What independent *checks* find; the later ones have the last word."""
    facts: Facts = {}
    for found in canary.each(checks):
        facts |= found
    return facts


def _in_turn(canary: Canary, *checks: Callable[[Canary], Facts]) -> Facts:
    """What *checks* find of which each needs the one before."""
    facts: Facts = {}
    for check in checks:
        facts |= check(canary)
    return facts


def _write_checks(canary: Canary, asked: Questions, *, acl: bool) -> Facts:
    """Checks that have canaries of their own are one group; the next group needs what the one before has written."""
    of_base = [check_conditions, check_server_headers, *([check_acl] if acl else [])]
    others = (check_digests, check_headers, check_metadata_sizes)
    facts = _all_of(canary, [partial(_in_turn, canary, *of_base), *(partial(check, canary) for check in others)])
    tagged = facts[Fact.TAGGING_HEADER] == ENFORCED
    facts |= _all_of(canary, [partial(check_multipart, canary, tagged=tagged), partial(check_part_numbers, canary)])
    if asked.server_copy:
        copies = [check_copies, *([check_copy_tags] if tagged else [])]
        facts |= _all_of(canary, [partial(_in_turn, canary, *copies), partial(check_part_copies, canary)])
    facts |= check_conditions_of_parts(canary, facts)
    keys, taken = write_odd_keys(canary)
    refused = write_storage_classes(canary, asked.storage_classes)
    listed = _listed(canary)
    if write_doubted(canary, keys, taken, listed=listed):
        listed = _listed(canary)
    facts |= judge_odd_keys(keys, taken, listed)
    if canary.versions_told is not None:
        facts[Fact.VERSIONS_TOLD] = ENFORCED if canary.versions_told else IGNORED
    facts[Fact.LISTED_ETAG] = judge_listing(canary, listed)
    return facts | judge_storage_classes(canary, asked.storage_classes, refused, listed=listed)


def _listed(canary: Canary) -> Mapping[str, ListedObject] | None:
    """The canaries by name; None: they could not be listed."""
    listing = canary.listing()
    return None if isinstance(listing, StoreError) else listing


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
