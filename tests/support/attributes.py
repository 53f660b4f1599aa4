"""Carrying and comparing one object's attributes, in one call each."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from executor.carry import attributes
from schema.attributes.attribute import Difference, Outgoing, Pairs, Sides
from schema.attributes.every import kept
from schema.declaration import Preserve
from schema.facts import Capabilities
from schema.objects import ObjectHead


class Carried(NamedTuple):
    """What a write was given."""

    headers: list[tuple[str, str]]
    tags_after: tuple[tuple[str, str], ...] | None
    dropped: tuple[tuple[str, str], ...]


def carried(
    head: ObjectHead,
    preserve: Preserve,
    facts: Capabilities,
    tags: Pairs = (),
    *,
    key: str = "",
    acl: Pairs = (),
    now_ms: int = 0,
    customer_key: bool = False,
) -> Carried:
    """What *preserve* makes of *head* and *tags* for a destination of these *facts*."""
    write = Outgoing(head, tags, acl, key=key, now_ms=now_ms)
    attributes.headers_for(write, kept(preserve, facts, customer_key=customer_key))
    return Carried(write.headers, write.tags_after, tuple(write.dropped))


def differing(
    source: ObjectHead,
    destination: ObjectHead,
    source_tags: Pairs | None,
    destination_tags: Pairs | None,
    preserve: Preserve,
    *,
    accepted_losses: Collection[str] = (),
    now_ms: int = 0,
) -> list[Difference]:
    """What *preserve* asks for and *destination* does not hold."""
    sides = Sides(source, destination, source_tags, destination_tags, accepted=accepted_losses, now_ms=now_ms)
    return attributes.differences(sides, kept(preserve, Capabilities()))
