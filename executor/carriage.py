"""What travels beside the bytes: reads what only extra calls can tell (tags, ACL) and builds the write's headers."""

from __future__ import annotations

import time
from typing import NamedTuple

from executor.acl import acl_grants
from executor.attributes import Difference, WriteHeaders, differences, headers_for
from executor.section import SectionRuntime
from schema.errors import ObjectRefused
from schema.objects import ObjectHead
from schema.plan import Entry

Tags = tuple[tuple[str, str], ...]


class Source(NamedTuple):
    """A source object's head and what its extra calls told."""

    head: ObjectHead
    tags: Tags
    acl: Tags


def read_source(section: SectionRuntime, entry: Entry, head: ObjectHead) -> Source:
    """The extra calls that *head* makes necessary: none for most objects."""
    preserve = section.plan.preserve
    tags: Tags = ()
    if preserve.tags and head.tag_count:
        tags = section.source.get_tags(entry.key, version_id=entry.version_id)
    acl: Tags = ()
    if preserve.acl:
        query = [("acl", "")] + ([("versionId", entry.version_id)] if entry.version_id else [])
        _, body = section.source.subresource("GET", entry.key, query)
        acl = tuple(acl_grants(body, preserve.acl_grantees).headers)
    return Source(head, tags, acl)


def write_headers(section: SectionRuntime, entry: Entry, source: Source) -> WriteHeaders:
    """What the PUT or CreateMultipartUpload of *entry* carries.

    Raises ObjectRefused for what the destination cannot hold and the declaration did not give up: the probe saw a
    sample only, so a loss may show for the first time here.
    """
    carried = headers_for(
        source.head,
        section.plan.preserve,
        section.destination_facts,
        source.tags,
        key=entry.key,
        acl=source.acl,
        now_ms=int(time.time() * 1000),
        customer_key=section.section.destination.sse_customer_key_env is not None,
    )
    if carried.dropped:
        accepted = accepted_losses(section)
        lost = [f"{words} (loss {loss})" for loss, words in carried.dropped if loss and loss not in accepted]
        if lost:
            raise ObjectRefused(
                f"{entry.key!r}: the destination cannot hold its {', '.join(lost)}; "
                "accept the loss by name (accept_loss) and plan again, or change the destination",
                operation="PutObject",
                key=entry.key,
            )
    return carried


def attribute_differences(
    section: SectionRuntime, entry: Entry, source: Source, destination: ObjectHead
) -> list[Difference]:
    """Field by field, what the destination's object does not hold as the plan wants it. Tags are read when due."""
    facts = section.destination_facts.facts
    tags: Tags | None = None
    if section.plan.preserve.tags and (source.tags or destination.tag_count) and facts.get("tagging") == "enforced":
        tags = section.destination.get_tags(entry.target)
    elif section.plan.preserve.tags and source.tags:
        tags = ()
    return differences(
        source.head,
        destination,
        source.tags,
        tags,
        section.plan.preserve,
        accepted_losses=accepted_losses(section),
        now_ms=int(time.time() * 1000),
    )


def accepted_losses(section: SectionRuntime) -> frozenset[str]:
    """Ids of the losses that the declaration accepted for this section."""
    return frozenset(loss.id for loss in section.section.losses if loss.accepted)
