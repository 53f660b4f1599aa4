"""How many requests a plan takes when nothing has to be repeated: by kind for the bill, by endpoint for the limits.

An object that is held whole is a GET and a PUT, whatever it carries; in addition there are requests for each object
where an end does not state or keep something.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from planner.review.cost import SectionWork
from schema.declaration import Declaration
from schema.ends import endpoint_of
from schema.facts import Capabilities, Fact
from schema.plan import Inventory, Tally

LISTING_PASSES = 2
"""Plan and verify."""


class Requests(NamedTuple):
    """What a plan asks."""

    by_kind: Mapping[str, int]
    """GET (tags and ACLs among them), PUT-class, DELETE, LIST and, where there are any, HEAD and restore requests."""
    by_endpoint: Mapping[str, int]
    """Those of apply, as limits count them: each endpoint for itself."""


def requests_of(work: Sequence[SectionWork], declaration: Declaration) -> Requests:
    """Those of all sections together."""
    kinds: Counter[str] = Counter(get=0, put=0, delete=0, list=0)
    ends: Counter[str] = Counter()
    for item in work:
        source, destination = _of_section(item, declaration)
        section = item.section
        ends[endpoint_of(section.source)] += source.total()
        ends[endpoint_of(section.destination)] += destination.total()
        source += _listings(section.source_inventory, section.source_capabilities)
        destination += _listings(section.destination_inventory, section.destination_capabilities)
        kinds += source + destination
    return Requests({name: kinds[name] for name in ("get", "put", "delete", "list")} | _rare(kinds), ends)


def _rare(kinds: Counter[str]) -> dict[str, int]:
    return {name: kinds[name] for name in ("head", "restore") if kinds[name]}


def _of_section(item: SectionWork, declaration: Declaration) -> tuple[Counter[str], Counter[str]]:
    """At the source and at the destination, during apply."""
    section, classes = item.section, item.classes.values()
    objects = sum(carried.objects for carried in classes)
    read_back = sum(carried.read_back for carried in classes)
    source = Counter(
        get=sum(carried.reads for carried in classes) + read_back,
        head=sum(carried.heads for carried in classes),
        restore=sum(carried.restores for carried in classes),
    )
    if declaration.preserve.acl:
        source["get"] += objects
    destination = Counter(
        get=read_back,
        put=sum(carried.writes for carried in classes),
        delete=sum(section.summary.get(name, Tally()).objects for name in ("delete", "delete-marker")),
    )
    if declaration.policy.versions == "all" and section.destination_capabilities.denies(Fact.VERSIONS_TOLD):
        destination["list"] += objects  # of the key just written
    if section.destination_capabilities.denies(Fact.WRITTEN_ETAG):
        destination["head"] += objects  # of what was just written
    return source, destination


def _listings(inventory: Inventory, can: Capabilities) -> Counter[str]:
    """Each pass, with a HEAD for each object where listings are not trusted."""
    heads = inventory.objects if can.denies(Fact.LISTED_ETAG) else 0
    return Counter(list=LISTING_PASSES * max(1, -(-inventory.objects // 1000)), head=LISTING_PASSES * heads)
