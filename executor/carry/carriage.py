"""What travels besides the bytes: reads what takes extra calls (tags, ACL) and builds the headers of the write."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from enum import Enum
from typing import Final, NamedTuple

from executor.carry.acl import acl_grants, missing_grants
from executor.carry.attributes import differences, headers_for
from executor.route import Route
from schema.attributes.attribute import Difference, Outgoing, Sides
from schema.attributes.protection import Acl
from schema.attributes.tags import Tags as TagSet
from schema.errors import ObjectRefused, ResponseUnreadable, ServerFault
from schema.facts import Capabilities, Fact
from schema.formats.quantities import counted_text
from schema.objects import ListedObject, ObjectHead
from schema.plan import Entry
from schema.storage_classes import CLASS_HEADER, STANDARD, target_storage_class
from storage.port import ObjectStore

Tags = tuple[tuple[str, str], ...]
_TAG_COUNT: Final = Fact.TAG_COUNT
_HEAD_STORAGE_CLASS: Final = Fact.HEAD_STORAGE_CLASS


class Source(NamedTuple):
    """A source object's head, and the answers of its extra calls."""

    head: ObjectHead
    tags: Tags
    acl: Tags
    unmapped: tuple[str, ...] = ()
    """Grantees that the declaration does not map, with their permission."""
    acl_document: bytes = b""
    """GetObjectAcl's answer, where the plan keeps ACLs."""


class AskTags(Enum):
    """For which source objects tags are requested."""

    WHERE_SHOWN = "where shown"
    """Those whose heads count tags; all of them where the probe saw heads that do not."""
    UNLESS_RULED_OUT = "unless ruled out"
    """All of them, too, where the probe saw no tagged object, so that nobody knows whether heads count tags."""

    def asks(self, head: ObjectHead, facts: Capabilities) -> bool:
        """Whether GetObjectTagging is due for the object of this *head*."""
        if head.tag_count or facts.denies(_TAG_COUNT):
            return True
        return (
            self is AskTags.UNLESS_RULED_OUT and facts.enforces(Fact.TAGS_READABLE) and not facts.enforces(_TAG_COUNT)
        )


def read_source(route: Route, entry: Entry, head: ObjectHead, *, ask: AskTags = AskTags.WHERE_SHOWN) -> Source:
    """The extra calls that *head* makes necessary: none for most objects."""
    preserve = route.plan.preserve
    if route.source_facts.denies(_HEAD_STORAGE_CLASS):
        head = _classed(head, entry.storage_class)
    tags: Tags = ()
    given_up = route.source_facts.denies(Fact.TAGS_READABLE) and TagSet.loss in accepted_losses(route)
    if preserve.tags and not given_up and ask.asks(head, route.source_facts):
        tags = route.source.get_tags(entry.key, version_id=entry.version_id)
        if head.tag_count and not tags:
            raise ResponseUnreadable(
                f"GetObjectTagging {entry.key!r}: no tags came back, but HEAD reports {head.tag_count}; they "
                "changed in between, or the answer cannot be trusted",
                operation="GetObjectTagging",
                key=entry.key,
            )
    if not preserve.acl:
        return Source(head, tags, ())
    document = _acl_document(route.source, entry.key, entry.version_id)
    grants = acl_grants(document, preserve.acl_grantees)
    # An ACL that the destination refuses altogether is a loss that the plan names; sending it would fail each write.
    refused = route.destination_facts.rejects(Fact.ACL)
    left_out = tuple(f"{value} ({name})" for name, value in grants.headers) if refused else ()
    headers = () if refused else tuple(grants.headers)
    return Source(head, tags, headers, (*grants.unmapped, *left_out), document)


def _acl_document(store: ObjectStore, key: str, version_id: str | None) -> bytes:
    query = [("acl", "")] + ([("versionId", version_id)] if version_id else [])
    return store.subresource("GET", key, query)[1]


def write_headers(route: Route, entry: Entry, source: Source) -> Outgoing:
    """What the PUT or CreateMultipartUpload of *entry* carries.

    Raises ObjectRefused for what the destination cannot hold and the declaration did not accept as a loss: the probe
    saw only a sample, so a loss may show here for the first time.
    """
    now_ms = int(time.time() * 1000)
    request = route.write_request(entry)
    outgoing = Outgoing(source.head, source.tags, source.acl, key=entry.key, now_ms=now_ms, request=request)
    write = headers_for(outgoing, route.kept)
    dropped = (*write.dropped, *((Acl.loss, f"grant to {grantee}") for grantee in source.unmapped))
    if dropped:
        accepted = accepted_losses(route)
        lost = [f"{words} (loss {loss})" for loss, words in dropped if loss and loss not in accepted]
        if lost:
            raise ObjectRefused(
                f"{entry.key!r}: the destination cannot hold its {', '.join(lost)}; "
                "accept the loss by name (accept_loss) and plan again, or change the destination",
                operation="PutObject",
                key=entry.key,
            )
    return write


def with_burden(error: ServerFault, entry: Entry, headers: Iterable[tuple[str, str]]) -> ServerFault:
    """*error*, with what the failed write carried besides the bytes: some servers fail because of it."""
    sizes = [len(name) + len(value.encode()) for name, value in user_metadata(headers)]
    carried = f"{counted_text(len(sizes), 'metadata header')} of {counted_text(sum(sizes), 'byte')}"
    return error.explained(
        f"the object carries {carried if sizes else 'no metadata'} under a key of "
        f"{counted_text(len(entry.target.encode()), 'byte')}"
    )


def user_metadata(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Names without their prefix, and values, of the user metadata among *headers*."""
    prefix = "x-amz-meta-"
    return [(name[len(prefix) :], value) for name, value in headers if name.lower().startswith(prefix)]


def attribute_differences(route: Route, entry: Entry, source: Source, *, there: ObjectHead) -> list[Difference]:
    """Field by field, how the destination's object differs from what the plan asks for. Reads tags where needed."""
    accepted = accepted_losses(route)
    version = route.version(there.version_id)
    tags: Tags | None = None
    facts, kept = route.destination_facts, route.kept
    knows_tags = facts.enforces(Fact.TAGGING)
    if route.plan.preserve.tags and (source.tags or there.tag_count or facts.denies(_TAG_COUNT)) and knows_tags:
        tags = route.destination.get_tags(entry.target, version_id=version)
    elif route.plan.preserve.tags and source.tags:
        tags = ()
    missing: tuple[str, ...] = ()
    if source.acl_document and Acl.loss not in accepted:
        document = _acl_document(route.destination, entry.target, version)
        missing = missing_grants(source.acl_document, document, route.plan.preserve.acl_grantees) + source.unmapped
    now_ms = int(time.time() * 1000)
    wanted = target_storage_class(source.head.storage_class, route.plan.preserve)
    if wanted != STANDARD and facts.denies(_HEAD_STORAGE_CLASS):
        there = _classed(there, _listed_class(route.destination, entry.target, version))
    own = (kept.source_own.of(source.head.headers), kept.destination_own.of(there.headers))
    unkept = (kept.changed_headers, kept.dropped_characters)
    return differences(Sides(source.head, there, source.tags, tags, missing, accepted, now_ms, *own, *unkept), kept)


def _classed(head: ObjectHead, listed: str) -> ObjectHead:
    """*head* with the storage class that a listing showed, where it shows none itself."""
    if CLASS_HEADER in head.headers or listed in ("", STANDARD):
        return head
    return replace(head, headers={**head.headers, CLASS_HEADER: listed})


def _listed_class(store: ObjectStore, key: str, version: str | None) -> str:
    """The storage class that a listing shows of *key*. Raises StoreErrors."""
    # Keys ascend, so the key itself comes before all that only begin with it.
    for found in store.list_objects(key) if version is None else store.list_versions(key):
        if found.key != key:
            break
        if isinstance(found, ListedObject) and version in (None, found.version_id):
            return found.storage_class
    return STANDARD


def accepted_losses(route: Route) -> frozenset[str]:
    """Ids of the losses that the declaration accepted for this pair."""
    return frozenset(loss.id for loss in route.section.losses if loss.accepted)
